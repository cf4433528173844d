//! Changing tables of `PostgreSQL` while the release before runs: whoever waits long for a whole table makes all others
//! wait behind it.

use sea_orm_migration::{
    DbErr, SchemaManagerConnection,
    sea_orm::{ConnectionTrait, RuntimeErr, TransactionTrait, sqlx},
};
use std::time::{Duration, Instant};

/// How long a try waits for its tables.
const LOCK_TIMEOUT_MS: u32 = 200;
/// How long others are let through between two tries.
const LOCK_PAUSE: Duration = Duration::from_millis(300);
/// How long it is tried: a relay holds a room for 10 s at most.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);

/// Runs statements together, again and again while their tables are held by others.
pub(crate) async fn patiently(
    connection: &SchemaManagerConnection<'_>,
    statements: &[&str],
) -> Result<(), DbErr> {
    let started = Instant::now();
    loop {
        // Inside the migration's own transaction this is a savepoint: a failed try lets go of what it holds.
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
    let patience = format!("SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}");
    connection.execute_unprepared(&patience).await?;
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
