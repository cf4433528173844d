//! What must hold in docker-compose.yml that no schema knows of.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use anyhow::Result;
use ipnet::IpNet;
use serde_json::Value;

use super::{compose::Project, is_pinned, none_of};

/// The one service that the default profile publishes.
const FRONT: &str = "caddy";
/// Where the stores are, which the front must not reach.
const STORES_NETWORK: &str = "stores";
/// The network of the front and the instances.
const INSTANCES_NETWORK: &str = "internal";
const INSTANCES_MIN: usize = 3;
/// A draining instance takes up to 25 s.
const STOP_SECONDS_MIN: u64 = 30;

pub(super) fn check(root: &Path) -> Result<String> {
    let project = Project::read(root)?;
    none_of(&problems(&project, root))?;
    let services = project.services().count();
    Ok(format!(
        "{services} services, {} of them instances",
        project.instances().count()
    ))
}

fn problems(project: &Project, root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, service) in project.services() {
        let found = [
            hardening_problems(service),
            image_problems(service, project),
            port_problems(name, service, &project.json),
            dependency_problems(service, &project.json),
            mount_problems(service, root),
            secret_problems(service, project),
        ];
        let found = found.into_iter().flatten();
        problems.extend(found.map(|problem| format!("{name}: {problem}")));
    }
    problems.extend(instance_problems(project));
    problems.extend(network_problems(&project.json));
    problems.extend(proxy_problems(project));
    problems
}

/// What every service has.
fn hardening_problems(service: &Value) -> Vec<String> {
    let lists = |key: &str, wanted: &str| {
        let list = service[key].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).any(|found| found == wanted)
    };
    let wanted = [
        (service["restart"] == "unless-stopped", "no restart policy"),
        (service["read_only"] == true, "may write to its image"),
        (lists("cap_drop", "ALL"), "keeps capabilities"),
        (
            lists("security_opt", "no-new-privileges:true"),
            "may gain privileges",
        ),
        (service["privileged"] != true, "is privileged"),
        (!service["mem_limit"].is_null(), "has no memory limit"),
        (
            !service["healthcheck"]["test"].is_null(),
            "has no health check",
        ),
        (
            !service["logging"]["options"]["max-size"].is_null(),
            "may fill the disk with its log",
        ),
    ];
    let missing = wanted.into_iter().filter(|(holds, _)| !holds);
    missing.map(|(_, problem)| problem.to_owned()).collect()
}

fn image_problems(service: &Value, project: &Project) -> Vec<String> {
    let image = &service["image"];
    let name = image.as_str().unwrap_or_default();
    let built = project.built_images();
    match built.into_iter().filter(|built| *built == image).count() {
        0 if is_pinned(name) => Vec::new(),
        0 => vec![format!("image `{name}` is not pinned to a version")],
        1 => Vec::new(),
        // At the same time: the second finds that the image is there already, and fails.
        _ => vec![format!("image `{name}` is built by several services")],
    }
}

/// By default only the front is published; what a profile adds, on loopback only.
fn port_problems(name: &str, service: &Value, project: &Value) -> Vec<String> {
    let ports: Vec<_> = service["ports"].as_array().into_iter().flatten().collect();
    let is_default = service["profiles"].as_array().is_none_or(Vec::is_empty);
    let mut problems = Vec::new();
    if is_default && (name == FRONT) == ports.is_empty() {
        problems.push(format!("only {FRONT} publishes, and it does"));
    }
    if !is_default && ports.iter().any(|port| port["host_ip"] != "127.0.0.1") {
        problems.push("publishes to more than this host".to_owned());
    }
    let is_outside = |network: &String| project["networks"][network]["internal"] != true;
    match (ports.is_empty(), networks(service).iter().any(is_outside)) {
        (true, true) => problems.push("is on a network that leads outside".to_owned()),
        (false, false) => problems.push("publishes on networks that lead nowhere".to_owned()),
        _ => {}
    }
    problems
}

/// Whoever is waited for until healthy has a health check.
fn dependency_problems(service: &Value, project: &Value) -> Vec<String> {
    let dependencies = service["depends_on"].as_object().into_iter().flatten();
    let waited = dependencies.filter(|(_, how)| how["condition"] == "service_healthy");
    let without = waited.filter(|(name, _)| {
        let check = &project["services"][name]["healthcheck"];
        check["test"].is_null() || check["disable"] == true
    });
    let problem = |(name, _): (&String, &Value)| {
        format!("waits for {name} to be healthy, which has no health check")
    };
    without.map(problem).collect()
}

/// What is mounted from the repository exists and stays as it is.
fn mount_problems(service: &Value, root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    let mounts = service["volumes"].as_array().into_iter().flatten();
    for mount in mounts.filter(|mount| mount["type"] == "bind") {
        let source = mount["source"].as_str().unwrap_or_default();
        let is_there = relative(source).is_some_and(|path| root.join(path).is_file());
        if !is_there {
            problems.push(format!(
                "mounts {source}, which is no file of the repository"
            ));
        }
        if mount["read_only"] != true {
            problems.push(format!("may write to {source}"));
        }
    }
    problems
}

