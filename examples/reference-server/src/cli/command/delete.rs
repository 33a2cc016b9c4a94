//! `paas delete`

use std::time::Duration;

use paas_core::action::DeletionPreview;
use paas_core::engine::AppStatus;
use reqwest::Method;

use super::{Session, consent, in_app, plural};
use crate::cli::args::DeleteArgs;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;

pub async fn run(session: &Session, args: DeleteArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let preview: DeletionPreview = client.get(&in_app(&at, "/deletion")).await.map_err(|failure| {
        // To have it deployed first, as the server advises, would be an odd way to delete it.
        let remedy =
            format!("`paas app delete {}` deletes the application itself, in every environment.", at.app);
        if failure.is_not_found() { failure.with_remedy(remedy) } else { failure }
    })?;
    if !args.yes {
        if output.is_table() {
            eprint!("{}", named(output, &preview));
        }
        consent(&format!("Delete {at}?"))?;
    }
    let path = in_app(&at, &format!("?confirm={}", at.app));
    let lost: DeletionPreview = client.change(Method::DELETE, &path, None::<&()>).await?;
    if !args.wait {
        return output.show(&lost, |_| format!("{at} is being deleted\n"));
    }
    let gone = async {
        loop {
            match client.get::<AppStatus>(&in_app(&at, "")).await {
                Err(failure) if failure.is_not_found() => return Ok(()),
                // The application has no place in the environment any more, and shows as never deployed.
                Ok(status) if status.state == paas_core::engine::AppState::NotDeployed => return Ok(()),
                Err(failure) if failure.exit != Exit::Unreachable => return Err(failure),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    match tokio::time::timeout(args.timeout.0, gone).await {
        Ok(outcome) => outcome?,
        Err(_) => {
            let seconds = args.timeout.0.as_secs();
            return Err(Failure::new(
                Exit::Timeout,
                format!("{at} is not gone within {seconds} seconds; it goes on"),
            ));
        }
    }
    output.show(&lost, |_| format!("{at} was deleted\n"))
}

/// What will be lost, as a text.
fn named(output: Output, preview: &DeletionPreview) -> String {
    use crate::cli::output::Tone;
    let mut text = format!("Deleting {} destroys for good:\n", preview.at);
    let mut line = |what: String| text.push_str(&format!("  {}\n", output.paint(&what, Tone::Warn)));
    for (component, count) in &preview.instances {
        line(format!("{} of {component}", plural(*count as usize, "instance", "instances")));
    }
    for volume in &preview.volumes {
        line(format!("the volume {volume} with everything in it"));
    }
    line(plural(preview.releases, "release", "releases"));
    line(plural(preview.config_versions, "version of the configuration", "versions of the configuration"));
    for secret in &preview.secrets {
        line(format!("the secret {secret}"));
    }
    for route in &preview.routes {
        line(format!("the access point {route}"));
    }
    text
}
