//! GraphQL at `/graphql`: the same use cases as REST, over HTTP and over WebSocket.

mod accounts;
mod auth;
mod error_codes;
mod events;
mod frames;
mod guard;
mod http;
mod item_input;
mod items;
mod loaders;
mod members;
mod messages;
mod operation;
mod presence;
mod protocol;
mod rooms;
mod sessions;
mod users;
mod websocket;

use super::Shared;
use crate::app::App;
use async_graphql::{MergedObject, MergedSubscription, Schema, SchemaBuilder};
use axum::{Router, routing::get};

/// How much one operation may cost: each field 1, a field of a page once for each of its items.
const COMPLEXITY_MAX: usize = 5_000;

#[derive(MergedObject, Default)]
struct Query(
    accounts::AccountQuery,
    sessions::SessionQuery,
    users::UserQuery,
    rooms::RoomQuery,
    members::MemberQuery,
    items::ItemsQuery,
    messages::MessageQuery,
    events::EventQuery,
    presence::PresenceQuery,
);

#[derive(MergedObject, Default)]
struct Mutation(
    accounts::AccountMutation,
    sessions::SessionMutation,
    rooms::RoomMutation,
    members::MemberMutation,
    items::ItemsMutation,
    messages::MessageMutation,
);

#[derive(MergedSubscription, Default)]
struct Subscription(events::EventSubscription);

type ApiSchema = Schema<Query, Mutation, Subscription>;

#[derive(Clone)]
struct Graphql {
    app: App,
    shared: Shared,
    schema: ApiSchema,
}

/// `/graphql`, over HTTP and over WebSocket.
pub(super) fn router(app: &App, shared: &Shared) -> Router {
    let graphql = Graphql {
        app: app.clone(),
        shared: shared.clone(),
        schema: builder().data(app.clone()).data(shared.clone()).finish(),
    };
    let methods = get(http::get)
        .post(http::post)
        .fallback(http::method_not_allowed);
    Router::new().route("/graphql", methods).with_state(graphql)
}

/// The schema in GraphQL's own language, as committed in `schema/schema.graphql`.
pub fn graphql_sdl() -> String {
    let sdl = builder().finish().sdl();
    format!("{}\n", sdl.trim_end())
}

fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(
        Query::default(),
        Mutation::default(),
        Subscription::default(),
    )
    .limit_complexity(COMPLEXITY_MAX)
    .extension(error_codes::ErrorCodes)
}
