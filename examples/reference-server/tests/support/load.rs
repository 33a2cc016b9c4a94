//! Load on an application: an open loop of requests and held WebSockets. Nothing may fail, and nothing be cut.

use paas_load::{HeldSockets, OpenLoop, Running, hold_sockets};

use crate::platform::Platform;

/// Requests a second, once with keep-alive and once without.
const RATE: u32 = 200;
/// At least so many requests go through what is tested, in each of the two ways.
const REQUESTS: u64 = 5000;
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

    /// Sends until enough has been sent; nothing may have failed. Returns the versions that answered.
    pub fn end(self) -> Vec<String> {
        let (kept, fresh, sockets) = self.runtime.block_on(async {
            let kept = self.kept.stop_after(REQUESTS).await.unwrap();
            (kept, self.fresh.stop_after(REQUESTS).await.unwrap(), self.sockets.stop().await)
        });
        let told = format!("with keep-alive: {kept}\nwithout: {fresh}\nWebSockets: {sockets:?}");
        println!("{told}");
        assert_eq!((kept.failed, fresh.failed), (0, 0), "{told}");
        assert!(kept.sent >= REQUESTS && fresh.sent >= REQUESTS, "{told}");
        assert!(sockets.cut.is_empty() && sockets.echoes > 0, "{told}");
        kept.by_version.into_keys().collect()
    }
}
