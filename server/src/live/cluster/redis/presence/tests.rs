//! Records and snapshots that arrive out of order.

use super::*;

fn here(room: RoomId, user: UserId, revision: u64) -> Record {
    Record {
        room,
        generation: "one".to_owned(),
        revision,
        user,
        instances: vec![InstanceId::generate()],
        is_moving: false,
    }
}

/// A record arrives while the snapshot of an earlier revision is on its way.
#[test]
fn a_snapshot_undoes_no_newer_record() {
    let (me, room) = (InstanceId::generate(), RoomId::generate());
    let (long_here, arrived, gone) = (UserId::generate(), UserId::generate(), UserId::generate());
    let mut state = ReplicaState::default();
    state.rooms.insert(room, PeopleReplica::new(room));
    state.generation = Some("one".to_owned());
    state.apply_change(me, here(room, arrived, 14));
    let left = Record {
        instances: Vec::new(),
        ..here(room, gone, 15)
    };
    state.apply_change(me, left);
    state.apply_snapshot(
        me,
        Snapshot {
            room,
            generation: "one".to_owned(),
            revision: 13,
            people: vec![here(room, long_here, 12), here(room, gone, 13)],
        },
    );
    let replica = &state.rooms[&room];
    let present = replica.people.present();
    let mut present: Vec<_> = present.iter().map(|person| person.user_id).collect();
    let mut expected = vec![long_here, arrived];
    present.sort();
    expected.sort();
    assert_eq!(present, expected);
    assert_eq!((replica.revision(), replica.has_gap()), (Some(15), false));
}