/// Compose makes paths absolute, below the temporary folder that the file was read in.
fn relative(source: &str) -> Option<&Path> {
    let folder = std::env::temp_dir();
    let inside = Path::new(source).strip_prefix(folder).ok()?;
    let mut parts = inside.components();
    parts.next();
    Some(parts.as_path())
}

/// Every user of the host can read the words a program was started with.
fn secret_problems(service: &Value, project: &Project) -> Vec<String> {
    let words = [
        &service["command"],
        &service["entrypoint"],
        &service["healthcheck"]["test"],
    ];
    let words: String = words.into_iter().map(Value::to_string).collect();
    let secrets = project.secrets.iter();
    let shown = secrets.filter(|(_, value)| words.contains(value));
    shown
        .map(|(name, _)| format!("shows {name} in a command line"))
        .collect()
}

/// At least three, all alike, with the time to drain.
fn instance_problems(project: &Project) -> Vec<String> {
    let mut problems = Vec::new();
    // One of them builds the image for all.
    let runs = |(name, service): (&String, &Value)| {
        let mut service = service.clone();
        if let Some(service) = service.as_object_mut() {
            service.remove("build");
        }
        (name.clone(), service)
    };
    let instances: Vec<_> = project.instances().map(runs).collect();
    if instances.len() < INSTANCES_MIN {
        problems.push(format!(
            "{} instances, not {INSTANCES_MIN}",
            instances.len()
        ));
    }
    for (name, service) in &instances {
        if Some(service) != instances.first().map(|(_, first)| first) {
            problems.push(format!("{name} is unlike the other instances"));
        }
        let grace = service["stop_grace_period"].as_str().and_then(seconds);
        if grace.is_none_or(|seconds| seconds < STOP_SECONDS_MIN) {
            problems.push(format!("{name} is killed before it can have drained"));
        }
    }
    problems
}

/// `1m30s`, as compose prints a time.
fn seconds(text: &str) -> Option<u64> {
    let mut total = 0;
    for part in text.split_inclusive(['h', 'm', 's']) {
        let (number, unit) = part.split_at(part.len().checked_sub(1)?);
        let unit = match unit {
            "h" => 60 * 60,
            "m" => 60,
            "s" => 1,
            _ => return None,
        };
        total += number.parse::<u64>().ok()? * unit;
    }
    Some(total)
}

/// The networks of the instances and of the stores lead nowhere else, and the front is not on the latter.
fn network_problems(project: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for network in [INSTANCES_NETWORK, STORES_NETWORK] {
        if project["networks"][network]["internal"] != true {
            problems.push(format!("the network {network} is not internal"));
        }
    }
    if networks(&project["services"][FRONT]).contains(STORES_NETWORK) {
        problems.push(format!("{FRONT} reaches the stores"));
    }
    problems
}

/// Every instance believes the front and nobody else, and the front knows every instance.
fn proxy_problems(project: &Project) -> Vec<String> {
    let mut problems = Vec::new();
    let front = &project.json["services"][FRONT];
    let address = &front["networks"][INSTANCES_NETWORK]["ipv4_address"];
    let network = &project.json["networks"][INSTANCES_NETWORK]["ipam"]["config"][0];
    let network_of = |key: &str| network[key].as_str()?.parse::<IpNet>().ok();
    let fixed: Option<IpAddr> = address.as_str().and_then(|text| text.parse().ok());
    // An address that the engine also gives out may be somebody else's when the front starts.
    let is_reserved = match (fixed, network_of("subnet"), network_of("ip_range")) {
        (Some(fixed), Some(all), Some(given)) => all.contains(&fixed) && !given.contains(&fixed),
        _ => false,
    };
    if !is_reserved {
        problems.push(format!("{FRONT} has no address that is its own"));
    }
    for (name, service) in project.instances() {
        if service["environment"]["ROOST_TRUSTED_PROXIES"] != *address {
            problems.push(format!("{name} believes other proxies than {FRONT}"));
        }
    }
    let upstreams = front["environment"]["ROOST_UPSTREAMS"].as_str();
    let known: BTreeSet<_> = upstreams.unwrap_or_default().split_whitespace().collect();
    for (name, _) in project.instances() {
        if !known.contains(format!("{name}:4000").as_str()) {
            problems.push(format!("{FRONT} sends to {known:?}, but not to {name}"));
        }
    }
    problems
}

fn networks(service: &Value) -> BTreeSet<String> {
    let networks = service["networks"].as_object().into_iter().flatten();
    networks.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_compose_prints_it() {
        assert_eq!(seconds("35s"), Some(35));
        assert_eq!(seconds("1m30s"), Some(90));
        assert_eq!(seconds("1h0m0s"), Some(3_600));
        assert_eq!(seconds("500ms"), None);
        assert_eq!(seconds("35"), None);
    }
}
