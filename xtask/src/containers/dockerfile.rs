//! The Dockerfile, read into stages and instructions, and what it must say.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{ignore::Ignore, is_pinned, none_of};

pub(super) const FILE: &str = "Dockerfile";
pub(super) const IGNORE_FILE: &str = ".dockerignore";
/// What the Debian releases are called in the tags of one image, and of another.
const DEBIAN: [(&str, &str); 2] = [("bookworm", "debian:12"), ("trixie", "debian:13")];

/// One part of the file, from a `FROM` to the next.
pub(super) struct Stage {
    image: String,
    /// The name other stages copy from it by.
    pub(super) name: String,
    pub(super) instructions: Vec<Instruction>,
}

pub(super) struct Instruction {
    pub(super) keyword: String,
    /// The rest, on one line.
    pub(super) text: String,
}

/// What a `COPY` says.
pub(super) struct Copied<'a> {
    /// The stage, if not the build's context.
    pub(super) from: Option<&'a str>,
    pub(super) sources: Vec<&'a str>,
    pub(super) target: &'a str,
}

impl Stage {
    /// The text of the last instruction of this kind.
    pub(super) fn last(&self, keyword: &str) -> Option<&str> {
        let mut found = self.instructions.iter();
        let found = found.rfind(|instruction| instruction.keyword == keyword);
        found.map(|instruction| instruction.text.as_str())
    }

    /// The variables that the image sets.
    pub(super) fn environment(&self) -> Vec<(&str, &str)> {
        let set = self.instructions.iter();
        let set = set.filter(|instruction| instruction.keyword == "ENV");
        let words = set.flat_map(|instruction| instruction.text.split_whitespace());
        words.filter_map(|word| word.split_once('=')).collect()
    }

    /// The words of the health check, which needs no shell.
    pub(super) fn health_command(&self) -> Result<Vec<String>> {
        let check = self.last("HEALTHCHECK").context("no HEALTHCHECK")?;
        let (_, command) = check.split_once("CMD ").context("HEALTHCHECK has no CMD")?;
        serde_json::from_str(command).context("HEALTHCHECK needs a shell")
    }
}

impl Instruction {
    pub(super) fn copied(&self) -> Option<Copied<'_>> {
        if self.keyword != "COPY" {
            return None;
        }
        let mut words = self.text.split_whitespace();
        let from = words.clone().find_map(|word| word.strip_prefix("--from="));
        let target = words.next_back()?;
        let sources = words.filter(|word| !word.starts_with("--")).collect();
        Some(Copied {
            from,
            sources,
            target,
        })
    }
}

/// The stages of a folder's Dockerfile.
pub(super) fn read(root: &Path) -> Result<Vec<Stage>> {
    let text =
        fs::read_to_string(root.join(FILE)).with_context(|| format!("cannot read {FILE}"))?;
    parse(&text)
}

pub(super) fn check(root: &Path) -> Result<String> {
    let stages = read(root)?;
    let toolchain: toml::Table = fs::read_to_string(root.join("rust-toolchain.toml"))?.parse()?;
    let rust = toolchain["toolchain"]["channel"].as_str();
    let mut problems = problems(&stages, rust.context("no channel")?);
    let ignore = Ignore::parse(&fs::read_to_string(root.join(IGNORE_FILE))?)?;
    let (sources, missing) = sources(root, &stages, &ignore);
    problems.extend(missing);
    none_of(&problems)?;
    Ok(format!("{} stages, {sources} sources", stages.len()))
}

/// How many sources are copied from the context, and what is wrong with them.
fn sources(root: &Path, stages: &[Stage], ignore: &Ignore) -> (usize, Vec<String>) {
    let instructions = stages.iter().flat_map(|stage| &stage.instructions);
    let copied = instructions.filter_map(Instruction::copied);
    let copied = copied.filter(|copied| copied.from.is_none());
    let sources: Vec<_> = copied.flat_map(|copied| copied.sources).collect();
    let missing = sources.iter().filter_map(|source| {
        if ignore.excludes(Path::new(source)) {
            return Some(format!("COPY {source}: {IGNORE_FILE} excludes it"));
        }
        (!root.join(source).exists()).then(|| format!("COPY {source}: there is no such file"))
    });
    (sources.len(), missing.collect())
}

/// What the stages say that they must not, or fail to say. `rust` is the version that the repository is built with.
fn problems(stages: &[Stage], rust: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for stage in stages.iter().filter(|stage| !is_pinned(&stage.image)) {
        problems.push(format!("FROM {} is not pinned to a version", stage.image));
    }
    let builder = stages.iter().find(|stage| stage.image.starts_with("rust:"));
    let (Some(builder), Some(last)) = (builder, stages.last()) else {
        problems.push("no stage builds with the image of Rust".to_owned());
        return problems;
    };
    if !builder.image.starts_with(&format!("rust:{rust}-")) {
        problems.push(format!(
            "FROM {}: rust-toolchain.toml says {rust}",
            builder.image
        ));
    }
    let same_debian = DEBIAN
        .iter()
        .any(|(name, image)| builder.image.ends_with(name) && last.image.starts_with(image));
    if !same_debian {
        let (built, runs) = (&builder.image, &last.image);
        problems.push(format!(
            "{runs} may lack the C library that {built} links against"
        ));
    }
    problems.extend(last_stage_problems(last));
    problems
}

