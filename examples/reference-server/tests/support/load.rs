//! Load on an application: an open loop of requests and held WebSockets. Nothing may fail, and nothing be cut.

use paas_load::{HeldSockets, OpenLoop, Running, hold_sockets};

use crate::platform::Platform;

/// Requests a second, once with keep-alive and once without.
const RATE: u32 = 200;
/// So many requests in each of the two ways go through a whole life of an application.
pub const MANY: u64 = 5000;
/// So many go through what a few seconds change.
pub const SOME: u64 = 2000;
/// How many WebSockets are held.
const SOCKETS: usize = 10;

/// A load under way.
pub struct Load {
    runtime: tokio::runtime::Runtime,
    kept: Running,
    fresh: Running,
    sockets: HeldSockets,
}

impl Load {
    /// Asks for `path` of an application.
    pub fn start(platform: &Platform, app: &str, path: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, host) = (platform.gateway, platform.host(app));
        let open = |keep_alive| OpenLoop {
            keep_alive,
            rate: RATE,
            path: path.to_owned(),
            ..OpenLoop::new(address, host.clone())
        };
        let (kept, fresh, sockets) = runtime.block_on(async {
            let sockets = hold_sockets(address, &host, "/ws", SOCKETS).await.unwrap();
            (open(true).start().unwrap(), open(false).start().unwrap(), sockets)
        });
        Self { runtime, kept, fresh, sockets }
    }

    /// Sends until at least so many requests have been sent in each way; nothing may have failed. Returns the versions that
    /// answered.
    pub fn end(self, requests: u64) -> Vec<String> {
        let (kept, fresh, sockets) = self.runtime.block_on(async {
            let kept = self.kept.stop_after(requests).await.unwrap();
            (kept, self.fresh.stop_after(requests).await.unwrap(), self.sockets.stop().await)
        });
        let told = format!("with keep-alive: {kept}\nwithout: {fresh}\nWebSockets: {sockets:?}");
        println!("{told}");
        assert_eq!((kept.failed, fresh.failed), (0, 0), "{told}");
        assert!(kept.sent >= requests && fresh.sent >= requests, "{told}");
        assert!(sockets.cut.is_empty() && sockets.echoes > 0, "{told}");
        kept.by_version.into_keys().collect()
    }
}
