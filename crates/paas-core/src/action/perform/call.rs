//! An action under way, without its type.

use async_trait::async_trait;
use serde_json::Value;

use crate::action::{Action, Effect, Work};
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::port::{DocumentKey, Permission, Revision, Scope, SecretValue};

/// What performing an action needs of it; its answer stays with it.
#[async_trait]
pub(crate) trait Callable: Send + Sync {
    fn name(&self) -> &'static str;
    fn effect(&self) -> Effect;
    fn permission(&self) -> Permission;
    fn scope(&self) -> Scope;
    fn is_filtered(&self) -> bool;
    fn validate(&self, faults: &mut Vec<Fault>);
    fn detail(&self) -> Value;
    fn input(&self) -> Value;
    fn secrets(&self) -> Vec<&SecretValue>;
    fn target(&self) -> Option<DocumentKey>;
    /// Prepares the changes and the answer.
    async fn run(&mut self, work: &mut Work<'_>) -> Result<()>;
    /// The answer as it is stored with the request.
    fn answer(&self) -> Result<Value>;
    /// Takes a stored answer for its own.
    fn recall(&mut self, answer: Value) -> Result<()>;
    /// Completes the answer with the revision of the commit.
    fn committed(&mut self, revision: Revision);
}

/// An action, and what it answered.
pub(crate) struct Call<A: Action> {
    action: A,
    output: Option<A::Output>,
}

impl<A: Action> Call<A> {
    pub(crate) fn new(action: A) -> Self {
        Self { action, output: None }
    }

    /// What it answered.
    pub(crate) fn into_output(self) -> A::Output {
        self.output.expect("an action that was performed has answered")
    }
}

#[async_trait]
impl<A: Action> Callable for Call<A> {
    fn name(&self) -> &'static str {
        A::NAME
    }

    fn effect(&self) -> Effect {
        A::EFFECT
    }

    fn permission(&self) -> Permission {
        self.action.permission()
    }

    fn scope(&self) -> Scope {
        self.action.scope()
    }

    fn is_filtered(&self) -> bool {
        self.action.is_filtered()
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        self.action.validate(faults);
    }

    fn detail(&self) -> Value {
        self.action.detail()
    }

    fn input(&self) -> Value {
        self.action.input()
    }

    fn secrets(&self) -> Vec<&SecretValue> {
        self.action.secrets()
    }

    fn target(&self) -> Option<DocumentKey> {
        self.action.target()
    }

    async fn run(&mut self, work: &mut Work<'_>) -> Result<()> {
        self.output = Some(self.action.run(work).await?);
        Ok(())
    }

    fn answer(&self) -> Result<Value> {
        serde_json::to_value(&self.output).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("store the answer of {}", A::NAME)).with_source(error)
        })
    }

    fn recall(&mut self, answer: Value) -> Result<()> {
        let output = serde_json::from_value(answer).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("read the stored answer of {}", A::NAME))
                .with_source(error)
        })?;
        self.output = Some(output);
        Ok(())
    }

    fn committed(&mut self, revision: Revision) {
        if let Some(output) = &mut self.output {
            self.action.committed(output, revision);
        }
    }
}
