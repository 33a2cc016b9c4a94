//! Runs to completion.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

use super::{Ending, State, Tick, instances::exit_status};
use crate::error::Result;
use crate::memory::exec::Program;
use crate::model::ResolvedValue;
use crate::port::{
    Epoch, ExitStatus, InstanceFailure, InstanceId, InstancePhase, RunObservation, RunSpec, RuntimeEvent,
};

/// A run and what it printed.
#[derive(Debug)]
pub(in crate::memory) struct Run {
    pub(in crate::memory) spec: RunSpec,
    node: u32,
    life: u64,
    phase: InstancePhase,
    /// Whether somebody was attached; with input or a terminal there is one.
    attached: bool,
    exit: Option<ExitStatus>,
    failure: Option<InstanceFailure>,
    /// Everything it has printed, and whether it has ended.
    pub(in crate::memory) output: watch::Sender<RunOutput>,
}

/// What a run printed so far.
#[derive(Debug, Clone, Default)]
pub(in crate::memory) struct RunOutput {
    pub(in crate::memory) bytes: Vec<u8>,
    pub(in crate::memory) exit: Option<i32>,
    /// What begins when somebody is attached, with its environment.
    pub(in crate::memory) awaiting: Option<(Program, BTreeMap<String, String>)>,
}

/// What happens to a run by itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    Pulled,
    Ends(Ending),
}

/// The environment of an instance that a simulated program sees; secrets are not revealed in a simulation.
pub(in crate::memory) fn environment(
    values: impl IntoIterator<Item = (String, ResolvedValue)>,
) -> BTreeMap<String, String> {
    let text = |value| match value {
        ResolvedValue::Plain(text) => text,
        ResolvedValue::Secret(secret) => format!("secret {} version {}", secret.name, secret.version),
    };
    values.into_iter().map(|(name, value)| (name, text(value))).collect()
}

impl State {
    pub(in crate::memory) fn start_run(&mut self, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        self.fence("start a run", &spec.id, epoch)?;
        if self.runs.contains_key(&spec.id) {
            return Ok(());
        }
        let run = Run {
            spec: spec.clone(),
            node: self.place().unwrap_or_default(),
            life: 0,
            phase: InstancePhase::Pending,
            attached: false,
            exit: None,
            failure: None,
            output: watch::Sender::default(),
        };
        self.made.push(spec.id.clone());
        self.runs.insert(spec.id.clone(), run);
        let pull = self.images.behavior(&spec.template.digest).map_or(Duration::ZERO, |image| image.pull());
        self.after(pull, Tick::Run { id: spec.id.clone(), life: 0, what: Stage::Pulled });
        self.effects.runtime.push(RuntimeEvent::Run(spec.id.clone()));
        Ok(())
    }

    pub(in crate::memory) fn observe_run(&self, id: &InstanceId) -> Option<RunObservation> {
        let run = self.runs.get(id)?;
        Some(RunObservation { phase: run.phase, exit: run.exit.clone(), failure: run.failure.clone() })
    }

    pub(in crate::memory) fn remove_run(&mut self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        self.fence("remove a run", id, epoch)?;
        if self.runs.remove(id).is_some() {
            self.effects.runtime.push(RuntimeEvent::Run(id.clone()));
        }
        Ok(())
    }

    pub(in crate::memory) fn run(&self, id: &InstanceId) -> Option<&Run> {
        self.runs.get(id)
    }

    /// Attaches to a run with input or a terminal; false if somebody was before.
    pub(in crate::memory) fn claim_run(&mut self, id: &InstanceId) -> bool {
        self.runs.get_mut(id).is_some_and(|run| !std::mem::replace(&mut run.attached, true))
    }

    /// Ends a run from outside, by a signal sent to it.
    pub(in crate::memory) fn signal_run(&mut self, id: &InstanceId, signal: i32) {
        self.end_run(id, Ending::Signal(signal));
    }

    /// Ends a run, unless it has.
    pub(in crate::memory) fn end_run(&mut self, id: &InstanceId, ending: Ending) {
        if let Some(life) = self.runs.get(id).filter(|run| run.exit.is_none()).map(|run| run.life) {
            self.run_tick(id, life, Stage::Ends(ending));
        }
    }

    pub(super) fn run_tick(&mut self, id: &InstanceId, life: u64, what: Stage) {
        let now = self.now;
        let Some(run) = self.runs.get_mut(id).filter(|run| run.life == life) else { return };
        match what {
            Stage::Pulled => {
                let template = &run.spec.template;
                let Some(image) = self.images.behavior(&template.digest) else {
                    let message =
                        format!("image {} ({}) does not exist; push it", template.image, template.digest);
                    run.fail("image_not_found", message);
                    self.effects.runtime.push(RuntimeEvent::Run(id.clone()));
                    return;
                };
                run.phase = InstancePhase::Starting;
                let mut env = environment(template.env.clone());
                env.extend(environment(run.spec.env.clone()));
                let (after, ending) = if let Some(command) = &run.spec.command {
                    let program = match Program::parse(command) {
                        Ok(program) => program,
                        Err(missing) => {
                            run.fail("no_entry_point", format!("the image has no command {missing:?}"));
                            self.effects.runtime.push(RuntimeEvent::Run(id.clone()));
                            return;
                        }
                    };
                    if run.spec.input.is_interactive() {
                        run.output.send_modify(|output| output.awaiting = Some((program, env)));
                        (Duration::ZERO, None)
                    } else {
                        run.print(&program.output(&env));
                        (program.takes(), Some(Ending::Exit(program.code())))
                    }
                } else {
                    for line in image.lines() {
                        run.print(format!("{line}\n").as_bytes());
                    }
                    image.ends().map_or((Duration::ZERO, None), |(after, ending)| (*after, Some(*ending)))
                };
                run.phase = InstancePhase::Ready;
                if let Some(ending) = ending {
                    self.after(after, Tick::Run { id: id.clone(), life, what: Stage::Ends(ending) });
                }
            }
            Stage::Ends(ending) => {
                let exit = exit_status(ending, now);
                let code = exit.code.unwrap_or_else(|| 128 + exit.signal.unwrap_or_default());
                run.life += 1;
                run.phase = InstancePhase::Exited;
                run.exit = Some(exit);
                run.output.send_modify(|output| output.exit = Some(code));
            }
        }
        self.effects.runtime.push(RuntimeEvent::Run(id.clone()));
    }

    /// The runs of a lost node: how they ended cannot be known.
    pub(super) fn lose_runs(&mut self, node: u32) {
        let mut lost = Vec::new();
        for (id, run) in &mut self.runs {
            if run.node == node && run.phase != InstancePhase::Exited {
                run.fail("lost", format!("node {node} was lost; how the run ended is unknown"));
                lost.push(id.clone());
            }
        }
        self.effects.runtime.extend(lost.into_iter().map(RuntimeEvent::Run));
    }
}

impl Run {
    fn print(&self, bytes: &[u8]) {
        self.output.send_modify(|output| output.bytes.extend_from_slice(bytes));
    }

    /// It ended without an exit status.
    fn fail(&mut self, reason: &str, message: String) {
        self.life += 1;
        self.phase = InstancePhase::Exited;
        self.failure = Some(InstanceFailure { reason: reason.to_owned(), message, last_lines: Vec::new() });
        self.output.send_modify(|output| output.exit = Some(255));
    }
}
