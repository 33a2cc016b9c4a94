//! Nothing that a user of the application does may fail while the platform works: an open loop of 200 requests a second
//! counts every failure, and WebSockets are held open.

use std::time::Duration;

use paas_load::{HeldSockets, OpenLoop, Running, hold_sockets};

use crate::life::web;
use crate::platform::Platform;
use crate::sample;

/// At least so many requests go through what is tested.
const REQUESTS: u64 = 5000;

struct Load {
    runtime: tokio::runtime::Runtime,
    kept: Running,
    fresh: Running,
    sockets: HeldSockets,
}

impl Load {
    fn start(platform: &Platform, app: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (address, host) = (platform.gateway, Platform::host(app));
        let half = |keep_alive| OpenLoop { keep_alive, rate: 100, ..OpenLoop::new(address, host.clone()) };
        let (kept, fresh, sockets) = runtime.block_on(async {
            let sockets = hold_sockets(address, &host, "/ws", 10).await.unwrap();
            (half(true).start().unwrap(), half(false).start().unwrap(), sockets)
        });
        Self { runtime, kept, fresh, sockets }
    }

    /// Sends until enough has been sent; nothing may have failed.
    fn end(self, what: &str) {
        let (kept, fresh, sockets) = self.runtime.block_on(async {
            let kept = self.kept.stop_after(REQUESTS / 2).await.unwrap();
            (kept, self.fresh.stop().await.unwrap(), self.sockets.stop().await)
        });
        println!("{what}: with keep-alive {kept}\n{what}: without {fresh}\n{what}: {sockets:?}");
        assert_eq!(kept.failed, 0, "{what}, with keep-alive: {kept}");
        assert_eq!(fresh.failed, 0, "{what}, without keep-alive: {fresh}");
        assert!(kept.sent + fresh.sent >= REQUESTS, "{what}: {kept} and {fresh}");
        assert!(sockets.cut.is_empty(), "{what}: WebSockets were cut: {sockets:?}");
        assert!(sockets.echoes > 0);
    }
}

fn batches(version: &str) -> String {
    web(&format!("oci:images:{version}"), 3) + "strategy: {type: rolling, batches: [1, 30%]}\n"
}

#[test]
fn no_request_fails_through_release_rollback_scale_and_a_killed_server() {
    let mut platform = Platform::start();
    sample::layout(&platform.folder().join("images"), &["1", "2", "3"]);
    platform.deploy_ok("shop", &batches("1"));
    let load = Load::start(&platform, "shop");
    platform.deploy_ok("shop", &batches("2"));
    platform.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    platform.ok(["scale", "shop", "web=8", "--wait"]);
    platform.ok(["scale", "shop", "web=2", "--wait"]);
    platform.ok(["scale", "shop", "web=3", "--wait"]);

    let file = platform.spec(&batches("3"));
    platform.ok(["deploy", "shop", "-f", &file]);
    std::thread::sleep(Duration::from_millis(30));
    platform.kill_server();
    std::thread::sleep(Duration::from_secs(1));
    let took = platform.start_server();
    assert!(took < Duration::from_secs(1), "a restarted server answered after {took:?}");
    crate::platform::eventually("the release ends after the restart", || {
        let only = std::collections::BTreeSet::from(["3".to_owned()]);
        (platform.versions("shop", 12) == only).then_some(())
    });
    platform.ok(["restart", "shop", "--wait", "--timeout", "60s"]);
    load.end("release, rollback, scale, kill -9 of the server, restart");
}
