//! Requests and messages that are not sent to their end: bodies and frames one byte short.

use std::net::{IpAddr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// A POST whose body misses its last byte; `headers` each end with a line break. Its sender is at `from`.
pub(crate) async fn unfinished_post(
    (from, to): (IpAddr, SocketAddr),
    path: &str,
    headers: &str,
    bytes: usize,
) -> TcpStream {
    let mut stream = connect_from(from, to).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\n{headers}content-length: {bytes}\r\n\r\n"
    );
    let mut said = head.into_bytes();
    said.resize(said.len() + bytes - 1, b' ');
    // The server may refuse it before all of it is sent.
    let _ = stream.write_all(&said).await;
    stream
}

pub(crate) async fn connect_from(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// A text frame of a client with so many bytes, and without the last (RFC 6455 §5.2).
pub(crate) fn unfinished_frame(bytes: u32) -> Vec<u8> {
    let mut frame = vec![0x81, 0xff];
    frame.extend(u64::from(bytes).to_be_bytes());
    // A mask of zeros leaves the payload as it is.
    frame.extend([0; 4]);
    frame.resize(frame.len() + bytes as usize - 1, b'x');
    frame
}

/// The bytes that the server sends until it closes the connection.
pub(crate) async fn rest_of(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut piece).await {
        answer.extend(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
