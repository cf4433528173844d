//! Pages that call the server: whose sockets are opened, and what browsers let pages of other origins send and read.

use crate::support::{Server, World, in_time};
use reqwest::{Method, Response, header::HeaderMap};
use roost_server::transport::openapi_json;
use serde_json::Value;
use std::{collections::BTreeSet, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Each way to open a socket: its path, its headers, and the status of success.
const CARRIERS: [(&str, &str, u16); 3] = [
    ("/socket.io/?EIO=4&transport=websocket", UPGRADE, 101),
    (POLLING, "", 200),
    ("/graphql", UPGRADE, 101),
];

/// The status and the body of the answer to a handshake. `hosts`: the lines that name the host and the origin.
async fn handshake(
    address: SocketAddr,
    (path, upgrade, _): (&str, &str, u16),
    hosts: &str,
) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\n{hosts}{upgrade}\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let (head, body) = loop {
        let mut piece = [0; 4_096];
        let read = in_time(stream.read(&mut piece)).await.unwrap();
        assert!(read > 0, "the answer broke off: {answer}");
        answer += &String::from_utf8_lossy(&piece[..read]);
        if let Some((head, body)) = answer.split_once("\r\n\r\n")
            && body.len() >= length(head)
        {
            break (head, body);
        }
    };
    let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    (status, body.to_owned())
}

fn length(head: &str) -> usize {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = lines.filter(|(name, _)| *name == "content-length");
    lengths.next().map_or(0, |(_, text)| text.parse().unwrap())
}

#[tokio::test]
async fn a_page_of_this_server_connects_however_its_library_writes_the_address() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    for carrier in CARRIERS {
        for (host, origin) in [
            // As Swift's library for sockets writes them.
            ("chat.example:443", "wss://chat.example"),
            ("chat.example:80", "ws://chat.example"),
            ("chat.example", "https://chat.example:443"),
            ("chat.example", "http://chat.example"),
            ("Chat.EXAMPLE", "https://chat.example"),
            ("chat.example.", "https://chat.example"),
            ("chat.example:4000", "http://chat.example.:4000/"),
            ("[::1]:4000", "http://[0:0:0:0:0:0:0:1]:4000"),
            ("xn--bcher-kva.example", "https://BÜCHER.example"),
        ] {
            let hosts = format!("Host: {host}\r\nOrigin: {origin}\r\n");
            let (status, body) = handshake(server.address, carrier, &hosts).await;
            assert_eq!(status, carrier.2, "{} {hosts} {body}", carrier.0);
        }
    }
}

#[tokio::test]
async fn the_refusal_of_a_page_says_which_header_is_wrong() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    for carrier in CARRIERS {
        for (hosts, status, wrong) in [
            (
                "Host: chat.example\r\nOrigin: https://evil.example\r\n",
                403,
                "the Origin header names another host",
            ),
            (
                "Host: chat.example:80\r\nOrigin: https://chat.example\r\n",
                403,
                "the Origin header names the host of the Host header, but another port",
            ),
            (
                "Host: localhost\r\nOrigin: capacitor://localhost\r\n",
                403,
                "the Origin header names the host of the Host header, but another port or the scheme of an app",
            ),
            (
                "Host: chat.example\r\nOrigin: null\r\n",
                403,
                "the Origin header must be one origin",
            ),
            (
                "Host: chat.example\r\nOrigin: https://chat.example/page\r\n",
                403,
                "the Origin header must be one origin",
            ),
            (
                "Host: chat.example\r\nOrigin: https://chat.example\r\nOrigin: https://evil.example\r\n",
                403,
                "the Origin header must be one origin",
            ),
            (
                "Host: \r\nOrigin: https://chat.example\r\n",
                403,
                "the Host header names no host",
            ),
            (
                "Origin: https://chat.example\r\n",
                400,
                "the Host header is missing",
            ),
        ] {
            let (answered, body) = handshake(server.address, carrier, hosts).await;
            assert_eq!(answered, status, "{} {hosts} {body}", carrier.0);
            let problem: Value = serde_json::from_str(&body).unwrap();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with(wrong), "{hosts}: {detail}");
        }
    }
}

/// Spellings of the listed origins below, as their pages send them.
const LISTED: [&str; 6] = [
    "https://app.example.org",
    "https://xn--bcher-kva.example",
    "http://[::1]:5173",
    "capacitor://localhost",
    "tauri://localhost",
    "ionic://localhost",
];

async fn serve_listed(world: &World) -> Server {
    let listed = "https://App.example.org:443/, https://bücher.example, http://[0:0:0:0:0:0:0:1]:5173, \
                  capacitor://localhost, tauri://localhost, ionic://localhost";
    world.serve_with(&[("allowed_origins", listed)]).await
}

