//! `roost doctor`: good settings are called good, each wrong one is found and named with advice, nothing is changed and
//! no secret is shown.

use crate::support::World;
use sea_orm::{
    ConnectionTrait, Statement,
    sqlx::{
        ConnectOptions, Connection,
        sqlite::{SqliteConnectOptions, SqliteJournalMode},
    },
};
use serde_json::Value;
use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    str::FromStr,
};

/// The doctor's report as JSON, and whether it exited with 0.
struct Said {
    is_good: bool,
    text: String,
    checks: Vec<Value>,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        let mut report: Value = serde_json::from_str(&text).unwrap();
        let Value::Array(checks) = report["checks"].take() else {
            panic!("no checks in {text}");
        };
        Self {
            is_good: output.status.success(),
            text,
            checks,
        }
    }

    /// The check's `verdict: finding`.
    fn of(&self, name: &str) -> String {
        let check = self.checks.iter().find(|check| check["name"] == name);
        let check = check.unwrap_or_else(|| panic!("no {name} in {}", self.text));
        assert_eq!(check["advice"].is_string(), check["verdict"] != "ok");
        let word = |key: &str| check[key].as_str().unwrap();
        format!("{}: {}", word("verdict"), word("finding"))
    }

    #[track_caller]
    fn assert(&self, name: &str, verdict: &str, finding: &str) {
        let said = self.of(name);
        let is_so = said.starts_with(verdict) && said.contains(finding);
        assert!(is_so, "{name}: not {verdict} about {finding}: {said}");
    }
}

impl World {
    async fn examine(&self, keys: &[(&str, &str)]) -> Said {
        Said::new(&self.run_program(keys, &["doctor", "--json"]).await)
    }

