//! Configuration: the sources of values, refused values and their explanations, masked secrets.

use roost_server::config::{DatabaseUrl, Loaded, Problems, example, load_from, show};
use std::{fs, time::Duration};

fn load(variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    load_from(None, variables.iter().map(owned))
}

fn refusals(variables: &[(&str, &str)]) -> Vec<String> {
    load(variables).unwrap_err().0
}

#[test]
fn every_default_is_good_and_the_example_is_fresh() {
    let config = load(&[]).unwrap().config;
    assert_eq!(config.listen, "127.0.0.1:4000".parse().unwrap());
    assert_eq!(config.access_token_lifetime, Duration::from_mins(5));
    assert!(matches!(config.database_url, DatabaseUrl::Sqlite(_)));
    assert_eq!(
        config.database_url.file().unwrap().to_str(),
        Some("data/roost.db")
    );
    assert!(config.allowed_origins.is_empty());
    assert!(
        include_str!("../../../.env.example") == example(),
        ".env.example is stale: run `cargo xtask schema`"
    );
}

#[test]
fn the_environment_stands_above_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roost.toml");
    fs::write(
        &file,
        "listen = \"127.0.0.1:1\"\nconnections_max = 7\nallowed_origins = [\"https://a.example\", \"http://b.example:8080\"]\n",
    )
    .unwrap();
    let environment = [("listen".to_owned(), "127.0.0.1:2".to_owned())];
    let loaded = load_from(Some(&file), environment).unwrap();
    assert_eq!(loaded.config.listen.port(), 2);
    assert_eq!(loaded.config.connections_max, 7);
    assert_eq!(loaded.config.allowed_origins.len(), 2);

    let page = show(&loaded);
    let line = |key: &str| {
        page.lines()
            .find(|line| line.starts_with(key))
            .unwrap()
            .to_owned()
    };
    assert!(line("listen ").ends_with("\"127.0.0.1:2\"  # environment"));
    assert!(line("connections_max").contains("roost.toml"));
    assert!(line("drain_timeout").ends_with("# default"));

    fs::write(&file, "database_url = postgres://ann:s3cret@db/roost\n").unwrap();
    let torn = load_from(Some(&file), []).unwrap_err().to_string();
    assert!(
        torn.contains("line 1") && !torn.contains("s3cret"),
        "{torn}"
    );

    let missing = load_from(Some(&folder.path().join("other.toml")), []).unwrap_err();
    assert!(missing.0[0].contains("other.toml"), "{missing}");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_eq!(
        refusals(&[("lisen", "127.0.0.1:1")]),
        ["There is no key ROOST_LISEN; did you mean listen?"]
    );
    let far = refusals(&[("frobnicate_everything", "yes")]);
    assert!(far[0].contains("roost config show"), "{far:?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roost.toml");
    fs::write(&file, "databse_url = \"sqlite:a\"").unwrap();
    let refused = load_from(Some(&file), []).unwrap_err().0;
    assert!(
        refused[0].contains("did you mean database_url?"),
        "{refused:?}"
    );
}

#[test]
fn what_others_put_into_the_environment_is_left_alone() {
    let kubernetes = [
        ("port", "tcp://10.0.0.1:4000"),
        ("service_host", "10.0.0.1"),
    ];
    assert!(load(&kubernetes).is_ok());
    assert!(
        load(&[
            ("test_postgres_url", "postgres://x"),
            ("config", "roost.toml")
        ])
        .is_ok()
    );
}

