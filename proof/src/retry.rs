//! Calling again, as clients do.

use roost_client::Error;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// When an answer does not say how soon to come again.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// Calls again while the server says that this may help, and for so long at most. What is called has an operation id or
/// changes nothing.
pub(super) async fn patiently<T>(
    patience: Duration,
    call: impl AsyncFn() -> Result<T, Error>,
) -> Result<T, Error> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(error) if error.is_retryable() && began.elapsed() < patience => {
                sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
            }
            known => return known,
        }
    }
}
