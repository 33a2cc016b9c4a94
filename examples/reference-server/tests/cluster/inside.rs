//! The server inside the cluster that it serves: installed from `deploy/` as everybody does it, killed, and with others beside it.

mod installation;

use std::time::Duration;

use crate::application::only;
use crate::platform::eventually;
use crate::specification::Web;

use installation::{Database, Installation, Overlay};

pub fn one_server() {
    let server = Installation::new(Overlay::Sqlite);
    server.wait_for(1);
    server.log_in_by_the_log();
    let images = server.images(&["1", "2", "3"]);
    let shown = server.ok(["cluster", "show", "in-cluster"]);
    assert!(shown.contains("open") && !shown.contains("may not"), "nothing is missing: {shown}");
    server.ok(["org", "create", "acme"]);
    server.ok(["env", "create", "prod", "--cluster", "in-cluster"]);
    for (version, image) in ["1", "2"].into_iter().zip(&images) {
        server.deploy("shop", &Web::new(image, 1).yaml(), true);
        assert_eq!(server.versions("shop"), only(version));
    }
    server.ok(["rollback", "shop", "--wait", "--timeout", "60s"]);
    assert_eq!(server.versions("shop"), only("1"));

    server.kill(&server.pods()[0]);
    assert_eq!(server.versions("shop"), only("1"), "applications need no server");
    server.wait_for(1);
    let releases = server.json(["releases", "shop"]);
    assert_eq!(releases.as_array().map(Vec::len), Some(3), "{releases}");
    assert_eq!(server.json(["status", "shop"])["state"], "running");
    server.deploy("shop", &Web::new(&images[1], 1).yaml(), true);
    assert_eq!(server.versions("shop"), only("2"));

    // A permission that is taken away is named, and nothing crashes for it.
    server.deny("apps", "deployments", "create");
    server.deploy("shop", &Web::new(&images[2], 1).yaml(), false);
    eventually("what is missing is named", || {
        let shown = server.ok(["cluster", "show", "in-cluster"]);
        let status = server.ok(["status", "shop"]);
        (shown.contains("create deployments.apps") && status.contains("deployments")).then_some(())
    });
    assert_eq!(server.versions("shop"), only("2"), "what runs goes on");
    server.restore_the_role();
    server.until_running("shop");
    assert_eq!(server.versions("shop"), only("3"));
    assert_eq!(server.restarts(), 0);
    server.remove();
}

pub fn several_servers() {
    let database = Database::start();
    let server = Installation::new(Overlay::Postgres(database.url()));
    server.wait_for(2);
    let images = server.images(&["1", "2", "3"]);
    server.ok(["org", "create", "acme"]);
    server.ok(["env", "create", "prod", "--cluster", "in-cluster"]);
    server.deploy("shop", &Web::new(&images[0], 2).yaml(), true);

    // Whichever server the release was begun with, it ends when the one that reconciles is killed in the middle.
    let paused = Web::new(&images[1], 2).strategy("batches: [1]").strategy("pause_seconds: 3");
    server.deploy("shop", &paused.yaml(), false);
    eventually("both versions answer", || (server.versions("shop").len() == 2).then_some(()));
    let leader = server.leader();
    server.kill(&leader);
    server.until_running("shop");
    assert_eq!(server.versions("shop"), only("2"));

    // All servers answer, and all see the same.
    server.wait_for(2);
    for address in server.addresses() {
        let status = server.json_of(&address, ["status", "shop"]);
        assert_eq!(status["state"], "running", "{address}: {status}");
    }
    let [first, second] = [&server.addresses()[0], &server.addresses()[1]];
    server.ok_of(first, ["config", "set", "shop", "LEVEL=high"]);
    let seen = server.json_of(second, ["config", "show", "shop"]);
    assert!(seen.to_string().contains("high"), "{seen}");

    // One after the other is replaced, and the interface answers all the time.
    server.restart(Duration::from_mins(1));
    server.wait_for(2);
    server.deploy("shop", &Web::new(&images[2], 2).yaml(), true);
    assert_eq!(server.versions("shop"), only("3"));
    server.remove();
}
