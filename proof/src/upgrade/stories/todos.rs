//! Todos, a kind that the release before may not know: it carries what the other release wrote, and refuses to change
//! it.

use super::{Party, Places, messages, new_op_id, retry_unavailable};
use crate::{promises::people::placed, upgrade::Release};
use anyhow::{Context, Result, ensure};
use roost_client::{Client, Socket};
use roost_schema::{
    DeleteItem, ErrorCode, Item, ItemId, PageQuery, PatchItem, Position, PutItem, RoomEvent, Term,
};
use serde_json::{Map, Value, json};

const KIND: &str = "todo";

/// The last todo of a mix, to be done in a later one.
pub(super) struct WrittenTodo {
    /// Before it was written.
    position: Position,
    event: RoomEvent,
}

/// The owner at each instance.
struct Visits {
    /// Where todos are written.
    knowing: Vec<Client>,
    /// Where they are refused.
    carrying: Vec<Client>,
}

impl Party {
    /// `releases`: of the places, in their order.
    pub(super) async fn run_todos(&mut self, places: &Places, releases: &[Release]) -> Result<()> {
        let here = placed(&self.owner, places.first())?;
        let before = messages::head(&here, self.room).await?;
        let (mut knowing, mut carrying) = (Vec::new(), Vec::new());
        let mut written = Vec::new();
        for (place, release) in places.iter().zip(releases) {
            let there = placed(&self.owner, Some(place))?;
            let todo = self.make_up()?;
            if let Some(event) = put(&there, &todo).await? {
                written.push((todo, event));
                knowing.push(there);
            } else {
                ensure!(*release == Release::Old, "this release refuses a todo");
                carrying.push(there);
            }
        }
        let visits = Visits { knowing, carrying };
        for there in &visits.knowing {
            for (todo, event) in &written {
                let repeated = put(there, todo).await?;
                ensure!(
                    repeated.as_ref() == Some(event),
                    "another answer: {repeated:?} for {event:?}"
                );
            }
        }
        let events: Vec<_> = written.into_iter().map(|(_, event)| event).collect();
        for there in visits.all() {
            let carried = messages::resume(there, self.room, before).await?;
            ensure!(
                values(&carried)? == values(&events)?,
                "resumed to {carried:?}, written were {events:?}"
            );
        }
        if let Some(todo) = &self.todo {
            self.finish(todo, &visits)
                .await
                .context("of a mix before")?;
        }
        if let Some(event) = events.last() {
            self.todo = Some(WrittenTodo {
                position: before,
                event: event.clone(),
            });
        }
        Ok(())
    }

    fn make_up(&self) -> Result<PutItem> {
        Ok(PutItem {
            room: self.room,
            kind: KIND.to_owned(),
            item: Some(ItemId::generate()),
            body: json!({
                "title": format!("In mix {}", self.mixes),
                "notes": "carried",
                "assigneeId": self.guest.user_id(),
                "due": "2030-01-31",
                "labels": ["upgrade"],
            }),
            op_id: Some(new_op_id()?),
            if_match: None,
        })
    }

    /// Marks it as done, by one operation at each instance that knows todos. The others refuse to delete it.
    async fn finish(&self, todo: &WrittenTodo, visits: &Visits) -> Result<()> {
        let (room, item) = (self.room, todo.event.item);
        for there in &visits.carrying {
            let delete = DeleteItem {
                room,
                item,
                op_id: Some(new_op_id()?),
                if_match: None,
            };
            let socket = retry_unavailable(async || Socket::connect(there).await).await?;
            let refusal = retry_unavailable(async || socket.delete_item(&delete).await).await;
            let code = refusal.err().and_then(|error| error.code());
            ensure!(
                code == Some(ErrorCode::UnsupportedKind),
                "a deletion by a release that does not know todos: {code:?}"
            );
        }
        let patch = PatchItem {
            room,
            kind: KIND.to_owned(),
            item,
            body: json!({ "done": true }),
            op_id: Some(new_op_id()?),
            if_match: None,
        };
        let mut newest = todo.event.clone();
        for there in &visits.knowing {
            let socket = retry_unavailable(async || Socket::connect(there).await).await?;
            let event = retry_unavailable(async || socket.patch_item(&patch).await).await?;
            ensure!(
                newest == todo.event || newest == event,
                "another answer: {event:?} for {newest:?}"
            );
            newest = event;
        }
        for there in &visits.knowing {
            let read = retry_unavailable(async || there.read_item(room, item).await).await?;
            self.hold_against(&read, todo, &newest)?;
            let found = self.find(there, item).await?;
            ensure!(found == read, "{found:?} was found, {read:?} was read");
        }
        for there in visits.all() {
            let events = messages::resume(there, room, todo.position).await?;
            ensure!(
                values(&events)?.contains(&serde_json::to_value(&newest)?),
                "resumed without the newest state of a todo: {newest:?}"
            );
        }
        Ok(())
    }

    /// Nothing of it is lost but that it is done now.
    fn hold_against(&self, read: &Item, todo: &WrittenTodo, newest: &RoomEvent) -> Result<()> {
        let mut before: Map<String, Value> = todo.event.body.decode()?;
        let mut now: Map<String, Value> = read.body.decode()?;
        let done = now.remove("done").context("it is not done")?;
        ensure!(
            done["byId"] == json!(self.owner.user_id()),
            "done by {done}"
        );
        before.remove("done");
        ensure!(
            now == before && read.seq == newest.seq,
            "{read:?} is read of {newest:?}"
        );
        Ok(())
    }

    /// By its assignee, in all rooms of the owner.
    async fn find(&self, there: &Client, item: ItemId) -> Result<Item> {
        let term = Term::new("to", self.guest.user_id());
        let mut page = PageQuery::default();
        loop {
            let search = async || there.find_items(KIND, Some(&term), &page).await;
            let found = retry_unavailable(search).await?;
            if let Some(todo) = found.items.into_iter().find(|found| found.id == item) {
                return Ok(todo);
            }
            page.cursor = Some(found.next.context("a todo is not found by its assignee")?);
        }
    }
}

impl Visits {
    fn all(&self) -> impl Iterator<Item = &Client> {
        self.knowing.iter().chain(&self.carrying)
    }
}

/// For comparing: bodies as what they say, whatever the order of their fields.
fn values(events: &[RoomEvent]) -> Result<Vec<Value>> {
    let values = events.iter().map(serde_json::to_value);
    Ok(values.collect::<serde_json::Result<_>>()?)
}

/// None where todos are not known.
async fn put(there: &Client, todo: &PutItem) -> Result<Option<RoomEvent>> {
    let socket = retry_unavailable(async || Socket::connect(there).await).await?;
    match retry_unavailable(async || socket.put_item(todo).await).await {
        Ok(event) => Ok(Some(event)),
        Err(error) if error.code() == Some(ErrorCode::UnsupportedKind) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
