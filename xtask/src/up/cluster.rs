//! `cargo xtask up --cluster`: everything that a deployment has, on this machine, until Ctrl-C. Its data goes with it.

use std::fmt::Write;
use std::thread;

use anyhow::Result;
use roost_testbed::cluster::{Cluster, Options};
use roost_testbed::{interrupt, ports, process, roost};

use crate::assets;

/// The port that the documents name for a cluster.
const PORT: u16 = 8080;

pub(super) fn run(instances: usize, debug: bool) -> Result<()> {
    assets::run()?;
    let program = roost::build(debug)?;
    let is_taken = ports::is_listened_on(PORT);
    let mut cluster = Cluster::start(Options {
        instances,
        caddy_port: (!is_taken).then_some(PORT),
        ..Options::new(program)
    })?;
    println!("\n{}", addresses(&mut cluster, is_taken));
    while !interrupt::requested() {
        for (index, ending) in cluster.revive()? {
            let number = index + 1;
            println!("instance {number} ended with {ending} and was started again");
        }
        cluster.check_alive()?;
        thread::sleep(process::POLL);
    }
    println!("\nStopping: the instances finish what they have begun.");
    cluster.stop()
}

fn addresses(cluster: &mut Cluster, is_taken: bool) -> String {
    let url = cluster.url().to_owned();
    let mut text = String::new();
    if is_taken {
        let _ = writeln!(text, "Port {PORT} is taken: Caddy listens on another one.");
    }
    let _ = writeln!(
        text,
        "The cluster is ready. Ctrl-C stops it and removes its data.\n\
         \x20 try it         {url}/\n\
         \x20 GraphiQL       {url}/graphiql\n\
         \x20 API reference  {url}/api/reference"
    );
    for (index, instance) in cluster.instances().iter().enumerate() {
        let _ = writeln!(
            text,
            "  instance {}     {}/, metrics {}, process {}",
            index + 1,
            instance.url(),
            instance.metrics_url(),
            instance.process_id(),
        );
    }
    let _ = writeln!(
        text,
        "  Caddy          metrics {}",
        cluster.caddy().metrics_url()
    );
    let _ = writeln!(
        text,
        "  servers        {}",
        cluster.describe().replace('\n', "\n                 ")
    );
    let _ = write!(
        text,
        "Try `kill -9` on the process of an instance: it is started again, and the page goes on."
    );
    text
}
