//! Requests, taken apart.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, header};

use super::kinds::{self, Kind};

/// A request to the API server.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) kind: Option<&'static Kind>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
    pub(super) query: Vec<(String, String)>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn parse(method: Method, uri: &http::Uri, headers: &HeaderMap, body: Bytes) -> Self {
        let path = uri.path().to_owned();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => ("", "", [].as_slice()),
        };
        let (namespace, rest) = match rest {
            // The namespace itself is `namespaces/NAME`; something in it has one more part, and its kind is known.
            ["namespaces", namespace, plural, rest @ ..]
                if kinds::find(group, version, plural).is_some_and(|kind| kind.namespaced) =>
            {
                (Some((*namespace).to_owned()), [&[*plural], rest].concat())
            }
            rest => (None, rest.to_vec()),
        };
        let plural = rest.first().copied().unwrap_or_default();
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Self {
            method,
            kind: kinds::find(group, version, plural),
            namespace,
            name: rest.get(1).map(|name| (*name).to_owned()),
            subresource: rest.get(2).map(|name| (*name).to_owned()),
            query: pairs(uri.query().unwrap_or_default()),
            content_type: content_type.unwrap_or_default().to_owned(),
            body,
            path,
        }
    }

    pub(super) fn plural(&self) -> Option<&str> {
        self.kind.map(|kind| kind.plural)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn asks(&self, name: &str) -> bool {
        matches!(self.parameter(name), Some("true" | "1" | ""))
    }
}

/// A selector of labels and fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Has(String),
    Lacks(String),
}

impl Selector {
    pub(super) fn of(request: &Request) -> Self {
        let labels = request.parameter("labelSelector").unwrap_or_default();
        let fields = request.parameter("fieldSelector").unwrap_or_default();
        Self {
            labels: terms(labels),
            fields: fields
                .split(',')
                .filter_map(|pair| pair.split_once('='))
                .map(|(key, value)| (key.to_owned(), value.trim_start_matches('=').to_owned()))
                .collect(),
        }
    }

    pub(super) fn fits(&self, object: &serde_json::Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        let labels = self.labels.iter().all(|term| match term {
            Term::Is(key, value) => label(key) == Some(value),
            Term::IsNot(key, value) => label(key) != Some(value),
            Term::In(key, values) => label(key).is_some_and(|found| values.iter().any(|it| it == found)),
            Term::NotIn(key, values) => label(key).is_none_or(|found| values.iter().all(|it| it != found)),
            Term::Has(key) => label(key).is_some(),
            Term::Lacks(key) => label(key).is_none(),
        });
        let fields = self.fields.iter().all(|(path, value)| {
            let found = path.split('.').fold(object, |object, field| &object[field]);
            found.as_str().unwrap_or_default() == value
        });
        labels && fields
    }
}

fn terms(text: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        // A comma inside brackets belongs to a list.
        let mut depth = 0;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            *c == ',' && depth == 0
        });
        let (term, after) = end.map_or((rest, ""), |(at, _)| (&rest[..at], &rest[at + 1..]));
        rest = after;
        let term = term.trim();
        let listed = |values: &str| -> Vec<String> {
            let values = values.trim_matches(|c| "() ".contains(c)).split(',');
            values.map(|it| it.trim().to_owned()).collect()
        };
        if let Some((key, values)) = term.split_once(" in ") {
            terms.push(Term::In(key.trim().to_owned(), listed(values)));
        } else if let Some((key, values)) = term.split_once(" notin ") {
            terms.push(Term::NotIn(key.trim().to_owned(), listed(values)));
        } else if let Some((key, value)) = term.split_once("!=") {
            terms.push(Term::IsNot(key.to_owned(), value.to_owned()));
        } else if let Some((key, value)) = term.split_once('=') {
            terms.push(Term::Is(key.to_owned(), value.trim_start_matches('=').to_owned()));
        } else if let Some(key) = term.strip_prefix('!') {
            terms.push(Term::Lacks(key.to_owned()));
        } else {
            terms.push(Term::Has(term.to_owned()));
        }
    }
    terms
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (decode(key), decode(value))
    };
    query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
