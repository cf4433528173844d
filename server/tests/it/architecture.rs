//! Keeps the layers one-way: a file's folder decides which parts it may name, and no other crate names the server's.

mod lengths;
mod manifests;
mod paths;
mod permissions;
mod planted;
mod tokens;

use std::{fs, path::Path};

/// Each part of `src`, and the parts of this crate that it may name.
const MAY_NAME: &[(&str, &[&str])] = &[
    (
        "boot",
        &[
            "boot",
            "config",
            "telemetry",
            "transport",
            "app",
            "live",
            "store",
        ],
    ),
    // The doctor stands beside boot: it names what boot names, and no layer names it.
    ("doctor", &["doctor", "config", "app", "live", "store"]),
    (
        "transport",
        &["transport", "config", "telemetry", "app", "live", "store"],
    ),
    ("app", &["app", "live", "store"]),
    ("live", &["live", "store"]),
    ("store", &["store"]),
    ("config", &["config"]),
    ("telemetry", &["telemetry", "config"]),
];

/// Libraries that a part must not name, because they belong to another one.
const FOREIGN: &[(&str, &[&str])] = &[
    ("doctor", &["sea_orm", "sqlx", "mongodb", "fred"]),
    ("transport", &["sea_orm", "sqlx", "mongodb", "fred"]),
    ("store", &["fred"]),
    (
        "app",
        &[
            "fred",
            "axum",
            "async_graphql",
            "async_graphql_axum",
            "socketioxide",
            "engineioxide",
        ],
    ),
];

/// The libraries that carry sockets: the commands must not depend on one of them.
const CARRIERS: [&str; 5] = [
    "socketioxide",
    "socketioxide_core",
    "engineioxide",
    "tokio_tungstenite",
    "axum",
];

/// The folder that makes each backend; elsewhere only boot.rs and the doctor name it.
const BACKENDS: &[(&str, &str)] = &[
    ("SqlJournal", "store/journal/"),
    ("MongoJournal", "store/journal/"),
    ("RedisBackplane", "live/"),
    ("RedisPresence", "live/"),
    ("LocalPresence", "live/"),
];

/// Names that `live/room` and `live/presence` must not use.
const OF_THE_CLUSTER: [&str; 8] = [
    "cluster",
    "Backplane",
    "Bucket",
    "Channel",
    "Fence",
    "Peers",
    "Redis",
    "Message",
];

#[test]
fn the_layers_look_only_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut files = 0;
    for_each_file(&source, &mut |path| {
        let file = path.strip_prefix(&source).unwrap().to_str().unwrap();
        found.extend(violations(file, &fs::read_to_string(path).unwrap()));
        files += 1;
    });
    assert!(files > 10, "only {files} files in {}", source.display());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// All paths in a file's text that its part of `src` may not name.
fn violations(file: &str, text: &str) -> Vec<String> {
    let place = file.split(['/', '.']).next().unwrap_or_default();
    let module_depth = module_depth(file);
    paths::paths(text)
        .iter()
        .filter_map(|path| {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            problem(file, place, module_depth, &path)
                .map(|problem| format!("src/{file}: `{}`: {problem}", path.join("::")))
        })
        .collect()
}

fn problem(file: &str, place: &str, module_depth: usize, path: &[&str]) -> Option<&'static str> {
    if let Some(inside) = inside_crate(path, module_depth)
        && let Some(problem) = inside_problem(place, inside)
    {
        return Some(problem);
    }
    let foreign = FOREIGN.iter().find(|(layer, _)| *layer == place);
    if foreign.is_some_and(|(_, names)| path.first().is_some_and(|first| names.contains(first))) {
        return Some("belongs to another layer");
    }
    let is_carrier = path.first().is_some_and(|first| CARRIERS.contains(first));
    let names_a_carrier = path.contains(&"socketio") && inside_crate(path, module_depth).is_some();
    if file.starts_with("transport/sockets/") && (is_carrier || names_a_carrier) {
        return Some("commands of sockets name none that carries them");
    }
    let is_elsewhere = |(name, home): &(&str, &str)| path.contains(name) && !file.starts_with(home);
    if !["boot", "doctor"].contains(&place) && BACKENDS.iter().any(is_elsewhere) {
        return Some("only boot.rs and the doctor name a backend");
    }
    if let Some(problem) = live_problem(file, path) {
        return Some(problem);
    }
    let is_elsewhere = place != "store" && file != "app/access/mod.rs";
    if is_elsewhere && path.contains(&"ActingMember") {
        return Some("only app/access makes a proof of permission");
    }
    let may_vouch = ["app/access/mod.rs", "store/acting_member.rs"].contains(&file);
    if !may_vouch && path.contains(&"vouch_for") {
        return Some("only app/access makes a proof of permission");
    }
    if place != "store" && path.len() > 1 && path.contains(&"entity") {
        return Some("rows never leave the store");
    }
    let reads_environment = path
        .windows(2)
        .any(|pair| pair[0] == "env" && pair[1].starts_with("var"));
    if reads_environment && file != "config.rs" {
        return Some("the environment is read once, in config.rs");
    }
    None
}

/// The path inside the crate, if it starts at the crate's root.
fn inside_crate<'a, 'b>(path: &'b [&'a str], module_depth: usize) -> Option<&'b [&'a str]> {
    if let ["crate" | "roost_server", inside @ ..] = path {
        return Some(inside);
    }
    let is_up = |segment: &&&str| **segment == "super";
    let ups = path.iter().take_while(is_up).count();
    // A module inside a file is deeper than the file, so its `super::*` is not the root.
    let inside = &path[ups..];
    (ups > 0 && ups >= module_depth && inside != ["*"]).then_some(inside)
}

fn inside_problem(place: &str, inside: &[&str]) -> Option<&'static str> {
    let (_, allowed) = MAY_NAME.iter().find(|(layer, _)| *layer == place)?;
    match inside {
        ["self", ..] => Some("the crate gets no other name"),
        ["*"] => Some("names everything"),
        [first, ..] if is_part(first) && !allowed.contains(first) => Some("looks up"),
        ["store"] | ["store", "*" | "self"] if place == "live" => {
            Some("of store, live names only store::journal")
        }
        ["store", second, ..] if place == "live" && *second != "journal" => {
            Some("of store, live names only store::journal")
        }
        _ => None,
    }
}

/// A room and its presence do not know of other instances: `instance.rs` joins them with the cluster.
fn live_problem(file: &str, path: &[&str]) -> Option<&'static str> {
    let is_core = file.starts_with("live/room/") || file.starts_with("live/presence/");
    let names_it = path.iter().any(|part| OF_THE_CLUSTER.contains(part));
    let is_import = matches!(path.first(), Some(&("super" | "crate")));
    (is_core && names_it && is_import).then_some("belongs to live/cluster")
}

fn is_part(name: &str) -> bool {
    MAY_NAME.iter().any(|(part, _)| *part == name)
}

/// How many `super` lead from a file's module to the crate's root.
fn module_depth(file: &str) -> usize {
    let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
    module.split('/').count()
}

fn for_each_file(folder: &Path, check: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            for_each_file(&path, check);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            check(&path);
        }
    }
}
