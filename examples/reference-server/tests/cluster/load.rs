//! An open loop of requests through the cluster's Gateway. None may fail.

use std::time::{Duration, Instant};

use paas_load::{OpenLoop, Reach, Running};

use crate::place;
use crate::platform::Platform;

const RATE: u32 = 200;
/// At least so many requests go through what is tested.
const REQUESTS: u64 = 5000;

/// A load under way; none where the network is not the test's own.
pub struct Load {
    begun: Instant,
    runtime: tokio::runtime::Runtime,
    running: Option<Running>,
}

impl Load {
    pub fn start(platform: &Platform, app: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let running = place::takes_load().then(|| {
            let to = OpenLoop {
                rate: RATE,
                reach: Reach::OwnNetwork,
                at_most: Duration::from_mins(5),
                ..OpenLoop::new(platform.gateway, platform.host(app))
            };
            runtime.block_on(async { to.start().unwrap() })
        });
        Self { begun: Instant::now(), runtime, running }
    }

    /// Says what begins, and when: failures say when they were.
    pub fn note(&self, what: &str) {
        println!("after {:.3} s: {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Sends until enough has been sent; nothing may have failed, and these versions have answered.
    pub fn end(self, versions: &[&str]) {
        let Some(running) = self.running else { return };
        let report = self.runtime.block_on(running.stop_after(REQUESTS)).unwrap();
        println!("{report}");
        assert_eq!(report.failed, 0, "{report}");
        assert!(report.sent >= REQUESTS, "{report}");
        assert_eq!(report.by_version.into_keys().collect::<Vec<_>>(), versions, "each version has served");
    }
}
