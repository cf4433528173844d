//! The people of the trials, each with their own address. Each trial has one person who watches a room and one who is
//! watched.

use anyhow::{Context, Result};
use roost_client::{Client, Endpoint, Socket};
use roost_schema::{
    Login, OpenConversation, PresenceChanged, PresenceState, Register, RoomId, Secret, UserId,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use tokio::time::timeout;

const PASSWORD: &str = "correct horse battery";
/// No promised time is longer; an event that takes longer counts as missing.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One trial's people. The watcher owns the room.
pub(super) struct Pair {
    pub(super) watcher: Client,
    pub(super) person: Client,
    pub(super) email: String,
    pub(super) room: RoomId,
}

pub(super) struct People {
    pub(super) pairs: Vec<Pair>,
}

impl People {
    pub(super) async fn register(url: &str, trials: usize) -> Result<Self> {
        let mut pairs = Vec::new();
        for trial in 0..trials {
            let (watcher, _) = register(url, "watcher", trial).await?;
            let (person, email) = register(url, "person", trial).await?;
            let input = OpenConversation {
                user_ids: vec![person.user_id()],
                title: Some(format!("Trial {trial}")),
                op_id: None,
            };
            let room = watcher.open_conversation(&input).await?.id;
            pairs.push(Pair {
                watcher,
                person,
                email,
                room,
            });
        }
        Ok(Self { pairs })
    }
}

impl Pair {
    /// Signs the person in on another device.
    pub(super) async fn another_device(&self) -> Result<Client> {
        let input = Login {
            email: self.email.clone(),
            password: Secret::new(PASSWORD),
        };
        Ok(self.person.endpoint().login(&input).await?)
    }

    /// A socket of the watcher that has joined the room.
    pub(super) async fn watch(&self, at: Option<&Endpoint>) -> Result<Socket> {
        let socket = Socket::connect(&placed(&self.watcher, at)?).await?;
        socket.join(self.room, None).await?;
        Ok(socket)
    }

    /// A socket of the person that has not joined the room yet.
    pub(super) async fn connect(&self, at: Option<&Endpoint>) -> Result<Socket> {
        Ok(Socket::connect(&placed(&self.person, at)?).await?)
    }
}

/// The client at one instance directly instead of through Caddy, from the same address.
pub(crate) fn placed(client: &Client, at: Option<&Endpoint>) -> Result<Client> {
    let Some(endpoint) = at else {
        return Ok(client.clone());
    };
    let own = client.endpoint().local_address();
    let own = own.context("everybody has an address")?;
    Ok(client.at(&endpoint.from_address(own)?))
}

async fn register(url: &str, role: &str, trial: usize) -> Result<(Client, String)> {
    let (third, last) = (
        if role == "watcher" { 1 } else { 2 },
        u8::try_from(trial + 1)?,
    );
    let own = IpAddr::V4(Ipv4Addr::new(127, 9, third, last));
    let email = format!("{role}-{trial}@example.com");
    let input = Register {
        email: email.clone(),
        password: Secret::new(PASSWORD),
        name: format!("{role} {trial}"),
        op_id: None,
    };
    let endpoint = Endpoint::new(url)?.from_address(own)?;
    Ok((endpoint.register(&input).await?, email))
}

/// Waits until the watcher receives that a person is in this state, and answers when. Other events are skipped.
pub(crate) async fn presence_change(
    watch: &mut Socket,
    user: UserId,
    state: PresenceState,
) -> Result<Instant> {
    let receiving = async {
        loop {
            let event = watch
                .next_event()
                .await
                .context("the watcher was cut off")?;
            if event.name != "presence:changed" {
                continue;
            }
            let change: PresenceChanged = event.read()?;
            if change.presence.user_id == user && change.presence.state == state {
                return Ok(Instant::now());
            }
        }
    };
    let received = timeout(PATIENCE, receiving).await;
    received.with_context(|| format!("no watcher received {state:?}"))?
}
