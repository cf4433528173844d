//! The host that a request names: exactly one.

use super::{body::turn_away, problem};
use crate::{
    app::{self, Error},
    config::Authority,
};
use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Uri, Version,
        header::{CONNECTION, HOST},
        uri,
    },
    response::Response,
};
use roost_schema::ErrorCode;

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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

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
