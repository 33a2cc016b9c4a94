//! Machines and spaces with interceptors.

use std::time::Duration;

use async_trait::async_trait;

use super::Intercepted;
use crate::error::Result;
use crate::name::EnvRef;
use crate::port::{DrainReport, Drift, Epoch, Node, Nodes, Spaces};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Nodes for Intercepted<dyn Nodes> {
    async fn list(&self) -> Result<Vec<Node>> {
        self.around("nodes", "list", String::new(), false, self.inner.list()).await
    }

    async fn cordon(&self, node: &str, cordoned: bool) -> Result<()> {
        self.around("nodes", "cordon", node.to_owned(), true, self.inner.cordon(node, cordoned)).await
    }

    async fn drain(&self, node: &str, patience: Duration) -> Result<DrainReport> {
        self.around("nodes", "drain", node.to_owned(), true, self.inner.drain(node, patience)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Spaces for Intercepted<dyn Spaces> {
    async fn ensure(&self, epoch: Epoch, env: &EnvRef) -> Result<Vec<Drift>> {
        self.around("spaces", "ensure", env.to_string(), true, self.inner.ensure(epoch, env)).await
    }

    async fn remove(&self, epoch: Epoch, env: &EnvRef) -> Result<()> {
        self.around("spaces", "remove", env.to_string(), true, self.inner.remove(epoch, env)).await
    }

    async fn list(&self) -> Result<Vec<EnvRef>> {
        self.around("spaces", "list", String::new(), false, self.inner.list()).await
    }
}
