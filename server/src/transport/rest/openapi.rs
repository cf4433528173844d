//! The `OpenAPI` document without its operations, and the errors that every operation can answer.

use super::{Problem, described_routes};
use utoipa::{
    Modify, OpenApi, PartialSchema, ToResponse, ToSchema,
    openapi::{
        Components, OpenApi as Document, Ref, RefOr, Response,
        path::{Operation, ParameterIn},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Roost",
        description = "A self-hosted realtime collaboration backend: rooms whose changes every member sees, \
            in one order, without gaps."
    ),
    servers((url = "/", description = "This instance.")),
    security(("bearer" = [])),
    modifiers(&SharedComponents),
    tags(
        (name = "accounts", description = "Register, sign in and out, refresh, change the password."),
        (name = "sessions", description = "A person's devices."),
        (name = "users", description = "Finding people."),
        (name = "rooms", description = "Boards and conversations."),
        (name = "members", description = "Who belongs to a room, and as what."),
        (name = "items", description = "Everything durable in a room, of every kind."),
        (name = "messages", description = "Chat messages."),
        (name = "events", description = "What changed in a room, read or followed."),
        (name = "presence", description = "Who is in a room now."),
    )
)]
struct BareDocument;

/// The components that operations share.
struct SharedComponents;

impl Modify for SharedComponents {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "The `accessToken` of `login`, `register` or `refresh`.",
            ))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let mut schemas = vec![(Problem::name().into_owned(), Problem::schema())];
        Problem::schemas(&mut schemas);
        components.schemas.extend(schemas);
        let (name, response) = Problem::response();
        components.responses.insert(name.to_owned(), response);
    }
}

/// The document without operations.
pub(super) fn frame() -> Document {
    BareDocument::openapi()
}

/// The document of every REST operation, as it is committed: pretty, with a newline at its end.
pub fn openapi_json() -> String {
    let mut document = described_routes().into_openapi();
    complete(&mut document);
    format!("{:#}\n", to_value(&document))
}

pub(super) fn to_value(document: &Document) -> serde_json::Value {
    serde_json::to_value(document).unwrap_or_default()
}

/// The errors of every request: late, too many, internal, unavailable.
const ANY: &[&str] = &["408", "429", "500", "503"];
/// The errors of a request with a body: unreadable, too large, not JSON, invalid.
const WITH_BODY: &[&str] = &["400", "413", "415", "422"];

/// Adds the errors that follow from an operation's shape; a handler names only its own.
pub(super) fn complete(document: &mut Document) {
    for (path, item) in &mut document.paths.paths {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.patch,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            may_refuse(operation, ANY);
            if operation.security.is_none() {
                may_refuse(operation, &["401"]);
            }
            if path.contains('{') {
                may_refuse(operation, &["404"]);
            }
            for parameter in operation.parameters.clone().unwrap_or_default() {
                may_refuse(operation, &["400"]);
                if matches!(parameter, RefOr::T(it) if it.parameter_in == ParameterIn::Query) {
                    may_refuse(operation, &["422"]);
                }
            }
            if operation.request_body.is_some() {
                may_refuse(operation, WITH_BODY);
            }
        }
    }
}

fn may_refuse(operation: &mut Operation, statuses: &[&str]) {
    for status in statuses {
        let problem: RefOr<Response> = Ref::from_response_name("Problem").into();
        let responses = &mut operation.responses.responses;
        responses.entry((*status).to_owned()).or_insert(problem);
    }
}
