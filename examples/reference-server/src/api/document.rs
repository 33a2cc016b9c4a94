//! The OpenAPI document, made from the operations and from the schemas of the types that they take and give.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, OpenApiBuilder, PathsBuilder, Ref, RefOr, Required,
    ResponseBuilder,
};

use super::operation::{DocumentedAnswer, Operation, SchemaOf};
use super::parameter;
use super::position::Position;
use crate::rest::problem::{MEDIA_TYPE, Problem};

const SECURITY: &str = "token";

/// The document of these operations.
pub fn document(operations: &[Operation]) -> Value {
    let mut schemas = Schemas::new();
    let mut paths = PathsBuilder::new();
    for operation in operations {
        let (method, item) = described(operation, &mut schemas);
        paths = paths.path(&operation.path, PathItem::new(method, item));
    }
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token, as `paas token create` or the first start of the server prints it."))
        .build();
    let api = OpenApiBuilder::new()
        .info(
            InfoBuilder::new()
                .title("paas")
                .version(env!("CARGO_PKG_VERSION"))
                .description(Some(
                    "The platform's interface. Errors are problem details (RFC 9457). Lists come in pages: `limit` and \
                     `after`. A change takes `Idempotency-Key`: the same key gives the same answer.",
                ))
                .build(),
        )
        .paths(paths)
        .components(Some(ComponentsBuilder::new().security_scheme(SECURITY, SecurityScheme::Http(token)).build()))
        .build();
    let mut document = serde_json::to_value(api).expect("the document is text, lists and maps");
    document["components"]["schemas"] = Value::Object(schemas.definitions());
    document
}

/// The schemas, each once and by name.
struct Schemas(SchemaGenerator);

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self(settings.into_generator())
    }

    fn value(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.0).to_value()
    }

    fn reference(&mut self, schema: SchemaOf) -> RefOr<Schema> {
        typed(self.value(schema))
    }

    fn definitions(mut self) -> Map<String, Value> {
        self.0.take_definitions(true)
    }
}

/// A schema in utoipa's terms. Only references and simple types are converted; definitions stay as they are.
fn typed(value: Value) -> RefOr<Schema> {
    match value.get("$ref").and_then(Value::as_str) {
        Some(target) => RefOr::Ref(Ref::new(target)),
        None => serde_json::from_value(value).expect("parameters and bodies have references or simple types"),
    }
}

fn described(operation: &Operation, schemas: &mut Schemas) -> (HttpMethod, utoipa::openapi::path::Operation) {
    let mut item = OperationBuilder::new()
        .operation_id(Some(operation.id))
        .tag(operation.tag)
        .summary(Some(operation.summary));
    if !operation.description.is_empty() {
        item = item.description(Some(operation.description));
    }
    for parameter in parameters(operation, schemas) {
        item = item.parameter(parameter);
    }
    if let Some(body) = operation.body {
        let content = ContentBuilder::new().schema(Some(schemas.reference(body))).build();
        item = item.request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", content)
                .required(Some(Required::True))
                .build(),
        ));
    }
    for answer in &operation.answers {
        item = item.response(answer.status.to_string(), response(answer, schemas));
    }
    let mut problems = operation.problems.clone();
    if !operation.open {
        problems.extend([401, 403]);
        item = item.security(SecurityRequirement::new(SECURITY, Vec::<String>::new()));
    }
    for status in problems {
        let known = operation.answers.iter().any(|answer| answer.status == status);
        if !known {
            item = item.response(status.to_string(), problem(status, schemas));
        }
    }
    let method = match operation.method.as_str() {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    };
    (method, item.build())
}

fn response(answer: &DocumentedAnswer, schemas: &mut Schemas) -> utoipa::openapi::Response {
    let mut response = ResponseBuilder::new().description(answer.description);
    if let Some(schema) = answer.schema {
        let content = ContentBuilder::new().schema(Some(schemas.reference(schema))).build();
        response = response.content(answer.media_type, content);
    } else if !answer.media_type.is_empty() {
        response = response.content(answer.media_type, ContentBuilder::new().build());
    }
    if answer.tagged {
        let header = HeaderBuilder::new()
            .schema(Some(typed(json!({ "type": "string" }))))
            .description(Some("The version, for `If-Match`."))
            .build();
        response = response.header("ETag", header);
    }
    response.build()
}

fn problem(status: u16, schemas: &mut Schemas) -> utoipa::openapi::Response {
    let title = match status {
        400 => "The request does not have the documented shape.",
        401 => "No valid token was sent.",
        403 => "The caller may not do this.",
        404 => "The object does not exist.",
        406 => "No media type that is accepted can be given.",
        409 => "The object exists already, or its state does not allow this now.",
        410 => "The point to resume from is no longer kept.",
        412 => "The object changed since it was read.",
        413 => "The body is too large.",
        415 => "The body is not JSON.",
        422 => "The request is well formed and its content is not valid.",
        426 => "The operation needs a WebSocket.",
        503 => "The platform cannot be reached or is overloaded; try again.",
        504 => "The time allowed has passed.",
        _ => "A defect of the platform.",
    };
    let content = ContentBuilder::new()
        .schema(Some(schemas.reference(SchemaGenerator::subschema_for::<Problem>)))
        .build();
    ResponseBuilder::new().description(title).content(MEDIA_TYPE, content).build()
}

fn parameters(operation: &Operation, schemas: &mut Schemas) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    let mut add = |name: &str, place: ParameterIn, required: bool, schema: Value, about: Option<&str>| {
        let required = if required { Required::True } else { Required::False };
        let builder = ParameterBuilder::new().name(name).parameter_in(place).required(required);
        parameters.push(builder.description(about).schema(Some(typed(schema))).build());
    };
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        add(name, ParameterIn::Path, true, parameter::schema(name, &mut schemas.0), None);
    }
    if let Some(query) = operation.query {
        for property in parameter::of_query(query) {
            let about = property.description.as_deref();
            add(&property.name, ParameterIn::Query, property.required, property.schema, about);
        }
    }
    if operation.idempotency_key {
        let about = "Makes repeating safe: the same key gives the same answer and changes nothing more.";
        let schema = json!({ "type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$" });
        add("Idempotency-Key", ParameterIn::Header, false, schema, Some(about));
    }
    if operation.if_match {
        let about = "Only if the object still has this entity tag.";
        let schema = json!({ "type": "string", "pattern": "^\"[0-9]{1,18}\"$" });
        add("If-Match", ParameterIn::Header, false, schema, Some(about));
    }
    if operation.resumable {
        let about = "Goes on after the event of this id.";
        let schema = json!({ "type": "string", "pattern": Position::PATTERN });
        add("Last-Event-ID", ParameterIn::Header, false, schema, Some(about));
    }
    parameters
}
