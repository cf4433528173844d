//! The types of configuration values, and how each is read from text.

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

/// A value that is read from text. The problem reads after the key's name: "listen must be …".
pub(super) trait Setting: Sized {
    fn parse(text: &str) -> Result<Self, String>;
}

/// Which relational database, and how to reach it.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    Sqlite(SecretString),
    Postgres(SecretString),
}

impl DatabaseUrl {
    /// The whole address, password included.
    pub fn expose(&self) -> &str {
        match self {
            Self::Sqlite(url) | Self::Postgres(url) => url.expose_secret(),
        }
    }

    /// The file of an `SQLite` database.
    pub fn file(&self) -> Option<PathBuf> {
        let Self::Sqlite(url) = self else { return None };
        let path = url.expose_secret().strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(path.split('?').next()?.into())
    }
}

impl Setting for DatabaseUrl {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split(':').next() {
            Some("sqlite") if text.contains(":memory:") || text.contains("mode=memory") => Err(
                "must name a file: a database in memory cannot keep what was acknowledged".into(),
            ),
            Some("sqlite") => Ok(Self::Sqlite(text.into())),
            Some("postgres" | "postgresql") => Ok(Self::Postgres(text.into())),
            _ => Err("must begin with sqlite: or postgres:".into()),
        }
    }
}

/// Where the journal is kept when not in the relational database.
#[derive(Clone, Debug)]
pub struct JournalUrl(SecretString);

impl JournalUrl {
    /// The whole address, password included.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Setting for JournalUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with("mongodb://") {
            return Ok(Self(text.into()));
        }
        Err("must begin with mongodb:// or be empty (the database keeps the journal then)".into())
    }
}

/// Where Redis is: one server, or one endpoint that stands for several.
#[derive(Clone, Debug)]
pub struct RedisUrl(SecretString);

impl RedisUrl {
    /// The whole address, password included.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl Setting for RedisUrl {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once("://") {
            Some(("redis" | "rediss", rest)) if !rest.is_empty() && !rest.contains(',') => {
                Ok(Self(text.into()))
            }
            Some(("redis" | "rediss", _)) => {
                Err("must name one host; Sentinel and Cluster are not supported".into())
            }
            Some((scheme, _)) if scheme.starts_with("redis") || scheme.starts_with("valkey") => {
                Err(
                    "must begin with redis:// or rediss://; Sentinel and Cluster are not supported"
                        .into(),
                )
            }
            _ => Err("must begin with redis:// or rediss://, or be empty".into()),
        }
    }
}

/// Where a key that signs access tokens comes from.
#[derive(Clone, Debug)]
pub enum SigningKey {
    /// An Ed25519 private key, PKCS#8 PEM.
    Pem(SecretString),
    /// The one in the database, which all instances share; made when there is none.
    Database,
}

/// The keys of access tokens: the first signs, all verify.
#[derive(Clone, Debug)]
pub struct SigningKeys(pub Vec<SigningKey>);

impl Setting for SigningKeys {
    /// Blocks of PEM and the word `database`, in any order, separated by anything blank or commas.
    fn parse(text: &str) -> Result<Self, String> {
        const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
        const END: &str = "-----END PRIVATE KEY-----";
        const WANTED: &str =
            "must be PKCS#8 PEM (BEGIN PRIVATE KEY), several of them, or the word database";
        // Where a variable cannot hold more than one line.
        let text = text.replace("\\n", "\n");
        let is_separator = |symbol: char| symbol.is_whitespace() || symbol == ',';
        let mut rest = text.trim_matches(is_separator);
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let end = if rest.starts_with(BEGIN) {
                let end = rest.find(END).ok_or(WANTED)? + END.len();
                keys.push(SigningKey::Pem(rest[..end].into()));
                end
            } else if rest.starts_with("database") {
                keys.push(SigningKey::Database);
                "database".len()
            } else {
                return Err(WANTED.into());
            };
            rest = rest[end..].trim_start_matches(is_separator);
        }
        Ok(Self(keys))
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Json,
    Pretty,
}

impl Setting for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            _ => Err("must be auto, json or pretty".into()),
        }
    }
}

impl Setting for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        from_str(
            text,
            "must be an address and a port, such as 127.0.0.1:4000",
        )
    }
}

impl Setting for IpNet {
    fn parse(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        from_str(text, "must list addresses or networks, such as 10.0.0.0/8")
    }
}

impl Setting for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "must be a whole number of 1 or more";
        match from_str(text, WANTED)? {
            0 => Err(WANTED.into()),
            number => Ok(number),
        }
    }
}

impl Setting for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Setting for SecretString {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Setting for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "must be a time such as 500ms, 30s, 5m, 24h or 30d";
        let end = text
            .find(|symbol: char| !symbol.is_ascii_digit())
            .ok_or(WANTED)?;
        let number: u64 = from_str(&text[..end], WANTED)?;
        let unit = match text[end..].trim() {
            "ms" => return Ok(Self::from_millis(number)),
            "s" => 1,
            "m" => 60,
            "h" => 60 * 60,
            "d" => 24 * 60 * 60,
            _ => return Err(WANTED.into()),
        };
        number
            .checked_mul(unit)
            .map(Self::from_secs)
            .ok_or_else(|| WANTED.into())
    }
}

/// Empty is none.
impl<T: Setting> Setting for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        T::parse(text).map(Some)
    }
}

/// Separated by commas; empty is an empty list.
impl<T: Setting> Setting for Vec<T> {
    fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(T::parse)
            .collect()
    }
}

/// Where this host reaches what listens on an address: what listens everywhere also does on loopback.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, address.port())
}

fn from_str<T: FromStr>(text: &str, wanted: &str) -> Result<T, String> {
    text.parse().map_err(|_| wanted.to_owned())
}
