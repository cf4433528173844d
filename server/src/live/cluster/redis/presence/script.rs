//! The calls of `presence.lua`.

use super::{
    PersonInRoom,
    script_answer::{ScriptAnswer, Snapshot},
};
use crate::live::{
    cluster::redis::{Redis, RedisDown},
    presence::MOVING_MAX,
};
use fred::{error::Error, interfaces::LuaInterface};
use roost_schema::{InstanceId, RoomId};
use std::time::Duration;

/// How long an instance's people stay in Redis without a renewal.
pub const LEASE: Duration = Duration::from_secs(10);

/// The script goes with every call, a few kilobytes, so that Redis need not have it already. Redis compiles a text only
/// once.
const SCRIPT: &str = include_str!("presence.lua");

/// The state of a person's connections to the instance that declares it.
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

pub(super) struct PresenceScript {
    pub(super) redis: Redis,
    prefix: String,
    instance: String,
}

impl PresenceScript {
    pub(super) fn new(redis: Redis, instance: InstanceId) -> Self {
        Self {
            prefix: redis.name("presence:"),
            instance: instance.to_string(),
            redis,
        }
    }

    /// Renews the lease, and declares the state of each person.
    pub(super) async fn declare(
        &self,
        batch: &[(PersonInRoom, Declared)],
    ) -> Result<ScriptAnswer, Error> {
        let words = batch.iter().flat_map(|((room, user), declared)| {
            [room.to_string(), user.to_string(), declared.word().into()]
        });
        self.call("declare", words).await
    }

    /// Renews the lease. `expires_moving`: removes people whose time to come back is over.
    pub(super) async fn tick(&self, expires_moving: bool) -> Result<ScriptAnswer, Error> {
        let word = if expires_moving { "due" } else { "" };
        self.call("tick", [word.to_owned()]).await
    }

    /// Removes a part of a dead instance's people, if its lease has ended.
    pub(super) async fn remove_dead_instance(
        &self,
        instance: InstanceId,
    ) -> Result<ScriptAnswer, Error> {
        self.call("remove_dead", [instance.to_string()]).await
    }

    /// Releases a part of this instance's people, who are moving then, and the lease with the last ones.
    pub(super) async fn release(&self) -> Result<ScriptAnswer, Error> {
        self.call("release", []).await
    }

    /// The people whom Redis holds as connected to this instance.
    pub(super) async fn own(&self) -> Result<ScriptAnswer, Error> {
        self.call("own", []).await
    }

    pub(super) async fn read(&self, rooms: &[RoomId]) -> Result<ScriptAnswer, Error> {
        self.call("read", rooms.iter().map(ToString::to_string))
            .await
    }

    pub(super) async fn revisions(&self, rooms: &[RoomId]) -> Result<ScriptAnswer, Error> {
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
    ) -> Result<ScriptAnswer, Error> {
        let mut arguments = vec![
            command.to_owned(),
            self.instance.clone(),
            LEASE.as_millis().to_string(),
            MOVING_MAX.as_millis().to_string(),
        ];
        arguments.extend(words);
        let redis = self.redis.commands();
        // Boxed: the library's future takes 7 KB.
        let asked = Box::pin(redis.eval(SCRIPT, self.prefix.as_str(), arguments));
        let lines: Vec<String> = asked.await?;
        ScriptAnswer::read(lines)
    }
}
