//! Rooms: boards and conversations, their title and archive, and how their changes reach the journal.

use crate::support::{
    World, archived, board_input, code, conversation, eventually, invitation, journal, new_board,
    on_each_database, op, title, trio,
};
use roost_schema::{
    ChangeRoom, CreateBoard, ErrorCode, Kind, PageQuery, Register, Role, Room, RoomId, RoomState,
    RoomType, Secret, UserId,
};
use roost_server::{
    app::{Actor, Api, App, Origin},
    store::{ActingMember, ROOMS_PER_PERSON_MAX, Removal, RoomEdit, RoomError},
};

on_each_database!(
    a_board_is_its_makers_and_its_journal_begins_with_both,
    a_group_has_a_title_and_makes_the_others_editors,
    two_people_always_get_the_same_direct_conversation,
    a_direct_conversation_stays_as_it_is,
    each_role_changes_what_it_may,
    an_archived_room_takes_no_other_title,
    a_repeated_operation_has_one_effect,
    rooms_are_listed_newest_first_in_pages,
    a_person_is_in_so_many_rooms_at_most,
    a_role_that_changed_meanwhile_is_a_conflict,
    a_persons_own_room_is_theirs_alone_and_stays_as_it_is,
    many_rooms_at_once_do_not_starve_each_other,
);

async fn a_board_is_its_makers_and_its_journal_begins_with_both(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;

    let board = new_board(&here.app, &alice, " Plan ").await;
    assert_eq!(board.title.as_deref(), Some("Plan"));
    assert_eq!(
        (board.room_type, board.role),
        (RoomType::Board, Role::Owner)
    );
    assert_eq!(board.created_by, alice.user_id);
    assert_eq!(here.app.read_room(&alice, board.id).await.unwrap(), board);

    let entries = journal(&here.store, board.id).await;
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.kind.clone()).collect();
    assert_eq!(kinds, [Kind::Room, Kind::Member]);
    let state: RoomState = entries[0].body.decode().unwrap();
    assert_eq!(state.title.as_deref(), Some("Plan"));
    assert!(here.store.outbox.is_empty(board.id).await.unwrap());

    let stranger = world.person("stranger").await;
    let refused = here.app.read_room(&stranger, board.id).await;
    assert_eq!(code(refused), ErrorCode::NotFound);
    for title in ["", "  ", &"x".repeat(201), "a\nb"] {
        let refused = here.app.create_board(&alice, board_input(title)).await;
        assert_eq!(code(refused), ErrorCode::Invalid, "{title:?}");
    }
}

async fn a_group_has_a_title_and_makes_the_others_editors(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let open = |user_ids: Vec<UserId>, title: Option<&str>| {
        here.app
            .open_conversation(&alice, conversation(user_ids, title))
    };

    let group = open(vec![bob.user_id, carol.user_id], Some("Trip"))
        .await
        .unwrap();
    assert_eq!(
        (group.room_type, group.role),
        (RoomType::Group, Role::Owner)
    );
    let seen = here.app.read_room(&carol, group.id).await.unwrap();
    assert_eq!(seen.role, Role::Editor);
    assert_eq!(journal(&here.store, group.id).await.len(), 4);

    let small = open(vec![bob.user_id], Some("Two")).await.unwrap();
    assert_eq!(small.room_type, RoomType::Group);

    let nobody = UserId::generate();
    let crowd: Vec<UserId> = (0..101).map(|_| UserId::generate()).collect();
    let refused = [
        (vec![], Some("Trip"), ErrorCode::Invalid),
        (vec![bob.user_id, carol.user_id], None, ErrorCode::Invalid),
        (
            vec![bob.user_id, bob.user_id],
            Some("Trip"),
            ErrorCode::Invalid,
        ),
        (vec![alice.user_id], None, ErrorCode::Invalid),
        (crowd, Some("Trip"), ErrorCode::Invalid),
        (vec![nobody], None, ErrorCode::NotFound),
        (vec![bob.user_id, nobody], Some("Trip"), ErrorCode::NotFound),
    ];
    for (user_ids, title, expected) in refused {
        assert_eq!(code(open(user_ids, title).await), expected, "{title:?}");
    }
    assert_eq!(rooms_of(&here.app, &alice).await.len(), 2);
}

