//! `paas env`

use paas_core::action::{EnvChange, NewEnv, Versioned};
use paas_core::model::{Environment, OnRunning, StrategySpec};
use reqwest::Method;

use super::{Session, all, consent, in_org};
use crate::cli::args::EnvCommand;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text};

type Env = Versioned<Environment>;

pub async fn run(session: &Session, command: EnvCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let org = session.context.org()?;
    match command {
        EnvCommand::List => {
            let envs: Vec<Env> = all(&client, &in_org(&org, "/envs")).await?;
            output.show(&envs, |envs| table(output, envs))
        }
        EnvCommand::Create { name, cluster, on_running } => {
            let new = NewEnv {
                name,
                targets: cluster.into_iter().map(|cluster| cluster.0).collect(),
                on_running: on_running.into(),
                strategy: StrategySpec::default(),
            };
            let env: Env = client.change(Method::POST, &in_org(&org, "/envs"), Some(&new)).await?;
            output.show(&env, |env| format!("environment {}/{} was made\n", env.value.org, env.value.name))
        }
        EnvCommand::Show { name } => {
            let env: Env = client.get(&in_org(&org, &format!("/envs/{name}"))).await?;
            output.show(&env, |env| table(output, std::slice::from_ref(env)))
        }
        EnvCommand::Update { name, cluster, on_running } => {
            if cluster.is_empty() && on_running.is_none() {
                return Err(
                    Failure::usage("nothing is to be changed").with_remedy("Name --cluster or --on-running.")
                );
            }
            let targets: Vec<_> = cluster.into_iter().map(|cluster| cluster.0).collect();
            let change = EnvChange {
                targets: (!targets.is_empty()).then_some(targets),
                on_running: on_running.map(Into::into),
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
        let env = &env.value;
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
