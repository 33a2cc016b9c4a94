//! `paas node` and `paas top`

use paas_core::engine::AppUsage;
use paas_core::port::{DrainReport, Node};
use reqwest::Method;

use super::{Session, in_app, plural};
use crate::cli::args::{AppArgs, NodeCommand};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, Text, Tone};
use crate::rest::cluster::{Drain, NodeList};

pub async fn run(session: &Session, command: NodeCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        NodeCommand::List { cluster } => {
            let nodes: NodeList = client.get(&format!("/clusters/{cluster}/nodes")).await?;
            output.show(&nodes.items, |nodes| table(output, nodes))
        }
        NodeCommand::Cordon { cluster, node } => {
            let path = format!("/clusters/{cluster}/nodes/{node}/cordon");
            let () = client.change(Method::POST, &path, None::<&()>).await?;
            output.say(&format!("{node} takes no new instances"))
        }
        NodeCommand::Uncordon { cluster, node } => {
            let path = format!("/clusters/{cluster}/nodes/{node}/uncordon");
            let () = client.change(Method::POST, &path, None::<&()>).await?;
            output.say(&format!("{node} takes new instances"))
        }
        NodeCommand::Drain { cluster, node, timeout } => {
            let body = Drain { timeout_seconds: u32::try_from(timeout.0.as_secs()).unwrap_or(u32::MAX) };
            let path = format!("/clusters/{cluster}/nodes/{node}/drain");
            let report: DrainReport = client.change(Method::POST, &path, Some(&body)).await?;
            let kept = report.kept.len();
            output.show(&report, |report| {
                let went = plural(report.evicted.len(), "instance", "instances");
                let kept = report.kept.iter().map(|instance| format!("still there: {instance}\n"));
                format!("{went} left {node}\n") + &kept.collect::<String>()
            })?;
            if kept == 0 {
                return Ok(());
            }
            let what = format!("{} did not leave {node} in time", plural(kept, "instance", "instances"));
            Err(Failure::new(Exit::Timeout, what)
                .with_remedy("The machine stays cordoned. Try again, or give it more time by --timeout."))
        }
    }
}

fn table(output: Output, nodes: &[Node]) -> String {
    let rows = nodes.iter().map(|node| {
        let state = match (node.ready, node.schedulable) {
            (false, _) => Text::toned("not ready", Tone::Bad),
            (true, false) => Text::toned("cordoned", Tone::Warn),
            (true, true) => Text::toned("ready", Tone::Good),
        };
        vec![
            node.name.clone().into(),
            state,
            node.cpu.to_string().into(),
            node.memory.to_string().into(),
            node.most_instances.map(|most| most.to_string()).unwrap_or_default().into(),
            node.problems.join("; ").into(),
        ]
    });
    output.table(&["NODE", "STATE", "CPU", "MEMORY", "INSTANCES AT MOST", "PROBLEMS"], rows.collect())
}

pub async fn top(session: &Session, args: AppArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let usage: AppUsage = client.get(&in_app(&at, "/usage")).await?;
    output.show(&usage, |usage| {
        let rows = usage.instances.iter().map(|one| {
            vec![
                one.instance.0.clone().into(),
                (&one.component).into(),
                (&one.cluster).into(),
                one.usage.cpu.map(|cpu| cpu.to_string()).unwrap_or_default().into(),
                one.usage.memory.to_string().into(),
            ]
        });
        let missing = usage.missing.iter().map(|missing| {
            output.paint(&format!("{} tells nothing: {}\n", missing.cluster, missing.reason), Tone::Warn)
        });
        output.table(&["INSTANCE", "COMPONENT", "CLUSTER", "CPU", "MEMORY"], rows.collect())
            + &missing.collect::<String>()
    })
}
