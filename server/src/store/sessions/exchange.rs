//! Exchanging a refresh token, and replacing all of a session's by a random one.

use super::{
    Column, KeptSession, SESSION_IDLE_MAX, Sessions, end, find_row, put_event, session, set,
};
use crate::store::{
    StoreError,
    entity::{Micros, TokenKey, refresh_token},
    instances, outbox,
    refresh_tokens::{self, Line, Place, Presented, Verdict, judge},
    transaction::transact,
    users,
};
use chrono::{DateTime, TimeDelta, Utc};
use roost_schema::{Me, Secret, SessionId, UserId};
use sea_orm::{DatabaseTransaction, sea_query::Expr};

/// The number that releases speak whose sessions have one line of tokens: see `live/cluster/speaks.rs`.
const LINES_SPOKEN: i32 = 2;
/// How long a branch counts after the last instance that made branches has left.
const BRANCHES_COUNT_FOR: TimeDelta = TimeDelta::hours(24);

/// The result of exchanging a refresh token.
#[derive(Debug)]
pub enum Exchange {
    Exchanged(Renewed),
    /// The token is older than the predecessor of the current one, or came from elsewhere. It may be stolen, so the
    /// session has ended.
    Reused {
        session: SessionId,
        user: UserId,
    },
    /// The token's session has ended. `by_reuse`: because an old token was used again.
    Revoked {
        by_reuse: bool,
    },
    /// No such token exists, or it has expired.
    Unknown,
}

/// A session that goes on with another refresh token.
#[derive(Debug)]
pub struct Renewed {
    pub session: KeptSession,
    /// The person is part of the answer: a later read could fail, and make an exchange that is done look like a
    /// failure.
    pub me: Me,
    pub token: Secret,
    /// An event tells the person that a used token was exchanged again from elsewhere.
    pub is_told: bool,
}

impl Sessions {
    /// Exchanges a refresh token. `place`: from where.
    pub async fn exchange(
        &self,
        presented: &Secret,
        place: &Place,
    ) -> Result<Exchange, StoreError> {
        let presented = &Presented::of(presented);
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let Some((session, user)) = refresh_tokens::owner(transaction, presented).await? else {
                return Ok(Exchange::Unknown);
            };
            let account = users::lock(transaction, user).await?;
            let row = find_row(transaction, user, session).await?;
            let (Some(account), Some(row)) = (account, row) else {
                return Ok(Exchange::Unknown);
            };
            let now = self.clock.now();
            if row.revoked_us.is_some() {
                let by_reuse = row.reused_us == row.revoked_us;
                return Ok(Exchange::Revoked { by_reuse });
            }
            if row.last_used_us.0 + SESSION_IDLE_MAX <= now {
                return Ok(Exchange::Unknown);
            }
            let showing = Showing {
                transaction,
                line: Line::read(transaction, session, presented).await?,
                session: row,
                me: account.me,
                presented,
                place,
                now,
            };
            showing.judge().await
        })
        .await
    }
}

/// A refresh token that is presented, under the lock of its person's row.
struct Showing<'a> {
    transaction: &'a DatabaseTransaction,
    line: Line,
    session: session::Model,
    me: Me,
    presented: &'a Presented<'a>,
    place: &'a Place,
    now: DateTime<Utc>,
}