#[tokio::test]
async fn pages_of_listed_origins_connect_and_call_whatever_their_scheme() {
    let world = World::on_sqlite().await;
    let server = serve_listed(&world).await;
    for origin in LISTED {
        let hosts = format!("Host: chat.example\r\nOrigin: {origin}\r\n");
        for carrier in CARRIERS {
            let (status, body) = handshake(server.address, carrier, &hosts).await;
            assert_eq!(status, carrier.2, "{} {origin} {body}", carrier.0);
        }
        let headers = call(&server, origin).await.headers().clone();
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-allow-credentials"], "true");
    }
    for foreign in [
        "http://app.example.org",
        "https://localhost",
        "capacitor://evil",
        "null",
    ] {
        let answers = [
            call(&server, foreign).await,
            preflight(&server, foreign, "authorization").await,
        ];
        for answer in answers {
            let headers = answer.headers();
            assert!(
                !headers.contains_key("access-control-allow-origin"),
                "{foreign}"
            );
            assert!(
                !headers.contains_key("access-control-allow-credentials"),
                "{foreign}"
            );
        }
    }
}

/// Headers that `docs/protocol.md`, `docs/health.md` and standards have and the `OpenAPI` document does not.
const SENT_BESIDE: [&str; 5] = [
    "Authorization",
    "Content-Type",
    "X-Request-Id",
    "traceparent",
    "tracestate",
];
const READ_BESIDE: [&str; 5] = [
    "Retry-After",
    "WWW-Authenticate",
    "Allow",
    "X-Request-Id",
    "X-Roost-Instance",
];

#[tokio::test]
async fn pages_of_listed_origins_send_and_read_every_documented_header() {
    let world = World::on_sqlite().await;
    let server = serve_listed(&world).await;
    let document: Value = serde_json::from_str(&openapi_json()).unwrap();
    let (mut sent, mut read) = (BTreeSet::new(), BTreeSet::new());
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            sent.extend(sent_headers(&document, operation));
            read.extend(read_headers(&document, operation));
        }
    }
    for known in [
        "if-none-match",
        "if-match",
        "idempotency-key",
        "last-event-id",
    ] {
        assert!(sent.contains(known), "{known} is not found in {sent:?}");
    }
    assert!(
        read.contains("etag") && read.contains("location"),
        "{read:?}"
    );
    sent.extend(SENT_BESIDE.map(str::to_lowercase));
    read.extend(READ_BESIDE.map(str::to_lowercase));

    let asked = Vec::from_iter(sent.clone()).join(", ");
    let answer = preflight(&server, LISTED[0], &asked).await;
    let allowed = names(answer.headers(), "access-control-allow-headers");
    assert_eq!(
        sent.difference(&allowed).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
    let methods = names(answer.headers(), "access-control-allow-methods");
    let wanted = ["get", "post", "put", "patch", "delete"].map(str::to_owned);
    assert_eq!(methods, BTreeSet::from(wanted));

    let answer = call(&server, LISTED[0]).await;
    let exposed = names(answer.headers(), "access-control-expose-headers");
    assert_eq!(
        read.difference(&exposed).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

async fn call(server: &Server, origin: &str) -> Response {
    let request = server.endpoint.request(Method::GET, "/api/v1/me");
    request.header("origin", origin).send().await.unwrap()
}

async fn preflight(server: &Server, origin: &str, headers: &str) -> Response {
    let request = server.endpoint.request(Method::OPTIONS, "/api/v1/me");
    let request = request
        .header("origin", origin)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", headers);
    request.send().await.unwrap()
}

/// The names in a header that lists some, in lower case.
fn names(headers: &HeaderMap, list: &str) -> BTreeSet<String> {
    let list = headers[list].to_str().unwrap().to_lowercase();
    list.split(',').map(|name| name.trim().to_owned()).collect()
}

fn sent_headers(document: &Value, operation: &Value) -> Vec<String> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| resolved(document, parameter));
    let in_headers = parameters.filter(|parameter| parameter["in"] == "header");
    let names = in_headers.map(|parameter| parameter["name"].as_str().unwrap());
    names.map(str::to_lowercase).collect()
}

fn read_headers(document: &Value, operation: &Value) -> Vec<String> {
    let responses = operation["responses"].as_object().unwrap().values();
    let responses = responses.map(|response| resolved(document, response));
    let headers = responses.filter_map(|response| response["headers"].as_object());
    headers
        .flat_map(|it| it.keys())
        .map(|name| name.to_lowercase())
        .collect()
}

/// What a reference in the document stands for, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    value["$ref"].as_str().map_or(value, |reference| {
        document.pointer(reference.trim_start_matches('#')).unwrap()
    })
}
