//! .dockerignore: which files a build gets to see.
//!
//! The rules: <https://docs.docker.com/build/concepts/context/#dockerignore-files>. The last line that matches a path
//! or a folder above it decides.

use std::path::Path;

use anyhow::Result;
use globset::{GlobBuilder, GlobMatcher};

pub(super) struct Ignore(Vec<Line>);

struct Line {
    pattern: GlobMatcher,
    excludes: bool,
}

impl Ignore {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let lines = lines.map(|line| {
            let (excludes, pattern) = match line.strip_prefix('!') {
                Some(pattern) => (false, pattern),
                None => (true, line),
            };
            let mut glob = GlobBuilder::new(pattern.trim_matches('/'));
            let pattern = glob.literal_separator(true).build()?.compile_matcher();
            Ok(Line { pattern, excludes })
        });
        Ok(Self(lines.collect::<Result<_>>()?))
    }

    /// Whether the build does not see this path, which is relative to the context.
    pub(super) fn excludes(&self, path: &Path) -> bool {
        let matches = |line: &&Line| path.ancestors().any(|part| line.pattern.is_match(part));
        let last = self.0.iter().rfind(matches);
        last.is_some_and(|line| line.excludes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_matches_decides() {
        let ignore =
            Ignore::parse("# all but\n*\n!server\n!client/Cargo.toml\n\nserver/tests\n**/*.snap\n")
                .unwrap();
        for seen in ["server", "server/src/lib.rs", "client/Cargo.toml"] {
            assert!(!ignore.excludes(Path::new(seen)), "{seen}");
        }
        for unseen in [
            ".env",
            "data/roost.db",
            "client/src/lib.rs",
            "server/tests/it/main.rs",
            "server/src/a.snap",
        ] {
            assert!(ignore.excludes(Path::new(unseen)), "{unseen}");
        }
        assert!(!Ignore::parse("").unwrap().excludes(Path::new("a")));
    }
}
