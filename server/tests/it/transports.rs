//! One story on each transport: alice writes, bob watches, a stranger learns nothing.

use crate::support::{Via, Watch, World, message, on_each_store};
use roost_client::RoomReader;
use roost_schema::{
    DeleteMessage, EditMessage, ErrorCode, ItemId, Kind, MessageState, Op, OpId, PutItem, Role,
    RoomEvent, SendMessage,
};
use serde_json::json;

on_each_store!(
    every_transport_writes_and_shows_the_same,
    every_transport_refuses_alike,
    a_retry_on_another_transport_has_one_effect,
    a_retry_on_another_route_has_one_effect,
    a_reader_resumes_where_it_stood,
    a_revoked_session_is_over_on_every_transport,
    a_server_that_stops_finishes_what_was_begun,
);

async fn every_transport_writes_and_shows_the_same(world: World) {
    let server = world.serve().await;
    let (alice, bob) = (server.alice().await, server.bob().await);
    let board = alice.board("Plan").await;
    alice.invite(board.id, &bob, Role::Viewer).await;

    for via in Via::ALL {
        let mut watches = Vec::new();
        for watching in Via::ALL {
            watches.push(bob.watch(watching, board.id, None).await.unwrap());
        }
        let sent = alice.send(via, board.id, message("hello")).await.unwrap();
        assert_eq!(
            (sent.text.as_str(), sent.author_id),
            ("hello", alice.id()),
            "{via:?}"
        );
        // Each watcher reads before the next change, because a superseded entry is sent to no reader any more.
        for event in next_of_each(&mut watches).await {
            assert_eq!((event.seq, event.item), (sent.seq, sent.id), "{via:?}");
        }
        let edit = EditMessage {
            text: "hello there".into(),
            op_id: None,
            if_match: Some(sent.seq),
        };
        let edited = alice
            .edit(via, board.id, sent.id, edit.clone())
            .await
            .unwrap();
        assert!(
            edited.seq > sent.seq && edited.edited_at.is_some(),
            "{via:?}"
        );
        for event in next_of_each(&mut watches).await {
            assert_eq!((event.seq, event.item), (sent.seq.next(), sent.id));
            let state: MessageState = event.body.decode().unwrap();
            assert_eq!(state.text, "hello there");
        }
        let outdated = alice.edit(via, board.id, sent.id, edit).await.unwrap_err();
        assert_eq!(outdated.code(), Some(ErrorCode::Stale), "{via:?}");
        let delete = DeleteMessage::default();
        alice.delete(via, board.id, sent.id, delete).await.unwrap();
        for event in next_of_each(&mut watches).await {
            assert_eq!((event.seq, event.item), (edited.seq.next(), sent.id));
            assert_eq!((event.kind, event.op), (Kind::Message, Op::Delete));
        }
    }
}

async fn next_of_each(watches: &mut [Watch]) -> Vec<RoomEvent> {
    let mut events = Vec::new();
    for watch in watches {
        events.extend(watch.events(1).await);
    }
    events
}

async fn every_transport_refuses_alike(world: World) {
    let server = world.serve().await;
    let (alice, guest) = (server.alice().await, server.bob().await);
    let stranger = server.stranger().await;
    let board = alice.board("Plan").await;
    alice.invite(board.id, &guest, Role::Viewer).await;
    for via in Via::ALL {
        for (person, text, code) in [
            (&guest, "hello", ErrorCode::Forbidden),
            (&stranger, "hello", ErrorCode::NotFound),
            (&alice, "  ", ErrorCode::Invalid),
        ] {
            let refused = person.send(via, board.id, message(text)).await.unwrap_err();
            assert_eq!(refused.code(), Some(code), "{via:?}: {refused}");
        }
        let watched = stranger.watch(via, board.id, None).await;
        if let Ok(mut watch) = watched {
            let refused = watch.next().await.unwrap_err();
            assert_eq!(
                refused.code(),
                Some(ErrorCode::NotFound),
                "{via:?}: {refused}"
            );
        }
    }
}

async fn a_retry_on_another_transport_has_one_effect(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await;
    let op_id: OpId = "op-1".parse().unwrap();
    let input = |text: &str| SendMessage {
        op_id: Some(op_id.clone()),
        ..message(text)
    };
    let first = alice
        .send(Via::Rest, board.id, input("once"))
        .await
        .unwrap();
    for via in Via::ALL {
        let again = alice.send(via, board.id, input("once")).await.unwrap();
        assert_eq!(again, first, "{via:?}");
        let reused = alice.send(via, board.id, input("twice")).await.unwrap_err();
        assert_eq!(reused.code(), Some(ErrorCode::OpIdReused), "{via:?}");
    }
}

