//! The page at `/` and GraphiQL: served with the files that they name, and without inline scripts or styles.

use crate::support::{Server, World};
use reqwest::{Method, Response, header};

#[tokio::test]
async fn the_pages_load_only_what_the_server_has() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    for path in ["/", "/graphiql"] {
        let page = get(&server, path).await;
        assert_eq!(page.status(), 200);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(policy.contains("script-src 'self';"), "{policy}");
        let text = page.text().await.unwrap();
        if text.contains("cargo xtask up") {
            assert!(
                !text.contains("<script"),
                "a page without its scripts says so"
            );
            continue;
        }
        assert!(!text.contains("://"), "{path} needs the internet");
        let named = text.split("/page/").skip(1);
        for file in named.map(|rest| rest.split('"').next().unwrap()) {
            let file = get(&server, &format!("/page/{file}")).await;
            assert_eq!(file.status(), 200, "{path} names {:?}", file.url().path());
        }
        for script in text.split("<script").skip(1) {
            assert!(script.starts_with(" src="), "{path} has a script inline");
        }
    }
}

#[tokio::test]
async fn a_file_of_the_page_is_fetched_once() {
    let world = World::on_sqlite().await;
    let server = world.serve().await;
    let first = get(&server, "/page/page.js").await;
    let tag = first.headers()[header::ETAG].clone();
    let again = server.endpoint.request(Method::GET, "/page/page.js");
    let again = again
        .header(header::IF_NONE_MATCH, tag)
        .send()
        .await
        .unwrap();
    assert_eq!(again.status(), 304);
    for absent in [
        "/page/package.json",
        "/page/../Cargo.toml",
        "/page/%2e%2e/build.rs",
        "/page/",
    ] {
        assert_eq!(get(&server, absent).await.status(), 404, "{absent}");
    }
}

async fn get(server: &Server, path: &str) -> Response {
    server
        .endpoint
        .request(Method::GET, path)
        .send()
        .await
        .unwrap()
}
