//! The generator is right: it finds each fault of a server that is known to make them, and none where there is none.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use clap::Parser;
use roost_loadtest::{
    report::Report,
    run::{Options, Run},
    scenario::fanout::Fanout,
};
use roost_peers::bare::{self, Counts, Faults};
use std::{net::Ipv4Addr, time::Duration};
use tokio::net::TcpListener;

/// As the command line makes them.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    fanout: Fanout,
}

/// Ten messages a second in each of three rooms of five people, for two seconds.
async fn measure(faults: Faults) -> (Report, Counts) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = bare::serve(listener, faults).unwrap();
    let url = format!("http://{}", server.address());
    let arguments = Arguments::parse_from([
        "fanout",
        "--url",
        &url,
        "--anonymous",
        "--unjudged",
        "--quiet",
        "--warm-up",
        "1",
        "--duration",
        "2",
        "--rooms",
        "3",
        "--members",
        "5",
        "--rate",
        "10",
        "--durable",
    ]);
    let run = Run::begin(arguments.options).await.unwrap();
    let report = arguments.fanout.run(&run).await.unwrap();
    (report, server.stop().await)
}

/// Lost, doubled, reordered.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts"
)]
fn found(report: &Report) -> [u64; 3] {
    ["lost", "doubled", "reordered"].map(|fault| report.value(fault).unwrap() as u64)
}

fn median(report: &Report) -> f64 {
    report.value("delivery p50").unwrap()
}

fn every(count: &str) -> Faults {
    count.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_faults_has_none() {
    let (report, counts) = measure(Faults::default()).await;
    assert_eq!(found(&report), [0; 3], "{report}");
    assert!(counts.deliveries > 200, "{counts:?}");
    assert!(report.value("delivery rate").unwrap() > 50.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_is_found() {
    let (report, counts) = measure(every("lose=7")).await;
    assert!(counts.lost > 20, "{counts:?}");
    assert_eq!(found(&report), [counts.lost, 0, 0], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_twice_is_found() {
    let (report, counts) = measure(every("double=7")).await;
    assert!(counts.doubled > 20, "{counts:?}");
    assert_eq!(found(&report), [0, counts.doubled, 0], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_another_order_is_found() {
    let (report, counts) = measure(every("reorder=7")).await;
    let [lost, doubled, reordered] = found(&report);
    assert!(counts.reordered > 20, "{counts:?}");
    // The last one of a socket may still wait for the next, which does not come.
    assert!(lost <= 15, "{report}");
    assert_eq!([doubled, reordered], [0, counts.reordered], "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_is_part_of_the_measured_time() {
    let delay = Duration::from_millis(150);
    let (at_once, _) = measure(Faults::default()).await;
    let late = Faults {
        delay: Some(delay),
        ..Faults::default()
    };
    let (late, counts) = measure(late).await;
    assert!(counts.delayed > 200, "{counts:?}");
    assert_eq!(found(&late), [0; 3], "{late}");
    assert!(median(&late) >= 150.0, "{late}");
    assert!(median(&at_once) < median(&late), "{at_once}");
}
