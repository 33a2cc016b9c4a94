//! Deploy, release and roll back as library calls.
//!
//! In memory, where every image runs: `cargo run -p embed-minimal`. On this machine, with two images of a service that
//! listens on port 8080: `cargo run -p embed-minimal --features local -- DIRECTORY oci:PATH:1 oci:PATH:2`. Only the
//! function `builder` differs.

use std::time::Duration;

use paas_core::action::{Deploy, NewApp, NewEnv, NewOrg, RollbackTarget};
use paas_core::model::Keep;
use paas_core::{Actor, AppEnv};
use serde_json::json;

#[cfg_attr(feature = "local", path = "local.rs")]
#[cfg_attr(not(feature = "local"), path = "memory.rs")]
mod place;

fn main() -> anyhow::Result<()> {
    place::helper_main();
    run()
}

#[tokio::main]
async fn run() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let platform = place::builder(args.next()).await?.build().await?;
    let session = platform.session(Actor::system());
    let at: AppEnv = "acme/prod/shop".parse()?;
    session.create_org(NewOrg::new(at.org.clone())).await?;
    session.create_env(&at.org, NewEnv::new(at.env.clone())).await?;
    session.create_app(&at.org, NewApp::new(at.app.clone())).await?;

    for default in ["example/web:1", "example/web:2"] {
        let image = args.next().unwrap_or_else(|| default.to_owned());
        let ports = json!([{ "name": "http", "number": 8080 }]);
        let web = json!({ "name": "web", "image": image, "ports": ports, "instances": { "count": 3 } });
        let routes = json!([{ "name": "main", "component": "web" }]);
        let spec = serde_json::from_value(json!({ "components": [web], "routes": routes }))?;
        let release = session.deploy(&at, Deploy::spec(spec)).await?;
        let outcome = session.wait_released(&at, release.number, Duration::from_mins(1)).await?;
        println!("release {} of {image}: {outcome:?}", release.number);
    }
    let back = session.rollback(&at, RollbackTarget::Previous, Keep::Nothing).await?;
    let outcome = session.wait_released(&at, back.number, Duration::from_mins(1)).await?;
    println!("release {}, a rollback: {outcome:?}", back.number);
    println!("{}", serde_json::to_string_pretty(&session.status(&at).await?)?);
    platform.shutdown().await;
    Ok(())
}
