//! The clients of Redis: their settings, and how long a caller waits for it.
//!
//! Redis is never required. Each caller has a fallback of its own, and uses it at once while the link is down. A link
//! is up again when its canary has come back (see `backplane`).

mod backplane;
mod canary;
mod charge;
mod diagnostics;
mod presence;
mod wanted;

pub use backplane::RedisBackplane;
pub(in crate::live) use charge::{Charge, charge};
pub use diagnostics::RedisDiagnostics;
pub use presence::{LEASE, RedisPresence};

use super::backplane::Link;
use anyhow::Context;
use fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{
        Builder, RespVersion,
        config::{Config, ReconnectPolicy, TlsConnector, UnresponsiveConfig},
    },
};
use futures::{FutureExt, future::OptionFuture};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::watch, time::timeout};

/// How long a request may wait for Redis before the local fallback serves it.
pub const REQUEST_PATIENCE: Duration = Duration::from_millis(50);

/// How long a command may take when no request waits for it.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that owes an answer for this long is closed; a half-open one shows in no other way.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(2);
/// Pauses between tries to connect: exponential, with jitter, without end.
const RECONNECT_MIN_MS: u32 = 50;
const RECONNECT_MAX_MS: u32 = 2_000;
const RECONNECT_JITTER_MS: u32 = 100;
/// Messages that may wait for the task that receives them. The library's default of 32 loses messages in a burst.
const MESSAGES_WAITING_MAX: usize = 65_536;
/// Commands that may wait for the connection.
const COMMANDS_WAITING_MAX: usize = 16_384;

/// Redis did not answer in time, or the link is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redis does not answer")]
pub struct RedisDown;

/// The client for this instance's commands. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    commands: Client,
    settings: Arc<Settings>,
    link: watch::Sender<Link>,
    /// Whether Redis was late for a request since its last canary came back.
    is_late: Arc<AtomicBool>,
}

struct Settings {
    config: Config,
    prefix: String,
}

impl Redis {
    /// Starts to connect, and goes on trying. The name of every key and channel begins with `prefix`.
    ///
    /// Errors: the address is malformed. Redis itself need not be up.
    pub fn open(url: &str, prefix: &str) -> anyhow::Result<Self> {
        let config = understand(url)?;
        let mut policy = ReconnectPolicy::new_exponential(0, RECONNECT_MIN_MS, RECONNECT_MAX_MS, 2);
        policy.set_jitter(RECONNECT_JITTER_MS);
        let commands = builder(&config).set_policy(policy).build()?;
        commands.connect();
        Ok(Self {
            commands,
            settings: Arc::new(Settings {
                config,
                prefix: prefix.to_owned(),
            }),
            link: watch::Sender::new(Link::Connecting),
            is_late: Arc::default(),
        })
    }

    /// The name of a key or channel.
    pub fn name(&self, rest: &str) -> String {
        format!("{}:{rest}", self.settings.prefix)
    }

    /// The client for background work; each command waits a second at most.
    pub fn commands(&self) -> &Client {
        &self.commands
    }

    /// The state of the link to the other instances.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    pub fn is_up(&self) -> bool {
        self.link.borrow().is_up()
    }

    /// Whether a request may ask Redis: not after Redis was late, until a canary has come back.
    pub fn is_prompt(&self) -> bool {
        self.is_up() && !self.is_late.load(Ordering::Relaxed)
    }

    /// Asks Redis for a request: waits 50 ms at most, and fails at once while Redis is not prompt.
    ///
    /// Built of combinators: an async function has room for a future that it is given twice, and a command's takes 7
    /// KB.
    pub fn ask<'a, T>(
        &'a self,
        question: impl Future<Output = Result<T, fred::error::Error>> + 'a,
    ) -> impl Future<Output = Result<T, RedisDown>> + 'a {
        let asked = self
            .is_prompt()
            .then(|| timeout(REQUEST_PATIENCE, question));
        OptionFuture::from(asked).map(|answered| {
            match answered.ok_or(RedisDown)? {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => tracing::warn!(%error, "redis refuses, going on without it"),
                Err(_) => tracing::warn!("redis is late, going on without it"),
            }
            self.is_late.store(true, Ordering::Relaxed);
            Err(RedisDown)
        })
    }

    /// Moves the commands to another connection: this one may lead to a server that is no longer the primary.
    async fn reconnect(&self) {
        if self.commands.is_connected()
            && let Ok(Err(error)) =
                timeout(COMMAND_TIMEOUT, self.commands.force_reconnection()).await
        {
            tracing::debug!(%error, "redis is not connected to anew");
        }
    }

    /// Marks the link as up: a canary came back after `lag`.
    fn set_up(&self, lag: Duration) {
        let since = match *self.link.borrow() {
            Link::Up { since, .. } => since,
            Link::Connecting | Link::Down => Instant::now(),
        };
        self.set_link(Link::Up { since, lag });
    }

    fn set_link(&self, link: Link) {
        if link.is_up() {
            self.is_late.store(false, Ordering::Relaxed);
        }
        self.link.send_if_modified(|known| {
            if known.is_up() != link.is_up() {
                tracing::info!(from = ?known, to = ?link, "the link to the other instances changed");
            }
            let is_other = *known != link;
            *known = link;
            is_other
        });
    }

    /// A client for subscriptions only. It does not reconnect: the backplane makes another.
    fn subscriber(&self) -> anyhow::Result<Client> {
        let mut config = self.settings.config.clone();
        config.fail_fast = true;
        Ok(builder(&config).build()?)
    }
}

fn understand(url: &str) -> anyhow::Result<Config> {
    let mut config = Config::from_url(url).context("it is not an address of Redis")?;
    config.version = RespVersion::RESP3;
    config.fail_fast = false;
    if url.starts_with("rediss:") {
        // Trusts the certificates of the host; `SSL_CERT_FILE` names others.
        config.tls = Some(TlsConnector::default_rustls()?.into());
    }
    Ok(config)
}

/// The settings that both clients share. The library's defaults wait for ever.
fn builder(config: &Config) -> Builder {
    let mut builder = Builder::from_config(config.clone());
    builder.with_connection_config(|connection| {
        connection.connection_timeout = CONNECT_TIMEOUT;
        connection.internal_command_timeout = CONNECT_TIMEOUT;
        // One attempt only: a message that is sent again could arrive twice.
        connection.max_command_attempts = 1;
        connection.max_command_buffer_len = COMMANDS_WAITING_MAX;
        connection.unresponsive = UnresponsiveConfig {
            max_timeout: Some(UNRESPONSIVE_AFTER),
            interval: UNRESPONSIVE_AFTER / 4,
        };
    });
    builder.with_performance_config(|performance| {
        performance.default_command_timeout = COMMAND_TIMEOUT;
        performance.broadcast_channel_capacity = MESSAGES_WAITING_MAX;
    });
    builder
}
