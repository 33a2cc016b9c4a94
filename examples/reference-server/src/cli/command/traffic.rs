//! `paas traffic`

use paas_core::AppEnv;
use paas_core::ComponentKey;
use paas_core::engine::{AppTraffic, TrafficSummary};

use super::{Session, in_app};
use crate::cli::args::AppArgs;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text, Tone, printable};

/// The columns of figures.
const FIGURES: [&str; 9] = ["REQUESTS", "2XX", "3XX", "4XX", "5XX", "GIVEN UP", "MEDIAN", "95%", "99%"];

pub async fn run(session: &Session, args: AppArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let traffic: AppTraffic = client.get(&in_app(&at, "/traffic")).await?;
    output.show(&traffic, |traffic| details(output, &at, traffic))
}

fn details(output: Output, at: &AppEnv, traffic: &AppTraffic) -> String {
    let clusters: Vec<_> = traffic.versions.iter().map(|version| &version.cluster).collect();
    let several = clusters.iter().any(|cluster| *cluster != clusters[0]);
    let on = |cluster| if several { format!("@{cluster}") } else { String::new() };
    let routes = traffic.routes.iter().map(|route| {
        let names = [format!("{}{}", route.route, on(&route.cluster)), route.component.to_string()];
        row(names, &route.summary)
    });
    let versions = traffic.versions.iter().map(|version| {
        let name = match (version.release, &version.revision) {
            (Some(release), _) => format!("release {release}"),
            (None, Some(revision)) => revision.to_string(),
            (None, None) => "none could answer".to_owned(),
        };
        row([format!("{}{}", version.component, on(&version.cluster)), name], &version.summary)
    });
    let calls = traffic.calls.iter().map(|call| {
        let callee = format!("{}{}", named(at, &call.callee), on(&call.cluster));
        row([named(at, &call.caller), callee], &call.summary)
    });
    let tables = [
        (["ROUTE", "LEADS TO"], routes.collect::<Vec<_>>()),
        (["COMPONENT", "VERSION"], versions.collect()),
        (["CALLER", "CALLED"], calls.collect()),
    ];
    let mut parts: Vec<String> = tables
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(names, rows)| output.table(&[&names[..], &FIGURES[..]].concat(), rows))
        .collect();
    let missing = traffic.missing.iter().map(|missing| {
        let told = format!("{} tells nothing: {}\n", missing.cluster, printable(&missing.reason));
        output.paint(&told, Tone::Warn)
    });
    parts.extend(missing);
    if parts.is_empty() {
        parts.push(format!("no request to {at} was counted\n"));
    }
    parts.join("\n")
}

/// A component as it is called in its application, or in full if it belongs to another one.
fn named(at: &AppEnv, key: &ComponentKey) -> String {
    if key.at == *at { key.component.to_string() } else { key.to_string() }
}

fn row(names: [String; 2], summary: &TrafficSummary) -> Vec<Text> {
    let responses = &summary.responses;
    let warn =
        |count: u64, tone| if count == 0 { count.into() } else { Text::toned(count.to_string(), tone) };
    let latency = &summary.latency;
    let within = |time: Option<u64>| Text::from(time.map_or_else(|| "-".to_owned(), time_of));
    let mut row = names.map(Text::from).to_vec();
    row.extend([
        summary.requests.into(),
        responses.successful.into(),
        responses.redirection.into(),
        warn(responses.client_error, Tone::Warn),
        warn(responses.server_error, Tone::Bad),
        warn(summary.abandoned, Tone::Warn),
        within(latency.p50_us),
        within(latency.p95_us),
        within(latency.p99_us),
    ]);
    row
}

/// The upper bound of a bucket, as people read it.
fn time_of(us: u64) -> String {
    match us {
        0..1_000 => format!("≤{us}µs"),
        1_000..1_000_000 => format!("≤{}ms", us / 1_000),
        _ => format!("≤{}s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        assert_eq!([250, 2_000, 5_000_000].map(time_of), ["≤250µs", "≤2ms", "≤5s"]);
    }
}