async fn two_people_always_get_the_same_direct_conversation(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let open = |from: Actor, to: Actor| {
        let app = here.app.clone();
        async move {
            let input = conversation(vec![to.user_id], None);
            app.open_conversation(&from, input).await.unwrap()
        }
    };

    // Both people open the conversation several times at the same moment.
    let opened = futures::future::join_all((0..8).map(|n| match n % 2 {
        0 => futures::future::Either::Left(open(alice, bob)),
        _ => futures::future::Either::Right(open(bob, alice)),
    }))
    .await;
    let first = &opened[0];
    assert_eq!(
        (first.room_type, first.role),
        (RoomType::Direct, Role::Editor)
    );
    assert_eq!(first.title, None);
    assert!(opened.iter().all(|room| room.id == first.id), "{opened:?}");
    assert_eq!(open(bob, alice).await.id, first.id);
    assert_eq!(journal(&here.store, first.id).await.len(), 3);
    assert_eq!(rooms_of(&here.app, &bob).await.len(), 1);

    let other = open(alice, carol).await;
    assert_ne!(other.id, first.id);
    assert_eq!(
        code(here.app.read_room(&carol, first.id).await),
        ErrorCode::NotFound
    );
}

async fn a_direct_conversation_stays_as_it_is(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let input = conversation(vec![bob.user_id], None);
    let room = here.app.open_conversation(&alice, input).await.unwrap().id;

    let invite = invitation(carol.user_id, Role::Viewer);
    let invited = here.app.invite_member(&alice, room, invite).await;
    assert_eq!(code(invited), ErrorCode::Conflict);
    for member in [alice.user_id, bob.user_id] {
        let removed = here.app.remove_member(&alice, room, member, None).await;
        assert_eq!(code(removed), ErrorCode::Conflict);
        let role = roost_schema::ChangeRole {
            role: Role::Viewer,
            op_id: None,
        };
        let changed = here.app.change_role(&alice, room, member, role).await;
        assert_eq!(code(changed), ErrorCode::Conflict);
    }
    for change in [title("Us"), archived(true)] {
        let changed = here.app.change_room(&alice, room, change.clone()).await;
        assert_eq!(code(changed), ErrorCode::Conflict);
        // For other people the room does not exist.
        let changed = here.app.change_room(&carol, room, change).await;
        assert_eq!(code(changed), ErrorCode::NotFound);
    }
    assert_eq!(journal(&here.store, room).await.len(), 3);
}

async fn each_role_changes_what_it_may(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    for (person, role) in [(&bob, Role::Editor), (&carol, Role::Commenter)] {
        let input = invitation(person.user_id, role);
        here.app.invite_member(&alice, room, input).await.unwrap();
    }
    let change = |actor: Actor, input: ChangeRoom| {
        let app = here.app.clone();
        async move { app.change_room(&actor, room, input).await }
    };

    let renamed = change(bob, title("Plan B")).await.unwrap();
    assert_eq!(renamed.title.as_deref(), Some("Plan B"));
    assert_eq!(renamed.role, Role::Editor);
    assert_eq!(
        code(change(bob, archived(true)).await),
        ErrorCode::Forbidden
    );
    assert_eq!(code(change(carol, title("X")).await), ErrorCode::Forbidden);
    assert_eq!(code(change(alice, title("")).await), ErrorCode::Invalid);
    let stranger = world.person("stranger").await;
    assert_eq!(
        code(change(stranger, title("X")).await),
        ErrorCode::NotFound
    );

    let head = journal(&here.store, room).await.len();
    let same = change(carol, ChangeRoom::default()).await.unwrap();
    assert_eq!(same.title.as_deref(), Some("Plan B"));
    change(alice, title("Plan B")).await.unwrap();
    assert_eq!(journal(&here.store, room).await.len(), head);
}

async fn an_archived_room_takes_no_other_title(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let change = |input| here.app.change_room(&alice, room, input);

    assert!(change(archived(true)).await.unwrap().archived);
    assert_eq!(code(change(title("New")).await), ErrorCode::Archived);
    let both = ChangeRoom {
        archived: Some(false),
        ..title("New")
    };
    let back = change(both).await.unwrap();
    assert_eq!((back.archived, back.title.as_deref()), (false, Some("New")));
    let newest = journal(&here.store, room).await.pop().unwrap();
    let state: RoomState = newest.body.decode().unwrap();
    assert_eq!(
        (state.archived, state.title.as_deref()),
        (false, Some("New"))
    );
}

