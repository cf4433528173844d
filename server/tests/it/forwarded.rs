//! Whose request it is behind a trusted proxy, by each form in which proxies write an address.

use crate::support::World;
use reqwest::Method;

#[tokio::test]
async fn a_client_is_known_in_whichever_form_a_trusted_proxy_names_it() {
    let world = World::on_sqlite().await;
    let server = world
        .serve_with(&[
            ("address_requests_per_second", "5"),
            ("trusted_proxies", "127.0.0.1"),
        ])
        .await;
    let ask = async |client: &str| {
        let request = server.endpoint.request(Method::GET, "/api/v1/me");
        let response = request.header("x-forwarded-for", client).send().await;
        response.unwrap().status().as_u16()
    };
    for client in 1..=20 {
        for form in [
            format!("203.0.113.{client}:5678"),
            format!("[2001:db8:0:{client}::1]"),
            format!("\"[2001:db8:1:{client}::1]:443\""),
            format!("fe80:0:0:{client}::1%eth0"),
        ] {
            assert_eq!(ask(&form).await, 401, "{form}");
        }
    }
    let mut refused = 0;
    for client in 1..=20 {
        refused += usize::from(ask(&format!("203.0.113.99:{client}")).await == 429);
    }
    assert!(refused > 0, "the port is no part of the client");
}

#[tokio::test]
async fn what_a_proxy_forwards_and_cannot_be_read_is_counted_and_logged_once() {
    let world = World::on_sqlite().await;
    let program = world
        .start_program(&[("trusted_proxies", "127.0.0.1")])
        .await;
    for client in [
        "nonsense",
        "unix:",
        "203.0.113.1, 10.0.0.1:http",
        "unknown",
        "_hidden",
        "203.0.113.1",
    ] {
        let request = program.endpoint.request(Method::GET, "/api/v1/me");
        let response = request.header("x-forwarded-for", client).send().await;
        assert_eq!(response.unwrap().status(), 401, "{client}");
    }
    let metrics = program.metrics().await;
    assert!(
        metrics.contains("\nroost_forwarded_unreadable_total 3\n"),
        "{metrics}"
    );
    let log = program.log();
    assert_eq!(log.matches("names no address").count(), 1, "{log}");
    assert!(
        log.contains("nonsense") && log.contains("127.0.0.1"),
        "{log}"
    );
}
