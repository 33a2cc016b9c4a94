//! `paas cluster`

use std::path::Path;

use paas_core::action::{ClusterRemoval, ClusterState, ClusterView, Versioned};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::{Session, all, consent};
use crate::cli::args::ClusterCommand;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Text, Tone};
use crate::rest::cluster::{AddedCluster, ChangedCluster};

type Cluster = Versioned<ClusterView>;

pub async fn run(session: &Session, command: ClusterCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        ClusterCommand::List => {
            let clusters: Vec<Cluster> = all(&client, "/clusters").await?;
            output.show(&clusters, |clusters| table(output, clusters))
        }
        ClusterCommand::Add {
            name,
            kubeconfig,
            context,
            gateway,
            domain,
            options,
            region,
            label,
            unreachable,
        } => {
            let mut config = options.as_deref().map(read_options).transpose()?.unwrap_or_default();
            if let Some(context) = context {
                config.insert("context".to_owned(), context.into());
            }
            if let Some(gateway) = gateway {
                let named = [("namespace", gateway.namespace), ("name", gateway.name)];
                let named = named.into_iter().chain(domain.map(|domain| ("domain", domain)));
                let named = named.map(|(field, value)| (field.to_owned(), Value::from(value)));
                // The file may say more of it.
                match config.entry("gateway").or_insert_with(|| json!({})) {
                    Value::Object(gateway) => gateway.extend(named),
                    other => *other = named.collect(),
                }
            }
            let new = AddedCluster {
                name,
                kind: "kubernetes".to_owned(),
                region,
                labels: label.into_iter().map(|label| (label.name, label.value)).collect(),
                config,
                credentials: kubeconfig.as_deref().map(read).transpose()?,
                unreachable,
            };
            let cluster: Cluster = client.change(Method::POST, "/clusters", Some(&new)).await?;
            output.show(&cluster, |cluster| {
                format!("cluster {} was added\n{}", cluster.value.name, told(output, &cluster.value))
            })
        }
        ClusterCommand::Show { name } => {
            let cluster: Cluster = client.get(&format!("/clusters/{name}")).await?;
            output.show(&cluster, |cluster| {
                table(output, std::slice::from_ref(cluster)) + &told(output, &cluster.value)
            })
        }
        ClusterCommand::Update { name, kubeconfig, region, unreachable } => {
            if kubeconfig.is_none() && region.is_none() {
                return Err(
                    Failure::usage("nothing is to be changed").with_remedy("Name --kubeconfig or --region.")
                );
            }
            let change = ChangedCluster {
                region,
                credentials: kubeconfig.as_deref().map(read).transpose()?,
                unreachable,
                ..ChangedCluster::default()
            };
            let path = format!("/clusters/{name}");
            let cluster: Cluster = client.change(Method::PATCH, &path, Some(&change)).await?;
            output.show(&cluster, |cluster| {
                table(output, std::slice::from_ref(cluster)) + &told(output, &cluster.value)
            })
        }
        ClusterCommand::Remove { name, force, yes } => {
            let path = format!("/clusters/{name}");
            if force {
                let removal: ClusterRemoval = client.get(&format!("{path}/removal")).await?;
                eprint!("{}", left_behind(output, &removal));
            }
            if !yes {
                consent(&format!("Remove the cluster {name} from the platform?"))?;
            }
            let path = if force { format!("{path}?force=true") } else { path };
            let () = client.change(Method::DELETE, &path, None::<&()>).await?;
            output.say(&format!("cluster {name} was removed"))
        }
    }
}

/// What stays on a cluster that is removed by force.
fn left_behind(output: Output, removal: &ClusterRemoval) -> String {
    let mut text = String::new();
    for at in removal.leaving.iter().chain(&removal.deleted) {
        let line = format!("{at} stays on {}, with its instances and volumes", removal.cluster);
        text.push_str(&format!("{}\n", output.paint(&line, Tone::Warn)));
    }
    text
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Error, format!("failed to read {}: {error}", file.display())))
}

/// The options of a file, in YAML, of which JSON is a part.
fn read_options(file: &Path) -> Result<Map<String, Value>, Failure> {
    let wrong = |why: String| Failure::new(Exit::Error, format!("failed to read {}: {why}", file.display()));
    let value: Value = serde_saphyr::from_str(&read(file)?).map_err(|error| wrong(error.to_string()))?;
    match value {
        Value::Object(options) => Ok(options),
        _ => Err(wrong("it holds no map of options".to_owned())),
    }
}

fn table(output: Output, clusters: &[Cluster]) -> String {
    let rows = clusters.iter().map(|cluster| {
        let cluster = &cluster.value;
        let state = match cluster.state {
            ClusterState::Open => Text::toned("open", Tone::Good),
            ClusterState::Unreachable => Text::toned("unreachable", Tone::Bad),
            ClusterState::Denied => Text::toned("denied", Tone::Bad),
            _ => Text::toned("failed", Tone::Bad),
        };
        let version = cluster.report.as_ref().and_then(|report| report.version.clone());
        let labels: Vec<String> =
            cluster.labels.iter().map(|(label, value)| format!("{label}={value}")).collect();
        vec![
            (&cluster.name).into(),
            cluster.kind.clone().into(),
            state,
            version.unwrap_or_default().into(),
            cluster.region.clone().unwrap_or_default().into(),
            labels.join(" ").into(),
        ]
    });
    output.table(&["CLUSTER", "KIND", "STATE", "VERSION", "REGION", "LABELS"], rows.collect())
}

/// Why it does not work, and what it cannot do.
fn told(output: Output, cluster: &ClusterView) -> String {
    let limitations = cluster.report.iter().flat_map(|report| &report.limitations);
    let limitations = limitations.map(|limitation| output.paint(&format!("{limitation}\n"), Tone::Faint));
    let reason = cluster.reason.iter().map(|reason| output.paint(&format!("{reason}\n"), Tone::Bad));
    reason.chain(limitations).collect()
}
