//! What everybody with a say in a specification makes of it.

use std::error::Error as _;
use std::time::Duration;

use crate::action::Work;
use crate::error::{Error, ErrorKind, Result};
use crate::model::AppSpec;
use crate::name::AppEnv;
use crate::port::AdmissionRequest;

/// How long one admission may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The specification as it is admitted by all, in their order. A refusal is noted for the audit trail.
pub(super) async fn admit(work: &mut Work<'_>, at: &AppEnv, mut spec: AppSpec) -> Result<AppSpec> {
    let request = AdmissionRequest { actor: work.actor().id(), at };
    for (index, admission) in work.services().admission().iter().enumerate() {
        let answer = tokio::time::timeout(PATIENCE, admission.admit(&request, spec)).await;
        spec = match answer {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(error)) => {
                if matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Denied) {
                    work.refuse(reason(&error));
                }
                return Err(error);
            }
            Err(_) => {
                return Err(Error::new(ErrorKind::Timeout, "have the specification admitted")
                    .with_context("application", at)
                    .with_context("admission", index + 1)
                    .with_context("seconds", PATIENCE.as_secs())
                    .with_remedy(
                        "Nothing was stored. Try again, or look why the admission does not answer.",
                    ));
            }
        };
    }
    Ok(spec)
}

/// Why it was refused, in one line.
fn reason(error: &Error) -> String {
    if !error.faults().is_empty() {
        let faults: Vec<String> = error.faults().iter().map(ToString::to_string).collect();
        return faults.join("; ");
    }
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
