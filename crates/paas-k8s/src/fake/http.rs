//! The cluster on loopback addresses, for clients in other processes: its API server, and its gateway.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tower::{BoxError, Service as _};

use super::service::AnswerBody;
use super::{FakeCluster, Reply, State, exec, kinds};

/// A [`FakeCluster`] that is served on loopback addresses, until this is dropped.
///
/// The API server speaks HTTP/1.1 without TLS and asks nobody who they are. The gateway takes requests for applications by
/// their host, as [`FakeCluster::request`] does, and the instance answers:
///
/// - `GET /env?name=NAME` with a variable of its environment, 404 if it has none of the name;
/// - everything else with its pod, labels and image as JSON.
///
/// Each answer of an instance has the headers `x-pod` and `x-image`. Ports of TCP routes are not served.
#[derive(Debug)]
pub struct FakeServer {
    api: SocketAddr,
    gateway: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl FakeCluster {
    /// Serves the cluster on two loopback ports that are free.
    ///
    /// # Errors
    /// If there is no port to listen on.
    pub async fn serve(&self) -> std::io::Result<FakeServer> {
        let (api, gateway) =
            (TcpListener::bind(("127.0.0.1", 0)).await?, TcpListener::bind(("127.0.0.1", 0)).await?);
        let addresses = (api.local_addr()?, gateway.local_addr()?);
        let (of_api, of_gateway) = (self.clone(), self.clone());
        let api = accept(api, move |stream| serve_api(of_api.clone(), stream));
        let gateway = accept(gateway, move |stream| serve_gateway(of_gateway.clone(), stream));
        Ok(FakeServer {
            api: addresses.0,
            gateway: addresses.1,
            tasks: [tokio::spawn(api), tokio::spawn(gateway)],
        })
    }
}

impl FakeServer {
    /// Where the API server listens.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the gateway listens for the applications' requests.
    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    /// A kubeconfig for the API server.
    pub fn kubeconfig(&self) -> String {
        kubeconfig(self.api)
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A kubeconfig for an API server that speaks HTTP without TLS at `address` and asks nobody who they are, such as a
/// [`FakeServer`] or a proxy before one.
pub fn kubeconfig(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "fake" } }],
        "clusters": [{ "name": "fake", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "fake", "user": {} }],
    })
    .to_string()
}

/// Serves every connection in a task that ends with this one.
async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve(stream))),
                // There may be too many open files for a moment.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_api(cluster: FakeCluster, stream: TcpStream) {
    let service = service_fn(move |request| answer(cluster.clone(), request));
    let _ = stream.set_nodelay(true); // only slower without
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(server.with_upgrades().await); // a client that is gone, or a fault that cuts the connection
}

async fn answer(cluster: FakeCluster, request: Request<Incoming>) -> Result<Response<AnswerBody>, BoxError> {
    if request.headers().contains_key(header::UPGRADE) {
        return Ok(exec::upgrade(cluster.inner, request));
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    cluster.service().call(Request::from_parts(parts, Body::from(body.to_vec()))).await
}

async fn serve_gateway(cluster: FakeCluster, stream: TcpStream) {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = visit(&cluster, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    let _ = stream.set_nodelay(true); // only slower without
    let server = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(server.await); // a client that is gone
}

/// Sends a request to an instance, which answers.
fn visit(cluster: &FakeCluster, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let (pod, labels) = match cluster.request(host, request.uri().path()) {
        Reply::Served { pod, labels } => (pod, labels),
        Reply::Refused(code) => return respond(code, String::new()),
    };
    let variable = (request.uri().path() == "/env")
        .then(|| request.uri().query()?.split('&').find_map(|pair| pair.strip_prefix("name=")))
        .flatten();
    let (image, value) = cluster.inner.with(|state| {
        let found = state.objects.of(kinds::POD).find(|(key, _)| key.name == pod).map(|(_, pod)| pod);
        let image = found.and_then(|pod| pod["spec"]["containers"][0]["image"].as_str()).unwrap_or_default();
        let value = found.zip(variable).and_then(|(pod, name)| state.variable(pod, name));
        (image.to_owned(), value)
    });
    let mut response = match (variable, value) {
        (Some(_), Some(value)) => respond(200, value),
        (Some(name), None) => respond(404, format!("no variable {name}")),
        (None, _) => respond(200, json!({ "pod": &pod, "labels": labels, "image": &image }).to_string()),
    };
    for (name, value) in [("x-pod", pod), ("x-image", image)] {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn respond(code: u16, body: String) -> Response<Full<Bytes>> {
    let response = Response::builder().status(code).body(Full::new(Bytes::from(body)));
    response.unwrap_or_else(|_| Response::new(Full::new(Bytes::new())))
}

impl State {
    /// A variable of the environment of a pod's container, as the kubelet finds it.
    pub(super) fn variable(&self, pod: &Value, name: &str) -> Option<String> {
        let environment = pod["spec"]["containers"][0]["env"].as_array()?;
        let declared = environment.iter().find(|it| it["name"] == name)?;
        if let Some(value) = declared["value"].as_str() {
            return Some(value.to_owned());
        }
        let reference = &declared["valueFrom"]["secretKeyRef"];
        let namespace = pod["metadata"]["namespace"].as_str();
        let key = super::objects::Key::new(kinds::SECRET, namespace, reference["name"].as_str()?);
        let data = &self.objects.get(&key)?["data"][reference["key"].as_str()?];
        let bytes: k8s_openapi::ByteString = serde_json::from_value(data.clone()).ok()?;
        String::from_utf8(bytes.0).ok()
    }
}
