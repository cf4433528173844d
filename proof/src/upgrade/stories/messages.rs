//! Messages over each API at each instance: what is read, repeated, edited and resumed elsewhere.

use super::{Party, Places, new_op_id, retry_unavailable};
use crate::promises::people::placed;
use anyhow::{Context, Result, ensure};
use roost_client::{Client, Socket};
use roost_schema::{
    DeleteMessage, EditMessage, ErrorCode, ItemId, Message, Position, PutItem, RoomEvent, RoomId,
    SendMessage, SendMessageToRoom, Seq,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;

/// What is kept for the next mix.
pub(super) struct Written {
    /// Before what was written.
    position: Position,
    input: SendMessage,
    message: Message,
    /// Others of the same mix, to be edited and deleted.
    edited: ItemId,
    deleted: ItemId,
}

impl Party {
    pub(super) async fn run_messages(&mut self, places: &Places) -> Result<()> {
        let here = placed(&self.owner, places.first())?;
        let (room, before) = (self.room, head(&here, self.room).await?);
        let mut sent = Vec::new();
        for place in places {
            let there = placed(&self.owner, Some(place))?;
            sent.extend(write_over_each(&there, room).await?);
        }
        for (number, (input, message)) in sent.iter().enumerate() {
            let place = &places[(number + 1) % places.len()];
            let there = placed(&self.owner, Some(place))?;
            let repeated = retry_unavailable(async || there.send_message(room, input).await).await;
            let repeated = repeated.context("an operation repeated elsewhere")?;
            ensure!(
                repeated == *message,
                "another answer: {repeated:?} for {message:?}"
            );
        }
        let seqs: Vec<Seq> = sent.iter().map(|(_, message)| message.seq).collect();
        for place in places {
            let there = placed(&self.owner, Some(place))?;
            let events = resume(&there, room, before).await?;
            let seen: Vec<Seq> = events.iter().map(|event| event.seq).collect();
            ensure!(seen == seqs, "resumed to {seen:?}, written were {seqs:?}");
        }
        if let Some(written) = self.written.take() {
            self.go_on(&written, places)
                .await
                .context("of the mix before")?;
        }
        let [(input, message), (_, edited), (_, deleted), ..] = &sent[..] else {
            anyhow::bail!("three were sent");
        };
        self.written = Some(Written {
            position: before,
            input: input.clone(),
            message: message.clone(),
            edited: edited.id,
            deleted: deleted.id,
        });
        Ok(())
    }

    /// With what the mix before wrote, wherever it did.
    async fn go_on(&self, written: &Written, places: &Places) -> Result<()> {
        let (here, room) = (placed(&self.owner, places.first())?, self.room);
        let repeated =
            retry_unavailable(async || here.send_message(room, &written.input).await).await?;
        ensure!(repeated == written.message, "another answer: {repeated:?}");
        let edited = self.change_everywhere(written, places).await?;
        let mut all = Vec::new();
        for place in places {
            let there = placed(&self.owner, Some(place))?;
            let read =
                retry_unavailable(async || there.read_message(room, written.edited).await).await?;
            ensure!(read == edited, "{read:?} was read, {edited:?} was written");
            let gone =
                retry_unavailable(async || there.read_message(room, written.deleted).await).await;
            let code = gone.err().and_then(|error| error.code());
            ensure!(
                code == Some(ErrorCode::NotFound),
                "a deleted message is read: {code:?}"
            );
            all.push(resume(&there, room, written.position).await?);
        }
        let last = all
            .iter()
            .filter_map(|events| Some(events.last()?.seq))
            .min();
        ensure!(last > Some(edited.seq), "resumed to {last:?} only");
        ensure!(
            all.windows(2).all(|pair| pair[0] == pair[1]),
            "instances resume from one position to different states"
        );
        Ok(())
    }

    /// Puts, edits and deletes, each made at the first place and repeated at the others: one effect and one answer,
    /// whichever releases they are. Gives the message as it was edited.
    async fn change_everywhere(&self, written: &Written, places: &Places) -> Result<Message> {
        let room = self.room;
        let put = PutItem {
            room,
            kind: "message".to_owned(),
            item: Some(written.edited),
            body: json!({ "text": "put" }),
            op_id: Some(new_op_id()?),
            if_match: None,
        };
        let edit = EditMessage {
            text: "edited".to_owned(),
            op_id: Some(new_op_id()?),
            if_match: None,
        };
        let delete = DeleteMessage {
            op_id: Some(new_op_id()?),
            if_match: None,
        };
        let mut answers = Vec::new();
        for place in places {
            let there = placed(&self.owner, Some(place))?;
            let socket = retry_unavailable(async || Socket::connect(&there).await).await?;
            let event = retry_unavailable(async || socket.put_item(&put).await).await?;
            let edited =
                retry_unavailable(async || there.edit_message(room, written.edited, &edit).await)
                    .await?;
            let removal = async || there.delete_message(room, written.deleted, &delete).await;
            retry_unavailable(removal).await?;
            answers.push((event, edited));
        }
        ensure!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "a change repeated elsewhere has another answer: {answers:?}"
        );
        let (_, edited) = answers.pop().context("there are places")?;
        Ok(edited)
    }
}

