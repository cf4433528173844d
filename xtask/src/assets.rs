//! `cargo xtask assets`: the browser bundles of the page at `/` and of GraphiQL, so that neither needs the internet.
//!
//! The server embeds `server/page/` when it is built; without `vendor/` it still builds and serves the rest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use roost_testbed::{tools, workspace};

/// The files in `node_modules` that are copied. They keep their names in `vendor/`.
const BUNDLES: [&str; 6] = [
    "socket.io-client/dist/socket.io.min.js",
    "graphiql/graphiql.min.js",
    "graphiql/graphiql.min.css",
    "graphql-ws/umd/graphql-ws.min.js",
    "react/umd/react.production.min.js",
    "react-dom/umd/react-dom.production.min.js",
];
/// The licences of the bundles, which have to be distributed with them.
const LICENSES: [(&str, &str); 5] = [
    ("socket.io-client", "LICENSE"),
    ("graphiql", "LICENSE"),
    ("graphql-ws", "LICENSE.md"),
    ("react", "LICENSE"),
    ("react-dom", "LICENSE"),
];

/// Installs the pinned packages and copies the bundles to `server/page/vendor/`.
pub fn run() -> Result<()> {
    let modules = install()?;
    let vendor = workspace::root().join("server/page/vendor");
    fs::create_dir_all(&vendor)?;
    for bundle in BUNDLES {
        let content = read(&modules.join(bundle))?;
        let name = Path::new(bundle)
            .file_name()
            .context("a bundle without a name")?;
        write_if_changed(&vendor.join(name), &content)?;
    }
    let mut licenses = Vec::new();
    for (package, file) in LICENSES {
        licenses.extend_from_slice(format!("{package}\n\n").as_bytes());
        licenses.extend(read(&modules.join(package).join(file))?);
        licenses.extend_from_slice(b"\n\n");
    }
    write_if_changed(&vendor.join("LICENSES.txt"), &licenses)
}

/// Runs `npm ci` in the tools folder, because everything in `server/page/` may become part of the
/// server.
fn install() -> Result<PathBuf> {
    let page = workspace::root().join("server/page");
    let folder = workspace::tools_folder().join("page");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(page.join(file), folder.join(file))?;
    }
    tools::npm_ci(&folder)?;
    Ok(folder.join("node_modules"))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("the npm packages have no {}", path.display()))
}

/// Leaves an unchanged file alone, because writing it makes cargo build the server again.
fn write_if_changed(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