/// Every pair of routes: sent, edited and deleted by one and again by the other, with and without a client's item id.
async fn a_retry_on_another_route_has_one_effect(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await;
    let mut next_seq = None;
    for (first, second) in Via::ALL.map(|via| Via::ALL.map(|it| (via, it))).concat() {
        for id in [None, Some(ItemId::generate())] {
            let pair = format!("{first:?}-{second:?}-{}", id.is_some());
            let op_id = |what: &str| Some(format!("{what}-{pair}").parse::<OpId>().unwrap());
            let input = SendMessage {
                id,
                op_id: op_id("send"),
                ..message("hello")
            };
            let sent = alice.send(first, board.id, input.clone()).await.unwrap();
            // The repeated operations before this one wrote nothing.
            assert_eq!(sent.seq, next_seq.unwrap_or(sent.seq), "{pair}");
            let again = alice.send(second, board.id, input.clone()).await;
            assert_eq!(again.unwrap(), sent, "{pair}");
            let put = PutItem {
                room: board.id,
                kind: "message".into(),
                item: id,
                body: json!({ "text": "hello" }),
                op_id: input.op_id,
                if_match: None,
            };
            let put = alice.socket().await.put_item(&put).await.unwrap();
            assert_eq!((put.item, put.seq), (sent.id, sent.seq), "{pair}");

            let edit = EditMessage {
                text: "hello there".into(),
                op_id: op_id("edit"),
                if_match: Some(sent.seq),
            };
            let edited = alice.edit(first, board.id, sent.id, edit.clone()).await;
            let again = alice.edit(second, board.id, sent.id, edit).await;
            assert_eq!(again.unwrap(), edited.unwrap(), "{pair}");

            let delete = DeleteMessage {
                op_id: op_id("delete"),
                if_match: None,
            };
            for via in [first, second] {
                let deleted = alice.delete(via, board.id, sent.id, delete.clone()).await;
                assert!(deleted.is_ok(), "{pair}: {deleted:?}");
            }
            // One seq each for sent, edited and deleted.
            next_seq = Some(sent.seq.next().next().next());
        }
    }
}

async fn a_reader_resumes_where_it_stood(world: World) {
    let mut program = world.start_program(&[]).await;
    let alice = crate::support::Person::register(&program.endpoint, "alice").await;
    let board = alice.board("Plan").await;
    let mut reader = RoomReader::new(alice.client().clone(), board.id);
    reader.next().await.unwrap().expect("the room's state");

    let mut read_texts = Vec::new();
    for round in 0..3 {
        let text = format!("round {round}");
        let sent = alice
            .send(Via::Rest, board.id, message(&text))
            .await
            .unwrap();
        match round {
            0 => reader.cut(),
            1 => {
                program.kill();
                program.start_again().await;
            }
            _ => {}
        }
        while !reader.state().unwrap().items().contains_key(&sent.id) {
            let news = crate::support::in_time(reader.next()).await.unwrap();
            for event in news.expect("still a member") {
                let state: MessageState = event.body.decode().unwrap();
                read_texts.push(state.text);
            }
        }
    }
    assert_eq!(read_texts, ["round 0", "round 1", "round 2"]);
    assert_eq!(reader.resets(), 0);
    assert!(reader.reconnects() >= 1, "it noticed the kill");
}

async fn a_revoked_session_is_over_on_every_transport(world: World) {
    let server = world.serve().await;
    let phone = server.alice().await;
    let board = phone.board("Plan").await;
    for via in Via::ALL {
        let laptop = phone.sign_in().await;
        let mut lost = laptop.watch(via, board.id, None).await.unwrap();
        let mut kept = phone.watch(via, board.id, None).await.unwrap();
        let session = laptop.signed_in().session.id;
        phone.revoke_session(session).await.unwrap();

        // The stream ends after the frames that were on their way.
        while lost.next().await.is_ok() {}
        let refused = laptop.send(Via::Rest, board.id, message("me")).await;
        assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::SessionRevoked));
        let sent = phone
            .send(via, board.id, message("still here"))
            .await
            .unwrap();
        assert_eq!(kept.events(1).await[0].item, sent.id, "{via:?}");
    }
}

async fn a_server_that_stops_finishes_what_was_begun(world: World) {
    let server = world.serve().await;
    let alice = server.alice().await;
    let board = alice.board("Plan").await;
    let mut watches = Vec::new();
    for via in Via::ALL {
        watches.push(alice.watch(via, board.id, None).await.unwrap());
        alice.send(via, board.id, message("before")).await.unwrap();
    }
    for watch in &mut watches {
        watch.events(1).await;
    }
    server.stop().await;
    for watch in &mut watches {
        while watch.next().await.is_ok() {}
    }
    let server = world.serve().await;
    let alice = alice.at(&server.endpoint);
    let page = alice.list_events(board.id, None).await.unwrap();
    assert_eq!(
        page.events
            .iter()
            .filter(|event| event.kind == Kind::Message)
            .count(),
        3
    );
}
