//! Configuration: every key with its meaning and default, read once from a file and the environment.

mod reference;
mod show;
mod values;
mod web_origin;

pub use reference::reference;
pub use show::{example, hidden_values, show};
pub use values::{
    DatabaseUrl, JournalUrl, LogFormat, RedisUrl, SigningKey, SigningKeys, reachable,
};
pub use web_origin::{Authority, WebOrigin};

use figment::{
    Figment,
    providers::{Env, Format, Toml},
    value::{Dict, Value},
};
use ipnet::IpNet;
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};
use tracing_subscriber::EnvFilter;
use values::Setting;

/// Read when it is there and no other file is named.
const FILE_DEFAULT: &str = "roost.toml";
/// Shorter, and clients do nothing but refresh; longer, and revocations would be remembered for longer.
const TOKEN_LIFETIME: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(1);
const VARIABLE_PREFIX: &str = "ROOST_";
/// Within this time a server that is told to stop has ended, whatever it waits for.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(25);
/// How much of it is for what comes after the requests: tasks, stores, the lease.
pub const AFTER_DRAIN: Duration = Duration::from_secs(7);
/// Suggest a key for a misspelt one up to this many changed letters.
const SUGGESTION_DISTANCE_MAX: usize = 4;

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:literal, $exposure:ident;)+) => {
        /// Everything an operator can decide.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        /// Every key, in the order they are explained.
        pub const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            meaning: &[$($doc),+],
            default: $default,
            exposure: Exposure::$exposure,
        }),+];

        impl Config {
            fn parse(texts: &BTreeMap<&'static str, Text>, problems: &mut Vec<String>) -> Option<Self> {
                $(let $name = parse::<$type>(stringify!($name), &texts[stringify!($name)], problems);)+
                Some(Self { $($name: $name?,)+ })
            }
        }
    };
}

keys! {
    /// Where clients connect: address and port. Behind a proxy, let it listen on loopback.
    listen: SocketAddr = "127.0.0.1:4000", Open;
    /// Where Prometheus reads `/metrics`; a private address. Empty: nowhere.
    metrics_listen: Option<SocketAddr> = "127.0.0.1:9464", Open;
    /// `sqlite:` with a path, or `postgres:`. The folder of a database file is made.
    database_url: DatabaseUrl = "sqlite:data/roost.db?mode=rwc", Url;
    /// Where the room journal is kept: `mongodb:`. Empty: in the database above.
    journal_url: Option<JournalUrl> = "", Url;
    /// Carries events between instances: `redis:` or `rediss:`. Empty: this instance runs alone.
    redis_url: Option<RedisUrl> = "", Url;
    /// Begins the name of every key and channel in Redis, so that systems can share one.
    redis_prefix: String = "roost", Open;
    /// What this instance is called in logs and in what it says of itself. Empty: the host's name.
    instance_name: String = "", Open;
    /// Origins besides the server's own whose pages may call it: of web sites, such as `https://app.example.org`, or of
    /// apps, such as `capacitor://localhost`, separated by commas. No patterns, and not `null`: any page can have it.
    allowed_origins: Vec<WebOrigin> = "", Open;
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks, separated by commas.
    trusted_proxies: Vec<IpNet> = "", Open;
    /// How long an access token is good for: 10s to 1h.
    access_token_lifetime: Duration = "5m", Open;
    /// Ed25519 private keys (PKCS#8 PEM, one after the other, on all instances) for access tokens: the
    /// first signs, all verify. The word `database`, or nothing, stands for one that is made and kept there.
    signing_key_pem: SigningKeys = "", Secret;
    /// The issuer (`iss`) and the audience (`aud`) that access tokens name. A system that has its signing key in common
    /// with another has names of its own, so that neither takes the other's tokens.
    token_issuer: String = "roost", Open;
    /// See `token_issuer`.
    token_audience: String = "roost", Open;
    /// `json`, `pretty`, or `auto`: pretty on a terminal, else JSON.
    log_format: LogFormat = "auto", Open;
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as
    /// `info,roost_server=debug`. Of libraries nothing is logged at `trace`: they would write what passes over connections.
    log_level: String = "info", Open;
    /// Requests one client address may make a second; beyond it: `rate_limited`.
    address_requests_per_second: u32 = "100", Open;
    /// Requests one account may make a second, from all its addresses.
    account_requests_per_second: u32 = "100", Open;
    /// Socket.IO connections one client address may open a second.
    address_handshakes_per_second: u32 = "20", Open;
    /// How often one client address may register, sign in, refresh or change a password a second.
    address_sign_ins_per_second: u32 = "20", Open;
    /// Connections at one time, a tenth of them for one client address, also behind a trusted proxy; beyond
    /// it they are answered 503. Health checks are answered all the same.
    connections_max: u32 = "10000", Open;
    /// How long a connection may take to send the head of a request, or be idle between two.
    header_timeout: Duration = "10s", Open;
    /// How long the body of a request may stand still.
    body_stall_timeout: Duration = "30s", Open;
    /// How long a connection may stand still while it is written to.
    write_stall_timeout: Duration = "20s", Open;
    /// How long to go on as before after a signal to stop, no longer ready: for load balancers to notice.
    /// Behind one, a little longer than it takes to ask twice: 3s behind Caddy.
    drain_delay: Duration = "0s", Open;
    /// How long sockets and requests may take to finish after that. The two together: 18s at most,
    /// as a server that is told to stop has ended within 25s.
    drain_timeout: Duration = "14s", Open;
}

/// One thing an operator can decide.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    /// Its lines, each with a leading space.
    meaning: &'static [&'static str],
    pub default: &'static str,
    exposure: Exposure,
}

