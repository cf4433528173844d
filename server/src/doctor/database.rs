//! Checks the relational database: whether it is reached, durable and migrated, has room for the connections of all
//! instances, and a clock that agrees; and the journal, when it is kept there.

use super::{Check, in_time};
use crate::{
    config::Loaded,
    live::SPEAKS,
    store::{
        CLOCK_DRIFT_MAX, Clock, DatabaseDiagnostics, Instances, KeptInstance, Migrations, Sql,
        journal::SqlJournal,
    },
};
use chrono::TimeDelta;
use roost_schema::InstanceId;

const DATABASE: &str = "database";
const DURABILITY: &str = "durability";
const INSTANCES: &str = "instances";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// A clock that is off by more than these is a warning, or a problem.
const DRIFT_WARNING: TimeDelta = TimeDelta::seconds(1);
const DRIFT_PROBLEM: TimeDelta = CLOCK_DRIFT_MAX;
/// Connections that are left for others: administrators, backups, an instance that starts beside this one.
const CONNECTIONS_SPARE: u32 = 10;

pub(super) async fn examine(loaded: &Loaded) -> Vec<Check> {
    let config = &loaded.config;
    let shown = loaded.shown("database_url");
    let (sql, condition) = match in_time(Box::pin(Sql::examine(config.database_url.expose()))).await
    {
        Ok(Some(reached)) => reached,
        Ok(None) => {
            return vec![Check::ok(
                DATABASE,
                format!("{shown}: the first start makes it"),
            )];
        }
        Err(reason) => {
            let advice = "start it, or correct database_url (address, user, password, sslmode)";
            let finding = format!("{shown} cannot be reached: {reason}");
            return vec![Check::problem(DATABASE, finding, advice)];
        }
    };
    let is_journal_here = config.journal_url.is_none();
    let mut checks = vec![
        reached(&condition, &shown),
        durability(&sql, &condition, is_journal_here).await,
        migrations(&condition.migrations),
        clock(&sql).await,
    ];
    let mut running = 0;
    // The registry's columns need the newest migrations.
    if condition.migrations.pending.is_empty() {
        let registry = Instances::new(sql);
        match in_time(registry.others(InstanceId::generate())).await {
            Ok(instances) => {
                running = instances.len();
                checks.push(judge_instances(&instances, config.redis_url.is_some()));
            }
            Err(reason) => checks.push(Check::problem(
                INSTANCES,
                format!("the registry cannot be read: {reason}"),
                "see the database above",
            )),
        }
    }
    let pools = if is_journal_here { 2 } else { 1 };
    let instances = u32::try_from(running).unwrap_or(u32::MAX).max(1);
    checks.extend(connections(&condition, pools, instances));
    checks
}

fn reached(condition: &DatabaseDiagnostics, shown: &str) -> Check {
    let finding = format!("{} at {shown}", condition.version);
    if !condition.is_supported {
        let advice = "upgrade it to PostgreSQL 14 or newer";
        return Check::problem(DATABASE, finding + " is too old", advice);
    }
    if condition.is_replica {
        let advice = "let database_url name the primary";
        return Check::problem(
            DATABASE,
            finding + " is a replica and takes no writes",
            advice,
        );
    }
    Check::ok(DATABASE, finding)
}

async fn durability(sql: &Sql, condition: &DatabaseDiagnostics, is_journal_here: bool) -> Check {
    if !condition.weak.is_empty() {
        let finding = format!(
            "{} could lose what was acknowledged",
            condition.weak.join(", ")
        );
        if condition.version.starts_with("SQLite") {
            let advice = "the next start changes it; if it does not stay `wal`, the file lies on a \
                file system that cannot (such as NFS): move it";
            return Check::warning(DURABILITY, finding, advice);
        }
        let advice = "set it back to `on` (ALTER SYSTEM, then SELECT pg_reload_conf())";
        return Check::problem(DURABILITY, finding, advice);
    }
    // The journal can be checked only when its tables exist.
    let is_made = condition.migrations.pending.is_empty();
    if is_journal_here
        && is_made
        && let Err(reason) = in_time(SqlJournal::examine(sql)).await
    {
        let advice = "put right what it names; an index that is gone comes back with a backup";
        return Check::problem(DURABILITY, reason, advice);
    }
    if !condition.weak_for_others.is_empty() {
        let finding = format!(
            "{} by default; Roost asks for `on`",
            condition.weak_for_others.join(", ")
        );
        let advice = "a pooler could drop what Roost asks for: set the default of the server, the \
            database and the role to `on`";
        return Check::warning(DURABILITY, finding, advice);
    }
    Check::ok(DURABILITY, "what is committed is on disk")
}

