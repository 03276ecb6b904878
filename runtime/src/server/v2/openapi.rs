//! The OpenAPI document, made of the rows that the router is made of, and a page that shows it without asking anybody else.

use super::{PREFIX, table::Named, tables};
use axum::response::{Html, IntoResponse, Response};
use http::header;
use std::sync::LazyLock;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathsBuilder,
        path::PathItem,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

/// It is the same for as long as the node runs.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());
const PAGE: &str = include_str!("docs.html");

/// `GET /docs/openapi.json`
pub async fn json() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

/// `GET /docs`
pub async fn page() -> Html<&'static str> {
    Html(PAGE)
}

/// What is answered in place of an answer (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code)]
struct Problem {
    /// Stable: `urn:tawi:problem:unknown-device`.
    r#type: String,
    title: String,
    status: u16,
    /// For people.
    detail: String,
    /// The member, parameter or header that is wrong.
    field: Option<String>,
    hint: Option<String>,
}

pub fn document() -> OpenApi {
    let (mut paths, mut components) = (PathsBuilder::new(), ComponentsBuilder::new());
    let mut schemas: Vec<Named> = vec![("Problem".to_owned(), Problem::schema())];
    for table in tables() {
        let tag = table.tag();
        for row in table.rows {
            let (method, path, operation, named) = row.described(tag);
            schemas.extend(named);
            paths = paths.path(format!("{PREFIX}{path}"), PathItem::new(method, operation));
        }
    }
    for (name, schema) in schemas {
        components = components.schema(name, schema);
    }
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    let info = InfoBuilder::new()
        .title("Tawi: the WAZIUP API")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Devices, what they say and what they are told. Without a token you are a guest, where guests are allowed."));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(components.security_scheme("bearer", bearer).build()))
        // Either a bearer or nobody.
        .security(Some([SecurityRequirement::new("bearer", Vec::<String>::new()), SecurityRequirement::default()]))
        .build()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn json_document() -> Value {
        serde_json::from_str(&DOCUMENT).unwrap()
    }

    #[test]
    fn every_route_is_in_the_document_and_nothing_else_is() {
        let document = json_document();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            described.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let routes: BTreeSet<String> =
            tables().into_iter().flat_map(|table| table.rows).map(|row| format!("{} {PREFIX}{}", row.method, row.path)).collect();
        assert_eq!(described, routes);
        assert!(routes.contains("PUT /api/v2/devices/{device}/sensors/{sensor}/calib") && routes.len() > 60, "{}", routes.len());
    }

    #[test]
    fn every_shape_that_is_named_is_described_and_every_operation_has_a_name_of_its_own() {
        let document = json_document();
        let (mut refs, mut names) = (BTreeSet::new(), Vec::new());
        walk(&document, &mut |key, value| match (key, value.as_str()) {
            ("$ref", Some(to)) => drop(refs.insert(to.to_owned())),
            ("operationId", Some(name)) => names.push(name.to_owned()),
            _ => {}
        });
        for to in refs {
            assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{to}");
        }
        let count = names.len();
        assert_eq!(names.into_iter().collect::<BTreeSet<_>>().len(), count);
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    }

    fn walk(value: &Value, each: &mut impl FnMut(&str, &Value)) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, value)| {
                each(key, value);
                walk(value, each);
            }),
            Value::Array(items) => items.iter().for_each(|item| walk(item, each)),
            _ => {}
        }
    }

    #[test]
    fn the_page_asks_nobody_but_the_node() {
        for word in ["http://", "https://", "//cdn", "@import"] {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert!(PAGE.contains("docs/openapi.json"));
    }
}