/// How much of a value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exposure {
    Open,
    /// All but the password in it.
    Url,
    /// Nothing.
    Secret,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    Environment,
}

/// A value before it is parsed.
#[derive(Clone)]
struct Text {
    text: String,
    source: Source,
}

/// Without the text: it may be a secret.
impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// The configuration, and where each of its values comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    texts: BTreeMap<&'static str, Text>,
}

/// What is wrong, one sentence each.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Reads the file (`roost.toml` if there is one, unless another is named), then the environment.
pub fn load(file: Option<&Path>) -> Result<Loaded, Problems> {
    let environment = Env::prefixed(VARIABLE_PREFIX);
    let variables = environment
        .iter()
        .map(|(name, text)| (name.as_str().to_owned(), text));
    let default = Path::new(FILE_DEFAULT);
    let file = file.or_else(|| default.exists().then_some(default));
    load_from(file, variables)
}

/// As [`load`], with the environment given: names lowercased and without their prefix.
pub fn load_from(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let mut texts = defaults();
    if let Some(file) = file {
        read_file(file, &mut texts, &mut problems);
    }
    for (name, text) in variables {
        if !is_of_others(&name) {
            let spelling = format!("{VARIABLE_PREFIX}{}", name.to_uppercase());
            place(
                &name,
                &spelling,
                text,
                Source::Environment,
                &mut texts,
                &mut problems,
            );
        }
    }
    if let Some(config) = Config::parse(&texts, &mut problems) {
        config.check(&mut problems);
        if problems.is_empty() {
            return Ok(Loaded { config, texts });
        }
    }
    Err(Problems(problems))
}

impl Config {
    /// What no value shows by itself.
    fn check(&self, problems: &mut Vec<String>) {
        if !TOKEN_LIFETIME.contains(&self.access_token_lifetime) {
            problems.push("access_token_lifetime must be 10s to 1h.".into());
        }
        for (name, value) in [
            ("token_issuer", &self.token_issuer),
            ("token_audience", &self.token_audience),
        ] {
            if value.is_empty() {
                problems.push(format!("{name} must not be empty."));
            }
        }
        let drain = self.drain_delay.saturating_add(self.drain_timeout);
        if drain.saturating_add(AFTER_DRAIN) > STOP_TIME_MAX {
            problems.push("drain_delay and drain_timeout must be 18s together at most.".into());
        }
        if EnvFilter::try_new(&self.log_level).is_err() {
            problems.push(
                "log_level must be a level, or directives such as info,roost_server=debug.".into(),
            );
        }
        let is_shared = self
            .metrics_listen
            .is_some_and(|metrics| metrics == self.listen);
        if is_shared && self.listen.port() != 0 {
            problems.push(
                "metrics_listen must not be the address of listen: metrics are private.".into(),
            );
        }
    }
}

fn defaults() -> BTreeMap<&'static str, Text> {
    let text = |key: &Key| Text {
        text: key.default.to_owned(),
        source: Source::Default,
    };
    KEYS.iter().map(|key| (key.name, text(key))).collect()
}

fn read_file(file: &Path, texts: &mut BTreeMap<&'static str, Text>, problems: &mut Vec<String>) {
    let dict: Dict = match Figment::from(Toml::file_exact(file)).extract() {
        Ok(dict) => dict,
        // The parser shows the line, and there may be a password in it.
        Err(error) => return problems.push(format!("{}: {}.", file.display(), told_of(&error))),
    };
    for (name, value) in dict {
        let spelling = format!("{name} in {}", file.display());
        match text_of(&value) {
            Some(text) => {
                let source = Source::File(file.to_owned());
                place(&name, &spelling, text, source, texts, problems);
            }
            None => problems.push(format!(
                "{spelling} must be a text, a number or a list of texts."
            )),
        }
    }
}

/// Where and what, without the text itself.
fn told_of(error: &figment::Error) -> String {
    let text = error.to_string();
    let is_telling = |line: &&str| !line.is_empty() && !line.contains('|');
    let lines: Vec<_> = text.lines().map(str::trim).filter(is_telling).collect();
    lines.join(", ")
}

/// Every value has one textual form, the same in a file and in the environment.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|whole| whole.to_string())
            .or_else(|| number.to_u128().map(|whole| whole.to_string())),
        Value::Array(_, values) => {
            let texts: Option<Vec<String>> = values.iter().map(text_of).collect();
            Some(texts?.join(","))
        }
        Value::Char(..) | Value::Empty(..) | Value::Dict(..) => None,
    }
}

/// Variables that begin alike but are not ours: what Kubernetes sets for a service named `roost`,
/// what the tests are told, and the file's own name.
fn is_of_others(name: &str) -> bool {
    name == "config"
        || name == "port"
        || ["service_", "port_", "test_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn place(
    name: &str,
    spelling: &str,
    text: String,
    source: Source,
    texts: &mut BTreeMap<&'static str, Text>,
    problems: &mut Vec<String>,
) {
    match texts.get_mut(name) {
        Some(place) => *place = Text { text, source },
        None => problems.push(match nearest(name) {
            Some(key) => format!("There is no key {spelling}; did you mean {key}?"),
            None => format!("There is no key {spelling}; `roost config show` lists them."),
        }),
    }
}

fn nearest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .min()
        .filter(|(distance, _)| *distance <= SUGGESTION_DISTANCE_MAX)
        .map(|(_, name)| name)
}

fn parse<T: Setting>(name: &str, text: &Text, problems: &mut Vec<String>) -> Option<T> {
    T::parse(text.text.trim())
        .map_err(|problem| problems.push(format!("{name} {problem}.")))
        .ok()
}
