//! Retrying calls as clients do.

use roost_client::Error;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// The pause before a retry when the answer names none.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// Retries a call while the server says that a retry may help, for `patience` at most. The call has an operation id or
/// changes nothing.
pub(super) async fn retry_unavailable<T>(
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
