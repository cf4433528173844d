//! Which instances a suite reached, by their own metrics; and which of them hold sockets.

use super::system::System;
use anyhow::{Context, Result, bail};
use roost_testbed::{interrupt, process};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How many instances a suite must reach: a suite that reaches one shows nothing of the others.
const REACHED_MIN: usize = 2;
/// Routes for health checks. Requests to them do not show that a client reached an instance.
const HEALTH_ROUTES: [&str; 4] = ["/livez", "/readyz", "/healthz", "/lb-status"];
const SOCKETIO_ROUTES: [&str; 2] = ["/socket.io", "/socket.io/"];
const SOCKETS: &str = "roost_sockets";
/// Longer than the longest pause of a stock client before it connects again, which is 5 s.
const MOVE_PATIENCE: Duration = Duration::from_secs(6);

/// Which requests show that a suite reached an instance.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// None: the suite drives no client.
    Unneeded,
    AnyRequest,
    SocketIo,
}

/// How many requests of clients each instance has answered since a suite began.
pub(super) struct Reach {
    evidence: Evidence,
    before: Vec<u64>,
    answered: Vec<u64>,
}

impl Reach {
    pub(super) fn begin(system: &System, evidence: Evidence) -> Result<Self> {
        let mut reach = Self {
            evidence,
            before: vec![0; system.instances().len()],
            answered: vec![0; system.instances().len()],
        };
        reach.note(system)?;
        reach.answered.fill(0);
        Ok(reach)
    }

    fn note(&mut self, system: &System) -> Result<()> {
        for (index, instance) in system.instances().iter().enumerate() {
            let now = requests(&instance.metrics()?, |route| self.evidence.has(route))?;
            self.answered[index] += now.saturating_sub(self.before[index]);
            self.before[index] = now;
        }
        Ok(())
    }

    /// Stops or kills the instances that hold sockets, one after the other, and starts them again. Returns when clients
    /// may be sent to them.
    pub(super) fn restart(&mut self, system: &mut System, signal: &str) -> Result<()> {
        let mut holders = Vec::new();
        for (index, instance) in system.instances().iter().enumerate() {
            if value(&instance.metrics()?, SOCKETS) > 0.0 {
                holders.push(index);
            }
        }
        if holders.is_empty() {
            bail!("a script asked for {signal}, and no instance holds a socket");
        }
        for index in holders {
            // The counters of the instance end with it.
            self.note(system)?;
            let instance = system.instance(index)?;
            match signal {
                "SIGTERM" => instance.stop()?,
                "SIGKILL" => instance.kill_nine()?,
                other => bail!("a script asked to restart the server by {other}"),
            }
            wait_for_move(system, index)?;
            system.instance(index)?.restart()?;
            self.before[index] = 0;
            system.wait_for_caddy(index)?;
            println!("(instance {} was restarted by {signal})", index + 1);
        }
        Ok(())
    }

    /// How often each instance was reached, in words; an error when too few were.
    pub(super) fn judge(mut self, system: &System) -> Result<Option<String>> {
        if self.evidence == Evidence::Unneeded || matches!(system, System::Alone(_)) {
            return Ok(None);
        }
        self.note(system)?;
        judge(&self.answered).map(Some)
    }
}

impl Evidence {
    fn has(self, route: &str) -> bool {
        match self {
            Self::Unneeded => false,
            Self::AnyRequest => !HEALTH_ROUTES.contains(&route),
            Self::SocketIo => SOCKETIO_ROUTES.contains(&route),
        }
    }
}

/// Gives clients the time to connect to another instance while one is down. Clients that do not come back in time wait
/// for that instance.
fn wait_for_move(system: &System, gone: usize) -> Result<()> {
    let instances = system.instances().iter().enumerate();
    let others: Vec<_> = instances.filter(|(index, _)| *index != gone).collect();
    let deadline = Instant::now() + MOVE_PATIENCE;
    while !others.is_empty() && Instant::now() < deadline {
        interrupt::check()?;
        for (_, instance) in &others {
            if value(&instance.metrics()?, SOCKETS) > 0.0 {
                return Ok(());
            }
        }
        thread::sleep(process::POLL);
    }
    Ok(())
}

fn judge(answered: &[u64]) -> Result<String> {
    let counts: Vec<_> = answered.iter().map(u64::to_string).collect();
    let shares = format!("requests per instance: {}", counts.join(", "));
    let reached = answered.iter().filter(|count| **count > 0).count();
    if reached < REACHED_MIN {
        bail!(
            "it reached {reached} of {} instances, not {REACHED_MIN}; {shares}",
            answered.len()
        );
    }
    Ok(shares)
}

/// How many requests with a wanted route an instance has answered, by its metrics.
pub(super) fn requests(metrics: &str, is_wanted: impl Fn(&str) -> bool) -> Result<u64> {
    let mut sum = 0;
    for line in metrics.lines() {
        let Some(sample) = line.strip_prefix("roost_http_requests_total{") else {
            continue;
        };
        let route = sample
            .split_once("route=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let (route, _) = route.with_context(|| format!("no route in {line}"))?;
        if is_wanted(route) {
            let (_, count) = sample
                .rsplit_once(' ')
                .context("a sample without a value")?;
            sum += count.parse::<u64>()?;
        }
    }
    Ok(sum)
}

/// The value of a metric without labels; 0 before it was set for the first time.
fn value(metrics: &str, name: &str) -> f64 {
    let mut samples = metrics.lines().filter_map(|line| line.split_once(' '));
    let found = samples.find(|(found, _)| *found == name);
    found
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE roost_http_requests_total counter\n\
        roost_http_requests_total{method=\"GET\",route=\"/readyz\",status=\"200\"} 12\n\
        roost_http_requests_total{method=\"GET\",route=\"/socket.io/\",status=\"200\"} 5\n\
        roost_http_requests_total{method=\"POST\",route=\"/api/v1/rooms/{roomId}/messages\",status=\"201\"} 7\n\
        # TYPE roost_sockets gauge\n\
        roost_sockets 2\n";

    #[test]
    fn requests_of_clients_are_told_from_those_of_watchers() {
        let count = |evidence: Evidence| requests(METRICS, |route| evidence.has(route)).unwrap();
        assert_eq!(count(Evidence::AnyRequest), 12);
        assert_eq!(count(Evidence::SocketIo), 5);
        assert_eq!(count(Evidence::Unneeded), 0);
        assert_eq!(requests(METRICS, |route| route == "/readyz").unwrap(), 12);
    }

    #[test]
    fn a_gauge_is_read_by_its_whole_name() {
        assert!((value(METRICS, "roost_sockets") - 2.0).abs() < f64::EPSILON);
        assert!(value(METRICS, "roost_socket").abs() < f64::EPSILON);
    }

    #[test]
    fn a_suite_that_reached_one_instance_fails() {
        assert_eq!(judge(&[3, 0, 1]).unwrap(), "requests per instance: 3, 0, 1");
        assert!(judge(&[4, 0, 0]).is_err());
        assert!(judge(&[0, 0, 0]).is_err());
    }
}
