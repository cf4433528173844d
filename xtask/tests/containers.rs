//! Mistakes planted in copies of the Dockerfile, docker-compose.yml and their configurations are all noticed.

#![expect(
    clippy::unwrap_used,
    reason = "in a test a panic with its place is the report"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use roost_testbed::workspace;
use tempfile::TempDir;
use xtask::containers;

/// The repository, with one text replaced in one file.
fn planted(file: &str, good: &str, bad: &str) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let root = workspace::root();
    link_all(&root, copy.path());
    // The folders above the file become real ones, with links in them.
    let mut folder = copy.path().to_path_buf();
    let mut original = root.clone();
    for part in Path::new(file).parent().unwrap() {
        folder.push(part);
        original.push(part);
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        link_all(&original, &folder);
    }
    let text = fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(good), "{file} has no `{good}` to replace");
    let path = copy.path().join(file);
    fs::remove_file(&path).unwrap();
    fs::write(path, text.replace(good, bad)).unwrap();
    copy
}

fn link_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        symlink(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Each: the check, what is replaced, and what its complaint must contain.
fn assert_noticed(file: &str, plants: &[(&str, &str, &str, &str)]) {
    for (check, good, bad, complaint) in plants {
        let copy = planted(file, good, bad);
        let outcome = containers::check(check, copy.path());
        let said = match outcome {
            Ok(note) => panic!("{check} did not notice `{bad}`: {note}"),
            Err(error) => format!("{error:#}"),
        };
        assert!(said.contains(complaint), "{check}, `{bad}`: {said}");
    }
}

#[test]
fn mistakes_in_the_dockerfile_are_noticed() {
    assert_noticed(
        "Dockerfile",
        &[
            ("hadolint", "USER 10001:10001\n", "USER root\n", "DL3002"),
            ("hadolint", "node:24.21.0-bookworm-slim", "node", "DL3006"),
        ],
    );
}

#[test]
fn mistakes_in_the_services_are_noticed() {
    assert_noticed(
        "docker-compose.yml",
        &[
            (
                "compose-schema",
                "    hostname: mongodb",
                "    hostnam: mongodb",
                "hostnam",
            ),
            (
                "secrets",
                "${MONGODB_PASSWORD:?",
                "${MONGODB_PASSWORD:-",
                "without MONGODB_PASSWORD",
            ),
            ("secrets", "REDIS_PASSWORD CADDY", "CADDY", "REDIS_PASSWORD"),
            ("secrets", "umask 077", "umask 022", "readable to others"),
        ],
    );
}

#[test]
fn mistakes_in_what_the_services_read_are_noticed() {
    assert_noticed(
        "docker-compose.yml",
        &[
            (
                "caddy",
                "\"0.0.0.0:${PUBLIC_PORT:-8080}:8080\"",
                "\"8080:80\"",
                "listens on",
            ),
            (
                "caddy",
                "roost-1:4000 roost-2:4000 roost-3:4000 roost-4:4000 roost-5:4000\n",
                "roost-1:4000 roost-2:4000 roost-4:4000 roost-5:4000\n",
                "does not send to roost-3",
            ),
            (
                "environment",
                "ROOST_DRAIN_DELAY: 3s",
                "ROOST_DRAIN_DELAY: soon",
                "drain_delay",
            ),
            (
                "environment",
                "mongodb://roost",
                "mongodb+srv://roost",
                "journal_url",
            ),
            (
                "health",
                "\"roost\", \"health\"",
                "\"roost\", \"healthy\"",
                "healthy",
            ),
        ],
    );
    let forgotten = "          - roost-3:9464\n";
    let wrong = [
        ("prometheus", "job_name: roost", "job: roost", "job"),
        ("prometheus", forgotten, "", "the instances are"),
    ];
    assert_noticed("deploy/prometheus/prometheus.yml", &wrong);
    let typo = [(
        "caddy",
        "lb_try_duration",
        "lb_try_durations",
        "lb_try_durations",
    )];
    assert_noticed("caddy/Caddyfile", &typo);
}
