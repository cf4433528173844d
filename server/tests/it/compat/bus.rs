//! The messages that instances send each other over Redis, recorded by a plain subscriber.

use crate::support::World;
use fred::{
    clients::Client,
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::{Builder, config::Config},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::task::JoinSet;

/// The bytes before the text, which name the sender.
const ENVELOPE_BYTES: usize = 16;

/// One message as it was published.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) channel: String,
    /// The bytes before the text, in hexadecimal.
    envelope: String,
    pub(super) text: String,
}

impl Message {
    /// The text as JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// Records the first message of each shape.
pub(super) struct Listener {
    heard: Arc<Mutex<BTreeMap<String, Message>>>,
    client: Client,
    _task: JoinSet<()>,
}

impl Listener {
    pub(super) async fn start(world: &World) -> Self {
        let config = world.config(&[]);
        let url = config.redis_url.as_ref().expect("there is a Redis");
        let client = Builder::from_config(Config::from_url(url.expose()).unwrap()).build();
        let client = client.unwrap();
        client.init().await.unwrap();
        let mut messages = client.message_rx();
        let prefix = format!("{}:", config.redis_prefix);
        let pattern = format!("{prefix}*");
        client.psubscribe(pattern).await.unwrap();
        let heard = Arc::<Mutex<BTreeMap<String, Message>>>::default();
        let (hearing, mut task) = (Arc::clone(&heard), JoinSet::new());
        task.spawn(async move {
            while let Ok(message) = messages.recv().await {
                let channel: String = message.channel.to_string();
                let channel = channel.trim_start_matches(&prefix).to_owned();
                if channel.starts_with("canary:") {
                    continue;
                }
                let bytes = message.value.as_bytes().unwrap().to_vec();
                let (envelope, text) = bytes.split_at(ENVELOPE_BYTES);
                let message = Message {
                    channel,
                    envelope: hex::encode(envelope),
                    text: String::from_utf8(text.to_vec()).unwrap(),
                };
                let shape = shape(&message.json());
                hearing.lock().unwrap().entry(shape).or_insert(message);
            }
        });
        Self {
            heard,
            client,
            _task: task,
        }
    }

    /// Whether a message of this name was recorded.
    pub(super) fn has_heard(&self, name: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard
            .values()
            .any(|message| message.json().get(name).is_some())
    }

    pub(super) async fn end(self) -> Vec<Message> {
        self.client.quit().await.unwrap();
        self.heard.lock().unwrap().values().cloned().collect()
    }
}

/// The shape of a message: two messages that differ only in their values have the same.
fn shape(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match (name.as_str(), value.as_str()) {
                ("kind" | "op" | "role", Some(word)) => format!("{name}={word}"),
                _ => format!("{name}:{}", shape(value)),
            };
            let fields: Vec<_> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(shape).collect();
            format!("[{}]", items.join(","))
        }
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "text".to_owned(),
    }
}
