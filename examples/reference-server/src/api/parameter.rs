//! The schemas of parameters.

use paas_core::{AppName, ClusterName, ComponentName, EnvName, OrgName, RouteName};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::operation::SchemaOf;

/// The pattern of names of settings and secrets, which become environment variables.
pub const SETTING: &str = "^[A-Za-z_][A-Za-z0-9_]{0,127}$";

/// The schema of the path parameter `name`.
pub fn schema(name: &str, generator: &mut SchemaGenerator) -> Value {
    fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<T>().to_value()
    }
    match name {
        "org" => of::<OrgName>(generator),
        "env" => of::<EnvName>(generator),
        "app" => of::<AppName>(generator),
        "component" => of::<ComponentName>(generator),
        "cluster" => of::<ClusterName>(generator),
        "route" => of::<RouteName>(generator),
        // RFC 1123, as names of machines are.
        "node" => json!({ "type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$" }),
        "setting" | "secret" => json!({ "type": "string", "pattern": SETTING }),
        "number" | "from" | "to" | "version" => {
            json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": 999_999_999 })
        }
        _ => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" }),
    }
}

/// A parameter of a query.
pub struct Property {
    pub name: String,
    pub description: Option<String>,
    pub required: bool,
    pub schema: Value,
}

/// The parameters that a type of query has, each with its schema written out.
pub fn of_query(query: SchemaOf) -> Vec<Property> {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .into_generator();
    let schema = query(&mut generator).to_value();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties
        .into_iter()
        .map(|(name, mut schema)| {
            let description = schema["description"].as_str().map(str::to_owned);
            if let Some(object) = schema.as_object_mut() {
                object.remove("description");
                object.remove("default");
            }
            Property {
                required: required.contains(&name.as_str()),
                description,
                schema: without_null(schema),
                name,
            }
        })
        .collect()
}

/// A parameter is present or absent, and never null.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            schema["type"] = one.clone();
        }
    }
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|one| !one.is_null());
    }
    if let Some([one, Value::Object(null)]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice)
        && null.get("type").is_some_and(|kind| kind == "null")
    {
        return without_null(one.clone());
    }
    schema
}
