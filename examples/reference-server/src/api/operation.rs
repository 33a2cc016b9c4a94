//! One operation of the interface: its route and its documentation in one place, so that they cannot differ.

use std::collections::BTreeSet;

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::{Service, sse};
use crate::rest::PREFIX;

/// Gives the schema of a type.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A documented answer.
pub struct DocumentedAnswer {
    pub status: u16,
    pub description: &'static str,
    pub media_type: &'static str,
    pub schema: Option<SchemaOf>,
    pub tagged: bool,
}

/// An operation: what it is called, takes and gives.
pub struct Operation {
    pub method: Method,
    pub path: String,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub description: &'static str,
    pub query: Option<SchemaOf>,
    pub body: Option<SchemaOf>,
    pub answers: Vec<DocumentedAnswer>,
    pub problems: BTreeSet<u16>,
    /// Whether anybody may call it.
    pub open: bool,
    /// Whether it takes the header `If-Match`.
    pub if_match: bool,
    /// Whether it takes the header `Idempotency-Key`.
    pub idempotency_key: bool,
    /// Whether it takes the header `Last-Event-ID`.
    pub resumable: bool,
}

impl Operation {
    fn new(method: Method, path: String, tag: &'static str, id: &'static str, summary: &'static str) -> Self {
        let mut problems = BTreeSet::from([500, 503, 504]);
        if path.contains('{') {
            problems.extend([400, 404]);
        }
        if method != Method::GET {
            problems.extend([400, 404, 409, 422]);
        }
        Self {
            idempotency_key: method != Method::GET,
            method,
            path,
            id,
            tag,
            summary,
            description: "",
            query: None,
            body: None,
            answers: Vec::new(),
            problems,
            open: false,
            if_match: false,
            resumable: false,
        }
    }

    /// Says more than the summary.
    pub fn about(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    /// Takes parameters in the query.
    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(schema_of::<T>);
        self.problems.insert(400);
        self
    }

    /// Takes a body.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(schema_of::<T>);
        self.problems.extend([400, 413, 415, 422]);
        self
    }

    /// Gives JSON with a status.
    pub fn gives<T: JsonSchema>(self, status: u16, description: &'static str) -> Self {
        self.gives_as::<T>(status, "application/json", description)
    }

    /// Gives content of a media type with a status.
    pub fn gives_as<T: JsonSchema>(
        mut self,
        status: u16,
        media_type: &'static str,
        description: &'static str,
    ) -> Self {
        let schema: Option<SchemaOf> = Some(schema_of::<T>);
        self.answers.push(DocumentedAnswer { status, description, media_type, schema, tagged: false });
        self
    }

    /// Gives server-sent events. They have no schema in the document: one of the whole stream says nothing, and one of
    /// an event is beyond OpenAPI 3.1.
    pub fn gives_events(mut self, description: &'static str) -> Self {
        let media_type = sse::MEDIA_TYPE;
        self.answers.push(DocumentedAnswer {
            status: 200,
            description,
            media_type,
            schema: None,
            tagged: false,
        });
        self
    }

    /// Gives a status without content.
    pub fn gives_nothing(mut self, status: u16, description: &'static str) -> Self {
        self.answers.push(DocumentedAnswer {
            status,
            description,
            media_type: "",
            schema: None,
            tagged: false,
        });
        self
    }

    /// The last answer carries an entity tag.
    pub fn tagged(mut self) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.tagged = true;
        }
        self
    }

    /// May also fail with these statuses.
    pub fn fails(mut self, statuses: &[u16]) -> Self {
        self.problems.extend(statuses);
        self
    }

    /// Takes `If-Match`.
    pub fn if_match(mut self) -> Self {
        self.if_match = true;
        self.problems.extend([400, 412]);
        self
    }

    /// Takes no `Idempotency-Key`.
    pub fn without_key(mut self) -> Self {
        self.idempotency_key = false;
        self
    }

    /// Takes `Last-Event-ID`.
    pub fn resumable(mut self) -> Self {
        self.resumable = true;
        self.problems.extend([400, 410]);
        self
    }

    /// Anybody may call it.
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

macro_rules! verbs {
    ($($verb:ident $method:ident),*) => {
        $(
            /// An operation below the prefix of the interface.
            pub fn $verb(path: &str, tag: &'static str, id: &'static str, summary: &'static str) -> Operation {
                Operation::new(Method::$method, format!("{PREFIX}{path}"), tag, id, summary)
            }
        )*
    };
}

verbs!(get GET, post POST, put PUT, patch PATCH, delete DELETE);

/// An operation beside the interface, for whoever watches the server.
pub fn probe(path: &str, id: &'static str, summary: &'static str) -> Operation {
    Operation::new(Method::GET, path.to_owned(), "operation", id, summary)
}

/// The operations with their handlers.
#[derive(Default)]
pub struct Routes {
    pub router: Router<Service>,
    pub operations: Vec<Operation>,
}

impl Routes {
    /// Adds an operation.
    pub fn add<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Service>,
        T: 'static,
    {
        let filter =
            MethodFilter::try_from(operation.method.clone()).expect("operations use standard methods");
        self.router = self.router.route(&operation.path, on(filter, handler));
        self.operations.push(operation);
        self
    }
}
