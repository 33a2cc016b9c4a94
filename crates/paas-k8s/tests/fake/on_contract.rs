//! The API server in memory does what programs rely on of a real one; `tests/cluster` checks the same on one.

use k8s_openapi::api::core::v1::Namespace;
use paas_core::memory::Images;
use paas_k8s::fake::FakeCluster;
use paas_k8s::kube::Api;
use paas_k8s::kube::api::PostParams;

use super::contract::{self, Server};

async fn server() -> Server {
    let client = FakeCluster::new(Images::new()).client();
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("contract".to_owned());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    Server { client, namespace: "contract".to_owned() }
}

macro_rules! tests {
    ($($name:ident)*) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            contract::$name(&server().await).await;
        })*
    };
}
contract::promises!(tests);
