//! The address of a server, and the local address to reach it from.

use crate::{Client, Error, Result};
use reqwest::{Method, RequestBuilder, Response};
use roost_schema::{Failure, Login, Register, SignedIn};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{net::IpAddr, time::Duration};
use tokio::{
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{client::IntoClientRequest, http::header::SEC_WEBSOCKET_PROTOCOL},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take: longer than the server's own timeout.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

pub(crate) type WebSocket = WebSocketStream<TcpStream>;

/// A server's address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Endpoint {
    http: reqwest::Client,
    /// `host:port`.
    authority: String,
    local_address: Option<IpAddr>,
}

impl Endpoint {
    /// `url`: `http://host:port`. This crate has no TLS; a proxy beside the client can add it.
    pub fn new(url: &str) -> Result<Self> {
        let authority = url
            .strip_prefix("http://")
            .ok_or_else(|| Error::strange("a server's address begins with http://"))?;
        Self::build(authority.trim_end_matches('/').to_owned(), None)
    }

    /// The same server, reached from this address of the local machine. Load tests use one of
    /// 127.0.0.0/8 for each client, so that the limits per address hold for each alone.
    pub fn from_address(&self, local: IpAddr) -> Result<Self> {
        Self::build(self.authority.clone(), Some(local))
    }

    fn build(authority: String, local_address: Option<IpAddr>) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .local_address(local_address)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            authority,
            local_address,
        })
    }

    /// The local address connections are made from; `None`: the system chooses.
    pub const fn local_address(&self) -> Option<IpAddr> {
        self.local_address
    }

    /// Makes an account and signs in.
    pub async fn register(&self, input: &Register) -> Result<Client> {
        let signed_in: SignedIn = self.post("/api/v1/auth/register", input).await?;
        Ok(Client::new(self.clone(), signed_in))
    }

    pub async fn login(&self, input: &Login) -> Result<Client> {
        let signed_in: SignedIn = self.post("/api/v1/auth/login", input).await?;
        Ok(Client::new(self.clone(), signed_in))
    }

    /// A client for a person who signed in earlier.
    pub fn signed_in(&self, signed_in: SignedIn) -> Client {
        Client::new(self.clone(), signed_in)
    }

    /// A request for a route that has no method here; `path` begins with a slash.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("http://{}{path}", self.authority))
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        input: &impl Serialize,
    ) -> Result<T> {
        answer(self.request(Method::POST, path).json(input).send().await?).await
    }

    /// Opens a WebSocket; `protocol` is its subprotocol, if any.
    pub(crate) async fn web_socket(&self, path: &str, protocol: Option<&str>) -> Result<WebSocket> {
        let mut request = format!("ws://{}{path}", self.authority).into_client_request()?;
        if let Some(protocol) = protocol {
            let protocol = protocol.parse().map_err(Error::strange)?;
            request
                .headers_mut()
                .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let open = async {
            let stream = self.connect().await.map_err(Error::disconnected)?;
            stream.set_nodelay(true).map_err(Error::disconnected)?;
            let (socket, _) = client_async(request, stream).await?;
            Ok(socket)
        };
        timeout(CONNECT_TIMEOUT, open)
            .await
            .map_err(|_| Error::Late)?
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let mut failed = std::io::ErrorKind::NotFound.into();
        for address in lookup_host(&self.authority).await? {
            let socket = match address {
                std::net::SocketAddr::V4(_) => TcpSocket::new_v4()?,
                std::net::SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            if let Some(local) = self.local_address {
                socket.bind((local, 0).into())?;
            }
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// Reads a view, or the problem document in its place.
pub(crate) async fn answer<T: DeserializeOwned>(response: Response) -> Result<T> {
    let status = response.status();
    let body = response.bytes().await?;
    if status.is_success() {
        // An answer without content is read as `()`.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        return serde_json::from_slice(body).map_err(Error::strange);
    }
    let problem: Problem = serde_json::from_slice(&body).map_err(|error| {
        let text = String::from_utf8_lossy(&body);
        Error::Strange(format!(
            "{status} without a problem document ({error}): {text}"
        ))
    })?;
    Err(Error::Refused(problem.into()))
}

/// The fields of a problem document (RFC 9457) that this client reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Problem {
    code: roost_schema::ErrorCode,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
    retry_after_ms: Option<u64>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            code: problem.code,
            message: problem.detail.unwrap_or(problem.title),
            retry_after_ms: problem.retry_after_ms,
        }
    }
}
