//! Worlds for tests: each has a database of its own, and on it instances of the application, whole servers or the real
//! program, and people who use them.

mod person;
mod program;
mod rooms;
mod server;
mod tcp_proxy;
mod unfinished;
mod via;

pub(crate) use {
    person::{PASSWORD, Person, message},
    program::Program,
    rooms::{Rooms, unconditional},
    server::Server,
    tcp_proxy::TcpProxy,
    unfinished::{connect_from, rest_of, unfinished_frame, unfinished_post},
    via::{Via, Watch, in_time},
};

use roost_schema::{
    ChangeRoom, CreateBoard, ErrorCode, InviteMember, OpId, OpenConversation, Role, Room, RoomId,
    Seq, SessionId, UserId,
};
use roost_server::{
    app::{Actor, App, Origin, Passwords, Result, TokenSettings, Tokens},
    live::{Live, NodeContext},
    store::{
        Clock, Sql, Store,
        journal::{Entry, Journal, MongoJournal, SqlJournal},
    },
};
use sea_orm::{ConnectionTrait, Statement, Value};
use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use uuid::Uuid;

/// How long a test waits for an event that must come.
pub(crate) const DEADLINE: Duration = Duration::from_secs(25);

/// Runs each story on `SQLite` and on `PostgreSQL`.
macro_rules! on_each_database {
    ($($story:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::support::World::on_sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story($crate::support::World::on_postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_each_database;

/// Runs each story of whole servers on `SQLite`, on `PostgreSQL`, and with the journal on `MongoDB`;
/// and on clusters.
macro_rules! on_each_store {
    ($($story:ident),+ $(,)?) => {
        $crate::support::on_clusters!($($story),+);

        mod sqlite {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_postgres().await).await;
            })+
        }

        mod mongodb {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_mongodb().await).await;
            })+
        }
    };
}
pub(crate) use on_each_store;

/// Runs each story on one server, and on clusters.
macro_rules! alone_and_on_clusters {
    ($($story:ident),+ $(,)?) => {
        $crate::support::on_clusters!($($story),+);

        mod alone {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_sqlite().await).await;
            })+
        }
    };
}
pub(crate) use alone_and_on_clusters;

/// Runs each story on three servers on `PostgreSQL` and `MongoDB`, its people spread over them:
/// once with Redis, and once with a Redis that does not answer.
macro_rules! on_clusters {
    ($($story:ident),+ $(,)?) => {
        mod cluster {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_cluster().await).await;
            })+
        }

        mod cluster_without_redis {
            $(#[tokio::test]
            async fn $story() {
                super::$story($crate::support::World::on_cluster_without_redis().await).await;
            })+
        }
    };
}
pub(crate) use on_clusters;

/// Servers of a cluster.
const CLUSTER_INSTANCES: usize = 3;
/// Nothing listens on the port of the discard protocol.
const NO_REDIS_URL: &str = "redis://127.0.0.1:9/";

