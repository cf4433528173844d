//! A running server, or cluster, with people and rooms for stories over Socket.IO.

use super::client::{Mode, Socket};
use crate::support::{Server, World};
use roost_schema::{CreateBoard, InviteMember, Register, Role, RoomId, Secret, SendMessage};
use roost_server::app::{Actor, Api, App, Origin};
use serde_json::json;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// How long a test waits for an event that must come.
pub(super) const DEADLINE: Duration = Duration::from_secs(45);

pub(super) struct Fixture {
    /// The address of the first server.
    pub(super) address: SocketAddr,
    pub(super) app: App,
    server: Server,
    world: World,
}

pub(super) struct Person {
    pub(super) actor: Actor,
    pub(super) token: String,
}

impl Fixture {
    pub(super) async fn build() -> Self {
        Self::build_with(&[]).await
    }

    /// A server with some keys of the configuration set.
    pub(super) async fn build_with(keys: &[(&str, &str)]) -> Self {
        Self::upon(World::on_sqlite().await, keys).await
    }

    /// The server, or the cluster, of a world.
    pub(super) async fn upon(world: World, keys: &[(&str, &str)]) -> Self {
        let server = world.serve_with(keys).await;
        Self {
            address: server.address,
            app: server.app.clone(),
            server,
            world,
        }
    }

    pub(super) async fn person(&self, name: &str) -> Person {
        let origin = Origin {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            user_agent: None,
        };
        let register = Register {
            email: format!("{name}@example.org"),
            password: Secret::new("correct horse battery"),
            name: name.to_owned(),
            op_id: None,
        };
        let signed_in = self.app.register(&origin, register).await.unwrap();
        let token = signed_in.access_token.expose().to_owned();
        let actor = self.app.authenticate(&token, Api::SocketIo).unwrap();
        Person { actor, token }
    }

    /// A board of the first person, with the others as editors.
    pub(super) async fn board(&self, people: &[&Person]) -> RoomId {
        let owner = people[0].actor;
        let board = CreateBoard {
            title: "Plan".to_owned(),
            op_id: None,
        };
        let room = self.app.create_board(&owner, board).await.unwrap().id;
        for person in &people[1..] {
            let invite = InviteMember {
                email: None,
                user_id: Some(person.actor.user_id),
                role: Role::Editor,
                op_id: None,
            };
            self.app.invite_member(&owner, room, invite).await.unwrap();
        }
        room
    }

    /// Connects directly to the server; in a cluster each connection goes to the next one.
    pub(super) async fn connect(&self, mode: Mode, person: &Person) -> Socket {
        Socket::connect(self.server.next().address, mode, &person.token).await
    }

    /// Connects where people see each other's presence: to the next server, or without Redis always to the same one.
    pub(super) async fn connect_in_sight(&self, mode: Mode, person: &Person) -> Socket {
        let address = if self.world.is_cut_off() {
            self.address
        } else {
            self.server.next().address
        };
        Socket::connect(address, mode, &person.token).await
    }

    pub(super) async fn send(&self, person: &Person, room: RoomId, text: &str) {
        let message = SendMessage {
            text: text.to_owned(),
            id: None,
            op_id: None,
        };
        let sent = self
            .server
            .next()
            .app
            .send_message(&person.actor, room, message);
        sent.await.unwrap();
    }

    /// Stops the server as SIGTERM does, and waits for its end.
    pub(super) async fn stop(self) {
        self.server.stop().await;
    }
}

/// Joins a room without catching up.
pub(super) async fn join(socket: &mut Socket, room: RoomId) -> serde_json::Value {
    let joined = socket.call("room:join", &json!({ "room": room })).await;
    assert!(joined.get("position").is_some(), "{joined}");
    joined
}
