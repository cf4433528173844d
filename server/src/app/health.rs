//! Whether what everything rests on can be reached.

use super::{App, Result};

impl App {
    /// Asks the database and the journal for a trifle: `unavailable` when one does not answer.
    pub async fn probe_stores(&self) -> Result<()> {
        self.store.sql.ping().await?;
        self.store.journal.heads(&[]).await?;
        Ok(())
    }
}
