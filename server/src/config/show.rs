//! What `roost config` prints: every value with its source, and an example environment file.

use super::{Exposure, KEYS, Key, Loaded, Source, VARIABLE_PREFIX};
use std::fmt::Write;

const MASK: &str = "***";

/// Every key with its value and where that comes from; secrets masked.
pub fn show(loaded: &Loaded) -> String {
    let width = KEYS.iter().map(|key| key.name.len()).max().unwrap_or(0);
    KEYS.iter().fold(String::new(), |mut page, key| {
        let text = &loaded.texts[key.name];
        let source = match &text.source {
            Source::Default => "default".to_owned(),
            Source::File(path) => path.display().to_string(),
            Source::Environment => "environment".to_owned(),
        };
        let value = loaded.shown(key.name);
        let _ = writeln!(page, "{:width$} = {value:?}  # {source}", key.name);
        page
    })
}

impl Loaded {
    /// One value as it may be shown; empty for a key that does not exist.
    pub fn shown(&self, name: &str) -> String {
        let key = KEYS.iter().find(|key| key.name == name);
        key.map_or_else(String::new, |key| mask(key, &self.texts[key.name].text))
    }
}

/// `.env.example`: every key with its meaning and default, commented out.
pub fn example() -> String {
    let mut page = String::from(
        "# Every key of Roost with its default. `roost config example` wrote this file;\n\
         # the same keys, in lower case and without ROOST_, may stand in roost.toml. The .env of\n\
         # docker-compose.yml is another one: its head says how to make it.\n",
    );
    for key in KEYS {
        page.push('\n');
        for line in key.meaning {
            let _ = writeln!(page, "#{line}");
        }
        let name = key.name.to_uppercase();
        let _ = writeln!(page, "#{VARIABLE_PREFIX}{name}={}", key.default);
    }
    page
}

fn mask(key: &Key, text: &str) -> String {
    match key.exposure {
        _ if text.is_empty() => String::new(),
        Exposure::Open => text.to_owned(),
        Exposure::Secret => MASK.to_owned(),
        Exposure::Url => mask_password(text),
    }
}

/// The parameters of an address whose values are shown. The values of all others may be secrets: a session token, or a
/// password whose name is misspelt.
const SHOWN_PARAMETERS: [&str; 26] = [
    "application_name",
    "appName",
    "authMechanism",
    "authSource",
    "connectTimeoutMS",
    "dbname",
    "directConnection",
    "host",
    "hostaddr",
    "journal",
    "maxPoolSize",
    "mode",
    "port",
    "readConcernLevel",
    "readPreference",
    "replicaSet",
    "retryWrites",
    "serverSelectionTimeoutMS",
    "ssl",
    "sslcert",
    "sslmode",
    "sslrootcert",
    "tls",
    "tlsCAFile",
    "user",
    "w",
];

/// The values of an address's parameters that are not shown.
pub fn hidden_values(url: &str) -> impl Iterator<Item = &str> {
    let parameters = url.split_once('?').map_or("", |(_, rest)| rest);
    let pairs = parameters.split('&').filter_map(|one| one.split_once('='));
    pairs.filter_map(|(name, value)| (!SHOWN_PARAMETERS.contains(&name)).then_some(value))
}

/// Hides what stands between the user's name and the host, and the values of parameters that may be secrets. A user
/// without a password is hidden, too: in the address of a Redis it is a password whose colon was forgotten.
fn mask_password(url: &str) -> String {
    let (address, parameters) = url.split_once('?').unwrap_or((url, ""));
    if parameters.contains('@') {
        // The question mark may stand in a password, or the `@` in a parameter.
        return MASK.to_owned();
    }
    let shown = match address.split_once("://").zip(address.rsplit_once('@')) {
        Some(((scheme, _), (credentials, host))) => {
            let credentials = credentials.split_once("://").map_or("", |(_, rest)| rest);
            match credentials.split_once(':') {
                Some((user, _)) => format!("{scheme}://{user}:{MASK}@{host}"),
                None => format!("{scheme}://{MASK}@{host}"),
            }
        }
        // Not an address we can read: nothing of it is known to be harmless.
        None if address.contains('@') => MASK.to_owned(),
        None => address.to_owned(),
    };
    if parameters.is_empty() {
        return shown;
    }
    let parameters: Vec<String> = parameters
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if SHOWN_PARAMETERS.contains(&name) => parameter.to_owned(),
            Some((name, _)) => format!("{name}={MASK}"),
            None => MASK.to_owned(),
        })
        .collect();
    format!("{shown}?{}", parameters.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_addresses_are_masked() {
        for (url, shown) in [
            (
                "sqlite:data/roost.db?mode=rwc",
                "sqlite:data/roost.db?mode=rwc",
            ),
            (
                "postgres://ann:s3cret@db/roost",
                "postgres://ann:***@db/roost",
            ),
            (
                "postgres://ann:s3@cret@db/roost",
                "postgres://ann:***@db/roost",
            ),
            (
                "postgres://db/roost?password=s3cret&a=b",
                "postgres://db/roost?password=***&a=***",
            ),
            ("redis://s3cret@cache:6379/0", "redis://***@cache:6379/0"),
            ("redis://:s3cret@cache", "redis://:***@cache"),
            (
                "postgres://db/roost?sslmode=require&PassWord=s3cret",
                "postgres://db/roost?sslmode=require&PassWord=***",
            ),
            ("postgres://db/roost?s3cret", "postgres://db/roost?***"),
            (
                "mongodb://db/roost?authMechanismProperties=AWS_SESSION_TOKEN:s3cret&w=majority",
                "mongodb://db/roost?authMechanismProperties=***&w=majority",
            ),
            ("postgres://db/roost?password=s3c@ret", "***"),
            ("postgres://ann:s3c?ret@db/roost", "***"),
        ] {
            assert_eq!(mask_password(url), shown);
        }
    }
}
