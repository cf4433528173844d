//! Documents that must stay in step with the program: the configuration's, and the meaning of each metric.

use roost_server::config;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

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

/// Where a path in a document may begin: at the repository, or at the part of it that the document is about.
const PATH_ROOTS: [&str; 3] = ["", "server", "server/src"];

#[test]
fn documents_point_only_at_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    for folder in ["docs", "docs/decisions"] {
        pages.extend(entries(&root.join(folder)));
    }
    pages.retain(|page| page.extension().is_some_and(|it| it == "md"));
    let folders = top_folders(&root);
    let mut found = 0;
    let mut gone = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for path in paths_in(&text, &folders) {
            found += 1;
            if !PATH_ROOTS
                .iter()
                .any(|it| root.join(it).join(path).exists())
            {
                gone.push(format!("{}: {path}", page.display()));
            }
        }
    }
    assert!(found > 30, "only {found} paths were recognised");
    assert_eq!(gone, Vec::<String>::new(), "these are not there");
}

#[test]
fn paths_are_told_apart_from_other_code() {
    let folders = BTreeSet::from(["server".to_owned(), "docs".to_owned()]);
    let text = "`app/gone.rs`, `docs/decisions/`, `server/tests/it/`, `./data`\n\
        `/readyz` `app/<noun>.rs` `cargo run server/x` `GET /api/v1.json` `application/json` `a/b.rs\n\
        ```sh\n`server/fenced.rs`\n```\n`server/after.rs`";
    let wanted = [
        "app/gone.rs",
        "docs/decisions/",
        "server/tests/it/",
        "server/after.rs",
    ];
    assert_eq!(paths_in(text, &folders), wanted);
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

/// The paths in backquotes that look like files or folders of the repository. Those with a placeholder or a pattern in
/// them, and blocks of commands, are left out.
fn paths_in<'a>(text: &'a str, folders: &BTreeSet<String>) -> Vec<&'a str> {
    const ENDINGS: [&str; 6] = ["rs", "md", "toml", "json", "mjs", "js"];
    let is_path = |code: &&str| {
        let Some((first, _)) = code.split_once('/') else {
            return false;
        };
        let ending = Path::new(code).extension().and_then(|it| it.to_str());
        let is_plain = |symbol: char| symbol.is_ascii_alphanumeric() || "._-/".contains(symbol);
        !first.is_empty()
            && code.chars().all(is_plain)
            && (folders.contains(first) || ending.is_some_and(|it| ENDINGS.contains(&it)))
    };
    let mut paths = Vec::new();
    for line in text.split("```").step_by(2).flat_map(str::lines) {
        let pieces: Vec<_> = line.split('`').collect();
        // Every second piece is code; what follows the last backquote is none.
        let closed = &pieces[..pieces.len() - 1];
        paths.extend(closed.iter().copied().skip(1).step_by(2).filter(is_path));
    }
    paths
}

/// The folders at the root of the repository, without those that git ignores.
fn top_folders(root: &Path) -> BTreeSet<String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    let is_ignored = |name: &str| {
        let mut lines = ignored.lines();
        lines.any(|line| line.trim_matches('/') == name)
    };
    let folders = entries(root).into_iter().filter(|path| path.is_dir());
    let names = folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| !is_ignored(name)).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}
