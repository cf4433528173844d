//! Items of any kind over REST: made, changed, deleted and brought back one by one, and what is refused.

use super::{answered, header};
use crate::support::{Person, World, on_each_store};
use reqwest::Method;
use roost_client::Result;
use roost_schema::{
    DeleteItem, ErrorCode, Item, ItemId, PatchItem, PutItem, RestoreItem, Role, RoomId, Seq,
};
use serde_json::{Value, json};

on_each_store!(
    an_item_is_made_changed_deleted_and_brought_back,
    a_change_is_refused_with_its_reason_and_changes_nothing,
);

/// The field by which a kind's items are told apart here.
const KINDS: [(&str, &str); 2] = [("message", "text"), ("todo", "title")];

/// Writes of one item.
#[derive(Clone, Copy)]
struct Writes<'a> {
    person: &'a Person,
    room: RoomId,
    kind: (&'static str, &'static str),
}

impl Writes<'_> {
    fn body(&self, text: &str) -> Value {
        json!({ self.kind.1: text })
    }

    async fn put(&self, item: ItemId, text: &str, if_match: Option<Seq>) -> Result<Item> {
        let input = PutItem {
            room: self.room,
            kind: self.kind.0.into(),
            item: Some(item),
            body: self.body(text),
            op_id: None,
            if_match,
        };
        self.person.put_item(&input).await
    }

    async fn patch(&self, item: ItemId, text: &str, if_match: Option<Seq>) -> Result<Item> {
        let input = PatchItem {
            room: self.room,
            kind: self.kind.0.into(),
            item,
            body: self.body(text),
            op_id: None,
            if_match,
        };
        self.person.patch_item(&input).await
    }

    async fn delete(&self, item: ItemId, if_match: Option<Seq>) -> Result<()> {
        let input = DeleteItem {
            room: self.room,
            item,
            op_id: None,
            if_match,
        };
        self.person.delete_item(&input).await
    }

    /// Brings back the item as it was held.
    async fn restore(&self, item: ItemId, held: &Item) -> Result<Item> {
        let input = RestoreItem {
            room: self.room,
            kind: self.kind.0.into(),
            item,
            body: held.body.decode().unwrap(),
            op_id: None,
        };
        self.person.restore_item(&input).await
    }

    /// Tries each change of an item that is there, or of one that is not; answers the codes of put, patch and delete.
    async fn refused(&self, item: ItemId, if_match: Option<Seq>) -> [Option<ErrorCode>; 3] {
        [
            self.put(item, "refused", if_match)
                .await
                .unwrap_err()
                .code(),
            self.patch(item, "refused", if_match)
                .await
                .unwrap_err()
                .code(),
            self.delete(item, if_match).await.unwrap_err().code(),
        ]
    }

    fn text(&self, item: &Item) -> String {
        let state: Value = item.body.decode().unwrap();
        state[self.kind.1].as_str().unwrap().to_owned()
    }
}

async fn an_item_is_made_changed_deleted_and_brought_back(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let room = alice.board("Plan").await.id;
    for kind in KINDS {
        let person = &alice;
        let writes = Writes { person, room, kind };
        let id = ItemId::generate();
        let made = writes.put(id, "one", None).await.unwrap();
        assert_eq!((made.id, made.kind.as_str()), (id, kind.0));
        assert_eq!((made.born, writes.text(&made)), (made.seq, "one".into()));
        let put = writes.put(id, "two", Some(made.seq)).await.unwrap();
        assert_eq!((put.born, writes.text(&put)), (made.born, "two".into()));
        let patched = writes.patch(id, "three", Some(put.seq)).await.unwrap();
        assert_eq!((patched.born, patched.seq), (made.born, put.seq.next()));
        assert_eq!(alice.read_item(room, id).await.unwrap(), patched);

        writes.delete(id, Some(patched.seq)).await.unwrap();
        let gone = alice.read_item(room, id).await.unwrap_err();
        assert_eq!(gone.code(), Some(ErrorCode::NotFound));
        let back = writes.restore(id, &patched).await.unwrap();
        assert_eq!((back.born, writes.text(&back)), (made.born, "three".into()));
        assert_eq!(alice.read_item(room, id).await.unwrap(), back);

        // The version is in the header, too, and can be given back as it came.
        let path = format!("/api/v1/rooms/{room}/items/{id}");
        let mut version = format!("\"{}\"", back.seq);
        for method in [Method::PUT, Method::PATCH] {
            let body = json!({ "kind": kind.0, "body": writes.body("four") });
            let request = alice.ask(method, &path).await.json(&body);
            let answer = answered(request.header("if-match", &version), 200).await;
            version = header(&answer, "etag").to_owned();
            let item: Item = answer.json().await.unwrap();
            assert_eq!(version, format!("\"{}\"", item.seq));
        }
    }
}

async fn a_change_is_refused_with_its_reason_and_changes_nothing(world: World) {
    use ErrorCode::{Conflict, Forbidden, NotFound, Stale};
    let server = world.serve().await;
    let (alice, guest) = (server.alice().await, server.bob().await);
    let stranger = server.stranger().await;
    let room = alice.board("Plan").await.id;
    alice.invite(room, &guest, Role::Viewer).await;
    for kind in KINDS {
        let of = |person| Writes { person, room, kind };
        let writes = of(&alice);
        let (id, missing) = (ItemId::generate(), ItemId::generate());
        let outdated = writes.put(id, "one", None).await.unwrap();
        let held = writes.patch(id, "two", None).await.unwrap();
        let deleted = ItemId::generate();
        writes.put(deleted, "deleted", None).await.unwrap();
        writes.delete(deleted, None).await.unwrap();
        let before = alice.list_events(room, None).await.unwrap();

        let stale = writes.refused(id, Some(outdated.seq)).await;
        assert_eq!(stale, [Some(Stale); 3], "{kind:?}");
        let of_missing = writes.refused(missing, Some(outdated.seq)).await;
        let expected = [Some(Stale), Some(NotFound), Some(NotFound)];
        assert_eq!(of_missing, expected, "{kind:?}");
        // A deleted item's id is not free: it is brought back, or never used again.
        let of_deleted = writes.refused(deleted, None).await;
        let expected = [Some(Conflict), Some(NotFound), Some(NotFound)];
        assert_eq!(of_deleted, expected, "{kind:?}");
        for (item, code) in [(missing, NotFound), (id, Conflict)] {
            let refused = writes.restore(item, &held).await.unwrap_err();
            assert_eq!(refused.code(), Some(code), "{kind:?}");
        }
        for (person, code) in [(&guest, Forbidden), (&stranger, NotFound)] {
            let refused = of(person).refused(id, None).await;
            assert_eq!(refused, [Some(code); 3], "{kind:?}");
            let refused = of(person).restore(deleted, &held).await.unwrap_err();
            assert_eq!(refused.code(), Some(code), "{kind:?}");
        }
        let after = alice.list_events(room, None).await.unwrap();
        assert_eq!(after, before, "{kind:?}");
    }
}
