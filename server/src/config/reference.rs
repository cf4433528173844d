//! `docs/configuration.md`: how configuration is read, and every key with its meaning and default.

use super::{Exposure, FILE_DEFAULT, KEYS, VARIABLE_PREFIX};
use std::fmt::Write;

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut page = format!(
        "# Configuration\n\n\
         <!-- Written by `cargo xtask schema` from server/src/config.rs. -->\n\n\
         Nothing needs to be set. Every key below can be set in two places; the first one wins:\n\n\
         1. the environment: `{VARIABLE_PREFIX}LISTEN=127.0.0.1:4000`;\n\
         2. a file of TOML: `listen = \"127.0.0.1:4000\"` in `{FILE_DEFAULT}` of the working directory, or in the \
         file that `--config` or `{VARIABLE_PREFIX}CONFIG` names. Lists may be written as lists there.\n\n\
         A key that does not exist is refused, with the nearest one that does. A change takes effect when the \
         instance is started again. Times are written `500ms`, `30s`, `5m`, `24h` or `30d`.\n\n\
         | command | what it says |\n\
         |---|---|\n\
         | `roost config check` | what is wrong, one sentence per problem |\n\
         | `roost config show` | every key with its value and where that comes from; secrets masked |\n\
         | `roost config example` | `.env.example` |\n\
         | `roost doctor` | whether what the configuration names can be reached, and is as it must be |\n\n\
         Every instance of a cluster is given the same stores, keys and limits; `listen`, `metrics_listen` and \
         `instance_name` are its own. What is marked *secret* is masked wherever the program shows it; of an address \
         the password is.\n\n\
         | key | default | meaning |\n\
         |---|---|---|\n"
    );
    for key in KEYS {
        let default = match key.default {
            "" => "empty".to_owned(),
            text => format!("`{text}`"),
        };
        let meaning: Vec<&str> = key.meaning.iter().map(|line| line.trim()).collect();
        let secret = match key.exposure {
            Exposure::Open => "",
            Exposure::Url => " *Holds a password.*",
            Exposure::Secret => " *Secret.*",
        };
        let meaning = meaning.join(" ").replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {default} | {meaning}{secret} |", key.name);
    }
    page
}
