//! Runs to completion: jobs and one-off commands.

use std::path::PathBuf;
use std::sync::Arc;

use paas_core::model::Template;
use paas_core::port::{
    Epoch, ExitStatus, InstanceFailure, InstanceId, InstancePhase, RunObservation, RunSpec, RuntimeEvent,
};
use paas_core::{Error, ErrorKind, Fault, Result, TrackKey};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shared;
use super::container::{Found, container_id};
use super::document::RunDocument;
use super::error::{failure, image_failure, start_failure};
use super::gateway::Endpoint;
use super::render;
use super::set::{Sets, check_epoch};
use crate::{Command, Exit, Instance};

/// A run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) document: RunDocument,
    pub(super) seen: RunObservation,
    /// What runs for it.
    pub(super) container: Option<Instance>,
    stop: CancellationToken,
    /// Its task is over.
    over: CancellationToken,
    /// Whoever was attached to one with input or a terminal has gone, and how its command ended is known.
    spoken: CancellationToken,
}

impl Run {
    fn new(document: RunDocument) -> Self {
        let seen = RunObservation { phase: InstancePhase::Pending, exit: None, failure: None };
        Self {
            document,
            seen,
            container: None,
            stop: CancellationToken::new(),
            over: CancellationToken::new(),
            spoken: CancellationToken::new(),
        }
    }
}

impl Run {
    /// Whether there is a container of it, or was.
    pub(super) fn was_started(&self) -> bool {
        self.container.is_some() || self.seen.phase == InstancePhase::Exited
    }
}

impl Shared {
    pub(super) fn start_run(self: &Arc<Self>, epoch: Epoch, spec: &RunSpec) -> Result<()> {
        container_id(&spec.id, 0)
            .map_err(|error| Error::invalid("start a run", vec![Fault::new("id", error.to_string())]))?;
        let mut sets = self.sets();
        self.check_open()?;
        if let Some(run) = sets.runs.get(&spec.id) {
            return check_epoch(run.document.epoch, epoch, &spec.id);
        }
        let document = RunDocument { spec: spec.clone(), epoch, begun: false, exit: None };
        self.documents.put_run(&document)?;
        self.resume_run(&mut sets, document, None);
        Ok(())
    }

