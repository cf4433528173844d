//! Batches of changes: done in order, each part by itself, and once however often they are sent.

use crate::support::{Person, Via, World, on_each_store};
use roost_schema::{
    BatchItems, BatchOutcome, ErrorCode, Failure, ItemId, ItemOp, OpId, PutItem, Role, RoomId,
};
use serde_json::{Value, json};

on_each_store!(
    a_batch_is_done_in_order_and_each_part_by_itself,
    a_batch_that_is_repeated_on_another_transport_has_one_effect,
);

impl Person {
    pub(super) async fn batch(
        &self,
        via: Via,
        input: &BatchItems,
    ) -> roost_client::Result<BatchOutcome> {
        match via {
            Via::Rest => self.change_items(input).await,
            Via::SocketIo => self.socket().await.change_items(input).await,
            Via::GraphQl => self.batch_by_graphql(input).await,
        }
    }

    async fn batch_by_graphql(&self, input: &BatchItems) -> roost_client::Result<BatchOutcome> {
        let query = "mutation($room: RoomId!, $opId: OpId, $ops: [ItemInput!]!) {
            putItems(room: $room, opId: $opId, ops: $ops) {
                item seq error { code message retryAfterMs }
            }
        }";
        let ops: Vec<_> = input.ops.iter().map(as_graphql).collect();
        let variables = json!({ "room": input.room, "opId": input.op_id, "ops": ops });
        let data: Value = self.query(query, variables).await?;
        let outcomes = data["putItems"].as_array().unwrap().iter();
        // GraphQL answers null for fields that the other routes leave out.
        let outcome = |outcome: &Value| serde_json::from_value(outcome.clone()).unwrap();
        Ok(BatchOutcome {
            outcomes: outcomes.map(outcome).collect(),
        })
    }
}

fn as_graphql(op: &ItemOp) -> Value {
    match op {
        ItemOp::Put {
            kind,
            item,
            body,
            if_match,
        } => json!({ "put": { "item": item, "body": { kind: body }, "ifMatch": if_match } }),
        ItemOp::Patch {
            kind,
            item,
            body,
            if_match,
        } => json!({ "patch": { "item": item, "body": { kind: body }, "ifMatch": if_match } }),
        ItemOp::Delete { item, if_match } => {
            json!({ "delete": { "item": item, "ifMatch": if_match } })
        }
        ItemOp::Restore { kind, item, body } => {
            json!({ "restore": { "kind": kind, "item": item, "body": body } })
        }
    }
}

pub(super) fn put(item: ItemId, text: &str) -> ItemOp {
    ItemOp::Put {
        kind: "message".into(),
        item: Some(item),
        body: json!({ "text": text }),
        if_match: None,
    }
}

fn patch(item: ItemId, text: &str) -> ItemOp {
    ItemOp::Patch {
        kind: "message".into(),
        item,
        body: json!({ "text": text }),
        if_match: None,
    }
}

const fn delete(item: ItemId) -> ItemOp {
    ItemOp::Delete {
        item,
        if_match: None,
    }
}

pub(super) fn batch(room: RoomId, op_id: Option<&str>, ops: Vec<ItemOp>) -> BatchItems {
    BatchItems {
        room,
        op_id: op_id.map(|op_id| op_id.parse().unwrap()),
        ops,
    }
}

fn codes(outcome: &BatchOutcome) -> Vec<Option<ErrorCode>> {
    let code = |error: &Failure| error.code;
    let outcomes = outcome.outcomes.iter();
    outcomes
        .map(|outcome| {
            assert_ne!(outcome.seq.is_some(), outcome.error.is_some());
            assert_eq!(outcome.seq.is_some(), outcome.item.is_some());
            outcome.error.as_ref().map(code)
        })
        .collect()
}

