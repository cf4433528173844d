//! Checks the secrets of the configuration: whether they are set, and not easy to guess.

use super::Check;
use crate::{
    app::Tokens,
    config::{Config, SigningKey, hidden_values},
};
use roost_schema::Secret;
use secrecy::ExposeSecret;
use std::net::IpAddr;

/// Passwords that an attacker tries first, besides the name of the user.
const WELL_KNOWN: [&str; 14] = [
    "roost", "postgres", "password", "changeme", "secret", "admin", "root", "redis", "mongodb",
    "mongo", "example", "test", "123456", "12345678",
];

pub(super) fn examine(config: &Config) -> Vec<Check> {
    let mut checks = vec![signing_key(config)];
    let weak: Vec<Check> = urls(config)
        .into_iter()
        .filter_map(|(key, url)| judge_password(key, &Address::of(url)))
        .collect();
    if weak.is_empty() {
        checks.push(Check::ok("passwords", "none is missing or well known"));
    }
    checks.extend(weak);
    checks
}

/// What must not appear in the report: passwords, the user of a Redis that has no password, because it may be one, and
/// values of parameters, but for numbers and words such as `on`.
pub(super) fn hidden(config: &Config) -> Vec<&str> {
    let hidden = |(key, url)| {
        let address = Address::of(url);
        let user = (key == "redis_url").then_some(address.user);
        let values = hidden_values(url).filter(|value| value.len() > 5);
        values.chain(address.password.or(user))
    };
    let secrets = urls(config).into_iter().flat_map(hidden);
    secrets.filter(|secret| !secret.is_empty()).collect()
}

fn signing_key(config: &Config) -> Check {
    const NAME: &str = "signing key";
    let keys = &config.signing_key_pem.0;
    for key in keys {
        if let SigningKey::Pem(pem) = key
            && let Err(error) = Tokens::check_key(&Secret::new(pem.expose_secret()))
        {
            return Check::problem(
                NAME,
                format!("signing_key_pem: {error}"),
                "make one by `openssl genpkey -algorithm ed25519`, or leave it empty",
            );
        }
    }
    Check::ok(
        NAME,
        match keys.first() {
            None | Some(SigningKey::Database) => "kept in the database, for every instance",
            Some(SigningKey::Pem(_)) => "from the configuration",
        },
    )
}

fn urls(config: &Config) -> Vec<(&'static str, &str)> {
    let mut urls = vec![("database_url", config.database_url.expose())];
    let journal = config.journal_url.as_ref();
    urls.extend(journal.map(|url| ("journal_url", url.expose())));
    let redis = config.redis_url.as_ref();
    urls.extend(redis.map(|url| ("redis_url", url.expose())));
    urls
}

fn judge_password(key: &'static str, address: &Address<'_>) -> Option<Check> {
    if address.is_here() {
        return None;
    }
    let password = address.password.unwrap_or_default();
    if password.is_empty() {
        return Some(Check::warning(
            "passwords",
            format!("{key} has none"),
            "set one, unless the server knows Roost by other means (a certificate, a password file)",
        ));
    }
    let lower = password.to_lowercase();
    let is_weak = WELL_KNOWN.contains(&lower.as_str()) || password == address.user;
    is_weak.then(|| {
        Check::problem(
            "passwords",
            format!("that of {key} is one that everybody tries first"),
            "set another, such as `openssl rand -hex 32` makes",
        )
    })
}

/// The parts of a URL that name the user, the password and the host.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    user: &'a str,
    password: Option<&'a str>,
    hosts: Vec<&'a str>,
}

impl<'a> Address<'a> {
    fn of(url: &'a str) -> Self {
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let (credentials, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        let parameters = rest.split_once('?').map_or("", |(_, rest)| rest);
        let parameter = parameters
            .split('&')
            .find_map(|parameter| parameter.strip_prefix("password="));
        Self {
            user,
            password: password.or(parameter),
            hosts: hosts.split(',').map(without_port).collect(),
        }
    }

    /// Whether only programs of this host can connect: over loopback, or a Unix socket.
    fn is_here(&self) -> bool {
        let is_here = |host: &&str| {
            let address = host.parse::<IpAddr>();
            host.is_empty()
                || *host == "localhost"
                || host.to_uppercase().starts_with("%2F")
                || address.is_ok_and(|address| address.is_loopback())
        };
        self.hosts.iter().all(is_here)
    }
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
