//! `paas-load`: the load of the tests, by hand.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use paas_load::{OpenLoop, hold_sockets};

/// Sends requests at a fixed rate to a loopback address and counts every failure.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to connect.
    address: SocketAddr,
    /// The host asked for.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// The path asked for.
    #[arg(long, default_value = "/")]
    path: String,
    /// Requests a second.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// A new connection for each request.
    #[arg(long)]
    no_keep_alive: bool,
    /// WebSockets held open meanwhile, at /ws.
    #[arg(long, default_value_t = 0)]
    sockets: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let sockets = hold_sockets(arguments.address, &arguments.host, "/ws", arguments.sockets).await?;
    let load = OpenLoop {
        path: arguments.path,
        rate: arguments.rate,
        keep_alive: !arguments.no_keep_alive,
        at_most: Duration::from_secs(arguments.seconds),
        ..OpenLoop::new(arguments.address, arguments.host)
    };
    let report = load.start()?.stop_after(u64::MAX).await?;
    println!("{report}");
    if arguments.sockets > 0 {
        println!("{:?}", sockets.stop().await);
    }
    Ok(())
}
