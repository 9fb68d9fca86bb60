//! The OpenAPI document says what is served: every route, every shape.

use std::collections::BTreeSet;

use super::super::routes;
use super::*;
use crate::stats::Registry;

fn description(server: &AdminServer) -> Value {
    get(server, "/api/v1/openapi.json").json()
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    let document = description(&start(busy()));
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let routes: BTreeSet<_> = routes::ALL.iter().map(|(m, p)| ((*m).to_owned(), (*p).to_owned())).collect();
    assert_eq!(routes.len(), routes::ALL.len());
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.insert((method.clone(), path.clone()));
            let text = operation.to_string();
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{path}: {text}");
            let named: BTreeSet<_> = path.split('{').skip(1).map(|r| r.split('}').next().unwrap()).collect();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let inside = parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().unwrap());
            assert_eq!(inside.collect::<BTreeSet<_>>(), named, "{method} {path}");
            let answers = operation["responses"].as_object().unwrap();
            assert!(answers.keys().any(|status| status.starts_with('2')), "{method} {path}");
        }
    }
    assert_eq!(described, routes);
}

#[test]
fn every_reference_of_the_document_leads_somewhere_and_operations_have_names_of_their_own() {
    let document = description(&start(busy()));
    let text = document.to_string();
    let references: BTreeSet<_> =
        text.split("\"$ref\":\"#").skip(1).map(|r| r.split('"').next().unwrap()).collect();
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    let ids: Vec<_> =
        text.split("\"operationId\":\"").skip(1).map(|r| r.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// Compares what is served with the shape of this name, as deep as it is described.
fn agrees(document: &Value, schema: &Value, served: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        return agrees(document, document.pointer(&reference[1..]).unwrap(), served, place);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        let is_null = |schema: &&Value| schema["type"] == "null";
        let whole = either.iter().find(|schema| is_null(schema) == served.is_null());
        return agrees(document, whole.unwrap(), served, place);
    }
    if let Some(properties) = schema["properties"].as_object() {
        let keys: BTreeSet<_> =
            served.as_object().unwrap_or_else(|| panic!("{place}: {served}")).keys().collect();
        assert_eq!(keys, properties.keys().collect(), "{place}");
        for (key, schema) in properties {
            agrees(document, schema, &served[key], &format!("{place}.{key}"));
        }
        return;
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(|kind| kind.as_str().unwrap()).collect(),
        Value::String(kind) => vec![kind],
        _ => return,
    };
    let kind = match served {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if kinds.contains(&"integer") && number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(kinds.contains(&kind), "{place} is {kind}, described as {kinds:?}");
    for (i, item) in served.as_array().into_iter().flatten().enumerate() {
        agrees(document, &schema["items"], item, &format!("{place}[{i}]"));
    }
}

/// The shape of the answer to `method path` with this status.
fn shape(document: &Value, method: &str, path: &str, status: &str) -> Value {
    document["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"].clone()
}

#[test]
fn what_is_served_has_the_shape_that_is_described() {
    let server = start(Arc::new(Fake::new(Registry::new()).rolling_out("v3")));
    let document = description(&server);
    let id = get(&server, "/api/v1/models/fraud/rollout").json()["id"].as_str().unwrap().to_owned();
    for path in [
        "/healthz",
        "/readyz",
        "/api/v1/status",
        "/api/v1/rollouts",
        "/api/v1/rollouts/{id}",
        "/api/v1/rollouts/{id}/evidence",
        "/api/v1/models/{model}",
        "/api/v1/models/{model}/rollout",
        "/api/v1/models/{model}/verdict",
        "/api/v1/models/{model}/pairs",
    ] {
        let asked = path.replace("{id}", &id).replace("{model}", "fraud");
        let schema = shape(&document, "get", path, "200");
        assert!(!schema.is_null(), "{path}");
        agrees(&document, &schema, &get(&server, &asked).json(), path);
    }
    for (method, path, body) in [
        ("post", "/api/v1/rollouts/{id}/pause", ""),
        ("post", "/api/v1/gate/{model}", ""),
        ("put", "/api/v1/models/{model}/weights", r#"{"weights": {"v1": "100%"}}"#),
        ("post", "/api/v1/config/reload", ""),
    ] {
        let line =
            format!("{} {}", method.to_uppercase(), path.replace("{id}", &id).replace("{model}", "fraud"));
        let answer = ask(&server, &line, "", body);
        assert_eq!(answer.status, 200, "{line}: {}", answer.body);
        agrees(&document, &shape(&document, method, path, "200"), &answer.json(), path);
    }
    let refused = ask(&server, &format!("POST /api/v1/rollouts/{id}/pause"), "", "[1]");
    agrees(
        &document,
        &shape(&document, "post", "/api/v1/rollouts/{id}/pause", "409"),
        &refused.json(),
        "error",
    );
}

#[test]
fn records_of_decisions_have_the_keys_that_are_described() {
    let server = start(Arc::new(Fake::new(Registry::new()).rolling_out("v3")));
    let document = description(&server);
    let id = get(&server, "/api/v1/models/fraud/rollout").json()["id"].as_str().unwrap().to_owned();
    let served = get(&server, &format!("/api/v1/rollouts/{id}/decisions")).json();
    let described = document["components"]["schemas"]["Decision"]["properties"].as_object().unwrap();
    for key in described.keys() {
        assert!(served["decisions"][0].get(key).is_some(), "{key}");
    }
}
