//! Servers to be behind the gateway, clients to be in front of it, and configs that join them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::{body::Incoming, client::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use paas_gateway::{
    Config, Gateway, GatewayOptions,
    config::{
        Balance, Dial, Instance, InstanceId, Listener, Port, Protocol, Revision, Route, Serves, Service,
        State,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// The longest that anything may take before the test fails.
pub const BOUND: Duration = Duration::from_secs(20);

/// An HTTP server that tells which one it is, what it got, and can die.
pub struct Upstream {
    pub address: SocketAddr,
    pub requests: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Answers each request with its name, the request's head and body as JSON. The path chooses what else happens:
    /// `/slow` waits 300 ms, `/hang` never answers, `/die` breaks the connection off, `/close` closes it afterwards.
    pub async fn start(name: &str) -> Self {
        Self::on(name, TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap())
    }

    pub fn on(name: &str, listener: TcpListener) -> Self {
        let (requests, connections) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let stop = CancellationToken::new();
        let address = listener.local_addr().unwrap();
        let shared = (name.to_owned(), requests.clone(), connections.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let (name, requests, connections, stop) = shared;
            let accepting = async {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    connections.fetch_add(1, SeqCst);
                    let (name, requests, stop) = (name.clone(), requests.clone(), stop.clone());
                    tokio::spawn(async move {
                        let service =
                            service_fn(move |request| answer(name.clone(), requests.clone(), request));
                        let serving = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service);
                        tokio::select! {
                            _ = serving => {}
                            () = stop.cancelled() => {}
                        }
                    });
                }
            };
            tokio::select! {
                () = accepting => {}
                () = stop.cancelled() => {}
            }
        });
        Self { address, requests, connections, stop, task }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }

    /// Dies: its port refuses, its connections end.
    pub async fn die(self) -> SocketAddr {
        self.stop.cancel();
        let _ = self.task.await;
        self.address
    }
}

async fn answer(
    name: String,
    requests: Arc<AtomicUsize>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    requests.fetch_add(1, SeqCst);
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/slow" => tokio::time::sleep(Duration::from_millis(300)).await,
        "/hang" => std::future::pending().await,
        "/die" => return Err(std::io::ErrorKind::ConnectionAborted.into()),
        _ => {}
    }
    let body =
        body.collect().await.map(http_body_util::Collected::to_bytes).map_err(std::io::Error::other)?;
    let headers: Vec<(String, String)> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let told = serde_json::json!({
        "name": name,
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = Response::new(Full::from(told.to_string()));
    response.headers_mut().insert("x-served-by", name.parse().expect("names are tokens"));
    if parts.uri.path() == "/close" {
        response.headers_mut().insert("connection", "close".parse().expect("a token"));
    }
    Ok(response)
}

/// A gateway in this process, with one HTTP listener.
pub async fn gateway(config: Config) -> (Gateway, SocketAddr) {
    let gateway = Gateway::start(GatewayOptions::default()).unwrap();
    gateway.apply(config).await.unwrap();
    let address = bound(&gateway, "web").await;
    (gateway, address)
}

pub async fn bound(gateway: &Gateway, listener: &str) -> SocketAddr {
    let status = gateway.status().await;
    let found = status.listeners.iter().find(|found| found.listener.as_str() == listener);
    found.and_then(|found| found.bound).unwrap_or_else(|| panic!("{listener} is not bound: {status:?}"))
}

/// A config with an HTTP listener, and for each upstream an instance of one service, `web`, on `app.localhost`.
pub fn config(generation: u64, revisions: &[(&str, u32)], instances: &[(&str, SocketAddr)]) -> Config {
    let mut config = Config::new(generation);
    config.listeners.push(Listener {
        id: "web".into(),
        address: (Ipv4Addr::LOCALHOST, 0).into(),
        serves: Serves::Http { trust_forwarded: false },
    });
    config.routes.push(Route {
        id: "app".into(),
        host: "app.localhost".into(),
        path: "/".into(),
        service: "web".into(),
        port: "http".into(),
        strip_prefix: false,
    });
    config.services.push(service("web", Protocol::Http, revisions));
    for (i, (revision, address)) in instances.iter().enumerate() {
        config.instances.push(instance(&format!("{revision}-{i}"), "web", revision, *address));
    }
    config
}

pub fn service(id: &str, protocol: Protocol, revisions: &[(&str, u32)]) -> Service {
    Service {
        id: id.into(),
        ports: vec![Port { name: "http".into(), number: 80, protocol }],
        revisions: revisions
            .iter()
            .map(|(id, weight)| Revision { id: (*id).into(), weight: *weight, labels: BTreeMap::new() })
            .collect(),
        state: State::Serving,
        rules: Vec::new(),
        balance: Balance::LeastInflight,
    }
}

pub fn instance(id: &str, service: &str, revision: &str, address: SocketAddr) -> Instance {
    Instance {
        id: id.into(),
        service: service.into(),
        revision: revision.into(),
        ready: true,
        draining: false,
        dial: Dial::Tcp(address.ip()),
        ports: [("http".into(), address.port())].into(),
    }
}

/// What an [`Upstream`] said.
#[derive(Debug)]
pub struct Said {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Said {
    pub fn by(&self) -> &str {
        self.headers.get("x-served-by").map_or("", |name| name.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// A header of the request as the upstream got it.
    pub fn got(&self, name: &str) -> Vec<String> {
        let told = self.json();
        let all = told["headers"].as_array().expect("an upstream answered").iter();
        all.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
    }
}

/// A client with one keep-alive connection.
pub struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    pub async fn get(&mut self, path: &str) -> Said {
        self.send(request("GET", "app.localhost", path).body(Full::default()).unwrap()).await
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Said {
        self.try_send(request).await.unwrap()
    }

    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Said, hyper::Error> {
        let answering = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Said {
                status: parts.status,
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::time::timeout(BOUND, answering).await.expect("an answer within the bound")
    }
}

pub fn request(method: &str, host: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header("host", host)
}

/// One request on a connection of its own.
pub async fn get(address: SocketAddr, path: &str) -> Said {
    Client::connect(address).await.get(path).await
}

/// Waits until something is so.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, waiting).await.is_ok(), "never: {what}");
}

/// An address that refuses connections.
pub async fn refusing() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap()
}

pub fn ids(names: &[&str]) -> Vec<InstanceId> {
    names.iter().map(InstanceId::new).collect()
}

/// An HTTP/2 client, by prior knowledge.
pub async fn get_http2(
    sender: &mut hyper::client::conn::http2::SendRequest<Empty<Bytes>>,
    uri: &str,
) -> Response<Incoming> {
    let request = Request::builder().uri(uri).header("cookie", "a=1").header("cookie", "b=2");
    sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
}