/// A migrated database that no other test uses.
pub(crate) struct World {
    url: String,
    /// Empty: the journal is in the database above. Only whole servers use it.
    pub(crate) journal_url: String,
    /// Empty: no Redis. Only whole servers use it.
    redis_url: String,
    redis_prefix: String,
    /// How many servers serve it.
    instances: usize,
    pub(crate) sql: Sql,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("roost.sqlite").display());
        Self::migrated(url, folder).await
    }

    pub(crate) async fn on_postgres() -> Self {
        Self::migrated(Self::empty_postgres().await, tempfile::tempdir().unwrap()).await
    }

    /// The address of a database of its own that has no schema yet.
    pub(crate) async fn empty_postgres() -> String {
        let server = postgres_url();
        let name = format!("roost_{}", Uuid::now_v7().simple());
        let admin = Sql::connect(&format!("{server}postgres")).await.unwrap();
        let create = format!("CREATE DATABASE {name}");
        admin.write.execute_unprepared(&create).await.unwrap();
        format!("{server}{name}")
    }

    /// An `SQLite` database, and a `MongoDB` one for the journal.
    pub(crate) async fn on_mongodb() -> Self {
        Self {
            journal_url: mongodb_database_url(),
            ..Self::on_sqlite().await
        }
    }

    /// `PostgreSQL` and Redis, for servers that are started one by one.
    pub(crate) async fn on_postgres_and_redis() -> Self {
        Self {
            redis_url: redis_url(),
            ..Self::on_postgres().await
        }
    }

    /// `PostgreSQL`, `MongoDB` and Redis, for three servers.
    pub(crate) async fn on_cluster() -> Self {
        Self {
            redis_url: redis_url(),
            ..Self::on_cluster_without_redis().await
        }
    }

    /// The cluster with a Redis that does not answer.
    pub(crate) async fn on_cluster_without_redis() -> Self {
        let mut world = Self::on_postgres().await;
        world.journal_url = mongodb_database_url();
        NO_REDIS_URL.clone_into(&mut world.redis_url);
        world.instances = CLUSTER_INSTANCES;
        world
    }

    /// Whether the servers cannot reach the Redis of their configuration.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.redis_url == NO_REDIS_URL
    }

    async fn migrated(url: String, folder: TempDir) -> Self {
        let sql = Sql::connect(&url).await.unwrap();
        sql.migrate().await.unwrap();
        Self {
            url,
            journal_url: String::new(),
            redis_url: String::new(),
            redis_prefix: format!("test-{}", Uuid::now_v7().simple()),
            instances: 1,
            sql,
            _folder: folder,
        }
    }

    /// The address of the database, for a proxy in front of it.
    pub(crate) fn database_url(&self) -> &str {
        &self.url
    }

    /// Another instance on this database. `SQLite` takes only one.
    pub(crate) async fn instance(&self) -> Instance {
        self.instance_at(&self.url).await
    }

    /// Another instance, which reaches the database by this address.
    pub(crate) async fn instance_at(&self, url: &str) -> Instance {
        // An `SQLite` file has one writer, so its instances share the connections.
        let sql = if self.url.starts_with("sqlite:") {
            self.sql.clone()
        } else {
            Sql::connect(url).await.unwrap()
        };
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let clock = Clock::measured(&sql).await.unwrap();
        let journal = SqlJournal::open(sql.clone(), &tasks, cancel.clone())
            .await
            .unwrap();
        let store = Store::new(sql, journal.clone(), clock);
        let live = Live::new(journal, NodeContext::alone(), tasks.clone(), cancel.clone());
        let settings = TokenSettings {
            issuer: "roost".into(),
            audience: "roost".into(),
            lifetime: Duration::from_mins(5),
        };
        let key = store.keys.shared(&Tokens::generate_key().unwrap()).await;
        let tokens = Tokens::new(settings, &[key.unwrap()]).unwrap();
        Instance {
            app: App::new(store.clone(), live, tokens, Passwords::new(1)),
            store,
            _stop: cancel.drop_guard(),
        }
    }

    /// The journal of a world with `MongoDB`, without a server in between.
    pub(crate) async fn journal(&self) -> Arc<dyn Journal> {
        MongoJournal::open(&self.journal_url).await.unwrap()
    }

    /// A person who is signed in, with the address `name@example.com`.
    pub(crate) async fn person(&self, name: &str) -> Actor {
        let user_id = UserId::generate();
        self.execute(
            "INSERT INTO users (id, email, name, name_lower, password_hash, created_us)
             VALUES ($1, $2, $3, $4, '', 0)",
            vec![
                user_id.as_uuid().into(),
                format!("{name}@example.com").into(),
                name.into(),
                name.to_lowercase().into(),
            ],
        )
        .await;
        Actor {
            user_id,
            session_id: SessionId::generate(),
            expires_at: chrono::Utc::now() + chrono::TimeDelta::minutes(5),
            api: roost_server::app::Api::Rest,
        }
    }

    /// Runs statements without values.
    pub(crate) async fn run(&self, sql: &str) {
        self.sql.write.execute_unprepared(sql).await.unwrap();
    }

    /// The number of rows of a query.
    pub(crate) async fn count(&self, sql: &str) -> usize {
        self.count_with(sql, vec![]).await
    }

    pub(crate) async fn count_with(&self, sql: &str, values: Vec<Value>) -> usize {
        let query = Statement::from_sql_and_values(self.sql.backend(), sql, values);
        self.sql.read.query_all_raw(query).await.unwrap().len()
    }

    pub(crate) async fn execute(&self, sql: &str, values: Vec<Value>) {
        let statement = Statement::from_sql_and_values(self.sql.backend(), sql, values);
        self.sql.write.execute_raw(statement).await.unwrap();
    }
}