    /// Changes a setting of the database, for all later connections.
    async fn alter_database(&self, change: &str) {
        let name = "SELECT current_database() AS name";
        let name = Statement::from_string(self.sql.backend(), name);
        let name = self.sql.read.query_one_raw(name).await.unwrap().unwrap();
        let name: String = name.try_get("", "name").unwrap();
        let alter = format!("ALTER DATABASE {name} SET {change}");
        self.sql.write.execute_unprepared(&alter).await.unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_is_as_it_should_be_is_called_good() {
    let world = World::on_cluster().await;
    let program = world.start_program(&[]).await;
    let output = program.run(&["doctor", "--json"]).await;
    let said = Said::new(&output);
    assert!(said.is_good, "{}", said.text);
    for (name, finding) in [
        ("configuration", "every key"),
        ("signing key", "kept in the database"),
        ("passwords", "none is missing"),
        ("file limit", "enough"),
        ("listen", "a Roost listens"),
        ("metrics_listen", "a Roost listens"),
        ("database", "PostgreSQL 1"),
        ("durability", "on disk"),
        ("migrations", "this release's"),
        ("clock", "the database's"),
        ("instances", "one runs: "),
        ("connections", "each instance uses up to 20"),
        ("journal", "replica set"),
        ("journal durability", "by a majority"),
        ("redis", "Redis 7."),
        ("redis memory", "noeviction"),
        ("redis round trip", "ms"),
    ] {
        said.assert(name, "ok", finding);
    }
    let others = world.examine(&[("redis_url", "")]).await;
    others.assert(
        "instances",
        "problem",
        "has a redis_url, this configuration has none",
    );
    let page = program.run(&["doctor"]).await;
    assert!(page.status.success());
    let page = String::from_utf8(page.stdout).unwrap();
    assert_eq!(page.lines().count(), said.checks.len(), "{page}");
    assert!(page.lines().all(|line| line.starts_with("ok ")), "{page}");
}

#[tokio::test]
async fn everything_is_looked_at_when_nothing_can_be_reached() {
    let world = World::on_sqlite().await;
    let said = world
        .examine(&[
            ("database_url", "postgres://ann:Tr0ub4dor@127.0.0.1:9/roost"),
            ("journal_url", "mongodb://ann:Tr0ub4dor@127.0.0.1:9/roost"),
            ("redis_url", "redis://:Tr0ub4dor@127.0.0.1:9/"),
        ])
        .await;
    assert!(!said.is_good);
    said.assert(
        "database",
        "problem",
        "postgres://ann:***@127.0.0.1:9/roost cannot",
    );
    said.assert(
        "journal",
        "problem",
        "mongodb://ann:***@127.0.0.1:9/roost cannot",
    );
    said.assert("redis", "problem", "redis://:***@127.0.0.1:9/ cannot");
    assert!(!said.text.contains("Tr0ub4dor"), "{}", said.text);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_explained() {
    let world = World::on_sqlite().await;
    let said = world
        .examine(&[("listen", "here"), ("connections_max", "none")])
        .await;
    assert!(!said.is_good);
    assert_eq!(said.checks.len(), 2, "{}", said.text);
    said.assert("configuration", "problem", "listen must be");
}

#[tokio::test]
async fn weaker_settings_of_postgres_and_a_clock_that_is_off_are_found() {
    let world = World::on_postgres().await;
    world.alter_database("synchronous_commit = off").await;
    let said = world.examine(&[]).await;
    said.assert(
        "durability",
        "warning",
        "synchronous_commit = off by default",
    );
    assert!(said.is_good, "Roost asks for `on`: {}", said.text);

    // A clock that is two minutes ahead; the search path finds it before the database's own.
    let clock = "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT pg_catalog.clock_timestamp() + interval '2 minutes' $$";
    world.sql.write.execute_unprepared(clock).await.unwrap();
    world
        .alter_database("search_path = public, pg_catalog")
        .await;
    let said = world.examine(&[]).await;
    said.assert("clock", "problem", "s behind the database's");
    assert!(!said.is_good);
}

#[tokio::test]
async fn pending_migrations_are_named_and_not_applied() {
    let world = World::on_postgres().await;
    let forget = "DELETE FROM seaql_migrations WHERE version = 'm0003_rooms'";
    world.sql.write.execute_unprepared(forget).await.unwrap();
    let said = world.examine(&[]).await;
    said.assert("migrations", "warning", "m0003_rooms pending");
    let again = world.examine(&[]).await;
    again.assert("migrations", "warning", "m0003_rooms pending");
}

#[tokio::test]
async fn this_release_runs_on_the_schema_of_a_later_one() {
    let world = World::on_postgres().await;
    let later = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)";
    world.sql.write.execute_unprepared(later).await.unwrap();
    let said = world.examine(&[]).await;
    said.assert(
        "migrations",
        "warning",
        "m9999_later applied by a later release",
    );
    assert!(said.is_good, "{}", said.text);
    let mut program = world.start_program(&[]).await;
    assert!(program.terminate().await.success());
}

#[tokio::test]
async fn the_doctor_makes_no_database() {
    let world = World::on_sqlite().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data/roost.db");
    let url = format!("sqlite:{}", file.display());
    let said = world.examine(&[("database_url", url.as_str())]).await;
    said.assert("database", "ok", "the first start makes it");
    assert!(said.is_good, "{}", said.text);
    assert!(!file.parent().unwrap().exists());
}

#[tokio::test]
async fn an_sqlite_file_that_does_not_write_ahead_is_found() {
    let world = World::on_sqlite().await;
    let said = world.examine(&[]).await;
    said.assert("database", "ok", "SQLite 3.");
    said.assert("durability", "ok", "on disk");

    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("roost.db").display());
    let options = SqliteConnectOptions::from_str(&url).unwrap();
    let options = options.create_if_missing(true);
    let rollback = options.journal_mode(SqliteJournalMode::Delete);
    let mut connection = rollback.connect().await.unwrap();
    sea_orm::sqlx::query("CREATE TABLE anything (id int)")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let said = world.examine(&[("database_url", url.as_str())]).await;
    said.assert("durability", "warning", "journal_mode = delete");
    said.assert("migrations", "warning", "m0001_journal");
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The permission bits of a mode: what owner, group and others may do.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_data_folder_is_for_nobody_else_whatever_the_umask() {
    let world = World::on_sqlite().await;
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("some/data");
    let url = format!("sqlite:{}", folder.join("roost.db").display());
    let keys = [("database_url", url.as_str())];
    let mut program = world.start_program_under("000", &keys).await;
    assert_eq!(mode(&folder), 0o700);
    for file in ["roost.db", "roost.db-wal", "roost.db-shm", "roost.db.lock"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    let said = Said::new(&program.run(&["doctor", "--json"]).await);
    said.assert("data folder", "ok", "nobody else");
    // The modes of an earlier release's files.
    program.terminate().await;
    let file = folder.join("roost.db");
    set_mode(&folder, 0o755);
    set_mode(&file, 0o644);
    let said = world.examine(&keys).await;
    said.assert("data folder", "problem", "can read");
    let advice = said.checks.iter().find(|it| it["name"] == "data folder");
    let advice = advice.unwrap()["advice"].as_str().unwrap();
    let file_shown = file.canonicalize().unwrap().display().to_string();
    assert!(
        advice.contains(&format!("chmod 600 {file_shown}")),
        "{advice}"
    );
    assert_eq!(mode(&file), 0o644, "the doctor changes nothing");
    program.start_again().await;
    assert_eq!(mode(&file), 0o600, "the file is ours");
    assert_eq!(mode(&folder), 0o755, "the folder may be somebody's");
    let said = world.examine(&keys).await;
    said.assert("data folder", "warning", "look into");
    set_mode(&folder, 0o777);
    let said = world.examine(&keys).await;
    said.assert("data folder", "problem", "in place of");
}

#[tokio::test]
async fn a_journal_whose_sequencer_is_gone_is_a_problem() {
    let world = World::on_mongodb().await;
    let fresh = world.examine(&[]).await;
    fresh.assert("journal durability", "ok", "the first start makes");
    let again = world.examine(&[]).await;
    again.assert("journal durability", "ok", "the first start makes");

    world.start_program(&[]).await.kill();
    let said = world.examine(&[]).await;
    said.assert("journal durability", "ok", "by a majority");
    let client = mongodb::Client::with_uri_str(world.journal_url.as_str()).await;
    let database = client.unwrap().default_database().unwrap();
    let entries = database.collection::<bson::Document>("journal");
    entries.drop_index("journal_slot").await.unwrap();
    let said = world.examine(&[]).await;
    said.assert("journal durability", "problem", "journal_slot");
    assert!(!said.is_good);
}

#[tokio::test]
async fn an_address_that_another_program_has_is_a_problem() {
    let world = World::on_sqlite().await;
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    // This program accepts connections and answers nothing that a Roost would.
    let greeter = async {
        loop {
            drop(other.accept().await);
        }
    };
    let keys = [("listen", address.as_str())];
    let said = tokio::select! {
        said = world.examine(&keys) => said,
        () = greeter => unreachable!("it goes on"),
    };
    said.assert("listen", "problem", "taken by another program");
    // A network that is reserved for documentation: no host has an address of it.
    let said = world.examine(&[("listen", "192.0.2.1:4000")]).await;
    said.assert("listen", "problem", "cannot be listened on");
}

#[tokio::test]
async fn keys_and_passwords_that_will_not_do_are_found() {
    let world = World::on_sqlite().await;
    let bad = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----";
    let said = world
        .examine(&[
            ("signing_key_pem", bad),
            ("redis_url", "redis://:changeme@192.0.2.1/"),
        ])
        .await;
    said.assert("signing key", "problem", "PKCS#8");
    said.assert("passwords", "problem", "redis_url");
    assert!(!said.text.contains("changeme"), "{}", said.text);

    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519"])
        .output()
        .unwrap();
    let good = String::from_utf8(made.stdout).unwrap();
    let said = world.examine(&[("signing_key_pem", good.as_str())]).await;
    said.assert("signing key", "ok", "from the configuration");
}

#[test]
fn a_file_limit_below_what_an_instance_needs_is_a_problem() {
    let doctor = |limit: &str| {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("prlimit")
            .arg(format!("--nofile={limit}"))
            .args([env!("CARGO_BIN_EXE_roost"), "doctor", "--json"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("ROOST_LISTEN", "127.0.0.1:0")
            .env("ROOST_METRICS_LISTEN", "")
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(!Path::new(folder.path()).join("data").exists());
        Said::new(&output)
    };
    let said = doctor("256");
    said.assert("file limit", "problem", "256 files");
    assert!(!said.is_good);
    let said = doctor("2048");
    said.assert("file limit", "warning", "connections_max = 10000");
    assert!(said.is_good, "{}", said.text);
}
