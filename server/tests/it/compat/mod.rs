//! What a release keeps and says, read by this one: golden files, one folder for each release in `compat/`.
//!
//! A golden file holds the rows, documents and keys as a real server left them after a real story, the messages it
//! sent to others, the tokens it gave out, and what it answered. It is loaded into fresh stores of the schema of its
//! release; this release migrates them, and must go on with the story. `cargo xtask compat write` writes the files of
//! this release. Without it the same is done here with files that nobody keeps, so that it cannot rot.

mod bus;
mod check;
mod documents;
mod keys;
mod record;
mod tables;
mod told;

use crate::support::World;
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Method;
use roost_client::Endpoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use told::Told;

/// Says where `cargo xtask compat write` wants this release's files.
const WRITE_VARIABLE: &str = "ROOST_COMPAT_WRITE";

/// Everything there is to read.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Golden {
    written_at: DateTime<Utc>,
    tables: BTreeMap<String, tables::Table>,
    /// Of `MongoDB`, by collection.
    #[serde(default)]
    documents: BTreeMap<String, Vec<Value>>,
    /// Of Redis, by name.
    #[serde(default)]
    keys: BTreeMap<String, keys::Key>,
    /// What instances told each other.
    #[serde(default)]
    bus: Vec<bus::Message>,
    told: Told,
}

impl Golden {
    /// All times are moved by this when they are loaded, so that nothing has expired since.
    fn age(&self) -> TimeDelta {
        Utc::now() - self.written_at
    }
}

/// The stores of a server.
#[derive(Clone, Copy)]
enum Stores {
    Sqlite,
    Postgres,
    /// `PostgreSQL`, `MongoDB` and Redis.
    Cluster,
}

impl Stores {
    const fn file(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite.json",
            Self::Postgres => "postgres.json",
            Self::Cluster => "cluster.json",
        }
    }

    async fn world(self) -> World {
        match self {
            Self::Sqlite => World::on_sqlite().await,
            Self::Postgres => World::on_postgres().await,
            Self::Cluster => World::on_cluster().await,
        }
    }
}

macro_rules! on_each {
    ($($name:ident: $stores:ident),+ $(,)?) => {
        $(mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_this_release_writes_it_reads() {
                super::write_and_read(super::Stores::$stores).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_every_release_wrote_is_read() {
                super::read_all(super::Stores::$stores).await;
            }
        })+
    };
}

on_each!(sqlite: Sqlite, postgres: Postgres, cluster: Cluster);

#[expect(
    clippy::disallowed_methods,
    reason = "cargo xtask compat write says so by a variable"
)]
async fn write_and_read(stores: Stores) {
    let golden = record::record(stores).await;
    let text = serde_json::to_string_pretty(&golden).unwrap();
    if let Some(folder) = std::env::var_os(WRITE_VARIABLE) {
        let folder = Path::new(&folder);
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(stores.file()), text.clone() + "\n").unwrap();
    }
    check::check(stores, &serde_json::from_str(&text).unwrap()).await;
}

async fn read_all(stores: Stores) {
    let mut count = 0;
    for release in releases() {
        let file = release.join(stores.file());
        println!("{}", file.display());
        let text = std::fs::read_to_string(&file).unwrap();
        check::check(stores, &serde_json::from_str(&text).unwrap()).await;
        count += 1;
    }
    assert!(
        count > 0,
        "no release has golden files: cargo xtask compat write"
    );
}

/// The folders of all releases.
fn releases() -> Vec<PathBuf> {
    let compat = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat");
    let entries = std::fs::read_dir(compat).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

/// Somebody who asks over REST, as a client in any language would.
struct Caller {
    endpoint: Endpoint,
    token: Option<String>,
}

impl Caller {
    fn nobody(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            token: None,
        }
    }

    /// By a refresh token; also the one that follows it.
    async fn refreshed(endpoint: &Endpoint, refresh_token: &str) -> (Self, String) {
        let input = serde_json::json!({ "refreshToken": refresh_token });
        let nobody = Self::nobody(endpoint);
        let (status, signed_in) = nobody.post("/auth/refresh", &input).await;
        assert_eq!(status, 200, "{signed_in}");
        let caller = Self {
            endpoint: endpoint.clone(),
            token: signed_in["accessToken"].as_str().map(str::to_owned),
        };
        let next = signed_in["refreshToken"].as_str().unwrap();
        (caller, next.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.endpoint.request(method, &format!("/api/v1{path}"));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_default())
    }
}
