//! Reads the journal at the end of a proof, and compares bodies from different sources.

use anyhow::{Context, Result};
use roost_schema::{ItemId, Op, RoomId, Seq};
use roost_testbed::roost::Roost;
use serde::Deserialize;
use serde_json::Value;

/// One entry in the form that `roost journal dump` prints.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    pub(super) room: RoomId,
    pub(super) seq: Seq,
    pub(super) item: ItemId,
    pub(super) op: Op,
    pub(super) op_id: Option<String>,
    pub(super) body: Value,
}

/// Every entry of these rooms, read by the server's own program after the server has stopped.
pub(super) fn read(roost: &Roost, rooms: &[RoomId]) -> Result<Vec<Kept>> {
    let rooms: Vec<_> = rooms.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["journal", "dump"];
    arguments.extend(rooms.iter().map(String::as_str));
    let text = roost.ask(&arguments)?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("an entry cannot be read"))
        .collect()
}

/// JSON with the keys of every object in order, because clients keep, sort or shuffle keys.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let inner: Vec<_> = fields
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => {
            let inner: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", inner.join(","))
        }
        plain => plain.to_string(),
    }
}
