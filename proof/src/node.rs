//! The stock JavaScript clients: one Node process that runs `conformance/prove.mjs`. It takes its instructions as lines
//! of JSON and answers in lines of JSON.

use super::{
    ledger::{Ledger, Outcome},
    people::SENDERS,
    reader::Reading,
};
use anyhow::{Context, Result, bail};
use roost_client::Client;
use roost_schema::{ItemId, Op, Position, RoomId, Seq};
use roost_testbed::{
    process::{DeathSignal, tied},
    workspace,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashMap, process::Stdio, sync::atomic::Ordering::SeqCst, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// Keeps a sender below the 100 requests a second that one address may make.
pub(super) const PACE: Duration = Duration::from_millis(50);
/// How many writes of one sender are in flight, the same number as in the script.
const WINDOW: u32 = 4;

/// The instructions for the process.
pub(super) struct Script<'a> {
    pub(super) senders: &'a [Client],
    pub(super) readers: &'a [Client],
    pub(super) rooms: &'a [RoomId],
    pub(super) writes: u64,
    /// How long each worker waits after a write.
    pub(super) pace: Duration,
}

/// The pace at which the process's share of these writes takes about `spread`.
pub(super) fn pace(writes: u64, spread: Duration) -> Duration {
    let by_each = writes / (SENDERS as u64 * u64::from(WINDOW));
    let by_each = u32::try_from(by_each).unwrap_or(u32::MAX);
    PACE.max(spread / by_each.max(1))
}

pub(super) struct Node {
    orders: ChildStdin,
    lines: mpsc::UnboundedReceiver<Line>,
    acknowledged: u64,
    sent: Option<Sent>,
    _child: Child,
    _listener: JoinSet<()>,
}

/// A line the script prints.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum Line {
    Progress { acknowledged: u64 },
    Sent(Sent),
    Report { readings: Vec<ScriptReading> },
    Failed { message: String },
}

/// The outcome of each operation: `acknowledged`, `refused CODE` as the sender meant it, or another text.
#[derive(Deserialize)]
struct Sent {
    operations: HashMap<String, String>,
    retries: u64,
}

#[derive(Deserialize)]
struct ScriptReading {
    reader: String,
    room: RoomId,
    position: Position,
    items: Vec<(ItemId, Seq, Op, String)>,
    seen: Vec<u64>,
    delivered: u64,
    duplicates: u64,
    inversions: u64,
    passed: Vec<(u64, u64)>,
    resets: u64,
}

impl Node {
    pub(super) async fn start(url: &str, script: &Script<'_>) -> Result<Self> {
        let mut command: Command = tied("node", DeathSignal::Kill, None).into();
        command.arg(workspace::root().join("conformance/prove.mjs"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .context("cannot start node")?;
        let output = child.stdout.take().context("node has no output")?;
        let orders = child.stdin.take().context("node has no input")?;
        let (lines_in, lines) = mpsc::unbounded_channel();
        let mut listener = JoinSet::new();
        listener.spawn(listen(output, lines_in));
        let mut node = Self {
            orders,
            lines,
            acknowledged: 0,
            sent: None,
            _child: child,
            _listener: listener,
        };
        let order = json!({
            "url": url, "rooms": script.rooms, "writes": script.writes,
            "paceMs": script.pace.as_millis(),
            "senders": people(script.senders), "readers": people(script.readers),
        });
        node.order(&order).await?;
        Ok(node)
    }

    /// How many of the process's writes were acknowledged so far.
    pub(super) fn acknowledged(&mut self) -> Result<u64> {
        while let Ok(line) = self.lines.try_recv() {
            self.apply(line)?;
        }
        Ok(self.acknowledged)
    }

    pub(super) async fn wait_for_senders(
        &mut self,
        ledger: &Ledger,
        patience: Duration,
    ) -> Result<()> {
        while self.sent.is_none() {
            let line = self.next_line(patience).await?;
            self.apply(line)?;
        }
        let sent = self.sent.take().context("node sent nothing")?;
        ledger.retries.fetch_add(sent.retries, SeqCst);
        for (operation, outcome) in sent.operations {
            let outcome = match outcome.split_once(' ') {
                None if outcome == "acknowledged" => Outcome::Acknowledged,
                Some(("refused", code)) => Outcome::Refused(code.to_owned()),
                _ => Outcome::Unexpected(outcome),
            };
            ledger.note(&operation, outcome);
        }
        Ok(())
    }

    /// Waits until the process's readers have every room up to its head.
    pub(super) async fn finish(
        &mut self,
        heads: &HashMap<RoomId, Seq>,
        patience: Duration,
    ) -> Result<Vec<Reading>> {
        self.order(&json!({ "heads": heads })).await?;
        loop {
            match self.next_line(patience).await? {
                Line::Report { readings } => {
                    return Ok(readings.into_iter().map(Reading::from).collect());
                }
                other => self.apply(other)?,
            }
        }
    }

    async fn order(&mut self, order: &Value) -> Result<()> {
        let line = format!("{order}\n");
        Ok(self.orders.write_all(line.as_bytes()).await?)
    }

    async fn next_line(&mut self, patience: Duration) -> Result<Line> {
        let line = timeout(patience, self.lines.recv()).await;
        line.context("node says nothing any more")?
            .context("node ended")
    }

    fn apply(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Progress { acknowledged } => self.acknowledged = acknowledged,
            Line::Sent(sent) => self.sent = Some(sent),
            Line::Report { .. } => bail!("node reported before it was asked to"),
            Line::Failed { message } => bail!("node: {message}"),
        }
        Ok(())
    }
}

async fn listen(output: ChildStdout, lines: mpsc::UnboundedSender<Line>) {
    let mut output = BufReader::new(output).lines();
    while let Ok(Some(text)) = output.next_line().await {
        let line = serde_json::from_str(&text).unwrap_or_else(|error| Line::Failed {
            message: format!("{error} in {text:.200}"),
        });
        if lines.send(line).is_err() {
            return;
        }
    }
}

fn people(clients: &[Client]) -> Vec<Value> {
    let person = |client: &Client| {
        let signed_in = client.signed_in();
        json!({
            "accessToken": signed_in.access_token,
            "refreshToken": signed_in.refresh_token,
            "expiresAt": signed_in.access_expires_at,
            "address": client.endpoint().local_address(),
        })
    };
    clients.iter().map(person).collect()
}

impl From<ScriptReading> for Reading {
    fn from(reading: ScriptReading) -> Self {
        let item = |(item, seq, op, body)| (item, (seq, op, body));
        Self {
            reader: reading.reader,
            room: Some(reading.room),
            position: Some(reading.position),
            items: reading.items.into_iter().map(item).collect(),
            seen: reading.seen.into_iter().collect(),
            delivered: reading.delivered,
            duplicates: reading.duplicates,
            inversions: reading.inversions,
            passed: reading.passed,
            resets: reading.resets,
        }
    }
}
