//! What is counted by the way a request came in: refusals. Writes are counted where they are acknowledged, in `app`.

use crate::app::Api;
use roost_schema::{BatchOutcome, ErrorCode};

/// Whatever is neither of the others counts as REST.
pub(super) fn api_of(path: &str) -> Api {
    if path.starts_with("/socket.io") {
        Api::SocketIo
    } else if path.starts_with("/graphql") {
        Api::Graphql
    } else {
        Api::Rest
    }
}

/// A request was refused with this code.
pub(super) fn refused(api: Api, code: ErrorCode) {
    metrics::counter!("roost_refusals_total", "api" => api.name(), "code" => code.as_str())
        .increment(1);
}

/// Each change of a batch that was refused.
pub(super) fn refused_parts(api: Api, batch: &BatchOutcome) {
    let refusals = batch.outcomes.iter().filter_map(|it| it.error.as_ref());
    for refusal in refusals {
        refused(api, refusal.code);
    }
}
