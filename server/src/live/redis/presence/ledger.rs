//! The calls of `presence.lua`.

use super::{
    Key,
    answers::{Answer, Snapshot},
};
use crate::live::{
    presence::MOVING_MAX,
    redis::{Redis, RedisDown},
};
use fred::{error::Error, interfaces::LuaInterface};
use roost_schema::{InstanceId, RoomId};
use std::time::Duration;

/// How long an instance's people stay in Redis when it says nothing more.
pub const LEASE: Duration = Duration::from_secs(10);

/// A few kilobytes that go with every call, so that no Redis has to know it from before; it compiles
/// the same text only once.
const SCRIPT: &str = include_str!("presence.lua");

/// What an instance says of a person's connections to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Declared {
    Here,
    Lost,
    Left,
}

impl Declared {
    const fn word(self) -> &'static str {
        match self {
            Self::Here => "here",
            Self::Lost => "lost",
            Self::Left => "left",
        }
    }
}

pub(super) struct Ledger {
    pub(super) redis: Redis,
    prefix: String,
    instance: String,
}

impl Ledger {
    pub(super) fn new(redis: Redis, instance: InstanceId) -> Self {
        Self {
            prefix: redis.name("presence:"),
            instance: instance.to_string(),
            redis,
        }
    }

    /// Renews the lease, and says of each person what is so now.
    pub(super) async fn declare(&self, batch: &[(Key, Declared)]) -> Result<Answer, Error> {
        let words = batch.iter().flat_map(|((room, user), declared)| {
            [room.to_string(), user.to_string(), declared.word().into()]
        });
        self.call("declare", words).await
    }

    /// Renews the lease. `gives_up`: whoever has been moving for too long is gone.
    pub(super) async fn tick(&self, gives_up: bool) -> Result<Answer, Error> {
        let word = if gives_up { "due" } else { "" };
        self.call("tick", [word.to_owned()]).await
    }

    /// Takes a part of a dead instance's people away, if its lease has ended.
    pub(super) async fn bury(&self, instance: InstanceId) -> Result<Answer, Error> {
        self.call("bury", [instance.to_string()]).await
    }

    /// Gives a part of this instance's people up, and the lease with the last ones.
    pub(super) async fn release(&self) -> Result<Answer, Error> {
        self.call("release", []).await
    }

    /// Whom Redis holds as connected to this instance.
    pub(super) async fn own(&self) -> Result<Answer, Error> {
        self.call("own", []).await
    }

    pub(super) async fn read(&self, rooms: &[RoomId]) -> Result<Answer, Error> {
        self.call("read", rooms.iter().map(ToString::to_string))
            .await
    }

    pub(super) async fn revisions(&self, rooms: &[RoomId]) -> Result<Answer, Error> {
        self.call("revisions", rooms.iter().map(ToString::to_string))
            .await
    }

    /// Reads one room for a request that waits.
    pub(super) async fn ask(&self, room: RoomId) -> Result<Snapshot, RedisDown> {
        let mut answer = self.redis.ask(self.read(&[room])).await?;
        answer.snapshots.pop().ok_or(RedisDown)
    }

    async fn call(
        &self,
        command: &str,
        words: impl IntoIterator<Item = String>,
    ) -> Result<Answer, Error> {
        let mut arguments = vec![
            command.to_owned(),
            self.instance.clone(),
            LEASE.as_millis().to_string(),
            MOVING_MAX.as_millis().to_string(),
        ];
        arguments.extend(words);
        let redis = self.redis.commands();
        // The library's future takes 7 KB.
        let asked = Box::pin(redis.eval(SCRIPT, self.prefix.as_str(), arguments));
        let lines: Vec<String> = asked.await?;
        Answer::read(lines)
    }
}