/// The image that is kept: no root, no shell, the right ports.
fn last_stage_problems(stage: &Stage) -> Vec<String> {
    let mut problems = Vec::new();
    let user = stage.last("USER").and_then(|user| user.split(':').next());
    if user
        .and_then(|user| user.parse().ok())
        .is_none_or(|user: u32| user == 0)
    {
        problems.push("USER must be a number other than 0".to_owned());
    }
    if stage.last("STOPSIGNAL") != Some("SIGTERM") {
        problems.push("STOPSIGNAL must be SIGTERM, which drains".to_owned());
    }
    for keyword in ["ENTRYPOINT", "CMD"] {
        let words = stage.last(keyword).map(serde_json::from_str::<Vec<String>>);
        if !matches!(words, Some(Ok(_))) {
            problems.push(format!(
                "{keyword} must be a list of words: a shell would get the signals"
            ));
        }
    }
    if let Err(error) = stage.health_command() {
        problems.push(format!("{error:#}"));
    }
    let exposed: BTreeSet<_> = stage
        .last("EXPOSE")
        .unwrap_or_default()
        .split(' ')
        .collect();
    let environment = stage.environment();
    let listens = environment
        .iter()
        .filter(|(name, _)| name.ends_with("LISTEN"));
    let listens: BTreeSet<_> = listens
        .filter_map(|(_, address)| address.rsplit_once(':'))
        .map(|(_, port)| port)
        .collect();
    if exposed != listens {
        problems.push(format!(
            "EXPOSE names {exposed:?}, but the server listens on {listens:?}"
        ));
    }
    problems
}

pub(super) fn parse(text: &str) -> Result<Vec<Stage>> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in logical_lines(text) {
        let (keyword, rest) = line.split_once(' ').with_context(|| format!("`{line}`?"))?;
        let rest = rest.trim();
        if keyword == "FROM" {
            let mut words = rest.split_whitespace();
            let image = words.next().unwrap_or_default().to_owned();
            let name = words.nth(1).unwrap_or_default().to_owned();
            stages.push(Stage {
                image,
                name,
                instructions: Vec::new(),
            });
            continue;
        }
        let Some(stage) = stages.last_mut() else {
            bail!("{keyword} stands before the first FROM");
        };
        stage.instructions.push(Instruction {
            keyword: keyword.to_owned(),
            text: rest.to_owned(),
        });
    }
    Ok(stages)
}

/// The lines without comments, those that end with a backslash joined with the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut begun = String::new();
    let physical = text.lines().map(str::trim);
    for line in physical.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(start) = line.strip_suffix('\\') {
            begun.push_str(start);
        } else {
            lines.push(std::mem::take(&mut begun) + line);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        # A comment.
        FROM node:24.21.0-bookworm-slim AS page
        COPY package.json ./
        FROM rust:1.95.0-slim-bookworm AS builder
        COPY schema server ./
        RUN one \
            # in between
            && two
        FROM debian:12.12-slim
        COPY --from=builder /build/roost /usr/bin/
        USER 10001:10001
        ENV ROOST_LISTEN=0.0.0.0:4000 \
            ROOST_METRICS_LISTEN=0.0.0.0:9464
        EXPOSE 4000 9464
        STOPSIGNAL SIGTERM
        HEALTHCHECK --interval=10s CMD ["roost", "health"]
        ENTRYPOINT ["roost"]
        CMD ["serve"]
    "#;

    fn problems_of(text: &str) -> Vec<String> {
        problems(&parse(text).unwrap(), "1.95.0")
    }

    #[test]
    fn a_dockerfile_is_read_into_stages() {
        let stages = parse(GOOD).unwrap();
        assert_eq!(stages[1].name, "builder");
        assert_eq!(stages[1].last("RUN").unwrap().split_whitespace().count(), 3);
        let copied = stages[1].instructions[0].copied().unwrap();
        assert_eq!(copied.sources, ["schema", "server"]);
        assert_eq!(copied.target, "./");
        assert_eq!(
            stages[2].instructions[0].copied().unwrap().from,
            Some("builder")
        );
        assert_eq!(stages[2].health_command().unwrap(), ["roost", "health"]);
        assert_eq!(
            stages[2].environment()[1],
            ("ROOST_METRICS_LISTEN", "0.0.0.0:9464")
        );
        assert!(parse("RUN before").is_err());
    }

    #[test]
    fn planted_mistakes_are_caught() {
        assert_eq!(problems_of(GOOD), Vec::<String>::new());
        let planted = [
            ("node:24.21.0-bookworm-slim", "node", "not pinned"),
            (
                "rust:1.95.0-slim",
                "rust:1.94.0-slim",
                "rust-toolchain.toml says 1.95.0",
            ),
            ("debian:12.12-slim", "debian:11.9-slim", "C library"),
            (
                "FROM rust:1.95.0-slim-bookworm",
                "FROM gcc:14",
                "no stage builds",
            ),
            ("USER 10001:10001", "USER 0", "USER"),
            ("USER 10001:10001", "USER roost", "USER"),
            ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL", "STOPSIGNAL"),
            (
                r#"CMD ["roost", "health"]"#,
                "CMD roost health",
                "needs a shell",
            ),
            (r#"ENTRYPOINT ["roost"]"#, "ENTRYPOINT roost", "ENTRYPOINT"),
            ("EXPOSE 4000 9464", "EXPOSE 4000", "EXPOSE"),
        ];
        for (good, bad, expected) in planted {
            assert!(GOOD.contains(good), "{good}");
            let found = problems_of(&GOOD.replace(good, bad)).join("\n");
            assert!(found.contains(expected), "{bad}: {found}");
        }
    }

    #[test]
    fn a_source_that_the_build_does_not_get_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["package.json", "schema"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let ignore = Ignore::parse("schema").unwrap();
        let (count, missing) = sources(folder.path(), &parse(GOOD).unwrap(), &ignore);
        assert_eq!(count, 3);
        assert_eq!(
            missing,
            [
                "COPY schema: .dockerignore excludes it",
                "COPY server: there is no such file"
            ]
        );
    }
}
