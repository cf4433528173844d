//! The feed at its edges: a floor above the reader, and a reader who was removed before the feed began.

use crate::support::{Rooms, unconditional};
use chrono::{TimeDelta, Utc};
use roost_schema::{Body, ItemId, Kind, MemberState, Op, Position, Role, RoomId, Seq, UserId};
use roost_server::{
    live::{Change, Live},
    store::journal::{Journal, Terms, Trim},
};
use std::{collections::BTreeSet, sync::Arc};

/// A text so long that a frame has room for one item.
const LONG_TEXT_BYTES: usize = 200 * 1_024;
/// Many more pages than the room needs.
const PAGES_MAX: usize = 20;

struct World {
    rooms: Rooms,
    live: Arc<Live>,
    room: RoomId,
    reader: UserId,
}

impl World {
    /// A room with one member.
    async fn new() -> Self {
        let rooms = Rooms::new().await;
        let world = Self {
            live: rooms.instance(),
            rooms,
            room: RoomId::generate(),
            reader: UserId::generate(),
        };
        world.write_membership(Op::Put).await;
        world
    }

    async fn write_membership(&self, op: Op) {
        let state = MemberState {
            room_id: self.room,
            user_id: self.reader,
            role: Role::Viewer,
        };
        let body = match op {
            Op::Put => Body::encode(&state).unwrap(),
            Op::Delete | Op::Other(_) => Body::null(),
        };
        let item = ItemId::of_member(self.reader);
        self.write(item, Kind::Member, op, body).await;
    }

    async fn put(&self, text: &str) -> ItemId {
        let item = ItemId::generate();
        let body = Body::encode(&text).unwrap();
        self.write(item, Kind::Message, Op::Put, body).await;
        item
    }

    async fn write(&self, item: ItemId, kind: Kind, op: Op, body: Body) {
        let change = Change {
            item,
            kind,
            op,
            body,
            terms: Terms::default(),
        };
        let write = unconditional(self.reader, change);
        self.live.room(self.room).write(write).await.unwrap();
    }

    /// Serves the same journal by an instance with an empty memory.
    fn restart(&mut self) {
        self.live = self.rooms.instance();
    }
}

#[tokio::test]
async fn a_load_in_pages_from_below_the_floor_ends() {
    let mut world = World::new().await;
    let mut living = BTreeSet::from([ItemId::of_member(world.reader)]);
    let long = "x".repeat(LONG_TEXT_BYTES);
    for _ in 0..3 {
        living.insert(world.put(&long).await);
    }
    let gone = world.put("soon gone").await;
    let early = world.live.room(world.room).position().await.unwrap();
    world
        .write(gone, Kind::Message, Op::Delete, Body::null())
        .await;
    living.insert(world.put("after it").await);
    let soon = Utc::now() + TimeDelta::hours(1);
    let bounds = Trim {
        superseded_before: soon,
        tombstones_before: soon,
    };
    assert!(world.rooms.journal.trim(bounds).await.unwrap() > 0);
    world.restart();

    // Each page is read by its own feed, as REST reads them.
    let (mut after, mut held, mut resets) = (early, BTreeSet::from([gone]), 0);
    for page in 0.. {
        assert!(page < PAGES_MAX, "the load does not end: at {after}");
        let room = world.live.room(world.room);
        let mut feed = room.watch(world.reader, Some(after)).await.unwrap();
        let frame = feed.page().await.unwrap().unwrap();
        if frame.reset {
            resets += 1;
            held.clear();
        }
        held.extend(frame.events.iter().map(|event| event.item));
        after = frame.position.to_string().parse().unwrap();
        if frame.live {
            break;
        }
    }
    assert_eq!((resets, held), (1, living));
    assert_eq!(after.floor, Seq::ZERO);
}

/// The right to join is checked before the position, and a removal may come between the two.
#[tokio::test]
async fn who_was_removed_before_the_feed_began_gets_nothing() {
    let world = World::new().await;
    world.write_membership(Op::Delete).await;
    let room = world.live.room(world.room);
    let mut from_now_on = room.clone().watch(world.reader, None).await.unwrap();
    world.put("not for the reader").await;
    assert!(from_now_on.next().await.unwrap().is_none());

    let stranger = UserId::generate();
    let mut never_in = room.clone().watch(stranger, None).await.unwrap();
    assert!(never_in.next().await.unwrap().is_none());

    // A removed reader may still resume up to the removal, and no further.
    let head = room.position().await.unwrap();
    let early = Position::new(head.epoch, Seq(1));
    let mut from_early = room.watch(world.reader, Some(early)).await.unwrap();
    let frame = from_early.next().await.unwrap().unwrap();
    assert_eq!(frame.events.len(), 1);
    assert_eq!(frame.events[0].op, Op::Delete);
    assert!(from_early.next().await.unwrap().is_none());
}

/// A removal ends no feed of a reader who was invited again after it.
#[tokio::test]
async fn who_was_invited_again_goes_on_over_the_removal() {
    let world = World::new().await;
    let room = world.live.room(world.room);
    let early = room.position().await.unwrap();
    world.write_membership(Op::Delete).await;
    world.put("while away").await;
    world.write_membership(Op::Put).await;
    let last = world.put("back again").await;

    let mut feed = room.watch(world.reader, Some(early)).await.unwrap();
    let frame = feed.next().await.unwrap().unwrap();
    assert_eq!(frame.events.last().unwrap().item, last);
    assert!(frame.live);
    let next = world.put("and on").await;
    let frame = feed.next().await.unwrap().unwrap();
    assert_eq!(frame.events[0].item, next);
}
