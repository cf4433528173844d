//! A bare WebSocket broadcaster: what a room costs when there is nothing but rooms. It is the floor under every figure, and
//! makes faults on demand, so that a load generator can be shown to notice each.

mod connection;
mod faults;
mod protocol;
mod rooms;

pub use faults::{Counts, Faults, InvalidFault};

use faults::Counters;
use rooms::Rooms;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long to wait when the system gives no further connection, for example because the process has too many files open.
const ACCEPT_RETRY: Duration = Duration::from_millis(10);

/// What all connections share.
struct Hub {
    rooms: Rooms,
    faults: Faults,
    counters: Counters,
}

/// A running broadcaster. When it is dropped, it stops.
pub struct Handle {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Serves until the handle is stopped or dropped. Has to be called within a tokio runtime.
pub fn serve(listener: TcpListener, faults: Faults) -> io::Result<Handle> {
    let handle = Handle {
        address: listener.local_addr()?,
        hub: Arc::new(Hub {
            rooms: Rooms::default(),
            faults,
            counters: Counters::default(),
        }),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let accepting = accept(
        listener,
        Arc::clone(&handle.hub),
        handle.stop.clone(),
        handle.tasks.clone(),
    );
    handle.tasks.spawn(accepting);
    Ok(handle)
}

impl Handle {
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was delivered until now, and the faults that were made.
    pub fn counts(&self) -> Counts {
        self.hub.counters.read()
    }

    /// Closes every connection, and gives the final counts.
    pub async fn stop(self) -> Counts {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.counts()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, hub: Arc<Hub>, stop: CancellationToken, tasks: TaskTracker) {
    let connections = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let served = connection::serve(stream, Arc::clone(&hub));
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        // A connection that breaks is the client's matter.
                        let _ = stop.run_until_cancelled(served).await;
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_RETRY).await,
            }
        }
    };
    stop.run_until_cancelled(connections).await;
}
