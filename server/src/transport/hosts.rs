//! The host that a request names: exactly one, and for what is private on a loopback address a name of this machine.

use super::{body::turn_away, problem};
use crate::{
    app::{self, Error},
    config::Authority,
};
use axum::{
    Router,
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Uri, Version,
        header::{CONNECTION, HOST},
        uri,
    },
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use roost_schema::ErrorCode;
use std::net::SocketAddr;
use url::Host;

/// Names of this machine besides `*.localhost`: the last two are those by which a container reaches it. The public name
/// system has no names under `internal`.
const LOCAL_NAMES: [&str; 3] = [
    "localhost",
    "host.docker.internal",
    "host.containers.internal",
];

const NOT_LOCAL: Error = Error::refused(
    ErrorCode::Forbidden,
    "the Host header must be localhost or an IP address, because this listens on a loopback address",
);

/// Checks that a request names one host (RFC 9112 §3.2). Of two, this server and a proxy could each take another one.
pub(super) fn check(request: &Request) -> app::Result<()> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let sentence = match (hosts.next(), hosts.next()) {
        (Some(_), Some(_)) => "there is more than one Host header",
        (Some(host), None) if !is_host(host) => "the Host header is not a host, or a host and port",
        (None, _) if request.version() == Version::HTTP_11 => "the Host header is missing",
        _ => return Ok(()),
    };
    Err(Error::refused(ErrorCode::Malformed, sentence))
}

/// An empty header is right where the target of a request has no host (RFC 9110 §7.2).
fn is_host(value: &HeaderValue) -> bool {
    let read = uri::Authority::try_from(value.as_bytes());
    value.is_empty() || read.is_ok_and(|authority| !authority.as_str().contains('@'))
}

/// Answers a request that names no host, or several, and closes its connection.
pub(super) async fn refuse(request: Request, error: Error) -> Response {
    let mut response = turn_away(request, problem(&error)).await;
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

/// The host and port that a request is for: those of its target, if it names any (RFC 9112 §3.2.2), else those of its
/// `Host` header. `None`: there are none that can be compared.
pub(super) fn authority_of(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    let target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = target.or_else(|| headers.get(HOST).map(HeaderValue::as_bytes));
    Authority::read(str::from_utf8(host?).ok()?).ok()
}

/// Guards what needs no token and is not for strangers. On a loopback address only this machine's programs reach it, its
/// browser among them: a web page whose name was made to resolve to 127.0.0.1 (DNS rebinding) could read it. The browser
/// sends the page's name as `Host`, so a request for a name that is not this machine's is refused. On another address any
/// name may be right, such as that of a service by which Prometheus asks, and the network has to keep strangers out.
pub fn guard_private(router: Router, listen: SocketAddr) -> Router {
    let is_loopback = listen.ip().to_canonical().is_loopback();
    router.route_layer(from_fn_with_state(is_loopback, keep_private))
}

async fn keep_private(State(is_loopback): State<bool>, request: Request, next: Next) -> Response {
    if let Err(error) = check(&request) {
        return refuse(request, error).await;
    }
    if is_loopback && !is_local(request.headers(), request.uri()) {
        return problem(&NOT_LOCAL);
    }
    next.run(request).await
}

/// Whether a request is for a name or an address of this machine. One for none comes from no browser.
fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let is_for_none =
        uri.authority().is_none() && headers.get(HOST).is_none_or(HeaderValue::is_empty);
    is_for_none
        || authority_of(headers, uri).is_some_and(|authority| match authority.host {
            Host::Domain(name) => {
                LOCAL_NAMES.contains(&name.as_str()) || name.ends_with(".localhost")
            }
            // An address is not looked up, so it cannot be made to mean another one.
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    async fn status(listen: &str, host: &str) -> u16 {
        let private = Router::new().route("/metrics", get(async || "numbers"));
        let router = guard_private(private, listen.parse().unwrap());
        let request = Request::get("/metrics").header(HOST, host);
        let request = request.body(Body::empty()).unwrap();
        router.oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn on_loopback_only_names_of_this_machine_are_answered() {
        for listen in ["127.0.0.1:9464", "[::1]:9464", "[::ffff:127.0.0.1]:9464"] {
            for local in [
                "localhost:9464",
                "LocalHost.",
                "roost.localhost",
                "127.0.0.1:9464",
                "[::1]:9464",
                "192.0.2.7",
                "host.docker.internal:9464",
                "",
            ] {
                assert_eq!(status(listen, local).await, 200, "{local} on {listen}");
            }
            for foreign in [
                "evil.example:9464",
                "localhost.evil.example",
                "notlocalhost",
                "127.0.0.1.evil.example",
                "roost-1:9464",
            ] {
                assert_eq!(status(listen, foreign).await, 403, "{foreign} on {listen}");
            }
        }
    }

    #[tokio::test]
    async fn elsewhere_any_name_is_answered() {
        for listen in ["0.0.0.0:9464", "[::]:9464", "10.0.0.11:9464"] {
            for name in [
                "roost-1:9464",
                "roost.monitoring.svc.cluster.local:9464",
                "10.0.0.11",
            ] {
                assert_eq!(status(listen, name).await, 200, "{name} on {listen}");
            }
            assert_eq!(status(listen, "a b").await, 400, "on {listen}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let of = |version, hosts: &[&str]| {
            let mut request = Request::builder().version(version);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            check(&request.body(Body::empty()).unwrap()).is_ok()
        };
        for host in [
            "a",
            "a:80",
            "roost_1:4000",
            "roost.1",
            "[::1]:80",
            "[fe80::1%25eth0]",
            "",
        ] {
            assert!(of(Version::HTTP_11, &[host]), "{host}");
        }
        for host in ["a b", "ann@a", "a/b", "[::1", "a?b"] {
            assert!(!of(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(!of(Version::HTTP_11, &[]));
        assert!(of(Version::HTTP_10, &[]));
        assert!(!of(Version::HTTP_11, &["a", "a"]));
        assert!(!of(Version::HTTP_10, &["a", "b"]));
    }
}
