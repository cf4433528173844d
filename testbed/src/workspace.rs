//! Where the repository and the tools folder are, and the few environment variables that are read.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target folder, which `CARGO_TARGET_DIR` may move.
pub fn target_folder() -> PathBuf {
    environment("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The folder of installed tools (virtual environments, cargo-deny). It may be removed at any time.
pub fn tools_folder() -> PathBuf {
    target_folder().join("tools")
}

/// A variable that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask, its proofs and this crate have no configuration file: this is the one place that reads their environment"
)]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
