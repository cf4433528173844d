//! Members: inviting, changing, removing and leaving, and that an owner always stays.

use crate::support::{
    World, archived, code, eventually, invitation, journal, new_board, on_each_database, trio,
};
use roost_schema::{
    ChangeRole, ErrorCode, InviteMember, Kind, Member, MemberState, Op, OpId, PageQuery, Role,
    RoomId, UserId,
};
use roost_server::{
    app::{Actor, App, Result},
    store::MEMBERS_PER_ROOM_MAX,
};

on_each_database!(
    a_person_is_invited_by_exact_address_or_id,
    only_owners_manage_members,
    a_role_changes_where_the_sequencer_sees_it,
    a_removed_member_is_an_outsider,
    everyone_may_leave_but_the_last_owner,
    two_owners_who_leave_at_once_leave_one,
    a_retried_leave_answers_the_first_one,
    members_are_listed_newest_first_in_pages,
    a_room_has_so_many_members_at_most,
    an_archived_room_takes_no_members_and_no_roles,
);

async fn an_archived_room_takes_no_members_and_no_roles(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let invite = |person: &Actor| invitation(person.user_id, Role::Editor);
    let app = &here.app;
    app.invite_member(&alice, room, invite(&bob)).await.unwrap();
    app.change_room(&alice, room, archived(true)).await.unwrap();

    let refused = app.invite_member(&alice, room, invite(&carol)).await;
    assert_eq!(code(refused), ErrorCode::Archived);
    let role = ChangeRole {
        role: Role::Owner,
        op_id: None,
    };
    let refused = app
        .change_role(&alice, room, bob.user_id, role.clone())
        .await;
    assert_eq!(code(refused), ErrorCode::Archived);
    // Who is in it may leave.
    app.remove_member(&bob, room, bob.user_id, None)
        .await
        .unwrap();

    app.change_room(&alice, room, archived(false))
        .await
        .unwrap();
    app.invite_member(&alice, room, invite(&carol))
        .await
        .unwrap();
    app.change_role(&alice, room, carol.user_id, role)
        .await
        .unwrap();
}

async fn a_person_is_invited_by_exact_address_or_id(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let invite = |email: Option<&str>, user_id: Option<UserId>| {
        let input = InviteMember {
            email: email.map(Into::into),
            user_id,
            role: Role::Commenter,
            op_id: None,
        };
        here.app.invite_member(&alice, room, input)
    };

    let invited = invite(Some(" BOB@example.com"), None).await.unwrap();
    assert_eq!(invited.user_id, bob.user_id);
    assert_eq!(
        (invited.name.as_str(), invited.role),
        ("bob", Role::Commenter)
    );
    let invited = invite(None, Some(carol.user_id)).await.unwrap();
    assert_eq!(invited.user_id, carol.user_id);
    let seen = here.app.read_room(&bob, room).await.unwrap();
    assert_eq!(seen.role, Role::Commenter);

    let nobody = UserId::generate();
    let refused = [
        (Some("bob@example.com"), None, ErrorCode::Conflict),
        (None, Some(alice.user_id), ErrorCode::Conflict),
        (Some("bob@example.co"), None, ErrorCode::NotFound),
        (None, Some(nobody), ErrorCode::NotFound),
        (Some("bob"), None, ErrorCode::Invalid),
        (None, None, ErrorCode::Invalid),
        (Some("x@example.com"), Some(nobody), ErrorCode::Invalid),
    ];
    for (email, user_id, expected) in refused {
        let refused = invite(email, user_id).await;
        assert_eq!(code(refused), expected, "{email:?} {user_id:?}");
    }
    assert_eq!(members(&here.app, &alice, room).await.len(), 3);
}

