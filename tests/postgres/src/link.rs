//! What lies between a client and the server.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::Result;
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A way to a port on 127.0.0.1 that can be cut: then nothing passes any more, in no direction, and nobody is told. New
/// connections are taken and lead nowhere.
#[derive(Debug)]
pub struct Link {
    port: u16,
    open: Arc<watch::Sender<bool>>,
    listener: JoinHandle<()>,
}

impl Link {
    /// A way to `port`, open.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub async fn to(port: u16) -> Result<Self> {
        Self::on(IpAddr::V4(Ipv4Addr::LOCALHOST), port).await
    }

    /// A way to `port` that begins at another address of this machine, for clients who do not reach its loopback.
    ///
    /// # Errors
    /// If the machine has no such address.
    pub async fn on(address: IpAddr, port: u16) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let own = listener.local_addr()?.port();
        let open = Arc::new(watch::Sender::new(true));
        let state = Arc::clone(&open);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, state.subscribe()));
            }
        });
        Ok(Self { port: own, open, listener })
    }

    /// The port at which it begins.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same URL, by this way.
    pub fn url(&self, direct: &str, port: u16) -> String {
        direct.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Cuts it, or heals it. Connections that were cut stay silent for ever, as those are whose packets are lost for too
    /// long; new ones pass.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

async fn pass(client: TcpStream, port: u16, mut open: watch::Receiver<bool>) {
    if !*open.borrow() {
        return silence(client, open).await;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let both = async {
        tokio::select! {
            _ = copy(&mut from_client, &mut to_server) => {}
            _ = copy(&mut from_server, &mut to_client) => {}
        }
    };
    tokio::select! {
        () = both => {}
        () = until_cut(open.clone()) => {
            // The sockets stay open and silent until the way is given up.
            let _held = (from_client, to_client, from_server, to_server);
            let _ = open.wait_for(|_| false).await;
        }
    }
}

async fn until_cut(mut open: watch::Receiver<bool>) {
    let _ = open.wait_for(|open| !open).await;
}

/// Holds a connection that leads nowhere.
async fn silence(client: TcpStream, mut open: watch::Receiver<bool>) {
    let _ = open.wait_for(|_| false).await;
    drop(client);
}
