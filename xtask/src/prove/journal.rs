//! What the journal kept, and how bodies are compared whichever way they travelled.

use roost_schema::{ItemId, Op, RoomId, Seq};
use serde::Deserialize;
use serde_json::Value;

/// One entry, as `roost journal dump` prints it.
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

/// JSON with the keys of every object in order: clients keep, sort or shuffle them.
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
