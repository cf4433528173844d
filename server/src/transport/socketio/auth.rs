//! Who a socket belongs to: the token of its handshake, `auth:expiring`, and its end
//! when the token expires or the session is revoked.

use super::{Sockets, connection::Connection, outbox::Outbox, reply::Refused, wire::Wire};
use crate::{
    app::{Api, Error, RETRY_FENCED, Result},
    transport::{inflow::Overrun, sockets::Sender},
};
use roost_schema::{AuthExpiring, ErrorCode, Secret};
use serde::Deserialize;
use socketioxide::extract::{SocketRef, State, TryData};
use std::{fmt, sync::Arc, time::Duration};

/// How long before a socket closes it is told so.
const EXPIRY_NOTICE: Duration = Duration::from_mins(1);
/// When to come back after more arrived than may.
const RETRY_OVERRUN: Duration = Duration::from_secs(1);

/// `auth` of the handshake.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Handshake {
    token: Secret,
}

/// Admits a socket to the namespace, before anything else sees it.
pub(super) async fn admit(
    socket: SocketRef,
    State(sockets): State<Arc<Sockets>>,
    TryData(handshake): TryData<Handshake>,
) -> Result<(), Refusal> {
    let refuse = |error: &Error| Refusal::of(error, &sockets.instance);
    let Some(wire) = socket.req_parts().extensions.get::<Arc<Wire>>().cloned() else {
        return Err(refuse(&Error::Internal(anyhow::anyhow!(
            "a session came past the door"
        ))));
    };
    let Ok(handshake) = handshake else {
        return Err(refuse(&Error::unauthenticated()));
    };
    if !wire.takes_connect() {
        wire.cut();
        return Err(refuse(&TOO_MANY_CONNECTS));
    }
    match sockets
        .app
        .authenticate(handshake.token.expose(), Api::SocketIo)
    {
        Ok(actor) => {
            wire.name(socket.id);
            wire.settle_in();
            let place = (sockets.app.clone(), Arc::clone(&sockets.instance));
            let connection = Connection::new(place, actor, wire, sockets.connected.token());
            socket.extensions.insert(connection);
            Ok(())
        }
        Err(error) => {
            // A refusal is final for a stock client. What a retry can cure closes the transport.
            if error.code().is_retryable() {
                wire.cut();
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

/// Why a socket is not admitted, as the message of its `connect_error`: JSON, as it carries no data.
pub(super) struct Refusal(Refused);

impl Refusal {
    fn of(error: &Error, instance: &Arc<str>) -> Self {
        Self(Refused::new(error.report(), instance))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(&self.0).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

/// Watches over a socket's right to be here; ends with the socket.
pub(super) async fn watch(connection: &Connection, socket: SocketRef) {
    let outbox = Outbox::new(socket.clone(), Arc::clone(&connection.wire));
    let mut is_told = false;
    loop {
        let expires_at = connection.actor().expires_at;
        let left = connection.app.time_left(&connection.actor());
        let until_next = if is_told {
            left
        } else {
            // A token that is short-lived as a whole would else be renewed without a pause.
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
            overrun = connection.wire.overrun() => {
                let code = match overrun {
                    Overrun::Full => ErrorCode::Overloaded,
                    Overrun::TooLong => ErrorCode::TooLarge,
                };
                return Box::pin(connection.close(socket, code, RETRY_OVERRUN)).await;
            }
            () = connection.renewed.notified() => is_told = false,
            () = tokio::time::sleep(until_next) => {
                if is_told {
                    let code = ErrorCode::Unauthenticated;
                    return Box::pin(connection.close(socket, code, Duration::ZERO)).await;
                }
                is_told = true;
                let expiring = AuthExpiring {
                    session_id: connection.actor().session_id,
                    expires_at,
                };
                if Box::pin(outbox.tell("auth:expiring", &expiring)).await.is_err() {
                    return;
                }
            }
        }
    }
}