/// A server without its transports.
pub(crate) struct Instance {
    pub(crate) app: App,
    pub(crate) store: Store,
    _stop: DropGuard,
}

/// The origin of the tests' requests.
pub(crate) fn origin() -> Origin {
    Origin {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        user_agent: Some("tests/1.0".into()),
    }
}

/// Waits until a condition holds, no longer than the deadline.
pub(crate) async fn eventually<Asked: Future<Output = bool>>(mut holds: impl FnMut() -> Asked) {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let asking = async {
        while !holds().await {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, asking)
        .await
        .expect("it did not come true in time");
}

pub(crate) async fn trio(world: &World) -> (Actor, Actor, Actor) {
    (
        world.person("alice").await,
        world.person("bob").await,
        world.person("carol").await,
    )
}

pub(crate) async fn new_board(app: &App, actor: &Actor, title: &str) -> Room {
    app.create_board(actor, board_input(title)).await.unwrap()
}

pub(crate) async fn journal(store: &Store, room: RoomId) -> Vec<Entry> {
    let log = store.journal.log(room, Seq::ZERO, usize::MAX).await;
    log.unwrap().entries
}

pub(crate) fn board_input(title: &str) -> CreateBoard {
    CreateBoard {
        title: title.into(),
        op_id: None,
    }
}

pub(crate) fn conversation(user_ids: Vec<UserId>, title: Option<&str>) -> OpenConversation {
    OpenConversation {
        user_ids,
        title: title.map(Into::into),
        op_id: None,
    }
}

pub(crate) fn invitation(user: UserId, role: Role) -> InviteMember {
    InviteMember {
        email: None,
        user_id: Some(user),
        role,
        op_id: None,
    }
}

pub(crate) fn title(text: &str) -> ChangeRoom {
    ChangeRoom {
        title: Some(text.into()),
        ..ChangeRoom::default()
    }
}

pub(crate) fn archived(archived: bool) -> ChangeRoom {
    ChangeRoom {
        archived: Some(archived),
        ..ChangeRoom::default()
    }
}

pub(crate) fn op(text: &str) -> OpId {
    text.parse().unwrap()
}

#[track_caller]
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    result.unwrap_err().code()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told their servers by cargo xtask test"
)]
fn postgres_url() -> String {
    std::env::var("ROOST_TEST_POSTGRES_URL")
        .expect("ROOST_TEST_POSTGRES_URL is not set: run the tests by `cargo xtask test`")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told their servers by cargo xtask test"
)]
fn mongodb_url() -> String {
    std::env::var("ROOST_TEST_MONGODB_URL")
        .expect("ROOST_TEST_MONGODB_URL is not set: run the tests by `cargo xtask test`")
}

/// A database of its own on the `MongoDB` server.
fn mongodb_database_url() -> String {
    let name = format!("roost_{}", Uuid::now_v7().simple());
    let server = mongodb_url();
    let (address, options) = server.split_once('?').unwrap_or((&server, ""));
    let address = address.trim_end_matches('/');
    format!("{address}/{name}?{options}")
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests are told their servers by cargo xtask test"
)]
pub(crate) fn redis_url() -> String {
    std::env::var("ROOST_TEST_REDIS_URL")
        .expect("ROOST_TEST_REDIS_URL is not set: run the tests by `cargo xtask test`")
}
