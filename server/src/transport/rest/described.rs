//! What many operations share in the `OpenAPI` document: the parts of their paths, and what refuses them.

use super::Problem;
use roost_schema::RoomId;
use utoipa::{IntoParams, IntoResponses};

#[derive(IntoParams)]
#[into_params(parameter_in = Path, names("roomId"))]
#[expect(dead_code, reason = "only its description is used")]
pub(super) struct RoomPath(
    /// A board or a conversation.
    RoomId,
);

/// What may keep something from being made.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum CreateErrors {
    #[response(status = FORBIDDEN)]
    Forbidden(#[ref_response] Problem),
    #[response(status = CONFLICT)]
    Conflict(#[ref_response] Problem),
}

/// What may keep an item from being changed.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "only its description is used")]
pub(super) enum ChangeErrors {
    #[response(status = FORBIDDEN)]
    Forbidden(#[ref_response] Problem),
    #[response(status = CONFLICT)]
    Conflict(#[ref_response] Problem),
    #[response(status = PRECONDITION_FAILED)]
    Stale(#[ref_response] Problem),
}