impl Showing<'_> {
    async fn judge(&self) -> Result<Exchange, StoreError> {
        let Some(token) = &self.line.token else {
            return if self.line.is_past(self.presented, &self.session) {
                self.end().await
            } else {
                Ok(Exchange::Unknown)
            };
        };
        match judge(token, &self.line.others, self.place, self.now) {
            Verdict::Exchange => self.advance(token).await,
            Verdict::Again {
                successor,
                is_elsewhere,
            } => self.repeat(token, successor, is_elsewhere).await,
            Verdict::Branch => {
                if self.are_branches_good().await? {
                    self.advance(token).await
                } else {
                    self.end().await
                }
            }
            Verdict::Reuse => self.end().await,
            Verdict::Expired => Ok(Exchange::Unknown),
        }
    }

    async fn advance(&self, token: &refresh_token::Model) -> Result<Exchange, StoreError> {
        // A session that the release before opened has no key yet.
        let key = self.session.token_key.unwrap_or_else(TokenKey::generate);
        let advanced = self.line.advance(
            self.transaction,
            self.presented,
            token,
            &key,
            self.place,
            self.now,
        );
        let next = advanced.await?;
        let mut row = self.session.clone();
        row.token_key = Some(key);
        self.go_on(row, next, false).await
    }

    /// Answers the successor that the token has. The person is told once for each token.
    async fn repeat(
        &self,
        token: &refresh_token::Model,
        successor: &refresh_token::Model,
        is_elsewhere: bool,
    ) -> Result<Exchange, StoreError> {
        let mut row = self.session.clone();
        let next = self
            .line
            .again(self.presented, token, successor, row.token_key)?;
        let used_at = token.used_us.map(|used| used.0);
        let was_told = row.reused_us.is_some_and(|told| Some(told.0) >= used_at);
        let is_told = is_elsewhere && !was_told;
        if is_told {
            row.reused_us = Some(Micros(self.now));
            let event = put_event(&KeptSession::from(row.clone()))?;
            outbox::push(self.transaction, &event).await?;
        }
        self.go_on(row, next, is_told).await
    }

    /// Keeps what has changed of the session's row.
    async fn go_on(
        &self,
        mut row: session::Model,
        token: Secret,
        is_told: bool,
    ) -> Result<Exchange, StoreError> {
        row.last_used_us = Micros(self.now);
        set(self.id(), Column::LastUsedUs, row.last_used_us)
            .col_expr(Column::TokenKey, Expr::value(row.token_key))
            .col_expr(Column::ReusedUs, Expr::value(row.reused_us))
            .exec(self.transaction)
            .await?;
        Ok(Exchange::Exchanged(Renewed {
            session: row.into(),
            me: self.me.clone(),
            token,
            is_told,
        }))
    }

    async fn end(&self) -> Result<Exchange, StoreError> {
        let (session, user) = (self.id(), self.me.id);
        set(session, Column::ReusedUs, Micros(self.now))
            .exec(self.transaction)
            .await?;
        end(self.transaction, user, session, self.now).await?;
        Ok(Exchange::Reused { session, user })
    }

    /// Whether tokens that the release before left beside the session's line count yet.
    async fn are_branches_good(&self) -> Result<bool, StoreError> {
        let since = instances::spoken_since(self.transaction, LINES_SPOKEN).await?;
        Ok(since.is_none_or(|since| self.now < since + BRANCHES_COUNT_FOR))
    }

    fn id(&self) -> SessionId {
        SessionId::from_uuid(self.session.id)
    }
}

/// Gives a session a random token in place of all it has, under the lock of the person's row. `None`: the session has
/// ended.
pub(in crate::store) async fn replace_tokens(
    transaction: &DatabaseTransaction,
    me: Me,
    session: SessionId,
    at: DateTime<Utc>,
) -> Result<Option<Renewed>, StoreError> {
    let row = find_row(transaction, me.id, session).await?;
    let Some(mut row) = row.filter(|row| row.revoked_us.is_none()) else {
        return Ok(None);
    };
    let key = row.token_key.unwrap_or_else(TokenKey::generate);
    let token = refresh_tokens::replace_all(transaction, session, &key, at).await?;
    row.last_used_us = Micros(at);
    set(session, Column::LastUsedUs, row.last_used_us)
        .col_expr(Column::TokenKey, Expr::value(key))
        .exec(transaction)
        .await?;
    Ok(Some(Renewed {
        session: row.into(),
        me,
        token,
        is_told: false,
    }))
}
