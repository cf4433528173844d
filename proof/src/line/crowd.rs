//! People who stay connected while an instance joins, and record a broken connection.

use super::super::retry::retry_unavailable;
use anyhow::Result;
use parking_lot::Mutex;
use roost_client::{Client, Socket};
use roost_schema::RoomId;
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;

const RENEWAL_MAX: Duration = Duration::from_secs(10);

type Dropped = Arc<Mutex<Vec<String>>>;

/// Dropping it disconnects all of them.
pub(super) struct Crowd {
    connections: JoinSet<()>,
    dropped: Dropped,
}

impl Crowd {
    /// Connects each person once, by Socket.IO, GraphQL subscription and SSE in turn, to a room of the list. Each gets
    /// a new token, because a connection ends when its token expires.
    pub(super) async fn connect(people: &[Client], rooms: &[RoomId]) -> Result<Self> {
        let mut crowd = Self {
            connections: JoinSet::new(),
            dropped: Dropped::default(),
        };
        for (number, (client, room)) in people.iter().zip(rooms.iter().cycle()).enumerate() {
            let dropped = Arc::clone(&crowd.dropped);
            retry_unavailable(RENEWAL_MAX, async || client.refresh().await).await?;
            match number % 3 {
                0 => {
                    let mut socket = Socket::connect(client).await?;
                    socket.join(*room, None).await?;
                    crowd.connections.spawn(async move {
                        let mut last = None;
                        while let Some(event) = socket.next_event().await {
                            last = Some(event);
                        }
                        note(&dropped, format!("a socket of person {number}: {last:?}"));
                    });
                }
                1 => {
                    let mut subscription = client.subscribe_room(*room, None).await?;
                    crowd.connections.spawn(async move {
                        let end = loop {
                            match subscription.next_events().await {
                                Ok(Some(_)) => {}
                                end => break end.map(drop),
                            }
                        };
                        note(&dropped, format!("a subscription of {number}: {end:?}"));
                    });
                }
                _ => {
                    let mut stream = client.stream_room(*room, None).await?;
                    crowd.connections.spawn(async move {
                        let end = loop {
                            if let Err(end) = stream.next_events().await {
                                break end;
                            }
                        };
                        note(&dropped, format!("a stream of {number}: {end}"));
                    });
                }
            }
        }
        Ok(crowd)
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// The connections that have ended.
    pub(super) fn dropped(&self) -> Vec<String> {
        self.dropped.lock().clone()
    }
}

fn note(dropped: &Dropped, what: String) {
    let mut dropped = dropped.lock();
    dropped.push(what);
}
