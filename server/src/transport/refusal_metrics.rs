//! Counts refusals by transport. Writes are counted where they are acknowledged, in `app`.

use crate::app::Api;
use roost_schema::{BatchOutcome, ErrorCode};

/// The transport of a path. Every other path counts as REST.
pub(super) fn api_of(path: &str) -> Api {
    if path.starts_with("/socket.io") {
        Api::SocketIo
    } else if path.starts_with("/graphql") {
        Api::Graphql
    } else {
        Api::Rest
    }
}

/// Counts a refused request.
pub(super) fn count(api: Api, code: ErrorCode) {
    metrics::counter!("roost_refusals_total", "api" => api.name(), "code" => code.as_str())
        .increment(1);
}

/// Counts each refused change of a batch.
pub(super) fn count_changes(api: Api, batch: &BatchOutcome) {
    let refusals = batch.outcomes.iter().filter_map(|it| it.error.as_ref());
    for refusal in refusals {
        count(api, refusal.code);
    }
}
