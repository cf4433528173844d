//! The state of `MongoDB` for `roost doctor`, read without creating or changing anything.

use super::{EPOCH, Failure, MongoJournal, unavailable, within_deadline};
use crate::store::journal::Result;
use bson::doc;
use mongodb::options::ClientOptions;
use std::sync::Arc;

/// What a `MongoDB` deployment is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MongoDiagnostics {
    pub version: String,
    /// The highest wire version of its protocol; 27 is that of 8.2.
    pub wire_version: i32,
    pub replica_set: Option<String>,
    /// The server takes writes.
    pub is_primary: bool,
    /// A server has created its journal here, which can be verified.
    pub is_made: bool,
}

impl MongoJournal {
    /// Connects to `mongodb://…` and reads.
    pub async fn examine(url: &str) -> Result<(Arc<Self>, MongoDiagnostics)> {
        let options = within_deadline(async { ClientOptions::parse(url).await });
        let journal = Self::connect(options.await.map_err(unavailable)?)?;
        let condition = journal.condition().await.map_err(unavailable)?;
        Ok((Arc::new(journal), condition))
    }

    async fn condition(&self) -> Result<MongoDiagnostics, Failure> {
        let ask = |command| async move { self.database.run_command(command).await };
        let hello = within_deadline(ask(doc! { "hello": 1 })).await?;
        // Some managed services do not answer this command.
        let build = within_deadline(ask(doc! { "buildInfo": 1 })).await;
        let version = build.ok().and_then(|build| {
            let version = build.get_str("version").ok()?;
            Some(version.to_owned())
        });
        let epoch = async { self.epochs.find_one(doc! { "_id": EPOCH }).await };
        Ok(MongoDiagnostics {
            version: version.unwrap_or_else(|| "of unknown version".to_owned()),
            wire_version: hello.get_i32("maxWireVersion").unwrap_or_default(),
            replica_set: hello.get_str("setName").ok().map(ToOwned::to_owned),
            is_primary: hello.get_bool("isWritablePrimary").unwrap_or_default(),
            is_made: within_deadline(epoch).await?.is_some(),
        })
    }
}
