//! The axum peer: accounts, conversations and messages over REST, on PostgreSQL through sea-orm.

use axum::{
    Json, Router,
    extract::{FromRequestParts, Path, Query, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use chrono::{DateTime, Utc};
use clap::Parser;
use roost_peers::{
    shapes::EPOCH,
    signals,
    store::{CONNECTIONS_MAX, SeqSource, Store},
    tokens::{Signature, Tokens},
};
use roost_schema::{
    Direction, ErrorCode, Me, Message, MessagePage, OpenConversation, PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX, Position, Register, Role, Room, RoomId, RoomType, Secret, SendMessage, Seq,
    Session, SessionId, SignedIn, UserId,
};
use serde::Deserialize;
use serde_json::json;
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// REST on `PostgreSQL`, as small as it gets.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:4100")]
    listen: SocketAddr,
    /// A URL of `PostgreSQL`.
    #[arg(long)]
    database: String,
    #[arg(long, value_enum, default_value = "hs256")]
    jwt: Signature,
    #[arg(long, value_enum, default_value = "room")]
    seq: SeqSource,
    #[arg(long, default_value_t = CONNECTIONS_MAX)]
    pool: u32,
}

/// What all requests share.
#[derive(Clone)]
struct Peer {
    store: Store,
    tokens: Arc<Tokens>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let peer = Peer {
        store: Store::connect(&arguments.database, arguments.pool, arguments.seq).await?,
        tokens: Arc::new(Tokens::new(arguments.jwt)?),
    };
    let app = Router::new()
        .route("/readyz", get(async || "ok"))
        .route("/api/v1/auth/register", post(register))
        .route("/api/v1/me", get(me))
        .route("/api/v1/conversations", post(open_conversation))
        .route(
            "/api/v1/rooms/{room}/messages",
            get(list_messages).post(send_message),
        )
        .with_state(peer);
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("peer-axum listens on {}", listener.local_addr()?);
    // An error means that the socket is closed already.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::select! {
        end = axum::serve(listener, app).into_future() => end?,
        stop = signals::stop() => stop?,
    }
    Ok(())
}

async fn register(
    State(peer): State<Peer>,
    Json(input): Json<Register>,
) -> Result<(StatusCode, Json<SignedIn>), Refusal> {
    let row = peer.store.register(&input.email, &input.name).await?;
    let user = Me::from(row.ok_or(Refusal(ErrorCode::Conflict))?);
    let session = SessionId::generate();
    let (access_token, access_expires_at) = peer.tokens.issue(user.id, session)?;
    let signed_in = SignedIn {
        session: session_of(session, user.created_at),
        user,
        access_token,
        access_expires_at,
        refresh_token: Secret::new(Uuid::now_v7().to_string()),
    };
    Ok((StatusCode::CREATED, Json(signed_in)))
}

fn session_of(id: SessionId, now: DateTime<Utc>) -> Session {
    Session {
        id,
        name: "peer".to_owned(),
        created_at: now,
        last_used_at: now,
        reused_elsewhere_at: None,
        current: true,
    }
}

async fn me(State(peer): State<Peer>, SignedInAs(user): SignedInAs) -> Result<Json<Me>, Refusal> {
    let row = peer.store.read_user(user).await?;
    let row = row.ok_or(Refusal(ErrorCode::Unauthenticated))?;
    Ok(Json(row.into()))
}

async fn open_conversation(
    State(peer): State<Peer>,
    SignedInAs(user): SignedInAs,
    Json(input): Json<OpenConversation>,
) -> Result<(StatusCode, Json<Room>), Refusal> {
    let is_direct = input.user_ids.len() == 1 && input.title.is_none();
    let room_type = if is_direct {
        RoomType::Direct
    } else {
        RoomType::Group
    };
    let row = peer.store.open_room(user, input.title).await?;
    let room = Room {
        id: RoomId::from_uuid(row.id),
        room_type,
        title: row.title,
        archived: false,
        role: Role::Owner,
        created_by: user,
        created_at: row.created_at,
    };
    Ok((StatusCode::CREATED, Json(room)))
}

#[derive(Deserialize)]
struct Page {
    limit: Option<u32>,
    #[serde(default)]
    direction: Direction,
    cursor: Option<u64>,
}

async fn list_messages(
    State(peer): State<Peer>,
    SignedInAs(_): SignedInAs,
    Path(room): Path<RoomId>,
    Query(page): Query<Page>,
) -> Result<Json<MessagePage>, Refusal> {
    let limit = page.limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let limit = u64::from(limit.clamp(1, PAGE_ITEMS_MAX));
    let cursor = page.cursor.map(Seq);
    let read = peer.store.page(room, page.direction, cursor, limit);
    let items = read.await?;
    let newest = items.iter().map(|item| item.seq).max().unwrap_or_default();
    let is_full = items.len() as u64 == limit;
    let last = items.last().filter(|_| is_full);
    Ok(Json(MessagePage {
        next: last.map(|item| item.seq.to_string()),
        // The room's position, if this is the first page from the newest on.
        position: Position::new(EPOCH, newest),
        items,
    }))
}

async fn send_message(
    State(peer): State<Peer>,
    SignedInAs(user): SignedInAs,
    Path(room): Path<RoomId>,
    Json(input): Json<SendMessage>,
) -> Result<(StatusCode, Json<Message>), Refusal> {
    let message = peer.store.append(room, user, input.text).await?;
    Ok((StatusCode::CREATED, Json(message)))
}

/// The person whose token is in the request.
struct SignedInAs(UserId);

impl FromRequestParts<Peer> for SignedInAs {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, peer: &Peer) -> Result<Self, Refusal> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header.and_then(|header| header.to_str().ok()?.strip_prefix("Bearer "));
        let claims = token.and_then(|token| peer.tokens.verify(token));
        let claims = claims.ok_or(Refusal(ErrorCode::Unauthenticated))?;
        Ok(Self(claims.sub))
    }
}

/// Why a request is not done.
struct Refusal(ErrorCode);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.0.http_status();
        let problem = json!({ "status": status, "code": self.0, "title": self.0.meaning().trim() });
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(problem)).into_response()
    }
}

impl<E: Into<anyhow::Error>> From<E> for Refusal {
    fn from(error: E) -> Self {
        eprintln!("peer-axum: {:#}", error.into());
        Self(ErrorCode::Internal)
    }
}
