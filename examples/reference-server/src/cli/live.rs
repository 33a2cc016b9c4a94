//! The live view of a release: redrawn in place on a terminal, lines otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use paas_core::engine::{AppStatus, ComponentStatus, TrackStatus};
use paas_core::model::ReleaseNumber;
use paas_core::port::{ImagePull, InstancePhase};

use super::output::{Output, Tone, printable};

/// Shows how far a release is, on the standard error; the standard output is for results.
pub struct Live {
    output: Output,
    release: ReleaseNumber,
    bar: Option<ProgressBar>,
    last: BTreeMap<String, String>,
}

impl Live {
    /// A view of a release.
    pub fn new(output: Output, release: ReleaseNumber) -> Self {
        let bar = (std::io::stderr().is_terminal() && output.is_table()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(15));
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self { output, release, bar, last: BTreeMap::new() }
    }

    /// Shows a state.
    pub fn show(&mut self, status: &AppStatus) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.picture(status));
            return;
        }
        if !self.output.is_table() {
            return;
        }
        for component in &status.components {
            for track in &component.tracks {
                let line = self.line(component, track);
                let key = format!("{}@{}", component.name, track.cluster);
                if self.last.get(&key) != Some(&line) {
                    eprintln!("{line}");
                    self.last.insert(key, line);
                }
            }
        }
    }

    /// Leaves the last picture on the terminal.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.abandon();
        }
    }

    fn line(&self, component: &ComponentStatus, track: &TrackStatus) -> String {
        let mut line = format!("  {}: {}", component.name, versions(track));
        if component.tracks.len() > 1 {
            line = format!("  {}@{}: {}", component.name, track.cluster, versions(track));
        }
        if let Some((step, steps)) = track.step {
            line.push_str(&format!(", step {step} of {steps}"));
        }
        for hold in &track.holds {
            line.push_str(&format!("\n    held: {}", printable(hold)));
        }
        if let Some(pull) = pulled(track) {
            line.push_str(&format!("\n    pulling {}: {pull}", component.name));
        }
        for instance in &track.instances {
            if let Some(failure) = &instance.failure {
                line.push_str(&format!("\n    {}: {}", instance.id, printable(&failure.message)));
            }
        }
        line
    }

    fn picture(&self, status: &AppStatus) -> String {
        let mut lines = Vec::new();
        for component in &status.components {
            for track in &component.tracks {
                lines.push(self.line(component, track));
                let dots: String = track
                    .instances
                    .iter()
                    .map(|instance| {
                        let (sign, tone) = sign(instance.phase);
                        let new = instance.release == Some(self.release);
                        let tone = if new || tone == Tone::Bad { tone } else { Tone::Faint };
                        self.output.paint(sign, tone)
                    })
                    .collect();
                if !dots.is_empty() {
                    lines.push(format!("    {dots}"));
                }
            }
        }
        lines.join("\n")
    }
}

/// How far the image has come that comes last, if any is being fetched.
fn pulled(track: &TrackStatus) -> Option<ImagePull> {
    let pulls = track.instances.iter().filter_map(|instance| instance.pull);
    pulls.min_by_key(|pull| (pull.received_bytes, pull.layers_done))
}

/// The versions of a track with their ready instances.
pub fn versions(track: &TrackStatus) -> String {
    let versions = track.versions.iter().map(|version| {
        let name = version
            .release
            .map_or_else(|| version.revision.to_string(), |number| format!("release {number}"));
        let ready = format!("{name} {}/{} ready", version.ready, version.desired);
        match version.weight {
            Some(weight) if track.versions.len() > 1 => {
                let sum: u32 = track.versions.iter().filter_map(|version| version.weight).sum();
                let share = u64::from(weight) * 100 / u64::from(sum.max(1));
                format!("{ready}, {share}% of the requests")
            }
            _ => ready,
        }
    });
    match versions.collect::<Vec<_>>() {
        none if none.is_empty() => "no instances".to_owned(),
        some => some.join("; "),
    }
}

/// How an instance looks in a row.
fn sign(phase: InstancePhase) -> (&'static str, Tone) {
    match phase {
        InstancePhase::Pending => ("·", Tone::Faint),
        InstancePhase::Starting => ("○", Tone::Warn),
        InstancePhase::Ready => ("●", Tone::Good),
        InstancePhase::Unready | InstancePhase::BackOff => ("✗", Tone::Bad),
        InstancePhase::Draining => ("◌", Tone::Faint),
        _ => (" ", Tone::Plain),
    }
}
