//! The key that signs access tokens when the configuration names none. All instances share it.

use super::{
    Sql, StoreError,
    transaction::{execute, statement, transact},
};
use roost_schema::Secret;
use sea_orm::ConnectionTrait;

/// Signing keys in the relational database.
#[derive(Clone, Debug)]
pub struct Keys {
    sql: Sql,
}

impl Keys {
    pub(super) const fn new(sql: Sql) -> Self {
        Self { sql }
    }

    /// The private key that all instances share, as PEM. Stores `fresh` as this key when there is none yet.
    pub async fn shared(&self, fresh: &Secret) -> Result<Secret, StoreError> {
        transact(&self.sql, |transaction| async move {
            let transaction = &*transaction;
            // Raw SQL: the table has one row, and these are all of its statements.
            execute(
                transaction,
                "INSERT INTO signing_keys (id, private_pem) VALUES (1, $1) ON CONFLICT DO NOTHING",
                [fresh.expose().into()],
            )
            .await?;
            let query = statement(
                transaction,
                "SELECT private_pem FROM signing_keys WHERE id = 1",
                [],
            );
            let row = transaction.query_one_raw(query).await?;
            let row = row.ok_or_else(|| {
                StoreError::unreadable(anyhow::anyhow!("the signing key was not kept"))
            })?;
            Ok(Secret::new(row.try_get::<String>("", "private_pem")?))
        })
        .await
    }
}
