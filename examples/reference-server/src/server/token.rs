//! Tokens: 256 random bits, stored as a hash.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use paas_core::engine::Record;
use paas_core::port::DocumentKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::rest::token::TokenView;

const PREFIX: &str = "paas";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token as its owner holds it: `paas_ID_SECRET`. It never prints itself.
#[derive(Clone)]
pub struct Token {
    id: String,
    secret: [u8; SECRET_BYTES],
}

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// That of the system's source of random bits.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut id = [0; ID_BYTES];
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut id)?;
        getrandom::fill(&mut secret)?;
        Ok(Self { id: hex::encode(id), secret })
    }

    /// Reads what a caller sent.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
        let valid = id.len() == 2 * ID_BYTES && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?.try_into().ok()?;
        valid.then(|| Self { id: id.to_owned(), secret })
    }

    /// The public part.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The whole token, to be shown once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}_{}_{}", self.id, URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// What is stored instead of the secret. The secret has 256 bits of entropy, so that a fast hash is enough: there is
    /// nothing to guess.
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token as the store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// What may be shown.
    #[serde(flatten)]
    pub view: TokenView,
    /// The SHA-256 of the secret, in hexadecimal.
    pub hash: String,
}

impl TokenRecord {
    /// The key of a token.
    pub fn key_of(id: &str) -> DocumentKey {
        DocumentKey::new(Self::KIND, "", id)
    }

    /// Whether `token` is this one and still valid. The time that this takes tells nothing about the secret.
    pub fn admits(&self, token: &Token, now: Timestamp) -> bool {
        let same: bool = self.hash.as_bytes().ct_eq(token.hash().as_bytes()).into();
        same && self.view.id == token.id && self.view.expires_at.is_none_or(|end| now < end)
    }
}

impl Record for TokenRecord {
    const KIND: &'static str = "token";

    fn key(&self) -> DocumentKey {
        Self::key_of(&self.view.id)
    }

    fn index(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("actor".to_owned(), self.view.actor.clone())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(token: &Token, expires_at: Option<Timestamp>) -> TokenRecord {
        let view = TokenView {
            id: token.id().to_owned(),
            actor: "user:alice".into(),
            description: String::new(),
            created_by: "system".into(),
            created_at: Timestamp::UNIX_EPOCH,
            expires_at,
        };
        TokenRecord { view, hash: token.hash() }
    }

    #[test]
    fn a_token_reads_back_as_it_was_shown_and_its_record_does_not_hold_it() {
        let token = Token::generate().unwrap();
        let shown = token.reveal();
        let read = Token::parse(&shown).unwrap();
        let record = record(&token, None);
        assert!(record.admits(&read, Timestamp::now()));
        let stored = serde_json::to_string(&record).unwrap();
        let secret = shown.rsplit_once(&format!("{}_", token.id())).unwrap().1;
        assert!(!stored.contains(secret));
        assert!(!format!("{token:?}").contains(secret));
    }

    #[test]
    fn another_secret_under_the_same_id_is_refused() {
        let token = Token::generate().unwrap();
        let other = Token { id: token.id.clone(), ..Token::generate().unwrap() };
        assert!(!record(&token, None).admits(&other, Timestamp::now()));
    }

    #[test]
    fn an_expired_token_is_refused() {
        let token = Token::generate().unwrap();
        let end: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let record = record(&token, Some(end));
        assert!(record.admits(&token, "2025-12-31T23:59:59Z".parse().unwrap()));
        assert!(!record.admits(&token, end));
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        for text in ["", "paas", "paas__", "paas_0123456789abcdef_", "paas_0123456789ABCDEF_AAAA", "x_y_z"] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }
}