/// Where a room stands.
pub(super) async fn head(client: &Client, room: RoomId) -> Result<Position> {
    let mut after = None;
    loop {
        let frame = retry_unavailable(async || client.list_events(room, after).await).await?;
        if frame.live {
            return Ok(frame.position);
        }
        after = Some(frame.position);
    }
}

/// What somebody holds who applied all that follows a position: the newest event of each item, by seq. Whether those
/// that it superseded are told as well is each release's own affair.
pub(super) async fn resume(
    client: &Client,
    room: RoomId,
    after: Position,
) -> Result<Vec<RoomEvent>> {
    let (mut events, mut after) = (Vec::<RoomEvent>::new(), after);
    loop {
        let frame = retry_unavailable(async || client.list_events(room, Some(after)).await).await?;
        ensure!(!frame.reset, "a position from elsewhere is not known");
        events.extend(frame.events);
        if frame.live {
            let newest: HashMap<_, _> = events.iter().map(|it| (it.item, it.seq)).collect();
            events.retain(|it| newest.get(&it.item) == Some(&it.seq));
            return Ok(events);
        }
        after = frame.position;
    }
}

/// One message over REST, GraphQL and Socket.IO each.
async fn write_over_each(client: &Client, room: RoomId) -> Result<Vec<(SendMessage, Message)>> {
    #[derive(Deserialize)]
    struct Sent {
        sent: Message,
    }
    const MUTATION: &str = "mutation($room: RoomId!, $input: SendMessage!) {
        sent: sendMessage(room: $room, input: $input) {
            id roomId seq authorId text createdAt editedAt } }";
    let socket = retry_unavailable(async || Socket::connect(client).await).await?;
    let mut all = Vec::new();
    for api in ["rest", "graphql", "socketio"] {
        let input = SendMessage {
            text: format!("over {api}"),
            id: None,
            op_id: Some(new_op_id()?),
        };
        let message = match api {
            "rest" => retry_unavailable(async || client.send_message(room, &input).await).await?,
            "graphql" => {
                let input = json!({ "text": input.text, "opId": input.op_id });
                let variables = json!({ "room": room, "input": input });
                let query = async || client.query::<Sent>(MUTATION, &variables).await;
                retry_unavailable(query).await?.sent
            }
            _ => {
                let input = SendMessageToRoom {
                    room,
                    text: input.text.clone(),
                    id: None,
                    op_id: input.op_id.clone(),
                };
                retry_unavailable(async || socket.send_message(&input).await).await?
            }
        };
        all.push((input, message));
    }
    Ok(all)
}
