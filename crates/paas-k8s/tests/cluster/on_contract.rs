//! A real API server does what the one in memory does, which is what programs rely on.

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use libtest_mimic::{Failed, Trial};
use paas_k8s::kube::Api;
use paas_k8s::kube::api::{DeleteParams, PostParams};

use super::contract::{self, Server};
use super::fixture::Place;

macro_rules! list {
    ($($name:ident)*) => {
        vec![$(trial(stringify!($name), |server| contract::$name(server).boxed_local())),*]
    };
}

/// A trial for each promise.
pub(crate) fn trials() -> Vec<Trial> {
    contract::promises!(list)
}

fn trial(name: &str, check: for<'a> fn(&'a Server) -> LocalBoxFuture<'a, ()>) -> Trial {
    Trial::test(format!("contract::{name}"), move || {
        let place = Place::get()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async {
            let client = place.client().await;
            let mut namespace = Namespace::default();
            let random = format!("{:x}", uuid::Uuid::new_v4().as_u128());
            namespace.metadata.name = Some(format!("contract-{}", &random[..8]));
            let namespaces: Api<Namespace> = Api::all(client.clone());
            namespaces.create(&PostParams::default(), &namespace).await?;
            let server = Server { client, namespace: namespace.metadata.name.unwrap_or_default() };
            let outcome = std::panic::AssertUnwindSafe(check(&server)).catch_unwind().await;
            drop(namespaces.delete(&server.namespace, &DeleteParams::background()).await);
            outcome.map_err(|panic| match panic.downcast::<String>() {
                Ok(text) => Failed::from(*text),
                Err(other) => Failed::from(*other.downcast::<&str>().unwrap_or(Box::new("it panicked"))),
            })
        })
    })
}
