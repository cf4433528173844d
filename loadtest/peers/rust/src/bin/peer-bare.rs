//! The bare peer: rooms over WebSocket and nothing else, with faults on demand.

use clap::Parser;
use roost_peers::{
    bare::{self, Faults},
    signals,
};
use std::net::SocketAddr;
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A bare WebSocket broadcaster.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:4100")]
    listen: SocketAddr,
    /// `lose=N`, `double=N`, `reorder=N` or `delay=MILLISECONDS`; may be given more than once.
    #[arg(long)]
    fault: Vec<Faults>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let faults = arguments
        .fault
        .into_iter()
        .fold(Faults::default(), Faults::and);
    let broadcaster = bare::serve(TcpListener::bind(arguments.listen).await?, faults)?;
    println!("peer-bare listens on {}", broadcaster.address());
    signals::stop().await?;
    let counts = broadcaster.stop().await;
    println!("{}", serde_json::to_string(&counts)?);
    Ok(())
}