async fn a_batch_is_done_in_order_and_each_part_by_itself(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let board = alice.board("Plan").await.id;
    alice.invite(board, &bob, Role::Viewer).await;
    let stranger = server.stranger().await;
    for via in Via::ALL {
        let mut watch = bob.watch(Via::SocketIo, board, None).await.unwrap();
        let (kept, gone, never) = (ItemId::generate(), ItemId::generate(), ItemId::generate());
        let mut ops = vec![
            put(kept, "one"),
            put(gone, "two"),
            patch(never, "to nothing"),
            patch(kept, "one, changed"),
            put(kept, ""),
            delete(gone),
            put(gone, "again"),
        ];
        let mut refused = vec![
            None,
            None,
            Some(ErrorCode::NotFound),
            None,
            Some(ErrorCode::Invalid),
            None,
            Some(ErrorCode::Conflict),
        ];
        // GraphQL's schema has no field for an unknown kind.
        if via != Via::GraphQl {
            ops.push(ItemOp::Put {
                kind: "sculpture".into(),
                item: None,
                body: json!({}),
                if_match: None,
            });
            refused.push(Some(ErrorCode::UnsupportedKind));
        }
        let done = alice.batch(via, &batch(board, None, ops)).await.unwrap();
        assert_eq!(codes(&done), refused, "{via:?}");
        let seqs = done.outcomes.iter().filter_map(|it| it.seq);
        let seqs: Vec<_> = seqs.map(|seq| seq.0).collect();
        let first = seqs[0];
        assert_eq!(seqs, (first..first + 4).collect::<Vec<_>>(), "{via:?}");
        let seen = watch.events(2).await;
        assert_eq!(seen.last().unwrap().seq.0, first + 3, "{via:?}");
        let item = alice.read_item(board, kept).await.unwrap();
        assert_eq!(item.seq.0, first + 2);
        let body: Value = item.body.decode().unwrap();
        assert_eq!(body["text"], "one, changed");

        for (person, code) in [
            (&bob, ErrorCode::Forbidden),
            (&stranger, ErrorCode::NotFound),
        ] {
            let input = batch(board, None, vec![put(never, "x"), delete(kept)]);
            let refused = person.batch(via, &input).await.unwrap();
            assert_eq!(codes(&refused), [Some(code); 2], "{via:?}");
        }
        for (op_id, count) in [(None, 0), (None, 201), (Some("x".repeat(61)), 2)] {
            let ops = vec![delete(never); count];
            let input = batch(board, op_id.as_deref(), ops);
            let refused = alice.batch(via, &input).await.unwrap_err();
            assert_eq!(refused.code(), Some(ErrorCode::Invalid), "{via:?}");
        }
    }
}

async fn a_batch_that_is_repeated_on_another_transport_has_one_effect(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await.id;
    for via in Via::ALL {
        let item = ItemId::generate();
        let mut ops: Vec<_> = (0..30)
            .map(|n| put(ItemId::generate(), &n.to_string()))
            .collect();
        ops.extend([put(item, "one"), patch(item, "two"), delete(item)]);
        let op_id = format!("batch-{via:?}");
        let input = batch(board, Some(&op_id), ops);
        let first = alice.batch(via, &input).await.unwrap();
        assert_eq!(codes(&first), vec![None; 33], "{via:?}");
        let before = alice.list_events(board, None).await.unwrap().position;
        for again in Via::ALL {
            let repeated = alice.batch(again, &input).await.unwrap();
            assert_eq!(shown(&repeated), shown(&first), "{again:?}");
        }
        // Each part of a batch has an operation id of its own, and can be repeated alone.
        let ItemOp::Put {
            kind, item, body, ..
        } = input.ops[7].clone()
        else {
            panic!("the eighth puts an item");
        };
        let part = PutItem {
            room: board,
            kind,
            item,
            body,
            op_id: Some(format!("{op_id}:7").parse::<OpId>().unwrap()),
            if_match: None,
        };
        let part = alice.socket().await.put_item(&part).await.unwrap();
        let of_batch = &first.outcomes[7];
        assert_eq!(
            (Some(part.seq), Some(part.item)),
            (of_batch.seq, of_batch.item)
        );
        let after = alice.list_events(board, None).await.unwrap().position;
        assert_eq!(after, before, "{via:?}");
    }
}

/// The outcome as JSON, so that the order of fields does not matter.
fn shown(outcome: &BatchOutcome) -> Value {
    serde_json::to_value(outcome).unwrap()
}
