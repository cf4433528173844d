//! How many writes each instance took, over which API. Each committed entry is a line of the instance's log, and a
//! counter of its metrics has the APIs. A kill loses the counter, so it is read all the time, and once more just before
//! a kill.

use super::{
    deliveries::LOCAL,
    shares::{Seen, percent},
};
use anyhow::{Result, bail};
use parking_lot::Mutex;
use roost_testbed::{
    cluster::{Cluster, INSTANCES},
    roost::Roost,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::sleep};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const COUNTER: &str = "roost_writes_total";
/// The names of the APIs in the counter.
const APIS: [&str; 3] = ["rest", "graphql", "socketio"];
/// The least share of writes that each instance must take, in percent.
const SHARE_PERCENT_MIN: u64 = 15;

/// Counts of one instance by API.
#[derive(Default)]
struct Counts {
    /// Counts of earlier runs of the instance.
    past: BTreeMap<String, u64>,
    present: BTreeMap<String, u64>,
}

impl Counts {
    fn note(&mut self, seen: BTreeMap<String, u64>) {
        let sum = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>();
        if sum(&seen) < sum(&self.present) {
            for (api, count) in std::mem::take(&mut self.present) {
                *self.past.entry(api).or_default() += count;
            }
        }
        self.present = seen;
    }

    fn of(&self, api: &str) -> u64 {
        let count = |counts: &BTreeMap<String, u64>| counts.get(api).copied().unwrap_or(0);
        count(&self.past) + count(&self.present)
    }
}

type Shared = Arc<Mutex<Counts>>;

/// Reads the counters periodically.
pub(super) struct Tally {
    http: reqwest::Client,
    instances: Vec<(String, Shared)>,
    watching: JoinSet<()>,
}

impl Tally {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let mut tally = Self {
            http: reqwest::Client::new(),
            instances: Vec::new(),
            watching: JoinSet::new(),
        };
        for instance in cluster.instances() {
            tally.watch(instance);
        }
        tally
    }

    pub(super) fn watch(&mut self, instance: &Roost) {
        let counts = Shared::default();
        let (http, url) = (self.http.clone(), instance.metrics_url());
        self.instances.push((url.clone(), Arc::clone(&counts)));
        self.watching.spawn(async move {
            loop {
                look_at(&http, &url, &counts).await;
                sleep(LOOK_EVERY).await;
            }
        });
    }

    /// Reads all counters now.
    pub(super) async fn look(&self) {
        for (url, counts) in &self.instances {
            look_at(&self.http, url, counts).await;
        }
    }
}

async fn look_at(http: &reqwest::Client, url: &str, counts: &Shared) {
    let read = async { http.get(url).send().await?.text().await };
    // A killed instance does not answer; its counter starts from 0 after the restart.
    if let Ok(text) = read.await {
        counts.lock().note(counters(&text));
    }
}

/// Parses lines such as `roost_writes_total{api="rest"} 17`.
fn counters(metrics: &str) -> BTreeMap<String, u64> {
    let counter = |line: &str| {
        let labels = line.strip_prefix(COUNTER)?;
        let (_, api) = labels.split_once("api=\"")?;
        let (api, _) = api.split_once('"')?;
        let (_, value) = labels.rsplit_once(' ')?;
        Some((api.to_owned(), value.parse().ok()?))
    };
    metrics.lines().filter_map(counter).collect()
}

/// Prints the split; an error names the instances that took too few writes.
pub(super) fn judge(seen: &Seen<'_>, tally: &Tally, has_fourth: bool) -> Result<()> {
    let mut committed = vec![0; tally.instances.len()];
    for delivered in seen.during().filter(|delivered| delivered.way == LOCAL) {
        committed[delivered.instance] += delivered.count;
    }
    let total: u64 = committed.iter().sum();
    println!("writes by instance, of {total} committed:");
    let mut faults = Vec::new();
    for (index, (count, (_, counts))) in committed.iter().zip(&tally.instances).enumerate() {
        let counts = counts.lock();
        let apis: Vec<_> = APIS
            .iter()
            .map(|api| format!("{api} {}", counts.of(api)))
            .collect();
        println!(
            "  instance {}: {count:>6} ({}), of these by API as counted until it was killed: {}",
            index + 1,
            percent(*count, total),
            apis.join(", ")
        );
        if index < INSTANCES && count * 100 < total * SHARE_PERCENT_MIN {
            faults.push(format!(
                "instance {} took {}",
                index + 1,
                percent(*count, total)
            ));
        }
    }
    let is_counted =
        |(_, counts): &(String, Shared)| APIS.iter().all(|api| counts.lock().of(api) > 0);
    if !tally.instances.iter().take(INSTANCES).all(is_counted) {
        faults.push("an instance took no write over one of the APIs, by its counter".to_owned());
    }
    if has_fourth && committed.last() == Some(&0) {
        faults.push("the instance that joined took nothing".to_owned());
    }
    if !faults.is_empty() {
        bail!("{}", faults.join("; "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_over_the_lives_of_an_instance() {
        let text = "# TYPE roost_writes_total counter\nroost_writes_total{api=\"rest\"} 7\nroost_writes_total{api=\"graphql\"} 2\n";
        let mut counts = Counts::default();
        counts.note(counters(text));
        counts.note(counters("roost_writes_total{api=\"rest\"} 3"));
        assert_eq!((counts.of("rest"), counts.of("graphql")), (10, 2));
    }
}