async fn a_repeated_operation_has_one_effect(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let create = |title: &str, op_id: &str| {
        let input = CreateBoard {
            op_id: Some(op(op_id)),
            ..board_input(title)
        };
        here.app.create_board(&alice, input)
    };

    let first = create("Plan", "op-1").await.unwrap();
    assert_eq!(create("Plan", "op-1").await.unwrap(), first);
    assert_eq!(code(create("Other", "op-1").await), ErrorCode::OpIdReused);
    // All requests at once, as an impatient client sends them.
    let at_once = (0..6).map(|_| create("At once", "op-2"));
    let at_once = futures::future::join_all(at_once).await;
    let made: Vec<RoomId> = at_once.into_iter().map(|room| room.unwrap().id).collect();
    assert!(made.iter().all(|room| *room == made[0]), "{made:?}");
    assert_eq!(rooms_of(&here.app, &alice).await.len(), 2);

    let rename = |to: &str| {
        let input = ChangeRoom {
            op_id: Some(op("op-3")),
            ..title(to)
        };
        here.app.change_room(&alice, first.id, input)
    };
    rename("B").await.unwrap();
    let again = here.app.change_room(&alice, first.id, title("C")).await;
    assert_eq!(again.unwrap().title.as_deref(), Some("C"));
    assert_eq!(rename("B").await.unwrap().title.as_deref(), Some("B"));
    let now = here.app.read_room(&alice, first.id).await.unwrap();
    assert_eq!(now.title.as_deref(), Some("C"));
    assert_eq!(code(rename("D").await), ErrorCode::OpIdReused);
}

async fn rooms_are_listed_newest_first_in_pages(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(new_board(&here.app, &alice, &format!("Board {n}")).await.id);
    }
    let input = conversation(vec![bob.user_id], None);
    made.push(here.app.open_conversation(&alice, input).await.unwrap().id);
    made.reverse();
    let list = |types: &'static [RoomType], limit: Option<u32>, cursor: Option<String>| {
        here.app
            .list_rooms(&alice, types, PageQuery { limit, cursor })
    };

    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = list(&[], Some(2), cursor).await.unwrap();
        assert!(page.items.len() <= 2);
        seen.extend(page.items.iter().map(|room| room.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, made);
    let boards = list(&[RoomType::Board], Some(5), None).await.unwrap();
    assert_eq!((boards.items.len(), boards.next), (5, None));
    let personal = list(&[RoomType::Personal], None, None).await.unwrap();
    assert!(personal.items.is_empty());

    for limit in [0, 101, u32::MAX] {
        let refused = list(&[], Some(limit), None).await;
        assert_eq!(code(refused), ErrorCode::Invalid, "{limit}");
    }
    for cursor in ["", "x", "!!!", "AAAA", &"A".repeat(23)] {
        let refused = list(&[], None, Some(cursor.into())).await;
        assert_eq!(code(refused), ErrorCode::Invalid, "{cursor}");
    }
}

async fn a_person_is_in_so_many_rooms_at_most(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let board = new_board(&here.app, &bob, "Bob's").await.id;
    let numbers = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})",
        ROOMS_PER_PERSON_MAX - 1
    );
    let id = match world.sql.backend() {
        sea_orm::DbBackend::Sqlite => "CAST(printf('%016d', i) AS blob)",
        _ => "lpad(i::text, 32, '0')::uuid",
    };
    let rooms = format!(
        "INSERT INTO rooms (id, type, title, archived, created_by, created_us)
         {numbers} SELECT {id}, 'board', 'Filler', FALSE, $1, 0 FROM n"
    );
    let user = alice.user_id.as_uuid();
    world.execute(&rooms, vec![user.into()]).await;
    let members = "INSERT INTO members (room_id, user_id, role, joined_us)
         SELECT id, $1, 'owner', 0 FROM rooms WHERE title = 'Filler'";
    world.execute(members, vec![user.into()]).await;

    new_board(&here.app, &alice, "The last").await;
    let refused = here.app.create_board(&alice, board_input("Too many")).await;
    assert_eq!(code(refused), ErrorCode::LimitReached);
    let input = conversation(vec![alice.user_id], None);
    let refused = here.app.open_conversation(&bob, input).await;
    assert_eq!(code(refused), ErrorCode::LimitReached);
    let input = invitation(alice.user_id, Role::Viewer);
    let refused = here.app.invite_member(&bob, board, input).await;
    assert_eq!(code(refused), ErrorCode::LimitReached);
    assert_eq!(rooms_of(&here.app, &bob).await.len(), 1);
}

