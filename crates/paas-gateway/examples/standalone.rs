//! A gateway without a platform around it, and how a program embeds one.
//!
//! ```text
//! cargo run -p paas-gateway --example standalone -- hello 9001 &
//! cargo run -p paas-gateway --example standalone -- serve /tmp/gateway 8080 9001
//! curl http://app.localhost:8080/
//! ```
//! `serve` starts the gateway of the folder (or finds it), and lets it send what comes in at the first port to the
//! servers at the other ports on this machine. It ends, the gateway does not: end that with `stop /tmp/gateway`.

use std::{convert::Infallible, net::Ipv4Addr, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use paas_gateway::{
    Config, Control,
    process::{Launch, ensure_running, run},
};
use tokio::net::TcpListener;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // First of all, before a runtime or a thread exists: this process is the gateway.
        ["__gateway", folder] => Ok(run(Path::new(folder))?),
        ["serve", folder, port, ref servers @ ..] if !servers.is_empty() => serve(folder, port, servers),
        ["hello", port] => hello(port.parse().context("the port")?),
        ["stop", folder] => stop(folder),
        _ => bail!("usage: standalone serve FOLDER PORT SERVER-PORT… | stop FOLDER | hello PORT"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn serve(folder: &str, port: &str, servers: &[&str]) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let launch = Launch::new(std::env::current_exe()?).with_argument("__gateway").with_argument(&folder);
    let control = ensure_running(&folder, &launch).await?;
    let generation = control.status().await?.generation.unwrap_or(0) + 1;
    let instances: Vec<_> = servers
        .iter()
        .map(|server| {
            Ok(serde_json::json!({
                "id": server, "service": "app", "revision": "1", "ready": true,
                "dial": {"tcp": "127.0.0.1"}, "ports": {"http": server.parse::<u16>().context("a server's port")?},
            }))
        })
        .collect::<Result<_>>()?;
    let config: Config = serde_json::from_value(serde_json::json!({
        "version": 1,
        "generation": generation,
        "listeners": [{"id": "http", "address": format!("127.0.0.1:{port}"), "protocol": "http"}],
        "routes": [{"id": "all", "host": "*", "service": "app", "port": "http"}],
        "services": [{
            "id": "app",
            "ports": [{"name": "http", "number": 80, "protocol": "http"}],
            "revisions": [{"id": "1", "weight": 1}],
        }],
        "instances": instances,
    }))?;
    control.apply(config).await?;
    println!("{}", serde_json::to_string_pretty(&control.status().await?)?);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn stop(folder: &str) -> Result<()> {
    Ok(Control::new(Path::new(folder)).shutdown(Duration::from_secs(5)).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn hello(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|_| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"hello\n"))))
        });
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}
