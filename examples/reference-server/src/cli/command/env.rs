//! `paas env`

use paas_core::action::{EnvChange, EnvInfo, NewEnv, Versioned};
use paas_core::model::{ClusterOrder, OnClusterFailure, OnRunning, StrategySpec};
use reqwest::Method;

use super::{Session, all, consent, in_org};
use crate::cli::args::EnvCommand;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text};

type Env = Versioned<EnvInfo>;

pub async fn run(session: &Session, command: EnvCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let org = session.context.org()?;
    match command {
        EnvCommand::List => {
            let envs: Vec<Env> = all(&client, &in_org(&org, "/envs")).await?;
            output.show(&envs, |envs| table(output, envs))
        }
        EnvCommand::Create { name, cluster, on_running, cluster_order, on_cluster_failure } => {
            let new = NewEnv {
                name,
                targets: cluster.into_iter().map(|cluster| cluster.0).collect(),
                on_running: on_running.into(),
                cluster_order: cluster_order.into(),
                on_cluster_failure: on_cluster_failure.into(),
                strategy: StrategySpec::default(),
            };
            let env: Env = client.change(Method::POST, &in_org(&org, "/envs"), Some(&new)).await?;
            output.show(&env, |env| {
                format!("environment {}/{} was made\n", env.value.env.org, env.value.env.name)
            })
        }
        EnvCommand::Show { name } => {
            let env: Env = client.get(&in_org(&org, &format!("/envs/{name}"))).await?;
            output.show(&env, |env| table(output, std::slice::from_ref(env)) + &targets(output, &env.value))
        }
        EnvCommand::Update { name, cluster, on_running, cluster_order, on_cluster_failure } => {
            let order = cluster_order.is_none() && on_cluster_failure.is_none();
            if cluster.is_empty() && on_running.is_none() && order {
                return Err(Failure::usage("nothing is to be changed")
                    .with_remedy("Name --cluster, --on-running, --cluster-order or --on-cluster-failure."));
            }
            let targets: Vec<_> = cluster.into_iter().map(|cluster| cluster.0).collect();
            let change = EnvChange {
                targets: (!targets.is_empty()).then_some(targets),
                on_running: on_running.map(Into::into),
                cluster_order: cluster_order.map(Into::into),
                on_cluster_failure: on_cluster_failure.map(Into::into),
                strategy: None,
            };
            // Read first, so that nobody else's change in between is overwritten.
            let path = in_org(&org, &format!("/envs/{name}"));
            let before: Env = client.get(&path).await?;
            let env: Env =
                client.change_if(Method::PATCH, &path, Some(&change), Some(before.revision.0)).await?;
            output.show(&env, |env| table(output, std::slice::from_ref(env)))
        }
        EnvCommand::Delete { name, yes } => {
            if !yes {
                consent(&format!("Delete the environment {org}/{name}?"))?;
            }
            let path = in_org(&org, &format!("/envs/{name}"));
            let () = client.change(Method::DELETE, &path, None::<&()>).await?;
            output.say(&format!("environment {org}/{name} was deleted"))
        }
    }
}

fn table(output: Output, envs: &[Env]) -> String {
    let rows = envs.iter().map(|env| {
        let env = &env.value.env;
        let targets = env
            .targets
            .iter()
            .map(|target| format!("{}:{}-{}", target.cluster, target.min_instances, target.max_instances))
            .collect::<Vec<_>>()
            .join(" ");
        let on_running = match env.on_running {
            OnRunning::Queue => "queue",
            OnRunning::Supersede => "supersede",
            _ => "reject",
        };
        vec![
            format!("{}/{}", env.org, env.name).into(),
            targets.into(),
            on_running.into(),
            Text::time(env.created_at),
        ]
    });
    output.table(&["ENVIRONMENT", "CLUSTERS", "ON RUNNING", "CREATED"], rows.collect())
}

/// The clusters in their order, with where they are, and how releases go over them.
fn targets(output: Output, env: &EnvInfo) -> String {
    let rows = env.env.targets.iter().map(|target| {
        let region = env.regions.get(&target.cluster).cloned().unwrap_or_default();
        let bounds = format!("{}-{}", target.min_instances, target.max_instances);
        vec![(&target.cluster).into(), region.into(), bounds.into()]
    });
    let order = match env.env.cluster_order {
        ClusterOrder::OneByOne => "one by one",
        _ => "all at once",
    };
    let failure = match env.env.on_cluster_failure {
        OnClusterFailure::Keep => "those that have a release keep it when another cluster fails",
        _ => "all go back when one fails",
    };
    let table = output.table(&["CLUSTER", "REGION", "INSTANCES"], rows.collect());
    format!("\n{table}clusters follow each other {order}; {failure}\n")
}
