//! Changing tables of `PostgreSQL` while the previous release runs: a migration that waits long for a table lock makes
//! all other transactions wait behind it.

use sea_orm_migration::{
    DbErr, SchemaManagerConnection,
    sea_orm::{ConnectionTrait, RuntimeErr, TransactionTrait, sqlx},
};
use std::time::{Duration, Instant};

/// How long one try waits for its table locks.
const LOCK_TIMEOUT_MS: u32 = 200;
/// The pause between two tries, in which other transactions run.
const LOCK_PAUSE: Duration = Duration::from_millis(300);
/// For how long tries go on: a relay holds a room for 10 s at most.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// Runs statements together, and repeats them while other transactions hold their tables.
pub(crate) async fn retry_while_locked(
    connection: &SchemaManagerConnection<'_>,
    statements: &[&str],
) -> Result<(), DbErr> {
    let started = Instant::now();
    loop {
        // Inside the migration's own transaction this begins a savepoint: its rollback releases the locks of a failed
        // try.
        let attempt = connection.begin().await?;
        match run(&attempt, statements).await {
            Ok(()) => return attempt.commit().await,
            Err(error) if is_lock_timeout(&error) && started.elapsed() < LOCK_WAIT_MAX => {
                attempt.rollback().await?;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOCK_PAUSE).await;
    }
}

async fn run(connection: &impl ConnectionTrait, statements: &[&str]) -> Result<(), DbErr> {
    let timeout = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}");
    connection.execute_unprepared(&timeout).await?;
    for statement in statements {
        connection.execute_unprepared(statement).await?;
    }
    Ok(())
}

fn is_lock_timeout(error: &DbErr) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return false;
    };
    matches!(&**cause, sqlx::Error::Database(refusal) if refusal.code().as_deref() == Some(LOCK_NOT_AVAILABLE))
}
