//! A client of Caddy with an address of its own, and no cookies but those it is told to send.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use reqwest::{Method, Response, Upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const POLL: &str = "/socket.io/?EIO=4&transport=polling";
pub(crate) const POLL_OF_SESSION: &str = "/socket.io/?EIO=4&transport=polling&sid=abc";
pub(crate) const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
pub(crate) const WEBSOCKET_OF_SESSION: &str = "/socket.io/?EIO=4&transport=websocket&sid=abc";

#[derive(Clone)]
pub(crate) struct Client {
    base: String,
    http: reqwest::Client,
    pub(crate) cookie: Option<String>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Client {
    /// From 127.0.1.`number`.
    pub(crate) fn new(base: &str, number: u8) -> Self {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number));
        let http = reqwest::Client::builder().local_address(address).no_proxy();
        Self {
            base: base.to_owned(),
            http: http.timeout(PATIENCE).build().unwrap(),
            cookie: None,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        read(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        read(self.request(Method::POST, path).body(body)).await
    }

    /// Asks for a WebSocket; whether there is one is in the status.
    pub(crate) async fn upgrade(&self, path: &str) -> Response {
        let request = self
            .request(Method::GET, path)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        request.send().await.unwrap()
    }
}

pub(crate) async fn read(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// The name and value of the cookie that was set, as a client sends them back.
    pub(crate) fn cookie(&self) -> Option<String> {
        let set = self.header("set-cookie")?;
        Some(set.split(';').next().unwrap().to_owned())
    }
}

/// An open WebSocket, as bytes.
pub(crate) struct Socket(Upgraded);

impl Socket {
    pub(crate) async fn open(client: &Client, path: &str) -> Self {
        let response = client.upgrade(path).await;
        assert_eq!(response.status(), 101, "{path}");
        Self(response.upgrade().await.unwrap())
    }

    /// Sends bytes and waits until as many come back.
    pub(crate) async fn echo(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        let mut answer = vec![0; bytes.len()];
        let read = self.0.read_exact(&mut answer);
        timeout(PATIENCE, read).await.expect("an answer").unwrap();
        assert_eq!(answer, bytes);
    }
}
