//! A client of the server's interface, and one of the application.

use std::collections::BTreeMap;

use reqwest::header::HOST;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::process::{Killed, Process};

/// Where the application of these tests is.
pub const HERE: &str = "/orgs/shop/envs/prod/apps/app";

/// Somebody with a token, in the course of several servers.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    token: String,
}

/// An answer of the interface.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Client {
    pub fn new(token: String) -> Self {
        // A server that was killed leaves connections behind that nobody should try.
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).pool_max_idle_per_host(0);
        Self { http: http.build().unwrap(), token }
    }

    /// What the server at this address says of something, whatever it is.
    pub async fn status(&self, api: &str, path: &str) -> Value {
        let request = self.http.get(format!("{api}/api/v1{path}")).bearer_auth(&self.token);
        let Ok(response) = request.send().await else { return Value::Null };
        response.json().await.unwrap_or_default()
    }

    /// Asks the server once. Whoever has it killed gets no answer.
    pub async fn ask(
        &self,
        server: &Process,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Answer, Killed> {
        let mut request =
            self.http.request(method, format!("{}/api/v1{path}", server.api)).bearer_auth(&self.token);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|_| Killed)?;
        let status = response.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(Killed); // another story's server has its address by now
        }
        let text = response.text().await.map_err(|_| Killed)?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    /// Changes something in a server that nobody kills.
    pub async fn change(&self, server: &Process, method: Method, path: &str, body: &Value) {
        let answer = self.ask(server, method, path, None, Some(body)).await.expect("it lives");
        assert!(answer.status.is_success(), "{path}: {answer:?}");
    }

    /// Reads something that is there.
    pub async fn read(&self, server: &Process, path: &str) -> Result<Value, Killed> {
        let answer = self.ask(server, Method::GET, path, None, None).await?;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        Ok(answer.body)
    }

    /// What the application says to a request that comes by the gateway: the status, and the version if it has one.
    /// `versions` are those that tell their image only, by its digest.
    pub async fn visit(&self, gateway: &str, domain: &str, versions: &BTreeMap<String, String>) -> String {
        // The value of a secret, so that an answer shows that it is there.
        let url = format!("http://{gateway}/env?name=KEY");
        let response = match self.http.get(url).header(HOST, format!("app-prod-shop.{domain}")).send().await {
            Ok(response) => response,
            Err(error) => return format!("no answer: {error:?}"),
        };
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let image = || header("x-image")?.rsplit('@').next();
        let version = header("x-version").or_else(|| versions.get(image()?).map(String::as_str));
        match version.map(str::to_owned) {
            Some(version) => {
                let secret = response.text().await.unwrap_or_else(|error| format!("{error:?}"));
                format!("{status} v{version} {}", secret.trim())
            }
            None => status.to_string(),
        }
    }
}
