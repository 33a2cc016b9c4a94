//! The interface as it describes itself: whatever changes of it is seen in a review.

use serde_json::Value;

use super::openapi;

/// One line for each operation: what it takes, and the statuses of its answers.
#[test]
fn every_operation_is_described() {
    let document = openapi();
    let mut lines = String::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let parameters = parameters.filter(|parameter| parameter["in"] != "path").map(|parameter| {
                let (place, name) = (parameter["in"].as_str().unwrap(), parameter["name"].as_str().unwrap());
                format!("{}{name}", if place == "query" { " ?" } else { " " })
            });
            let statuses =
                operation["responses"].as_object().unwrap().keys().map(|status| format!(" {status}"));
            let id = operation["operationId"].as_str().unwrap();
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
            let body = schema.as_str().map_or(String::new(), |schema| {
                format!(" {{{}}}", schema.rsplit('/').next().unwrap_or_default())
            });
            lines.push_str(&format!(
                "{} {path} {id}{body}{} ->{}\n",
                method.to_uppercase(),
                parameters.collect::<String>(),
                statuses.collect::<String>()
            ));
        }
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn every_schema_that_is_named_is_there() {
    fn names<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| names(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| names(value, found)),
            _ => {}
        }
    }
    let document = openapi();
    let mut found = Vec::new();
    names(&document, &mut found);
    assert!(found.len() > 50);
    for name in found {
        let pointer = name.strip_prefix('#').expect("references are within the document");
        assert!(document.pointer(pointer).is_some(), "{name}");
    }
}
