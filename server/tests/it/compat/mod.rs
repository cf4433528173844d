//! Data that an earlier release stored and published, read by this one: golden files, one folder for each release in
//! `compat/`.
//!
//! A golden file has the rows, documents and keys that a real server left after a real story, the messages it
//! published, the tokens it issued, and its answers. It is loaded into fresh stores with the schema of its release.
//! This release migrates them, and must continue the story. `cargo xtask compat write` writes the files of this
//! release. Other runs do the same with temporary files, so that writing them stays tested.

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

/// The variable with the path for the files of this release, set by `cargo xtask compat write`.
const WRITE_VARIABLE: &str = "ROOST_COMPAT_WRITE";

/// A golden file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Golden {
    written_at: DateTime<Utc>,
    tables: BTreeMap<String, tables::Table>,
    /// The documents of `MongoDB`, by collection.
    #[serde(default)]
    documents: BTreeMap<String, Vec<Value>>,
    /// The keys of Redis, by name.
    #[serde(default)]
    keys: BTreeMap<String, keys::Key>,
    /// The messages between instances.
    #[serde(default)]
    bus: Vec<bus::Message>,
    told: Told,
}

impl Golden {
    /// How far all times are moved when they are loaded, so that nothing has expired since.
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

/// A person who asks over REST without the Rust client.
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

    /// Signs in by a refresh token; answers the next one, too.
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
