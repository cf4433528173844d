//! Checks a journal in `MongoDB`: whether it is reached, a replica set that takes writes, and durable.

use super::{Check, in_time};
use crate::{
    config::Loaded,
    store::journal::{MongoDiagnostics, MongoJournal},
};

const JOURNAL: &str = "journal";
const DURABILITY: &str = "journal durability";

pub(super) async fn examine(loaded: &Loaded) -> Vec<Check> {
    let Some(url) = &loaded.config.journal_url else {
        return vec![Check::ok(JOURNAL, "kept in the database")];
    };
    let shown = loaded.shown("journal_url");
    let (journal, condition) = match in_time(MongoJournal::examine(url.expose())).await {
        Ok(reached) => reached,
        Err(reason) => {
            let finding = format!("{shown} cannot be reached: {reason}");
            let advice =
                "start it, or correct journal_url (address, user, password, replicaSet, tls)";
            return vec![Check::problem(JOURNAL, finding, advice)];
        }
    };
    let mut checks = vec![reached(&condition, &shown)];
    if condition.replica_set.is_none() {
        return checks;
    }
    if !condition.is_made {
        checks.push(Check::ok(DURABILITY, "the first start makes the journal"));
        return checks;
    }
    let journal: &dyn crate::store::journal::Journal = &*journal;
    checks.push(match in_time(journal.verify()).await {
        Ok(()) => Check::ok(DURABILITY, "written by a majority, on disk; the indexes are there"),
        Err(reason) => Check::problem(
            DURABILITY,
            reason,
            "start Roost again: it makes an index that is gone; one that differs must be dropped first",
        ),
    });
    checks
}

fn reached(condition: &MongoDiagnostics, shown: &str) -> Check {
    let MongoDiagnostics {
        version,
        wire_version,
        replica_set,
        is_primary,
        ..
    } = condition;
    let finding = format!("MongoDB {version} (wire version {wire_version}) at {shown}");
    match replica_set {
        None => Check::problem(
            JOURNAL,
            finding + " is not a replica set",
            "start mongod with --replSet and run rs.initiate(); one member is enough",
        ),
        Some(name) if !is_primary => Check::problem(
            JOURNAL,
            format!("{finding}, replica set {name}, is not the primary"),
            "name every member and replicaSet in journal_url, without directConnection",
        ),
        Some(name) => Check::ok(JOURNAL, format!("{finding}, replica set {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn only_the_primary_of_a_replica_set_will_do() {
        let verdict = |name: Option<&str>, is_primary| {
            let condition = MongoDiagnostics {
                version: "8.0.4".into(),
                wire_version: 25,
                replica_set: name.map(ToOwned::to_owned),
                is_primary,
                is_made: false,
            };
            reached(&condition, "").verdict
        };
        assert_eq!(verdict(Some("roost"), true), Verdict::Ok);
        assert_eq!(verdict(Some("roost"), false), Verdict::Problem);
        assert_eq!(verdict(None, true), Verdict::Problem);
    }
}