fn migrations(migrations: &Migrations) -> Check {
    const NAME: &str = "migrations";
    let Migrations { pending, unknown } = migrations;
    match (pending.is_empty(), unknown.is_empty()) {
        (true, true) => Check::ok(NAME, "the schema is this release's"),
        (false, true) => Check::warning(
            NAME,
            format!("{} pending", pending.join(", ")),
            "the next start applies them, or `roost migrate` does; take a backup before",
        ),
        (true, false) => Check::warning(
            NAME,
            format!("{} applied by a later release", unknown.join(", ")),
            "this release runs on it; finish the upgrade to the later one",
        ),
        (false, false) => Check::problem(
            NAME,
            format!(
                "{} pending and {} unknown here",
                pending.join(", "),
                unknown.join(", ")
            ),
            "the database belongs to another line of releases: use the one that migrated it",
        ),
    }
}

async fn clock(sql: &Sql) -> Check {
    match in_time(Clock::measured(sql)).await {
        Ok(clock) => judge_drift(clock.offset()),
        Err(reason) => Check::problem(
            "clock",
            format!("the database's cannot be read: {reason}"),
            "see the database above",
        ),
    }
}

fn judge_drift(offset: TimeDelta) -> Check {
    const NAME: &str = "clock";
    const ADVICE: &str = "let chrony or systemd-timesyncd keep the clocks of all hosts";
    let seconds = offset.abs().as_seconds_f64();
    let way = if offset < TimeDelta::zero() {
        "ahead of"
    } else {
        "behind"
    };
    let finding = format!("{seconds:.3} s {way} the database's");
    if offset.abs() > DRIFT_PROBLEM {
        Check::problem(NAME, finding, ADVICE)
    } else if offset.abs() > DRIFT_WARNING {
        Check::warning(NAME, finding, ADVICE)
    } else {
        Check::ok(NAME, finding)
    }
}

fn judge_instances(instances: &[KeptInstance], has_redis: bool) -> Check {
    let finding = list(instances);
    let deaf = instances.iter().find(|one| one.has_redis != has_redis);
    if let Some(deaf) = deaf {
        let (theirs, ours) = if has_redis {
            ("has no redis_url", "has one")
        } else {
            ("has a redis_url", "has none")
        };
        return Check::problem(
            INSTANCES,
            format!(
                "{finding}; {} {theirs}, this configuration {ours}",
                deaf.name
            ),
            "give every instance the same redis_url: they would not hear each other",
        );
    }
    let is_twice = |one: &KeptInstance| {
        instances
            .iter()
            .filter(|other| other.name == one.name)
            .count()
            > 1
    };
    if let Some(twice) = instances.iter().find(|one| is_twice(one)) {
        let advice =
            "give each an instance_name of its own: logs and reports cannot tell them apart";
        return Check::warning(
            INSTANCES,
            format!("{finding}; {} is there twice", twice.name),
            advice,
        );
    }
    if let Some(other) = instances.iter().find(|one| one.speaks != SPEAKS) {
        let meaning = if other.speaks < SPEAKS {
            "what came with higher numbers is held back on all instances"
        } else {
            "one of this release waits at its start until those know of it"
        };
        return Check::warning(
            INSTANCES,
            format!("{finding}; this release speaks {SPEAKS}: {meaning}"),
            "finish the upgrade",
        );
    }
    if instances.iter().any(|one| one.version != VERSION) {
        let advice = "finish the upgrade";
        return Check::warning(INSTANCES, format!("{finding}; this is {VERSION}"), advice);
    }
    Check::ok(INSTANCES, finding)
}

fn list(instances: &[KeptInstance]) -> String {
    let name = |one: &KeptInstance| {
        let (name, version, speaks) = (&one.name, &one.version, one.speaks);
        format!("{name} ({version}, speaks {speaks})")
    };
    let names: Vec<String> = instances.iter().map(name).collect();
    match names.as_slice() {
        [] => "none runs".to_owned(),
        [one] => format!("one runs: {one}"),
        many => format!("{} run: {}", many.len(), many.join(", ")),
    }
}

fn connections(condition: &DatabaseDiagnostics, pools: u32, instances: u32) -> Option<Check> {
    const NAME: &str = "connections";
    let (max, pool) = condition.connections?;
    let needed = (pools * pool).saturating_mul(instances) + CONNECTIONS_SPARE;
    let finding = format!(
        "the database takes {max}; each instance uses up to {}, and {instances} must fit",
        pools * pool
    );
    if max < needed {
        let advice = "raise max_connections of PostgreSQL (it must be started again)";
        return Some(Check::warning(NAME, finding, advice));
    }
    Some(Check::ok(NAME, finding))
}

#[cfg(test)]
mod tests;
