//! People and the hashes of their passwords.

use super::{
    Clock, Known, NewSession, Operation, Renewed, Sql, StoreError,
    entity::{
        Micros,
        user::{self, Column, Entity, PasswordHash},
    },
    operations, rooms, sessions,
    transaction::{reading, transact},
};
use roost_schema::{Email, Me, Name, RoomId, Secret, SessionId, User, UserId};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, LikeExpr, OnConflict},
};
use uuid::Uuid;

/// How many people a search by name finds at most.
pub const USERS_FOUND_MAX: u32 = 20;
/// How many ids one statement lists.
const IDS_PER_STATEMENT: usize = 500;

/// A person, and the hash of their password.
#[derive(Clone, Debug)]
pub struct Account {
    pub me: Me,
    pub password_hash: Secret,
}

impl Account {
    /// The person as other people see them.
    pub fn user(self) -> User {
        User {
            id: self.me.id,
            name: self.me.name,
        }
    }
}

/// A person who registers.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: UserId,
    pub email: Email,
    pub name: Name,
    pub password_hash: Secret,
}

/// The result of a registration.
#[derive(Debug)]
pub enum Created {
    Account(Account),
    /// The operation was done before, or its id was used for another request.
    Known(Known),
    EmailTaken,
}

/// The result of a change of a password.
#[derive(Debug)]
pub enum PasswordChange {
    /// `renewed`: the session that asked. `ended`: the others.
    Changed {
        renewed: Box<Renewed>,
        ended: Vec<SessionId>,
    },
    /// The verified password is no longer the person's.
    Outdated,
    /// The session that asks has ended.
    SessionEnded,
}

/// People in the relational database.
#[derive(Clone, Debug)]
pub struct Users {
    sql: Sql,
    clock: Clock,
}

impl Users {
    pub(super) const fn new(sql: Sql, clock: Clock) -> Self {
        Self { sql, clock }
    }

    pub async fn find(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        let row = reading(|| Entity::find_by_id(user.as_uuid()).one(&self.sql.read)).await?;
        Ok(row.map(Account::from))
    }

    pub async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        let has_address = || Entity::find().filter(Column::Email.eq(email.as_str()));
        let row = reading(|| has_address().one(&self.sql.read)).await?;
        Ok(row.map(Account::from))
    }

    /// People whose name begins with this text, in any case, ordered by name.
    pub async fn find_by_name(&self, beginning: &str) -> Result<Vec<User>, StoreError> {
        let pattern = like_beginning(&beginning.to_lowercase());
        self.list_by(|| {
            Entity::find()
                .filter(Column::NameLower.like(LikeExpr::new(pattern.as_str()).escape('\\')))
                .order_by_asc(Column::NameLower)
                .order_by_asc(Column::Id)
                .limit(u64::from(USERS_FOUND_MAX))
        })
        .await
    }

    /// People by id; unknown ids are left out.
    pub async fn list(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            let ids = || ids.iter().map(UserId::as_uuid);
            let people = self.list_by(|| Entity::find().filter(Column::Id.is_in(ids())));
            found.extend(people.await?);
        }
        Ok(found)
    }

    async fn list_by(&self, query: impl Fn() -> Select<Entity>) -> Result<Vec<User>, StoreError> {
        let columns = [Column::Id, Column::Name];
        let query = || query().select_only().columns(columns);
        let rows: Vec<(Uuid, String)> =
            reading(|| query().into_tuple().all(&self.sql.read)).await?;
        let user = |(id, name)| User {
            id: UserId::from_uuid(id),
            name,
        };
        Ok(rows.into_iter().map(user).collect())
    }

    /// Creates a person with their own room and their first session.
    pub async fn create(
        &self,
        new: &NewUser,
        session: &NewSession,
        operation: Option<&Operation>,
    ) -> Result<Created, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            if !insert(transaction, new, session).await? {
                // A rival with the same operation is visible now, because this insert waited for it.
                return match operation {
                    Some(operation) => Ok(operations::find(transaction, operation)
                        .await?
                        .map_or(Created::EmailTaken, Created::Known)),
                    None => Ok(Created::EmailTaken),
                };
            }
            rooms::create_personal(transaction, new.id, session.at).await?;
            sessions::insert(transaction, session).await?;
            if let Some(operation) = operation {
                let result = serde_json::json!({ "userId": new.id });
                operations::keep(transaction, operation, &result, session.at).await?;
            }
            Ok(Created::Account(Account {
                me: Me {
                    id: new.id,
                    email: new.email.as_str().to_owned(),
                    name: new.name.as_str().to_owned(),
                    room_id: RoomId::of_user(new.id),
                    created_at: session.at,
                },
                password_hash: new.password_hash.clone(),
            }))
        })
        .await
    }

    /// Replaces the password that was verified, gives the session that asks a random refresh token in place of its
    /// own, and ends all other sessions.
    pub async fn change_password(
        &self,
        user: UserId,
        keep: SessionId,
        verified: &Secret,
        fresh: &Secret,
    ) -> Result<PasswordChange, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let account = lock(transaction, user).await?;
            let Some(account) = account.filter(|account| account.password_hash == *verified) else {
                return Ok(PasswordChange::Outdated);
            };
            let now = self.clock.now();
            let replaced = sessions::replace_tokens(transaction, account.me, keep, now).await?;
            let Some(renewed) = replaced else {
                return Ok(PasswordChange::SessionEnded);
            };
            Entity::update_many()
                .col_expr(Column::PasswordHash, Expr::value(fresh.expose()))
                .filter(Column::Id.eq(user.as_uuid()))
                .exec(transaction)
                .await?;
            let ended = sessions::end_others(transaction, user, keep, now).await?;
            Ok(PasswordChange::Changed {
                renewed: Box::new(renewed),
                ended,
            })
        })
        .await
    }
}

/// Locks a person's row and answers it: changes of a person's sessions and password take turns.
pub(super) async fn lock(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Option<Account>, StoreError> {
    let query = Entity::find_by_id(user.as_uuid()).lock_exclusive();
    Ok(query.one(transaction).await?.map(Account::from))
}

/// Inserts a person. False when the email address is taken.
async fn insert(
    transaction: &DatabaseTransaction,
    new: &NewUser,
    session: &NewSession,
) -> Result<bool, StoreError> {
    let row = user::ActiveModel {
        id: Set(new.id.as_uuid()),
        email: Set(new.email.as_str().to_owned()),
        name: Set(new.name.as_str().to_owned()),
        name_lower: Set(new.name.as_str().to_lowercase()),
        password_hash: Set(PasswordHash(new.password_hash.expose().to_owned())),
        created_us: Set(Micros(session.at)),
    };
    let inserted = Entity::insert(row)
        .on_conflict(OnConflict::column(Column::Email).do_nothing().to_owned())
        .exec_without_returning(transaction)
        .await?;
    Ok(inserted == 1)
}

impl From<user::Model> for Account {
    fn from(row: user::Model) -> Self {
        let id = UserId::from_uuid(row.id);
        Self {
            me: Me {
                id,
                email: row.email,
                name: row.name,
                room_id: RoomId::of_user(id),
                created_at: row.created_us.0,
            },
            password_hash: Secret::new(row.password_hash.0),
        }
    }
}

/// The LIKE pattern of all texts with this beginning; wildcards in it are escaped.
fn like_beginning(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 1);
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}
