//! Who asks: basic and token authentication. Source: Docker's "Token Authentication Specification", RFC 7235, RFC 6750.

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};

use super::{Remote, http};
use crate::{Error, ErrorKind, Result};

const TOKEN_BYTES: u64 = 256 * 1024;
/// How long a token holds that does not say it, and how much earlier it is replaced.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);
const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// How to log in to a registry. Debug output shows no secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password, or a token in the place of the password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// An identity token, which the registry's token service exchanges for others.
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, ***)"),
            Self::IdentityToken(_) => f.write_str("IdentityToken(***)"),
        }
    }
}

/// What a token is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Scope {
    registry: String,
    scope: String,
}

impl Scope {
    pub(super) fn pull(registry: &str, repository: &str) -> Self {
        Self { registry: registry.to_owned(), scope: format!("repository:{repository}:pull") }
    }
}

/// A value for `Authorization`.
pub(super) struct Token {
    header: String,
    expires: Option<Instant>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What `Authorization` is known to be for a scope.
pub(super) fn known(remote: &Remote, scope: &Scope) -> Option<String> {
    let mut tokens =
        remote.registries.shared.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let now = Instant::now();
    tokens.retain(|_, token| token.expires.is_none_or(|expires| expires > now));
    tokens.get(scope).map(|token| token.header.clone())
}

/// Gets what a registry asks for, and remembers it.
pub(super) async fn answer(remote: &Remote, scope: &Scope, challenges: &[String]) -> Result<()> {
    let challenges: Vec<Challenge> =
        challenges.iter().filter_map(|challenge| Challenge::parse(challenge)).collect();
    let credentials = credentials(remote).await?;
    let token = if let Some(challenge) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
        fetch(remote, scope, challenge, credentials.as_ref()).await?
    } else if challenges.iter().any(|challenge| challenge.scheme == "basic") {
        let Some(Credentials::Password { user, password }) = &credentials else {
            return Err(Error::new(
                ErrorKind::Denied,
                http::OPERATION,
                "it wants a user and a password, and none are known",
            ));
        };
        Token { header: basic(user, password), expires: None }
    } else {
        return Err(Error::new(
            ErrorKind::Denied,
            http::OPERATION,
            "it wants a log-in of a kind that is not supported",
        ));
    };
    let mut tokens =
        remote.registries.shared.tokens.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    tokens.insert(scope.clone(), token);
    Ok(())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn fetch(
    remote: &Remote,
    scope: &Scope,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
) -> Result<Token> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    let denied = |message: String| Error::new(ErrorKind::Denied, http::OPERATION, message);
    let realm = challenge.get("realm").and_then(|realm| Url::parse(realm).ok());
    let mut realm = realm.ok_or_else(|| denied("it names no token service".to_owned()))?;
    // Credentials go to whomever the registry names; over plain HTTP only if the registry itself is spoken to so.
    if realm.scheme() != "https" && !(realm.scheme() == "http" && remote.base.scheme() == "http") {
        return Err(denied("its token service is not encrypted".to_owned()));
    }
    let service = challenge.get("service").map(|service| ("service", service));
    let fields = service.into_iter().chain([("scope", challenge.get("scope").unwrap_or(&scope.scope))]);
    let request = if let Some(Credentials::IdentityToken(token)) = credentials {
        let grant = [("grant_type", "refresh_token"), ("client_id", "paas"), ("refresh_token", token)];
        let mut form = realm.clone();
        form.query_pairs_mut().clear().extend_pairs(fields.chain(grant));
        let body = form.query().unwrap_or_default().to_owned();
        remote.client.post(realm).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    } else {
        realm.query_pairs_mut().extend_pairs(fields);
        let request = remote.client.get(realm);
        match credentials {
            Some(Credentials::Password { user, password }) => {
                request.header(AUTHORIZATION, basic(user, password))
            }
            _ => request,
        }
    };
    let response = request.send().await.map_err(|error| http::broken(&error))?;
    if !response.status().is_success() {
        return Err(http::refusal(response).await);
    }
    let answer: Answer = serde_json::from_slice(&http::read(response, TOKEN_BYTES).await?)
        .map_err(|_| denied("its token service gives no token that can be read".to_owned()))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| denied("its token service gives no token".to_owned()))?;
    let lifetime =
        answer.expires_in.map_or(TOKEN_LIFETIME, |seconds| Duration::from_secs(seconds.min(24 * 3600)));
    let expires = Instant::now() + lifetime.saturating_sub(TOKEN_MARGIN).max(Duration::from_secs(1));
    Ok(Token { header: format!("Bearer {token}"), expires: Some(expires) })
}

async fn credentials(remote: &Remote) -> Result<Option<Credentials>> {
    use docker_credential::{CredentialRetrievalError as Failure, DockerCredential};
    let options = &remote.registries.options;
    if let Some(given) = options.credentials.get(&remote.registry) {
        return Ok(Some(given.clone()));
    }
    if !options.docker_config {
        return Ok(None);
    }
    let server = match remote.registry.as_str() {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    };
    // A credential helper is a program: it may take its time.
    crate::store::blocking(http::OPERATION, move || match docker_credential::get_credential(&server) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(Some(Credentials::Password { user, password }))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials::IdentityToken(token))),
        Err(Failure::ConfigNotFound | Failure::ConfigReadError | Failure::NoCredentialConfigured) => Ok(None),
        // What a helper printed may hold secrets: only the kind of failure is told.
        Err(Failure::HelperFailure { helper, .. }) => {
            tracing::warn!(%helper, "the credential helper failed; going on without credentials");
            Ok(None)
        }
        Err(failure) => {
            tracing::warn!(%failure, "the credentials of `docker login` cannot be read; going on without");
            Ok(None)
        }
    })
    .await
}

/// One `WWW-Authenticate`.
#[derive(Debug, PartialEq, Eq)]
struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, mut rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut parameters = Vec::new();
        while let Some((key, after)) = rest.split_once('=') {
            let key = key.trim_matches([' ', ',']).to_ascii_lowercase();
            let value;
            (value, rest) = if let Some(quoted) = after.strip_prefix('"') {
                // Scopes have commas inside of the quotes.
                let mut value = String::new();
                let mut characters = quoted.char_indices();
                let mut end = quoted.len();
                while let Some((at, character)) = characters.next() {
                    match character {
                        '"' => {
                            end = at + 1;
                            break;
                        }
                        '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                        other => value.push(other),
                    }
                }
                (value, &quoted[end..])
            } else {
                let (value, rest) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), rest)
            };
            parameters.push((key, value));
        }
        (!scheme.is_empty()).then(|| Self { scheme: scheme.to_ascii_lowercase(), parameters })
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let challenge = Challenge::parse(
            r#"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull,push""#,
        )
        .unwrap();
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.get("realm"), Some("https://auth.example.com/token"));
        assert_eq!(challenge.get("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(Challenge::parse("Basic realm=x").unwrap().get("realm"), Some("x"));
        assert_eq!(Challenge::parse(r#"Bearer realm="unclosed"#).unwrap().get("realm"), Some("unclosed"));
        assert_eq!(Challenge::parse("Basic").unwrap().scheme, "basic");
        assert!(Challenge::parse("").is_none());
    }

    #[test]
    fn debug_output_shows_no_secrets() {
        let credentials = Credentials::Password { user: "ann".into(), password: "hunter2".into() };
        assert!(
            !format!("{credentials:?} {:?}", Credentials::IdentityToken("hunter2".into()))
                .contains("hunter2")
        );
    }
}
