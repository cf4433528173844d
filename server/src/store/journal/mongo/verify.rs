//! Checks that the deployment is as durable as the promises need.

use super::{MongoJournal, durable, indexes, unavailable, within_deadline};
use crate::store::journal::{JournalError, Result};
use bson::doc;
use futures::TryStreamExt;
use mongodb::options::ReadConcern;

pub(super) async fn verify(journal: &MongoJournal) -> Result<()> {
    let hello = async { journal.database.run_command(doc! { "hello": 1 }).await };
    let hello = within_deadline(hello).await.map_err(unavailable)?;
    if !hello.contains_key("setName") {
        return Err(unsound(
            "MongoDB must be a replica set; one member is enough",
        ));
    }
    for collection in [&journal.entries, &journal.floors, &journal.epochs] {
        if collection.write_concern() != Some(&durable())
            || collection.read_concern() != Some(&ReadConcern::majority())
        {
            return Err(unsound("writes and reads must be of the majority"));
        }
    }
    let present = async {
        let cursor = journal.entries.list_indexes().await?;
        cursor.try_collect::<Vec<_>>().await
    };
    let present = within_deadline(present).await.map_err(unavailable)?;
    for wanted in indexes() {
        let Some(options) = wanted
            .options
            .filter(|options| options.unique == Some(true))
        else {
            continue;
        };
        let is_present = present.iter().any(|index| {
            index.keys == wanted.keys
                && index.options.as_ref().is_some_and(|found| {
                    found.unique == Some(true)
                        && found.name == options.name
                        && found.partial_filter_expression == options.partial_filter_expression
                })
        });
        if !is_present {
            let name = options.name.unwrap_or_default();
            return Err(unsound(&format!("the unique index {name} is not there")));
        }
    }
    Ok(())
}

fn unsound(sentence: &str) -> JournalError {
    JournalError::Unsound(sentence.to_owned())
}