async fn only_owners_manage_members(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let stranger = world.person("stranger").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    invite(&here.app, &alice, room, &bob, Role::Editor).await;

    for (who, expected) in [
        (&bob, ErrorCode::Forbidden),
        (&stranger, ErrorCode::NotFound),
    ] {
        let input = invitation(carol.user_id, Role::Viewer);
        let refused = here.app.invite_member(who, room, input).await;
        assert_eq!(code(refused), expected);
        let refused = change(&here.app, who, room, bob.user_id, Role::Owner).await;
        assert_eq!(code(refused), expected);
        let refused = here.app.remove_member(who, room, alice.user_id, None).await;
        assert_eq!(code(refused), expected);
    }
    let refused = here.app.list_members(&stranger, room, PageQuery::default());
    assert_eq!(code(refused.await), ErrorCode::NotFound);
    let absent = change(&here.app, &alice, room, carol.user_id, Role::Owner).await;
    assert_eq!(code(absent), ErrorCode::NotFound);
    let absent = here.app.remove_member(&alice, room, carol.user_id, None);
    assert_eq!(code(absent.await), ErrorCode::NotFound);
}

async fn a_role_changes_where_the_sequencer_sees_it(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    invite(&here.app, &alice, room, &bob, Role::Viewer).await;

    let changed = change(&here.app, &alice, room, bob.user_id, Role::Owner).await;
    assert_eq!(changed.unwrap().role, Role::Owner);
    // After the acknowledgement the journal has the member, so the mailbox judges by it at once.
    let newest = journal(&here.store, room).await.pop().unwrap();
    let state: MemberState = newest.body.decode().unwrap();
    assert_eq!((state.user_id, state.role), (bob.user_id, Role::Owner));
    assert_eq!(newest.actor, alice.user_id);
    let back = change(&here.app, &bob, room, alice.user_id, Role::Viewer).await;
    assert_eq!(back.unwrap().role, Role::Viewer);

    let last = change(&here.app, &bob, room, bob.user_id, Role::Editor).await;
    assert_eq!(code(last), ErrorCode::LastOwner);
    let head = journal(&here.store, room).await.len();
    let same = change(&here.app, &bob, room, bob.user_id, Role::Owner).await;
    assert_eq!(same.unwrap().role, Role::Owner);
    assert_eq!(journal(&here.store, room).await.len(), head);
}

async fn a_removed_member_is_an_outsider(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    invite(&here.app, &alice, room, &bob, Role::Editor).await;

    let removed = here.app.remove_member(&alice, room, bob.user_id, None);
    removed.await.unwrap();
    let newest = journal(&here.store, room).await.pop().unwrap();
    assert_eq!((&newest.kind, &newest.op), (&Kind::Member, &Op::Delete));
    assert_eq!(
        code(here.app.read_room(&bob, room).await),
        ErrorCode::NotFound
    );
    assert_eq!(members(&here.app, &alice, room).await.len(), 1);

    invite(&here.app, &alice, room, &bob, Role::Viewer).await;
    let seen = here.app.read_room(&bob, room).await.unwrap();
    assert_eq!(seen.role, Role::Viewer);
}

async fn everyone_may_leave_but_the_last_owner(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    invite(&here.app, &alice, room, &bob, Role::Viewer).await;
    let leave = |actor: Actor| {
        let app = here.app.clone();
        async move { app.remove_member(&actor, room, actor.user_id, None).await }
    };

    leave(bob).await.unwrap();
    assert_eq!(code(leave(bob).await), ErrorCode::NotFound);
    assert_eq!(code(leave(alice).await), ErrorCode::LastOwner);
    invite(&here.app, &alice, room, &carol, Role::Owner).await;
    leave(alice).await.unwrap();
    assert_eq!(code(leave(carol).await), ErrorCode::LastOwner);
}