async fn a_role_that_changed_meanwhile_is_a_conflict(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let input = invitation(bob.user_id, Role::Viewer);
    here.app.invite_member(&alice, room, input).await.unwrap();

    // The request of an instance that has not received the change yet.
    let edit = RoomEdit {
        title: None,
        archived: Some(true),
    };
    let stale = ActingMember::vouch_for(room, bob.user_id, Role::Owner, edit);
    let rooms = &here.store.rooms;
    let refused = rooms.change(stale, None).await;
    assert!(matches!(refused, Err(RoomError::RoleChanged)));
    let members = &here.store.members;
    let member = alice.user_id;
    let stale = ActingMember::vouch_for(room, bob.user_id, Role::Owner, Removal { member });
    let refused = members.remove(stale, None).await;
    assert!(matches!(refused, Err(RoomError::RoleChanged)));
    let error: roost_server::app::Error = RoomError::RoleChanged.into();
    assert_eq!(error.code(), ErrorCode::Conflict);
    assert_eq!(journal(&here.store, room).await.len(), 3);
}

async fn a_persons_own_room_is_theirs_alone_and_stays_as_it_is(world: World) {
    let here = world.instance().await;
    let bob = world.person("bob").await;
    let origin = Origin {
        address: [127, 0, 0, 1].into(),
        user_agent: None,
    };
    let input = Register {
        email: "alice@example.com".into(),
        password: Secret::new("correct horse"),
        name: "Alice".into(),
        op_id: None,
    };
    let signed_in = here.app.register(&origin, input).await.unwrap();
    let token = signed_in.access_token.expose();
    let alice = here.app.authenticate(token, Api::Rest).unwrap();
    let own = signed_in.user.room_id;

    assert_eq!(own, RoomId::of_user(alice.user_id));
    let room = here.app.read_room(&alice, own).await.unwrap();
    assert_eq!(
        (room.room_type, room.role),
        (RoomType::Personal, Role::Viewer)
    );
    let entries = journal(&here.store, own).await;
    let kinds: Vec<Kind> = entries.iter().map(|entry| entry.kind.clone()).collect();
    assert_eq!(kinds, [Kind::Room, Kind::Member, Kind::Session]);

    assert_eq!(
        code(here.app.read_room(&bob, own).await),
        ErrorCode::NotFound
    );
    let refused = here.app.change_room(&alice, own, title("Mine")).await;
    assert_eq!(code(refused), ErrorCode::Conflict);
    let input = invitation(bob.user_id, Role::Viewer);
    let refused = here.app.invite_member(&alice, own, input).await;
    assert_eq!(code(refused), ErrorCode::Conflict);
    let refused = here.app.remove_member(&alice, own, alice.user_id, None);
    assert_eq!(code(refused.await), ErrorCode::Conflict);
    assert!(rooms_of(&here.app, &alice).await.is_empty());
}

/// More rooms than connections to `PostgreSQL`: relays must leave some for the journal. A refused client retries with
/// the same operation id.
async fn many_rooms_at_once_do_not_starve_each_other(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let create = async |n: usize| {
        let input = CreateBoard {
            op_id: Some(op(&format!("op-{n}"))),
            ..board_input(&format!("Board {n}"))
        };
        eventually(|| async {
            match here.app.create_board(&alice, input.clone()).await {
                Ok(_) => true,
                Err(error) if error.code().is_retryable() => false,
                Err(error) => panic!("{error:?}"),
            }
        })
        .await;
    };
    futures::future::join_all((0..40).map(create)).await;
    assert_eq!(rooms_of(&here.app, &alice).await.len(), 40);
}

async fn rooms_of(app: &App, actor: &Actor) -> Vec<Room> {
    let page = PageQuery {
        limit: Some(100),
        cursor: None,
    };
    app.list_rooms(actor, &[], page).await.unwrap().items
}
