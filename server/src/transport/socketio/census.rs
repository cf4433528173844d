//! How many sockets there are, for operators.

use super::wire::{Class, Wires};

/// At one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Census {
    /// Sessions that are connected to the namespace.
    pub(crate) connected: usize,
    /// Those of them that do not read as fast as they are written to.
    pub(crate) lagging: usize,
}

impl Wires {
    pub(crate) fn census(&self) -> Census {
        let mut connected = self.all();
        connected.retain(|wire| wire.is_settled() && !wire.has_ended());
        let lagging = connected.iter().filter(|wire| !wire.admits(Class::Frame));
        Census {
            lagging: lagging.count(),
            connected: connected.len(),
        }
    }
}
