//! Refresh tokens: the line of a session, in which each token is exchanged for one successor. Texts are kept nowhere,
//! only their hashes. See `docs/decisions/0027-refresh-tokens-have-one-line.md`.

mod form;
mod verdict;

pub(super) use verdict::{Verdict, judge};

use super::{
    StoreError,
    entity::{
        Micros, TokenKey,
        refresh_token::{ActiveModel, Column, Entity, Model},
        session,
    },
    sessions::SESSION_IDLE_MAX,
};
use chrono::{DateTime, Utc};
use form::{Named, compose, successor_secret};
use roost_schema::{Secret, SessionId, UserId};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait,
    QueryFilter, QuerySelect, QueryTrait, Select, sea_query::Expr,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The generation of a session's first token.
const FIRST: i32 = 1;

/// From where a token is exchanged, as it is compared with where it was exchanged first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The first address of the client's network.
    pub network: String,
    /// SHA-256 of the `User-Agent`, or of nothing.
    pub agent: [u8; 32],
}

/// The first token of a session, and the key of the session's tokens.
#[derive(Clone, Debug)]
pub struct FirstToken {
    key: TokenKey,
    text: Secret,
}

impl FirstToken {
    /// Makes the first token of a new session.
    pub fn generate(session: SessionId) -> Self {
        let key = TokenKey::generate();
        Self {
            key,
            text: compose(&key, session, FIRST, &rand::random()),
        }
    }

    /// The token as its person gets it.
    pub const fn text(&self) -> &Secret {
        &self.text
    }

    pub(super) const fn key(&self) -> TokenKey {
        self.key
    }
}

/// A token that somebody shows, and the hash by which its row is found.
pub(super) struct Presented<'a> {
    text: &'a str,
    hash: Vec<u8>,
}

impl<'a> Presented<'a> {
    pub(super) fn of(token: &'a Secret) -> Self {
        Self {
            text: token.expose(),
            hash: hash(token),
        }
    }

    /// The generation of a token of this session; `None`: the session has issued no such token.
    fn generation_in(&self, session: &session::Model) -> Option<i32> {
        let named = Named::read(self.text)?;
        let is_its = named.session.as_uuid() == session.id && named.is_of(&session.token_key?);
        is_its.then_some(named.generation)
    }
}

/// A session's tokens, as far as they matter for a token that is presented.
pub(super) struct Line {
    session: SessionId,
    /// The row of the presented token.
    pub(super) token: Option<Model>,
    /// Unused tokens, those with a generation, and those that the presented one was exchanged for.
    pub(super) others: Vec<Model>,
}

impl Line {
    pub(super) async fn read(
        transaction: &DatabaseTransaction,
        session: SessionId,
        presented: &Presented<'_>,
    ) -> Result<Self, StoreError> {
        let matters = Condition::any()
            .add(Column::Hash.eq(presented.hash.clone()))
            .add(Column::Parent.eq(presented.hash.clone()))
            .add(Column::UsedUs.is_null())
            .add(Column::Generation.is_not_null());
        let rows = of_session(session).filter(matters).all(transaction).await?;
        let is_token = |row: &Model| row.hash == presented.hash;
        let (mut token, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_token);
        Ok(Self {
            session,
            token: token.pop(),
            others,
        })
    }

    /// Whether a token without a row is one that this session issued before its newest one.
    pub(super) fn is_past(&self, presented: &Presented<'_>, session: &session::Model) -> bool {
        let generation = presented.generation_in(session);
        generation.is_some_and(|generation| generation < self.newest())
    }

    /// Exchanges the presented token for a new one of the next generation. Of the others it keeps one that was not
    /// used: at most three rows are left. `key`: the session's.
    pub(super) async fn advance(
        &self,
        transaction: &DatabaseTransaction,
        presented: &Presented<'_>,
        token: &Model,
        key: &TokenKey,
        place: &Place,
        now: DateTime<Utc>,
    ) -> Result<Secret, StoreError> {
        let next_key = token.next_key.unwrap_or_else(TokenKey::generate);
        mark_used(transaction, token, next_key, place, now).await?;
        let generation = self.newest() + 1;
        let secret = successor_secret(&next_key, presented.text);
        let next = compose(key, self.session, generation, &secret);
        let parent = Some(token.hash.clone());
        insert(transaction, self.session, &next, generation, parent, now).await?;

        let unused = self.others.iter().filter(|other| other.used_us.is_none());
        let spare = unused.max_by_key(|other| other.issued_us.0);
        let mut kept = vec![token.hash.clone(), hash(&next)];
        kept.extend(spare.map(|spare| spare.hash.clone()));
        Entity::delete_many()
            .filter(Column::SessionId.eq(self.session.as_uuid()))
            .filter(Column::Hash.is_not_in(kept))
            .exec(transaction)
            .await?;
        Ok(next)
    }

