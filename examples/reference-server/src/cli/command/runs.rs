//! `paas runs`

use jiff::Timestamp;
use paas_core::engine::{RunOrigin, RunRecord};

use super::{Session, all, in_app};
use crate::cli::args::RunsArgs;
use crate::cli::duration::age;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text, Tone, printable, seconds};

pub async fn run(session: &Session, args: RunsArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let at = session.context.app(&args.app)?;
    let mut runs: Vec<RunRecord> = all(&client, &in_app(&at, "/runs")).await?;
    runs.retain(|run| args.component.as_ref().is_none_or(|wanted| run.track.component.component == *wanted));
    runs.sort_by_key(|run| std::cmp::Reverse(run.created_at));
    output.show(&runs, |runs| table(output, runs))
}

fn table(output: Output, runs: &[RunRecord]) -> String {
    let now = Timestamp::now();
    let rows = runs.iter().map(|run| {
        let why = match run.origin {
            RunOrigin::Schedule { at } => seconds(at),
            RunOrigin::Manual => format!("by {}", run.created_by),
            _ => format!("command of {}", run.created_by),
        };
        let took = match (run.started_at, run.ended_at) {
            (Some(started), Some(ended)) => age(started, ended),
            _ => String::new(),
        };
        vec![
            run.id.to_string().into(),
            run.track.component.component.to_string().into(),
            why.into(),
            run.started_at.map_or_else(String::new, |then| age(then, now)).into(),
            took.into(),
            outcome(run),
            run.last_lines.last().map_or_else(String::new, |line| printable(line)).into(),
        ]
    });
    output.table(&["RUN", "COMPONENT", "SCHEDULED", "AGE", "TOOK", "OUTCOME", "LAST LINE"], rows.collect())
}

/// How a run is, or how it ended.
pub fn outcome(run: &RunRecord) -> Text {
    let tone = match run.ended_at {
        None => Tone::Warn,
        Some(_) if run.has_succeeded() => Tone::Good,
        Some(_) => Tone::Bad,
    };
    Text::toned(printable(&run.outcome()), tone)
}