    /// Gives a run its task: starts it, or goes on with what was found of it.
    pub(super) fn resume_run(self: &Arc<Self>, sets: &mut Sets, document: RunDocument, found: Option<Found>) {
        let run = Run::new(document.clone());
        let (stop, over) = (run.stop.clone(), run.over.clone().drop_guard());
        let id = document.spec.id.clone();
        sets.runs.insert(id.clone(), run);
        let shared = self.clone();
        self.tasks.spawn(async move {
            let _over = over;
            let work = shared.carry_out(&document, found);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = shared.closing.cancelled() => {}
                () = work => {}
            }
        });
    }

    async fn carry_out(&self, document: &RunDocument, found: Option<Found>) {
        let spec = &document.spec;
        let state = match found {
            _ if document.begun => {
                let exit = document.exit.clone().unwrap_or_else(Exit::lost);
                if let Some(Found { state: crate::Found::Running(container), .. }) = found {
                    self.end_command(&spec.id, &container, exit.clone()).await;
                }
                Ok(crate::Found::Ended(exit))
            }
            Some(found) => Ok(found.state),
            None => self.start_container(spec).await,
        };
        let exit = match state {
            Ok(crate::Found::Ended(exit)) => exit,
            Ok(crate::Found::Running(container)) => {
                let exit = self.wait_for_run(spec, container).await;
                self.exit_of_command(&spec.id).await.unwrap_or(exit)
            }
            Err(failure) => {
                return self.show_run(&spec.id, |seen| {
                    seen.phase = InstancePhase::Exited;
                    seen.failure = Some(failure);
                });
            }
        };
        if let Ok(container) = container_id(&spec.id, 0) {
            self.gateway.change(|desired| {
                desired.endpoints.remove(container.as_str());
            });
        }
        self.end_run(&spec.id, &exit);
        // What it said is kept until it is forgotten.
        if let Ok(container) = container_id(&spec.id, 0)
            && let Err(error) = self.instances.remove_files(&container).await
        {
            tracing::warn!(run = %spec.id, "{}", error.chain());
        }
    }

    async fn start_container(&self, spec: &RunSpec) -> Result<crate::Found, InstanceFailure> {
        let template = template(spec);
        let image = self.images.fetch(&template, |_| ()).await.map_err(|error| image_failure(&error))?;
        let container = container_id(&spec.id, 0).map_err(|error| start_failure(&error))?;
        let rendered = render::instance(self, &spec.track, (&spec.id, None), container, &template, &image);
        let (mut made, secrets) = rendered.await.map_err(|error| failure("start_failed", error.report()))?;
        if spec.input.is_interactive() {
            // Its command is started by whoever is attached.
            made.command = Command::Pause;
        }
        let _turn = self.starts.acquire().await;
        self.launch(&made, secrets).await.map_err(|error| start_failure(&error))
    }

    async fn wait_for_run(&self, spec: &RunSpec, container: Instance) -> Exit {
        let endpoint = Endpoint {
            component: spec.track.component.clone(),
            revision: match "run".parse() {
                Ok(revision) => revision,
                Err(_) => return container.wait().await,
            },
            socket: self.instances.socket(container.id()),
            ready: false,
            draining: false,
            calls: render::callers(container.spec(), &spec.template.calls),
        };
        self.gateway.change(|desired| {
            desired.endpoints.insert(container.id().as_str().to_owned(), endpoint);
        });
        if let Some(run) = self.sets().runs.get_mut(&spec.id) {
            run.container = Some(container.clone());
        }
        self.show_run(&spec.id, |seen| seen.phase = InstancePhase::Ready);
        container.wait().await
    }

    /// Begins a conversation with a run that has input or a terminal. It is over when the guard is dropped.
    pub(super) fn claim_run(&self, id: &InstanceId) -> Result<DropGuard> {
        const OPERATION: &str = "attach to a run";
        let mut sets = self.sets();
        self.check_open()?;
        let run = sets
            .runs
            .get_mut(id)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION).with_context("run", id))?;
        if run.document.begun {
            return Err(Error::new(ErrorKind::Conflict, OPERATION)
                .with_context("run", id)
                .with_source("somebody is attached to it, or was"));
        }
        run.document.begun = true;
        self.documents.put_run(&run.document)?;
        Ok(run.spoken.clone().drop_guard())
    }

    /// Ends a run with input or a terminal, whose command has ended.
    pub(super) async fn end_command(&self, id: &InstanceId, container: &Instance, mut exit: Exit) {
        match container.kill().await {
            Ok(end) => exit.out_of_memory = end.out_of_memory,
            Err(error) => tracing::warn!(run = %id, "{}", error.chain()),
        }
        if let Some(run) = self.sets().runs.get_mut(id) {
            run.document.exit = Some(exit.clone());
            if let Err(error) = self.documents.put_run(&run.document) {
                // It counts as lost if the machine is opened again.
                tracing::warn!(run = %id, "{}", error.report());
            }
        }
        self.end_run(id, &exit);
    }

    /// How the command of a run with input or a terminal ended, once its conversation is over; nothing if there was none.
    async fn exit_of_command(&self, id: &InstanceId) -> Option<Exit> {
        let begun = |run: &Run| run.document.begun.then(|| run.spoken.clone());
        let spoken = self.sets().runs.get(id).and_then(begun)?;
        spoken.cancelled().await;
        let exit = self.sets().runs.get(id)?.document.exit.clone();
        Some(exit.unwrap_or_else(Exit::lost))
    }

    fn end_run(&self, id: &InstanceId, exit: &Exit) {
        self.show_run(id, |seen| {
            seen.phase = InstancePhase::Exited;
            seen.failure = if let Some(why) = &exit.failure {
                let error = crate::Error::new(why.kind, "start a command").with_detail(why.message.clone());
                Some(start_failure(&error))
            } else if exit.lost {
                Some(failure("lost", "how it ended is not known: its supervisor or the machine went down"))
            } else if exit.out_of_memory {
                Some(failure("out_of_memory", "it used more memory than its limit and was killed"))
            } else {
                None
            };
            seen.exit = (!exit.lost && exit.failure.is_none()).then_some(ExitStatus {
                code: exit.code,
                signal: exit.signal,
                out_of_memory: exit.out_of_memory,
                at: exit.at,
            });
        });
    }

    fn show_run(&self, id: &InstanceId, change: impl FnOnce(&mut RunObservation)) {
        if let Some(run) = self.sets().runs.get_mut(id) {
            change(&mut run.seen);
        }
        self.tell(RuntimeEvent::Run(id.clone()));
    }

    pub(super) async fn remove_run(&self, epoch: Epoch, id: &InstanceId) -> Result<()> {
        let over = {
            let sets = self.sets();
            self.check_open()?;
            let Some(run) = sets.runs.get(id) else { return Ok(()) };
            check_epoch(run.document.epoch, epoch, id)?;
            run.stop.cancel();
            run.over.clone()
        };
        // It must not start anything after the container was removed.
        over.cancelled().await;
        let container = container_id(id, 0)?;
        self.gateway.change(|desired| {
            desired.endpoints.remove(container.as_str());
        });
        self.instances.remove(&container).await?;
        {
            // Together, so that nobody writes down how it ended in between.
            let mut sets = self.sets();
            self.documents.remove_run(id)?;
            sets.runs.remove(id);
        }
        self.tell(RuntimeEvent::Run(id.clone()));
        Ok(())
    }

    /// Where the volumes of a track are.
    pub(super) fn volumes_of(&self, track: &TrackKey) -> PathBuf {
        let at = &track.component.at;
        let folder = self.volumes.join(at.org.as_str()).join(at.env.as_str()).join(at.app.as_str());
        folder.join(track.component.component.as_str())
    }

    /// Removes the volumes of a track.
    pub(super) async fn purge(&self, track: &TrackKey) -> Result<()> {
        let folder = self.volumes_of(track);
        if !folder.exists() {
            return Ok(());
        }
        self.instances.remove_tree(folder.clone()).await.map_err(|error| {
            Error::new(ErrorKind::Internal, "remove volumes")
                .with_context("folder", folder.display())
                .with_source(error)
        })
    }
}

/// The template of what runs.
pub(super) fn template(spec: &RunSpec) -> Template {
    let mut template = spec.template.clone();
    if let Some(command) = &spec.command {
        (template.command, template.args) = (Some(command.clone()), None);
    }
    template.env.extend(spec.env.clone());
    // It is not called, so that it may listen wherever it likes.
    template.ports.clear();
    template
}
