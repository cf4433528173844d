//! The names of the commands, from the table that registers them.

use super::reply::Acknowledgement;
use crate::{
    app::Result,
    transport::sockets::{Begun, Caller, Commands, table},
};
use parking_lot::Mutex;
use serde::{Serialize, de::DeserializeOwned};

/// Takes down the name of each command instead of serving it.
#[derive(Default)]
struct Names(Mutex<Vec<&'static str>>);

impl Commands for Names {
    type Reply = Acknowledgement;

    fn answer<Input, View, Answer>(
        &self,
        name: &'static str,
        _: fn(&Input) -> usize,
        _: fn(&Caller, Input) -> Answer,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static,
        View: Serialize + Send + Sync + 'static,
        Answer: Future<Output = Result<View>> + Send + 'static,
    {
        self.0.lock().push(name);
    }

    fn converse<Input>(
        &self,
        name: &'static str,
        _: fn(&Input) -> usize,
        _: fn(&Caller, Input, Acknowledgement) -> Begun<()>,
    ) where
        Input: DeserializeOwned + Send + Sync + 'static,
    {
        self.0.lock().push(name);
    }
}

/// The names of all commands that a socket registers, such as `room:join`.
pub fn command_names() -> Vec<&'static str> {
    let names = Names::default();
    table(&names);
    names.0.into_inner()
}
