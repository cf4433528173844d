//! C8 of docs/delivery.md on open connections: commands over Socket.IO and mutations over GraphQL's WebSocket, while
//! instances stop and start again. Each command is acknowledged, or refused before it began; none stays without a
//! reply. The journal has exactly the acknowledged ones.

use super::people::People;
use anyhow::{Result, bail};
use futures::FutureExt;
use roost_client::{Client, Error, GraphQlSocket, Socket};
use roost_schema::{ErrorCode, ItemId, Message, MessageState, RoomId, SendMessageToRoom};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;

/// The number of clients on each transport.
const CLIENTS: usize = 20;
const WRITE_EVERY: Duration = Duration::from_millis(200);
const RETRY_WAIT: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    SocketIo,
    GraphQl,
}

/// People who write over open connections until they are stopped.
pub(super) struct Writers {
    via: Via,
    /// The rooms they write in, each with a member who reads the room's journal at the end.
    rooms: BTreeMap<RoomId, Client>,
    tasks: JoinSet<Result<Outcomes>>,
}

/// Messages by their texts, which are unique.
type Messages = BTreeMap<String, (RoomId, ItemId)>;

/// The outcomes of commands.
#[derive(Default)]
pub(super) struct Outcomes {
    acknowledged: Messages,
    refused: usize,
    /// The error of each unanswered command, by text. The journal may have it or not.
    unanswered: BTreeMap<String, String>,
    connections: usize,
}

impl Writers {
    pub(super) fn start(via: Via, people: &People, done: &CancellationToken) -> Self {
        let mut tasks = JoinSet::new();
        let pairs = people.pairs.iter().cycle().take(CLIENTS);
        for (number, pair) in pairs.clone().enumerate() {
            let writer = Writer {
                via,
                name: format!("{}{number}", prefix(via)),
                client: pair.person.clone(),
                // Each client writes in a room of which it is a member.
                room: pair.room,
                connection: None,
                outcomes: Outcomes::default(),
            };
            tasks.spawn(writer.run(done.clone()));
        }
        let rooms = pairs.map(|pair| (pair.room, pair.person.clone()));
        Self {
            via,
            rooms: rooms.collect(),
            tasks,
        }
    }

    /// Prints the outcomes of all commands; answers the acknowledged messages. An error when a command got no reply, or
    /// when the journal differs from the acknowledgements.
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
        let written = self.written().await?;
        let silent = all.silent(&written);
        let missing = all.missing(&written);
        println!(
            "C8   {:?}: {} commands in the journal, {} written and never acknowledged, {} acknowledged and missing",
            self.via,
            written.len(),
            silent.len(),
            missing.len(),
        );
        for (fault, texts) in [
            ("refused, and written all the same", silent),
            ("acknowledged and missing", missing),
        ] {
            if !texts.is_empty() {
                bail!("{fault}: {:#?}", &texts[..texts.len().min(5)]);
            }
        }
        if !all.unanswered.is_empty() {
            let some: Vec<_> = all.unanswered.iter().take(5).collect();
            bail!("commands without an answer: {some:#?}");
        }
        if all.acknowledged.is_empty() {
            bail!("nothing was written over {:?}", self.via);
        }
        Ok(all.acknowledged.into_values().collect())
    }

    /// The messages in the journal that these commands wrote.
    async fn written(&self) -> Result<Messages> {
        let ours = prefix(self.via);
        let mut written = Messages::new();
        for (room, reader) in &self.rooms {
            let mut after = None;
            loop {
                let page = reader.list_events(*room, after).await?;
                for event in page.events {
                    let Ok(MessageState { text, .. }) = event.body.decode() else {
                        continue;
                    };
                    // Other clients write in the room, too.
                    if !text.starts_with(&ours) {
                        continue;
                    }
                    if written.insert(text.clone(), (*room, event.item)).is_some() {
                        bail!("written twice: {text}");
                    }
                }
                if page.live {
                    break;
                }
                after = Some(page.position);
            }
        }
        Ok(written)
    }
}

/// The beginning of all texts on one transport.
fn prefix(via: Via) -> String {
    format!("{via:?} command ")
}

impl Outcomes {
    /// Messages in the journal whose commands were refused.
    fn silent<'a>(&self, written: &'a Messages) -> Vec<&'a str> {
        let is_silent = |text: &&String| {
            !self.acknowledged.contains_key(*text) && !self.unanswered.contains_key(*text)
        };
        written
            .keys()
            .filter(is_silent)
            .map(String::as_str)
            .collect()
    }

    /// Acknowledged messages that the journal lacks, or has in another place.
    fn missing(&self, written: &Messages) -> Vec<&str> {
        let is_missing =
            |(text, place): &(&String, &(RoomId, ItemId))| written.get(*text) != Some(*place);
        self.acknowledged
            .iter()
            .filter(is_missing)
            .map(|(text, _)| text.as_str())
            .collect()
    }
}

enum Connection {
    Socket(Socket),
    GraphQl(GraphQlSocket),
}

struct Writer {
    via: Via,
    /// The beginning of this writer's texts.
    name: String,
    client: Client,
    room: RoomId,
    connection: Option<Connection>,
    outcomes: Outcomes,
}

impl Writer {
    /// Writes one message after the other, and retries none.
    async fn run(mut self, done: CancellationToken) -> Result<Outcomes> {
        let mut ticks = interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut count = 0_u64;
        while done.run_until_cancelled(ticks.tick()).await.is_some() {
            if self.is_sent_away() {
                self.connection = None;
            }
            count += 1;
            let (room, text) = (self.room, format!("{}.{count}", self.name));
            let Some(connection) = self.connected().await? else {
                continue;
            };
            let sent = send(connection, room, &text).await;
            self.note(text, sent).await?;
        }
        Ok(self.outcomes)
    }

    /// Whether the connection has ended, or the server has announced its end.
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

    /// The connection; opens one if there is none. `None` when connecting fails for the moment.
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

    async fn note(&mut self, text: String, sent: Result<ItemId, Error>) -> Result<()> {
        let error = match sent {
            Ok(item) => {
                self.outcomes.acknowledged.insert(text, (self.room, item));
                return Ok(());
            }
            Err(error) => error,
        };
        self.connection = None;
        match error.code() {
            None | Some(ErrorCode::OutcomeUnknown) => {
                self.outcomes.unanswered.insert(text, error.to_string());
            }
            // The journal shows at the end whether the refusal is true: the client also reports a refusal for a
            // mutation without a reply on a GraphQL socket that the server closes to send it elsewhere.
            Some(_) if error.is_retryable() => {
                self.outcomes.refused += 1;
                sleep(error.retry_after().unwrap_or(RETRY_WAIT)).await;
            }
            Some(_) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Sends without an operation id, so that an unanswered command cannot be retried safely.
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
