//! Answers of the script, whole and broken.

use super::*;

#[test]
fn an_answer_of_the_script_is_read() {
    let (room, user, instance) = (
        RoomId::generate(),
        UserId::generate(),
        InstanceId::generate(),
    );
    let lines = [
        "5.1".to_owned(),
        "lapsed".to_owned(),
        format!("record {room} {user} 8 {instance},{instance}"),
        format!("record {room} {user} 9 moving"),
        format!("record {room} {user} 10 "),
        format!("expired {instance}"),
        format!("room {room} 10"),
        format!("person {room} {user} {instance}"),
    ];
    let answer = ScriptAnswer::read(lines.into()).unwrap();
    assert!(answer.has_lapsed && !answer.has_more);
    assert_eq!(answer.expired, [instance]);
    let [both, moving, gone] = answer.records.as_slice() else {
        panic!("three records");
    };
    assert_eq!(both.instances, [instance, instance]);
    assert!(moving.is_moving && moving.instances.is_empty());
    assert!(!gone.is_moving && gone.instances.is_empty());
    assert_eq!((gone.revision, gone.generation.as_str()), (10, "5.1"));
    assert_eq!(answer.snapshots[0].people[0].user, user);
}

#[test]
fn anything_else_is_an_error() {
    for line in ["nonsense", "record a b c d", "room"] {
        assert!(
            ScriptAnswer::read(vec!["5.1".into(), line.into()]).is_err(),
            "{line}"
        );
    }
}
