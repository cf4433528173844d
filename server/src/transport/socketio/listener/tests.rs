//! What the kernel took of a connection, peers that do not read, and killed connections.

use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(5);

async fn connected(stall_timeout: Duration) -> (Guarded, ConnectionHandle, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap());
    let (peer, accepted) = tokio::join!(peer, listener.accept());
    let (guarded, handle) = Guarded::new(accepted.unwrap().0, stall_timeout);
    (guarded, handle, peer.unwrap())
}

#[tokio::test]
async fn it_counts_what_the_kernel_took() {
    let (mut guarded, handle, mut peer) = connected(SOON).await;
    let next = handle.next_write();
    guarded.write_all(b"hello").await.unwrap();
    timeout(SOON, next).await.expect("a write is announced");
    assert_eq!(handle.written_bytes(), 5);
    let mut read = [0; 5];
    peer.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up() {
    let (mut guarded, handle, _peer) = connected(Duration::from_millis(200)).await;
    let block = vec![0; 1 << 20];
    let error = timeout(SOON, async {
        loop {
            if let Err(error) = guarded.write_all(&block).await {
                return error;
            }
        }
    })
    .await
    .expect("the write ends by itself");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(handle.is_dead());
}

#[tokio::test]
async fn a_kill_wakes_the_tasks_that_wait_for_the_connection() {
    let (guarded, handle, mut peer) = connected(SOON).await;
    let (mut reader, mut writer) = tokio::io::split(guarded);
    let read = async { reader.read_u8().await.unwrap_err().kind() };
    let write = async {
        let block = vec![0; 1 << 20];
        loop {
            if let Err(error) = writer.write_all(&block).await {
                return error.kind();
            }
        }
    };
    let first_write = handle.next_write();
    let kill = async {
        first_write.await;
        handle.kill();
    };
    let (read, write, ()) = timeout(SOON, async { tokio::join!(read, write, kill) })
        .await
        .expect("both ends wake");
    assert_eq!(read, io::ErrorKind::ConnectionAborted);
    assert_eq!(write, io::ErrorKind::ConnectionAborted);
    drop((reader, writer));
    let mut rest = Vec::new();
    timeout(SOON, peer.read_to_end(&mut rest))
        .await
        .expect("the peer sees the end")
        .ok();
}
