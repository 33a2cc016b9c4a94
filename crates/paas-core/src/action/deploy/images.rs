//! Images resolved to digests.

use std::collections::BTreeMap;
use std::error::Error as _;

use futures::stream::{self, StreamExt as _};

use crate::engine::Services;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::model::{AppSpec, Component, ComponentKind};
use crate::name::{AppEnv, ComponentName};
use crate::port::ImageQuery;

/// How many images are looked up at once.
const CONCURRENCY: usize = 8;

/// The digest of each component's image: as `pinned`, or looked up. All that fail are reported, each with its path.
pub(crate) async fn resolve(
    services: &Services,
    at: &AppEnv,
    spec: &AppSpec,
    mut pinned: BTreeMap<ComponentName, String>,
) -> Result<BTreeMap<ComponentName, String>> {
    let wanted: Vec<(usize, ImageQuery)> = spec
        .components
        .iter()
        .enumerate()
        .filter(|(_, component)| component.kind != ComponentKind::Manifests)
        .filter(|(_, component)| !pinned.contains_key(&component.name))
        .map(|(i, component)| {
            (i, ImageQuery { reference: component.image.clone(), org: Some(at.org.to_string()) })
        })
        .collect();
    let mut found: Vec<_> = stream::iter(wanted)
        .map(|(i, query)| async move { (i, services.registry().resolve(&query).await) })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    found.sort_by_key(|(i, _)| *i);
    let mut faults = Vec::new();
    let mut kinds = Vec::new();
    for (i, result) in found {
        let component = &spec.components[i];
        match result {
            Ok(image) => {
                let says_what_runs =
                    image.has_command || component.command.is_some() || component.args.is_some();
                if !says_what_runs {
                    let message = format!("image {} names no command; give one", component.image);
                    faults.push(Fault::new(format!("components[{i}].command"), message));
                    kinds.push(ErrorKind::Invalid);
                }
                pinned.insert(component.name.clone(), image.digest);
            }
            Err(error) => {
                kinds.push(error.kind());
                faults.push(Fault::new(format!("components[{i}].image"), describe(&component.image, &error)));
            }
        }
    }
    pinned.retain(|name, _| {
        let kept =
            |component: &Component| component.name == *name && component.kind != ComponentKind::Manifests;
        spec.components.iter().any(kept)
    });
    if faults.is_empty() {
        return Ok(pinned);
    }
    // Whether trying again can help is told by the kind: only if nothing else is wrong.
    let unavailable = kinds.iter().all(|kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout));
    let error = if unavailable {
        Error::new(ErrorKind::Unavailable, "resolve the images").with_faults(faults)
    } else {
        Error::invalid("resolve the images", faults)
    };
    Err(error.with_context("application", at))
}

fn describe(image: &str, error: &Error) -> String {
    // What was asked for is known; only why it failed is new.
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        causes.push(cause.to_string());
        next = cause.source();
    }
    let cause = if causes.is_empty() { error.to_string() } else { causes.join(": ") };
    let cause = cause.lines().next().unwrap_or_default();
    match error.kind() {
        ErrorKind::NotFound => format!("image {image} does not exist ({cause})"),
        ErrorKind::Denied | ErrorKind::Unauthenticated => {
            format!("access to image {image} is refused ({cause})")
        }
        ErrorKind::Unavailable | ErrorKind::Timeout => {
            format!("the registry of image {image} cannot be reached ({cause})")
        }
        _ => format!("image {image} cannot be resolved ({cause})"),
    }
}
