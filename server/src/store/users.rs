//! People and the hashes of their passwords.

use super::{
    Clock, Known, NewSession, Operation, Sql, StoreError, operations, rooms, sessions,
    transaction::{execute, for_update, statement, time, transact},
};
use roost_schema::{Email, Me, Name, RoomId, Secret, SessionId, User, UserId};
use sea_orm::{ConnectionTrait, DatabaseTransaction, QueryResult, Statement, Value};

/// How many people a search by name answers with at most.
pub const USERS_FOUND_MAX: u32 = 20;
/// How many ids one statement asks for.
const IDS_PER_STATEMENT: usize = 500;

/// A person, and what proves them.
#[derive(Clone, Debug)]
pub struct Account {
    pub me: Me,
    pub password_hash: Secret,
}

impl Account {
    /// The person as others see them.
    pub fn user(self) -> User {
        User {
            id: self.me.id,
            name: self.me.name,
        }
    }
}

/// A person who is about to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub id: UserId,
    pub email: Email,
    pub name: Name,
    pub password_hash: Secret,
}

/// What became of a registration.
#[derive(Debug)]
pub enum Created {
    Account(Account),
    /// The operation was done before, or its id was used for another one.
    Known(Known),
    EmailTaken,
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
        find(&self.sql, "id", user.as_uuid().into()).await
    }

    pub async fn find_by_email(&self, email: &Email) -> Result<Option<Account>, StoreError> {
        find(&self.sql, "email", email.as_str().into()).await
    }

    /// People whose name begins so, whatever the case of its letters; by name.
    pub async fn find_by_name(&self, beginning: &str) -> Result<Vec<User>, StoreError> {
        let query = statement(
            &self.sql.read,
            "SELECT id, name FROM users WHERE name_lower LIKE $1 ESCAPE '\\'
             ORDER BY name_lower, id LIMIT $2",
            [
                like_beginning(&beginning.to_lowercase()).into(),
                i64::from(USERS_FOUND_MAX).into(),
            ],
        );
        let rows = self.sql.read_all(query).await?;
        rows.iter().map(user).collect()
    }

    /// These people; unknown ids are left out.
    pub async fn list(&self, ids: &[UserId]) -> Result<Vec<User>, StoreError> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_PER_STATEMENT) {
            let marks: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
            let query = Statement::from_sql_and_values(
                self.sql.backend(),
                format!(
                    "SELECT id, name FROM users WHERE id IN ({})",
                    marks.join(", ")
                ),
                ids.iter().map(|id| id.as_uuid().into()),
            );
            for row in self.sql.read_all(query).await? {
                found.push(user(&row)?);
            }
        }
        Ok(found)
    }

    /// Makes a person with their own room and their first session.
    pub async fn create(
        &self,
        new: &NewUser,
        session: &NewSession,
        operation: Option<&Operation>,
    ) -> Result<Created, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            if !insert(transaction, new, session).await? {
                // A rival with the same operation is visible now: its insert was waited for.
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

    /// Replaces the password that was verified and ends every session but one. `None` when the
    /// verified password is not the person's any more; else the sessions that ended.
    pub async fn change_password(
        &self,
        user: UserId,
        keep: SessionId,
        verified: &Secret,
        fresh: &Secret,
    ) -> Result<Option<Vec<SessionId>>, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            let account = lock(transaction, user).await?;
            if account.is_none_or(|account| account.password_hash != *verified) {
                return Ok(None);
            }
            execute(
                transaction,
                "UPDATE users SET password_hash = $2 WHERE id = $1",
                [user.as_uuid().into(), fresh.expose().into()],
            )
            .await?;
            let now = self.clock.now();
            sessions::end_others(transaction, user, keep, now)
                .await
                .map(Some)
        })
        .await
    }
}

/// Locks a person, and answers who it is: their sessions and password change one at a time.
pub(super) async fn lock(
    transaction: &DatabaseTransaction,
    user: UserId,
) -> Result<Option<Account>, StoreError> {
    let sql = format!("{SELECT_ACCOUNT} id = $1{}", for_update(transaction));
    let query = statement(transaction, &sql, [user.as_uuid().into()]);
    let row = transaction.query_one_raw(query).await?;
    row.as_ref().map(account).transpose()
}

/// Whether the address was free.
async fn insert(
    transaction: &DatabaseTransaction,
    new: &NewUser,
    session: &NewSession,
) -> Result<bool, StoreError> {
    let inserted = execute(
        transaction,
        "INSERT INTO users (id, email, name, name_lower, password_hash, created_us)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (email) DO NOTHING",
        [
            new.id.as_uuid().into(),
            new.email.as_str().into(),
            new.name.as_str().into(),
            new.name.as_str().to_lowercase().into(),
            new.password_hash.expose().into(),
            session.at.timestamp_micros().into(),
        ],
    )
    .await?;
    Ok(inserted == 1)
}

const SELECT_ACCOUNT: &str = "SELECT id, email, name, password_hash, created_us FROM users WHERE";

async fn find(
    sql: &Sql,
    column: &'static str,
    value: Value,
) -> Result<Option<Account>, StoreError> {
    let select = format!("{SELECT_ACCOUNT} {column} = $1");
    let query = statement(&sql.read, &select, [value]);
    let row = sql.read_one(query).await?;
    row.as_ref().map(account).transpose()
}

fn account(row: &QueryResult) -> Result<Account, StoreError> {
    let id = UserId::from_uuid(row.try_get("", "id")?);
    Ok(Account {
        me: Me {
            id,
            email: row.try_get("", "email")?,
            name: row.try_get("", "name")?,
            room_id: RoomId::of_user(id),
            created_at: time(row, "created_us")?,
        },
        password_hash: Secret::new(row.try_get::<String>("", "password_hash")?),
    })
}

fn user(row: &QueryResult) -> Result<User, StoreError> {
    Ok(User {
        id: UserId::from_uuid(row.try_get("", "id")?),
        name: row.try_get("", "name")?,
    })
}

/// A pattern that matches what begins with a text, wildcards in it taken literally.
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
