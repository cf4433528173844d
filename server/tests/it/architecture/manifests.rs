//! The manifests of the workspace: no other crate depends on the server.

use std::{
    fs,
    path::{Path, PathBuf},
};

const SERVER: &str = "roost-server";

/// The other crates start Roost as a program, or are libraries of the server.
#[test]
fn no_other_crate_depends_on_the_server() {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    let others = others(server.parent().unwrap());
    let nested = Path::new("loadtest/peers/rust/Cargo.toml");
    assert!(others.len() > 6, "only {others:?}");
    assert!(others.iter().any(|it| it.ends_with(nested)), "{others:?}");
    assert_eq!(dependents(&others), Vec::<&Path>::new());
}

#[test]
fn a_planted_dependent_is_caught_however_deep_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let members = r#"members = ["server", "tool", "tool/peers/rust",
        "library",
    ]"#;
    write("Cargo.toml", &format!("[workspace]\n{members}\n"));
    write("server/Cargo.toml", "[package]\nname = \"roost-server\"\n");
    write("library/Cargo.toml", "[package]\nname = \"library\"\n");
    let depends = "[dependencies]\nroost-server.workspace = true\n";
    write("tool/Cargo.toml", depends);
    let renamed = "[dev-dependencies]\nroost = { package = \"roost-server\", path = \"x\" }\n";
    write("tool/peers/rust/Cargo.toml", renamed);

    let others = others(folder.path());
    let found = dependents(&others);
    let expected = ["tool/Cargo.toml", "tool/peers/rust/Cargo.toml"];
    assert_eq!(found, expected.map(|path| folder.path().join(path)));
}

/// The manifests of a workspace's members but the server's.
fn others(workspace: &Path) -> Vec<PathBuf> {
    let manifest = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let (_, list) = manifest.split_once("\nmembers = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    assert!(!list.contains('*'), "a pattern stands for members: {list}");
    let folders = list.split('"').skip(1).step_by(2);
    folders
        .filter(|folder| *folder != "server")
        .map(|folder| workspace.join(folder).join("Cargo.toml"))
        .collect()
}

/// Those of the manifests that name the server. A dependency under another name names its package.
fn dependents(manifests: &[PathBuf]) -> Vec<&Path> {
    let names_it = |manifest: &&PathBuf| fs::read_to_string(manifest).unwrap().contains(SERVER);
    let found = manifests.iter().filter(names_it);
    found.map(PathBuf::as_path).collect()
}
