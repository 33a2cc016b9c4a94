//! Who may do what, and what may be stored, with interceptors.

use async_trait::async_trait;

use super::Intercepted;
use crate::error::Result;
use crate::model::AppSpec;
use crate::port::{AccessRequest, Admission, AdmissionRequest, Authorizer, Decision};

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Authorizer for Intercepted<dyn Authorizer> {
    async fn authorize(&self, request: &AccessRequest<'_>) -> Result<Decision> {
        let object = format!("{} on {} for {}", request.permission, request.scope, request.actor);
        self.around("authorizer", "authorize", object, false, self.inner.authorize(request)).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Admission for Intercepted<dyn Admission> {
    async fn admit(&self, request: &AdmissionRequest<'_>, spec: AppSpec) -> Result<AppSpec> {
        let object = format!("{} for {}", request.at, request.actor);
        self.around("admission", "admit", object, false, self.inner.admit(request, spec)).await
    }
}
