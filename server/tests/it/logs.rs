//! What the log never holds, however much of it is asked for.

use crate::support::{PASSWORD, Person, World, message};
use roost_client::Socket;
use roost_schema::SendMessageToRoom;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_level_writes_tokens_passwords_or_texts() {
    let world = World::on_sqlite().await;
    let program = world.start_program(&[("log_level", "trace")]).await;
    let alice = Person::register(&program.endpoint, "alice").await;
    let room = alice.board("Plan").await.id;
    let text = "a text that is between two people";
    alice.send_message(room, &message(text)).await.unwrap();
    let token = alice.client().access_token().await.unwrap();
    let mut socket = Socket::connect(alice.client()).await.unwrap();
    socket.join(room, None).await.unwrap();
    let input = SendMessageToRoom {
        room,
        text: text.to_owned(),
        id: None,
        op_id: None,
    };
    socket.send_message(&input).await.unwrap();
    socket.next_event().await.unwrap();
    alice.client().refresh().await.unwrap();

    let log = program.log();
    assert!(log.contains("DEBUG"), "{log}");
    for secret in [token.expose(), text, PASSWORD] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
}
