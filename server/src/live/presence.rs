//! Who is in a room now, and what needs no memory: cursors and typing.

use roost_schema::{Awareness, PresenceChanged};

/// Something that is told once and kept nowhere.
#[derive(Clone, Debug)]
pub enum Ephemeral {
    Presence(PresenceChanged),
    Awareness(Awareness),
}

/// What a connection hears of a room besides its changes.
pub struct Ephemera {}

impl Ephemera {
    /// The next thing to tell; never ends while the room is held.
    pub async fn next(&mut self) -> std::sync::Arc<Ephemeral> {
        todo!()
    }
}

/// Keeps a person present in a room through one connection. Dropped: the connection is lost.
pub struct Here {}

impl Here {
    /// Leaves on purpose: gone at once, not moving.
    pub fn leave(self) {
        todo!()
    }
}
