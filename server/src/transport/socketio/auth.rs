//! The person behind a socket: checks the token it connects with, sends `auth:expiring`, and closes the socket when the
//! token expires or the session is revoked.

use super::{
    Sockets, connection::Connection, engine_session::EngineSession, reply::Refused,
    sender::SocketSender,
};
use crate::{
    app::{Api, Error, RETRY_FENCED, Result},
    transport::{inflow::Overrun, sockets::Sender},
};
use roost_schema::{AuthExpiring, ErrorCode, Secret};
use serde::Deserialize;
use socketioxide::extract::{SocketRef, State, TryData};
use std::{fmt, sync::Arc, time::Duration};

/// How long before its token expires a socket gets `auth:expiring`.
const EXPIRY_NOTICE: Duration = Duration::from_mins(1);
/// When a client may come back that sent more than it may.
const RETRY_OVERRUN: Duration = Duration::from_secs(1);

/// `auth`, which a client sends to connect to the namespace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConnectAuth {
    token: Secret,
}

/// Admits a socket to the namespace, before anything else sees it.
pub(super) async fn admit(
    socket: SocketRef,
    State(sockets): State<Arc<Sockets>>,
    TryData(auth): TryData<ConnectAuth>,
) -> Result<(), ConnectError> {
    let refuse = |error: &Error| ConnectError::of(error, &sockets.instance);
    let Some(engine_session) = socket
        .req_parts()
        .extensions
        .get::<Arc<EngineSession>>()
        .cloned()
    else {
        return Err(refuse(&Error::Internal(anyhow::anyhow!(
            "a session did not pass the handshake"
        ))));
    };
    let Ok(auth) = auth else {
        return Err(refuse(&Error::unauthenticated()));
    };
    if !engine_session.count_connect() {
        engine_session.cut();
        return Err(refuse(&TOO_MANY_CONNECTS));
    }
    match sockets.app.authenticate(auth.token.expose(), Api::SocketIo) {
        Ok(actor) => {
            engine_session.register(socket.id);
            engine_session.mark_connected();
            let server = (sockets.app.clone(), Arc::clone(&sockets.instance));
            let connection =
                Connection::new(server, actor, engine_session, sockets.connected.token());
            socket.extensions.insert(connection);
            Ok(())
        }
        Err(error) => {
            // A stock client does not try again after a refusal. It does after its transport was closed.
            if error.code().is_retryable() {
                engine_session.cut();
            }
            Err(refuse(&error))
        }
    }
}

const TOO_MANY_CONNECTS: Error = Error::Later {
    code: ErrorCode::RateLimited,
    sentence: "this connection has signed in too often; open another",
    retry_after: Duration::from_secs(1),
};

/// Why a socket is not admitted, as the message of its `connect_error`: JSON, because the message is a text.
pub(super) struct ConnectError(Refused);

impl ConnectError {
    fn of(error: &Error, instance: &Arc<str>) -> Self {
        Self(Refused::new(error.report(), instance))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

/// Closes the socket when its session or token ends, the fence is shut, or the client sends too much. Ends with the
/// socket.
pub(super) async fn watch(connection: &Connection, socket: SocketRef) {
    let sender = SocketSender::new(socket.clone(), Arc::clone(&connection.engine_session));
    let mut is_announced = false;
    loop {
        let expires_at = connection.actor().expires_at;
        let left = connection.app.time_left(&connection.actor());
        let until_next = if is_announced {
            left
        } else {
            // At most half of the time left: a client with a short-lived token would renew it without a pause.
            left.saturating_sub(EXPIRY_NOTICE.min(left / 2))
        };
        tokio::select! {
            () = connection.closed().cancelled() => return,
            () = connection.session_end.cancelled() => {
                return Box::pin(connection.close_for_good(socket)).await;
            }
            () = connection.app.fence().shut() => {
                let retry = RETRY_FENCED.mul_f64(rand::random::<f64>());
                return Box::pin(connection.close(socket, ErrorCode::Unavailable, retry)).await;
            }
            overrun = connection.engine_session.overrun() => {
                let code = match overrun {
                    Overrun::Full => ErrorCode::Overloaded,
                    Overrun::TooLong => ErrorCode::TooLarge,
                };
                return Box::pin(connection.close(socket, code, RETRY_OVERRUN)).await;
            }
            () = connection.renewed.notified() => is_announced = false,
            () = tokio::time::sleep(until_next) => {
                if is_announced {
                    let code = ErrorCode::Unauthenticated;
                    return Box::pin(connection.close(socket, code, Duration::ZERO)).await;
                }
                is_announced = true;
                let expiring = AuthExpiring {
                    session_id: connection.actor().session_id,
                    expires_at,
                };
                if Box::pin(sender.send_control("auth:expiring", &expiring)).await.is_err() {
                    return;
                }
            }
        }
    }
}
