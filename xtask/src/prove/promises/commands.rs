//! C8 on connections that stay open: commands over Socket.IO and mutations over GraphQL's WebSocket, while instances
//! stop and start again. Each is acknowledged, or refused before it was begun; none goes without an answer.

use super::people::People;
use anyhow::{Result, bail};
use futures::FutureExt;
use roost_client::{Client, Error, GraphQlSocket, Socket};
use roost_schema::{ErrorCode, ItemId, Message, RoomId, SendMessageToRoom};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// On each transport.
const CLIENTS: usize = 20;
const WRITE_EVERY: Duration = Duration::from_millis(200);
const RETRY_WAIT: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    SocketIo,
    GraphQl,
}

/// People who write over connections that stay open, until they are told to stop.
pub(super) struct Writers {
    via: Via,
    tasks: JoinSet<Result<Outcomes>>,
}

/// What became of the commands.
#[derive(Default)]
pub(super) struct Outcomes {
    acknowledged: Vec<(RoomId, ItemId)>,
    refused: usize,
    unanswered: Vec<String>,
    connections: usize,
}

impl Writers {
    pub(super) fn start(via: Via, people: &People, done: &CancellationToken) -> Self {
        let mut tasks = JoinSet::new();
        for pair in people.pairs.iter().cycle().take(CLIENTS) {
            let writer = Writer {
                via,
                client: pair.person.clone(),
                // Everybody writes where they are members.
                room: pair.room,
                connection: None,
                outcomes: Outcomes::default(),
            };
            tasks.spawn(writer.run(done.clone()));
        }
        Self { via, tasks }
    }

    /// Prints what became of all commands; answers the messages that were acknowledged. An error when a command got
    /// no answer.
    pub(super) async fn finish(mut self) -> Result<Vec<(RoomId, ItemId)>> {
        let mut all = Outcomes::default();
        while let Some(ended) = self.tasks.join_next().await {
            let outcomes = ended??;
            all.acknowledged.extend(outcomes.acknowledged);
            all.refused += outcomes.refused;
            all.unanswered.extend(outcomes.unanswered);
            all.connections += outcomes.connections;
        }
        println!(
            "C8   {:?}: {} commands acknowledged, {} refused before they were begun, {} unanswered, over {} connections",
            self.via,
            all.acknowledged.len(),
            all.refused,
            all.unanswered.len(),
            all.connections,
        );
        if !all.unanswered.is_empty() {
            let some = &all.unanswered[..all.unanswered.len().min(5)];
            bail!("commands without an answer: {some:#?}");
        }
        if all.acknowledged.is_empty() {
            bail!("nothing was written over {:?}", self.via);
        }
        Ok(all.acknowledged)
    }
}

enum Connection {
    Socket(Socket),
    GraphQl(GraphQlSocket),
}

struct Writer {
    via: Via,
    client: Client,
    room: RoomId,
    connection: Option<Connection>,
    outcomes: Outcomes,
}

impl Writer {
    /// Writes one message after the other, and none a second time.
    async fn run(mut self, done: CancellationToken) -> Result<Outcomes> {
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0_u64;
        while done.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.is_sent_away() {
                self.connection = None;
            }
            let room = self.room;
            let Some(connection) = self.connected().await? else {
                continue;
            };
            number += 1;
            let sent = send(connection, room, &format!("command {number}")).await;
            self.note(sent).await?;
        }
        Ok(self.outcomes)
    }

    /// Whether the connection ended, or will.
    fn is_sent_away(&mut self) -> bool {
        match &mut self.connection {
            None => false,
            Some(Connection::GraphQl(socket)) => socket.is_closed(),
            Some(Connection::Socket(socket)) => loop {
                match socket.next_event().now_or_never() {
                    None => return false,
                    Some(None) => return true,
                    Some(Some(event)) if event.name == "server:closing" => return true,
                    Some(Some(_)) => {}
                }
            },
        }
    }

    /// The connection; `None` when there is none at the moment.
    async fn connected(&mut self) -> Result<Option<&Connection>> {
        if self.connection.is_none() {
            let connected = match self.via {
                Via::SocketIo => Socket::connect(&self.client).await.map(Connection::Socket),
                Via::GraphQl => GraphQlSocket::connect(&self.client)
                    .await
                    .map(Connection::GraphQl),
            };
            match connected {
                Ok(connection) => self.connection = Some(connection),
                Err(error) if error.is_retryable() => {
                    sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
            self.outcomes.connections += 1;
        }
        Ok(self.connection.as_ref())
    }

    async fn note(&mut self, sent: Result<ItemId, Error>) -> Result<()> {
        let error = match sent {
            Ok(item) => {
                self.outcomes.acknowledged.push((self.room, item));
                return Ok(());
            }
            Err(error) => error,
        };
        self.connection = None;
        match error.code() {
            None | Some(ErrorCode::OutcomeUnknown) => {
                self.outcomes.unanswered.push(error.to_string());
            }
            Some(_) if error.is_retryable() => {
                self.outcomes.refused += 1;
                sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
            }
            Some(_) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Without an operation id: whatever is not answered is lost to who sent it.
async fn send(connection: &Connection, room: RoomId, text: &str) -> Result<ItemId, Error> {
    match connection {
        Connection::Socket(socket) => {
            let input = SendMessageToRoom {
                room,
                text: text.to_owned(),
                id: None,
                op_id: None,
            };
            let sent: Message = socket.call("message:send", &input).await?;
            Ok(sent.id)
        }
        Connection::GraphQl(socket) => {
            let query = "mutation($room: RoomId!, $input: SendMessage!) {
                written: sendMessage(room: $room, input: $input) { id } }";
            let variables = json!({ "room": room, "input": { "text": text } });
            let answer: Value = socket.run(query, &variables).await?;
            let id = answer["written"]["id"].as_str().unwrap_or_default();
            id.parse().map_err(|_| Error::Strange(answer.to_string()))
        }
    }
}
