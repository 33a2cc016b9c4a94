//! The permissions of what routers counted.

use async_trait::async_trait;
use serde_json::Value;

use super::{Action, Effect, Work};
use crate::error::Result;
use crate::name::AppEnv;
use crate::port::{Permission, Scope};
use crate::tenancy::permissions;

/// Reads what was counted of the requests of an application.
#[derive(Debug, Clone)]
pub struct ReadTraffic {
    /// Where.
    pub at: AppEnv,
}

#[async_trait]
impl Action for ReadTraffic {
    type Output = ();
    const NAME: &'static str = "traffic.read";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::AppEnv(self.at.clone())
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<()> {
        work.place(&self.at).await.map(drop)
    }
}

/// Reads what was counted of the requests of many applications; answers with those of them that the actor may see.
#[derive(Debug, Clone)]
pub struct ReadAllTraffic {
    /// The applications that something was counted of.
    pub apps: Vec<AppEnv>,
}

#[async_trait]
impl Action for ReadAllTraffic {
    type Output = Vec<AppEnv>;
    const NAME: &'static str = "traffic.read_all";
    const EFFECT: Effect = Effect::Read;

    fn permission(&self) -> Permission {
        permissions::APP_READ
    }

    fn scope(&self) -> Scope {
        Scope::Platform
    }

    fn is_filtered(&self) -> bool {
        true
    }

    fn detail(&self) -> Value {
        Value::Null
    }

    async fn run(&self, work: &mut Work<'_>) -> Result<Vec<AppEnv>> {
        let mut visible = Vec::new();
        for at in &self.apps {
            if work.may(permissions::APP_READ, &Scope::AppEnv(at.clone())).await? {
                visible.push(at.clone());
            }
        }
        Ok(visible)
    }
}