#[test]
fn every_problem_gets_its_sentence() {
    let all = refusals(&[
        ("listen", "here"),
        ("connections_max", "0"),
        ("access_token_lifetime", "2h"),
        ("trusted_proxies", "10.0.0.0/8, everybody"),
    ]);
    assert_eq!(all.len(), 3, "{all:?}");
    for (name, text) in [
        ("access_token_lifetime", "2h"),
        ("header_timeout", "soon"),
        ("allowed_origins", "https://*.example.org"),
        ("allowed_origins", "https://example.org/app"),
        ("database_url", "mysql://x"),
        ("database_url", "sqlite::memory:"),
        ("journal_url", "redis://x"),
        ("log_format", "xml"),
        ("signing_key_pem", "s3cret"),
        ("signing_key_pem", "database -----BEGIN PRIVATE KEY-----"),
        ("log_level", "loud=very"),
    ] {
        let refused = refusals(&[(name, text)]);
        assert_eq!(refused.len(), 1, "{name}={text}: {refused:?}");
        assert!(
            refused[0].starts_with(name) && refused[0].ends_with('.'),
            "{refused:?}"
        );
    }
}

#[test]
fn an_origin_that_no_page_has_is_refused_with_what_is_wrong() {
    let good = "https://app.example.org, http://localhost:5173, capacitor://localhost, tauri://localhost, \
                https://bücher.example/, chrome-extension://abcdefghijklmnop, wss://app.example.org:443";
    let loaded = load(&[("allowed_origins", good)]).unwrap();
    let origins = loaded.config.allowed_origins;
    assert_eq!(origins.len(), 7);
    assert_eq!(
        origins[0], origins[6],
        "default ports and schemes of sockets"
    );
    for (text, problem) in [
        ("https://app.example.org/app", "has a path"),
        ("https://app.example.org//", "has a path"),
        ("https://app.example.org?a=b", "has a query"),
        ("https://app.example.org/#a", "has a path"),
        ("https://app.example.org#a", "has a fragment"),
        ("https://ann@app.example.org", "has a user before its host"),
        (
            "https://*.example.org",
            "is a pattern; list each origin by itself",
        ),
        ("*", "has no scheme such as https:// before its host"),
        ("https://app example.org", "has a blank in it"),
        ("https://", "names no host"),
        ("file:///", "names no host"),
        ("https://:443", "names no host"),
        ("https://[::1", "names a host that cannot be"),
        ("https://1.2.3.999", "names a host that cannot be"),
        (
            "https://app.example.org:70000",
            "has a port that is not a number up to 65535",
        ),
        (
            "https://app.example.org:https",
            "has a port that is not a number up to 65535",
        ),
        (
            "app.example.org",
            "has no scheme such as https:// before its host",
        ),
        (
            "://app.example.org",
            "has no scheme such as https:// before its host",
        ),
        (
            "1a://app.example.org",
            "has no scheme such as https:// before its host",
        ),
        (
            "null",
            "any page can have: it is the origin of sandboxed frames and local files",
        ),
    ] {
        let listed = format!("https://app.example.org, {text}");
        let refused = refusals(&[("allowed_origins", &listed)]);
        let wanted = format!("allowed_origins lists {text:?}, which {problem}.");
        assert_eq!(refused, [wanted]);
    }
}

#[test]
fn redis_is_one_server_or_one_endpoint() {
    assert!(load(&[("redis_url", "redis://:s3cret@a:6379/")]).is_ok());
    assert!(load(&[("redis_url", "rediss://a")]).is_ok());
    for url in [
        "redis-sentinel://a",
        "redis-cluster://a",
        "redis://a:1,b:2",
        "http://a",
        "redis://",
    ] {
        let refused = refusals(&[("redis_url", url)]);
        assert!(refused[0].starts_with("redis_url must"), "{refused:?}");
    }
}

#[test]
fn secrets_are_never_shown() {
    let loaded = load(&[
        ("database_url", "postgres://ann:s3cret@db/roost"),
        (
            "signing_key_pem",
            "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----",
        ),
    ])
    .unwrap();
    let page = show(&loaded);
    assert!(page.contains("postgres://ann:***@db/roost"));
    assert!(!page.contains("s3cret"));
    assert!(
        !format!("{loaded:?}").contains("s3cret"),
        "not in a log either"
    );
}
