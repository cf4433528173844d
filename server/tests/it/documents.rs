//! Documents that must stay in step with the program: the configuration's, and the meaning of each metric.

use roost_server::config;
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn the_page_on_configuration_is_fresh() {
    assert!(
        include_str!("../../../docs/configuration.md") == config::reference(),
        "docs/configuration.md is stale: run `cargo xtask schema`"
    );
}

/// The program protects its own files; the unit protects all others in the folder.
#[test]
fn the_systemd_unit_keeps_its_data_from_others() {
    let page = include_str!("../../../docs/deployment.md");
    for setting in ["\nUMask=0077\n", "\nStateDirectoryMode=0700\n"] {
        assert!(page.contains(setting), "{setting:?}");
    }
}

#[test]
fn every_metric_is_explained_and_every_explained_metric_is_there() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut measured = BTreeSet::new();
    collect(&source, &mut measured);
    assert!(measured.len() > 5, "{measured:?}");
    let page = include_str!("../../../docs/operations.md");
    let explained = names_in(page, "| `");
    assert_eq!(
        measured.difference(&explained).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "docs/operations.md has no row for these"
    );
    assert_eq!(
        explained.difference(&measured).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "the program does not measure these"
    );
}

#[test]
fn documents_name_only_keys_and_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let keys: Vec<String> = config::KEYS
        .iter()
        .map(|key| format!("ROOST_{}", key.name.to_uppercase()))
        .collect();
    for page in [
        "README.md",
        "docs/ARCHITECTURE.md",
        "docs/configuration.md",
        "docs/deployment.md",
        "docs/operations.md",
    ] {
        let path = root.join(page);
        let text = fs::read_to_string(&path).unwrap();
        let is_of_name = |symbol: char| symbol.is_ascii_uppercase() || symbol == '_';
        for (at, _) in text.match_indices("ROOST_") {
            let name = text[at..].split(|symbol| !is_of_name(symbol)).next();
            let name = name.unwrap().to_owned();
            let is_of_others = name == "ROOST_CONFIG" || name.starts_with("ROOST_CADDY_");
            assert!(is_of_others || keys.contains(&name), "{page}: {name}");
        }
        for link in text.split("](").skip(1) {
            let link = link.split([')', '#']).next().unwrap();
            if !link.is_empty() && !link.contains("://") {
                let file = path.parent().unwrap().join(link);
                assert!(file.exists(), "{page}: {link}");
            }
        }
    }
}

/// The names of metrics that follow an opening, such as a quotation mark.
fn names_in(text: &str, opening: &str) -> BTreeSet<String> {
    let is_of_name = |symbol: char| symbol.is_ascii_lowercase() || symbol == '_';
    let name = |(at, _): (usize, &str)| {
        let rest = &text[at + opening.len()..];
        let end = rest.find(|symbol| !is_of_name(symbol))?;
        let is_closed = rest[end..].starts_with(['"', '`']);
        is_closed.then(|| rest[..end].to_owned())
    };
    let begin = format!("{opening}roost_");
    let names = text.match_indices(&begin).filter_map(name);
    // Names of crates, of a cookie and of the doctor's probe begin like those of metrics.
    names
        .filter(|name| !["roost_", "roost_server", "roost_instance"].contains(&name.as_str()))
        .collect()
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(names_in(&fs::read_to_string(&path).unwrap(), "\""));
        }
    }
}
