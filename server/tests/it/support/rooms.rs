//! Rooms without a server: a journal in a file of its own, and instances that know of each other by it alone.

use roost_schema::UserId;
use roost_server::{
    live::{Change, Live, NodeContext, Write},
    store::{
        Sql,
        journal::{Journal, RequestHash, SqlJournal},
    },
};
use std::sync::Arc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) struct Rooms {
    pub(crate) journal: Arc<SqlJournal>,
    tasks: TaskTracker,
    cancel: CancellationToken,
    _folder: tempfile::TempDir,
}

impl Rooms {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/journal.db?mode=rwc", folder.path().display());
        let sql = Sql::connect(&url).await.unwrap();
        sql.migrate().await.unwrap();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let journal = SqlJournal::open(sql, &tasks, cancel.clone()).await.unwrap();
        Self {
            journal,
            tasks,
            cancel,
            _folder: folder,
        }
    }

    /// One more instance, which remembers nothing.
    pub(crate) fn instance(&self) -> Arc<Live> {
        self.instance_on(self.journal.clone())
    }

    /// The same, which reaches the journal by another way.
    pub(crate) fn instance_on(&self, journal: Arc<dyn Journal>) -> Arc<Live> {
        let (tasks, cancel) = (self.tasks.clone(), self.cancel.clone());
        Live::new(journal, NodeContext::alone(), tasks, cancel)
    }
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// A write that is good whatever the room says.
pub(crate) fn unconditional(actor: UserId, change: Change) -> Write {
    Write {
        actor,
        op_id: None,
        request_hash: RequestHash([0; 32]),
        asked_hash: RequestHash([0; 32]),
        event: None,
        item: change.item,
        is_new: false,
        bytes: 0,
        judge: Box::new(move |_| Ok(change.clone())),
    }
}
