//! People of a story: an account, a session, and a method for each use case.

use reqwest::{Method, RequestBuilder};
use roost_client::{Client, Endpoint, Socket};
use roost_schema::{
    CreateBoard, InviteMember, Register, Role, Room, RoomId, Secret, SendMessage, UserId,
};
use std::ops::Deref;
use tokio::sync::OnceCell;

pub(crate) const PASSWORD: &str = "correct horse battery";

/// A signed-in person, with every method of the client.
pub(crate) struct Person {
    name: String,
    client: Client,
    /// Their socket, which connects when it is first used.
    socket: OnceCell<Socket>,
}

impl Deref for Person {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Person {
    pub(crate) async fn register(endpoint: &Endpoint, name: &str) -> Self {
        let input = Register {
            email: email(name),
            password: Secret::new(PASSWORD),
            name: name.to_owned(),
            op_id: None,
        };
        Self::of(name, endpoint.register(&input).await.unwrap())
    }

    /// The same account on another device.
    pub(crate) async fn sign_in(&self) -> Self {
        Self::sign_in_at(self.client.endpoint(), &self.name).await
    }

    /// Signs in to an account that exists.
    pub(crate) async fn sign_in_at(endpoint: &Endpoint, name: &str) -> Self {
        let input = roost_schema::Login {
            email: email(name),
            password: Secret::new(PASSWORD),
        };
        Self::of(name, endpoint.login(&input).await.unwrap())
    }

    /// The same session at another server.
    pub(crate) fn at(&self, endpoint: &Endpoint) -> Self {
        Self::of(&self.name, self.client.at(endpoint))
    }

    fn of(name: &str, client: Client) -> Self {
        Self {
            name: name.to_owned(),
            client,
            socket: OnceCell::new(),
        }
    }

    pub(crate) fn id(&self) -> UserId {
        self.client.user_id()
    }

    /// A signed-in request for any route; `path` begins with a slash.
    pub(crate) async fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let token = self.client.access_token().await.unwrap();
        let request = self.client.endpoint().request(method, path);
        request.bearer_auth(token.expose())
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    /// The socket for this person's commands.
    pub(crate) async fn socket(&self) -> &Socket {
        let connect = async || Socket::connect(&self.client).await.unwrap();
        self.socket.get_or_init(connect).await
    }

    pub(crate) async fn board(&self, title: &str) -> Room {
        let title = title.to_owned();
        let input = CreateBoard { title, op_id: None };
        self.create_board(&input).await.unwrap()
    }

    pub(crate) async fn invite(&self, room: RoomId, other: &Self, role: Role) {
        let input = InviteMember {
            email: None,
            user_id: Some(other.id()),
            role,
            op_id: None,
        };
        self.invite_member(room, &input).await.unwrap();
    }
}

/// A message with this text, whose id the server makes.
pub(crate) fn message(text: &str) -> SendMessage {
    SendMessage {
        text: text.to_owned(),
        id: None,
        op_id: None,
    }
}

fn email(name: &str) -> String {
    format!("{name}@example.org")
}
