//! Scheduled jobs where there are several clusters.

use super::*;
use crate::scheduled::reporting;

impl Site {
    /// How many runs it was told to start.
    fn runs(&self) -> usize {
        self.cluster.instances_made().iter().filter(|id| id.0.starts_with("run-")).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_to_the_first_cluster_that_answers_and_to_no_other() {
    let setting = Setting::new(&["east", "west"]).await;
    setting.world.images.push(
        "job:1",
        paas_core::memory::Image::new()
            .with_end(Duration::from_millis(10), paas_core::memory::Ending::Exit(0)),
    );
    let number = setting.deploy(Deploy::spec(reporting("job:1", json!({ "cron": "0 * * * *" })))).await;
    assert_eq!(setting.ended(number).await, Outcome::Succeeded);
    sleep(Duration::from_hours(1)).await;
    assert_eq!((setting.east.runs(), setting.west.runs()), (1, 0));
    setting.east.cut(GONE);
    sleep(Duration::from_hours(1)).await;
    assert_eq!((setting.east.runs(), setting.west.runs()), (1, 1), "the first one does not answer");
    setting.east.heal();
    sleep(Duration::from_hours(1)).await;
    assert_eq!((setting.east.runs(), setting.west.runs()), (2, 1), "it is back");
    setting.east.cut(GONE);
    setting.west.cut(GONE);
    sleep(Duration::from_hours(2)).await;
    setting.east.heal();
    setting.west.heal();
    setting.until("the end is told", async || setting.told().await.contains("nothing could start it")).await;
    assert_eq!(setting.east.runs() + setting.west.runs(), 3, "no cluster could be reached");
}