    /// Makes the successor of the presented token again. `key`: the session's.
    pub(super) fn again(
        &self,
        presented: &Presented<'_>,
        token: &Model,
        successor: &Model,
        key: Option<TokenKey>,
    ) -> Result<Secret, StoreError> {
        let make = || {
            let secret = successor_secret(&token.next_key?, presented.text);
            let next = compose(&key?, self.session, successor.generation?, &secret);
            (hash(&next) == successor.hash).then_some(next)
        };
        make().ok_or_else(|| {
            let session = self.session;
            StoreError::unreadable(anyhow::anyhow!("the refresh tokens of session {session}"))
        })
    }

    /// The newest generation of the session; 0 where the release before issued all of its tokens.
    fn newest(&self) -> i32 {
        let rows = self.token.iter().chain(&self.others);
        rows.filter_map(|row| row.generation).max().unwrap_or(0)
    }
}

/// The session and the person that a token belongs to, by its row, or by what it says under a MAC that holds.
pub(super) async fn owner(
    connection: &impl ConnectionTrait,
    presented: &Presented<'_>,
) -> Result<Option<(SessionId, UserId)>, StoreError> {
    let row = Entity::find_by_id(presented.hash.clone()).find_also_related(session::Entity);
    if let Some((_, session)) = row.one(connection).await? {
        return Ok(session.map(|session| ids(&session)));
    }
    let Some(named) = Named::read(presented.text) else {
        return Ok(None);
    };
    let session = session::Entity::find_by_id(named.session.as_uuid());
    let session = session.one(connection).await?;
    let session = session.filter(|session| presented.generation_in(session).is_some());
    Ok(session.map(|session| ids(&session)))
}

fn ids(session: &session::Model) -> (SessionId, UserId) {
    (
        SessionId::from_uuid(session.id),
        UserId::from_uuid(session.user_id),
    )
}

/// Keeps the first token of a session.
pub(super) async fn insert_first(
    transaction: &DatabaseTransaction,
    session: SessionId,
    first: &FirstToken,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    insert(transaction, session, &first.text, FIRST, None, at).await
}

/// Deletes all tokens of a session and answers a random one of the next generation, so that none of the deleted is
/// known for anything but old. `key`: the session's.
pub(super) async fn replace_all(
    transaction: &DatabaseTransaction,
    session: SessionId,
    key: &TokenKey,
    at: DateTime<Utc>,
) -> Result<Secret, StoreError> {
    let query = of_session(session).select_only();
    let newest: Option<Option<i32>> = query
        .column_as(Column::Generation.max(), "newest")
        .into_tuple()
        .one(transaction)
        .await?;
    let generation = newest.flatten().unwrap_or(0) + 1;
    Entity::delete_many()
        .filter(Column::SessionId.eq(session.as_uuid()))
        .exec(transaction)
        .await?;
    let fresh = compose(key, session, generation, &rand::random());
    insert(transaction, session, &fresh, generation, None, at).await?;
    Ok(fresh)
}

/// Deletes up to `limit` tokens of these sessions; answers how many there were.
pub(super) async fn delete_some(
    transaction: &DatabaseTransaction,
    sessions: &[Uuid],
    limit: u64,
) -> Result<u64, StoreError> {
    let some = Entity::find()
        .select_only()
        .column(Column::Hash)
        .filter(Column::SessionId.is_in(sessions.iter().copied()))
        .limit(limit);
    let deleted = Entity::delete_many()
        .filter(Column::Hash.in_subquery(some.into_query()))
        .exec(transaction)
        .await?;
    Ok(deleted.rows_affected)
}

/// Marks a token as exchanged. A time that the release before has noted stays.
async fn mark_used(
    transaction: &DatabaseTransaction,
    token: &Model,
    next_key: TokenKey,
    place: &Place,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let used_at = token.used_us.unwrap_or(Micros(now));
    Entity::update_many()
        .col_expr(Column::UsedUs, Expr::value(used_at))
        .col_expr(Column::NextKey, Expr::value(next_key))
        .col_expr(Column::UsedNetwork, Expr::value(place.network.as_str()))
        .col_expr(Column::UsedAgent, Expr::value(place.agent.to_vec()))
        .filter(Column::Hash.eq(token.hash.clone()))
        .exec(transaction)
        .await?;
    Ok(())
}

async fn insert(
    transaction: &DatabaseTransaction,
    session: SessionId,
    token: &Secret,
    generation: i32,
    parent: Option<Vec<u8>>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = ActiveModel {
        hash: Set(hash(token)),
        session_id: Set(session.as_uuid()),
        parent: Set(parent),
        issued_us: Set(Micros(at)),
        used_us: Set(None),
        generation: Set(Some(generation)),
        next_key: Set(None),
        used_network: Set(None),
        used_agent: Set(None),
    };
    Entity::insert(row)
        .exec_without_returning(transaction)
        .await?;
    Ok(())
}

fn of_session(session: SessionId) -> Select<Entity> {
    Entity::find().filter(Column::SessionId.eq(session.as_uuid()))
}

/// A token has 256 random bits, so a fast hash protects it as well as a slow one.
fn hash(token: &Secret) -> Vec<u8> {
    Sha256::digest(token.expose()).to_vec()
}
