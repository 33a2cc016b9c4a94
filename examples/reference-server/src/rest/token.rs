//! Tokens.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A token to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Whose it is, such as `user:alice` or `service:ci`; the caller's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<ActorId>,
    /// What it is for.
    #[serde(default)]
    #[schemars(length(max = 200))]
    pub description: String,
    /// How long it is valid; without end if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315_360_000))]
    pub expires_in_seconds: Option<u32>,
}

/// The identity of somebody who acts: `user:` or `service:` and a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ActorId(
    #[schemars(regex(pattern = r"^(user|service):[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$"))] pub String,
);

impl ActorId {
    /// Checks an identity; a name alone is a user's.
    pub fn new(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once(':').unwrap_or(("user", text));
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        let valid = matches!(kind, "user" | "service")
            && (1..=63).contains(&name.len())
            && name.as_bytes()[0].is_ascii_alphanumeric()
            && name.bytes().all(allowed);
        if valid {
            Ok(Self(format!("{kind}:{name}")))
        } else {
            Err(format!("{text:?} is not an identity; write user:alice or service:ci"))
        }
    }
}

impl<'de> Deserialize<'de> for ActorId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !text.contains(':') {
            return Err(serde::de::Error::custom(format!("{text:?} has no kind; write user:{text}")));
        }
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenView {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub actor: String,
    /// What it is for.
    pub description: String,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[schemars(with = "String")]
    pub created_at: Timestamp,
    /// Until when it is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<Timestamp>,
}

/// A token that was just made: the only time that its secret is shown.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenMade {
    /// What is known of it later.
    #[serde(flatten)]
    pub token: TokenView,
    /// The token itself.
    pub secret: String,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WhoAmI {
    /// The identity, such as `user:alice`.
    pub actor: String,
    /// The id of the token.
    pub token: String,
    /// The server's version.
    pub server_version: String,
}