async fn two_owners_who_leave_at_once_leave_one(world: World) {
    let here = world.instance().await;
    let (alice, bob, _) = trio(&world).await;
    for _ in 0..5 {
        let room = new_board(&here.app, &alice, "Plan").await.id;
        invite(&here.app, &alice, room, &bob, Role::Owner).await;
        let (one, other) = tokio::join!(
            here.app.remove_member(&alice, room, alice.user_id, None),
            here.app.remove_member(&bob, room, bob.user_id, None),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(code(one.and(other)), ErrorCode::LastOwner);
    }
}

async fn a_retried_leave_answers_the_first_one(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    invite(&here.app, &alice, room, &bob, Role::Viewer).await;
    let op: OpId = "leave-1".parse().unwrap();
    for _ in 0..2 {
        let op = Some(op.clone());
        let left = here.app.remove_member(&bob, room, bob.user_id, op);
        left.await.unwrap();
    }
    let other = here.app.remove_member(&bob, room, carol.user_id, Some(op));
    assert_eq!(code(other.await), ErrorCode::OpIdReused);

    let input = InviteMember {
        op_id: Some("invite-1".parse().unwrap()),
        ..invitation(carol.user_id, Role::Viewer)
    };
    let first = here.app.invite_member(&alice, room, input.clone()).await;
    let again = here.app.invite_member(&alice, room, input).await;
    assert_eq!(again.unwrap(), first.unwrap());
}

async fn members_are_listed_newest_first_in_pages(world: World) {
    let here = world.instance().await;
    let alice = world.person("alice").await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let mut joined = vec![alice.user_id];
    for n in 0..4 {
        let person = world.person(&format!("person-{n}")).await;
        invite(&here.app, &alice, room, &person, Role::Viewer).await;
        joined.push(person.user_id);
    }
    joined.reverse();
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = PageQuery {
            limit: Some(2),
            cursor,
        };
        let page = here.app.list_members(&alice, room, page).await.unwrap();
        seen.extend(page.items.iter().map(|member| member.user_id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, joined);
    for (limit, cursor) in [(Some(0), None), (Some(101), None), (None, Some("AAAA"))] {
        let page = PageQuery {
            limit,
            cursor: cursor.map(Into::into),
        };
        let refused = here.app.list_members(&alice, room, page).await;
        assert_eq!(code(refused), ErrorCode::Invalid);
    }
}

async fn a_room_has_so_many_members_at_most(world: World) {
    let here = world.instance().await;
    let (alice, bob, carol) = trio(&world).await;
    let room = new_board(&here.app, &alice, "Plan").await.id;
    let id = match world.sql.backend() {
        sea_orm::DbBackend::Sqlite => "CAST(printf('%016d', i) AS blob)",
        _ => "lpad(i::text, 32, '0')::uuid",
    };
    let fill = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO members (room_id, user_id, role, joined_us)
         SELECT $1, {id}, 'viewer', 0 FROM n",
        MEMBERS_PER_ROOM_MAX - 2
    );
    world.execute(&fill, vec![room.as_uuid().into()]).await;
    invite(&here.app, &alice, room, &bob, Role::Viewer).await;
    let input = invitation(carol.user_id, Role::Viewer);
    let refused = here.app.invite_member(&alice, room, input).await;
    assert_eq!(code(refused), ErrorCode::LimitReached);
}

/// The sequencer fences: an instance that has not received a removal yet neither refuses a member nor accepts a write
/// by the removed one. Only `PostgreSQL` supports two instances.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_reaches_the_other_instance() {
    let world = World::on_postgres().await;
    let (east, west) = (world.instance().await, world.instance().await);
    let (alice, bob, _) = trio(&world).await;
    let room = new_board(&east.app, &alice, "Plan").await.id;
    invite(&east.app, &alice, room, &bob, Role::Editor).await;
    eventually(|| async { west.app.read_room(&bob, room).await.is_ok() }).await;

    let removed = east.app.remove_member(&alice, room, bob.user_id, None);
    removed.await.unwrap();
    let input = roost_schema::SendMessage {
        text: "still here?".into(),
        id: None,
        op_id: None,
    };
    let refused = west.app.send_message(&bob, room, input).await;
    assert_eq!(code(refused), ErrorCode::NotFound);
    eventually(|| async { west.app.read_room(&bob, room).await.is_err() }).await;
}

async fn invite(app: &App, actor: &Actor, room: RoomId, person: &Actor, role: Role) {
    let input = invitation(person.user_id, role);
    app.invite_member(actor, room, input).await.unwrap();
}

async fn change(
    app: &App,
    actor: &Actor,
    room: RoomId,
    member: UserId,
    role: Role,
) -> Result<Member> {
    let input = ChangeRole { role, op_id: None };
    app.change_role(actor, room, member, input).await
}

async fn members(app: &App, actor: &Actor, room: RoomId) -> Vec<Member> {
    let page = app.list_members(actor, room, PageQuery::default()).await;
    page.unwrap().items
}
