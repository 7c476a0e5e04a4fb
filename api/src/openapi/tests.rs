use std::collections::BTreeSet;

use super::*;

fn operations() -> Vec<(&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let methods = |path: &'static String, methods: &'static Value| {
        methods.as_object().unwrap().iter().map(move |(method, it)| (method.as_str(), path.as_str(), it))
    };
    paths.iter().flat_map(|(path, it)| methods(path, it)).collect()
}

#[test]
fn every_route_is_an_operation_with_a_name_of_its_own() {
    let ids: BTreeSet<_> = operations().iter().map(|(.., it)| it["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), ROUTES.len());
    assert_eq!(operations().len(), ROUTES.len());
    let tags: BTreeSet<_> = operation::TAGS.iter().map(|(name, _)| *name).collect();
    for (method, path, it) in operations() {
        assert!(tags.contains(it["tags"][0].as_str().unwrap()), "{method} {path}");
        let named: BTreeSet<_> = path.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        let parameters = it["parameters"].as_array().into_iter().flatten();
        let in_path: BTreeSet<_> =
            parameters.filter(|it| it["in"] == "path").map(|it| it["name"].as_str().unwrap()).collect();
        assert_eq!(in_path, named, "{method} {path}");
        assert!(it["responses"].as_object().unwrap().keys().any(|status| status.starts_with('2')), "{method} {path}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn check(value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    assert!(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference}");
                }
                fields.values().for_each(check);
            }
            Value::Array(items) => items.iter().for_each(check),
            _ => {}
        }
    }
    check(&DOCUMENT);
    let text = DOCUMENT.to_string();
    assert!(!text.contains("#/asked/") && !text.contains("#/answered/"));
}

#[test]
fn what_does_not_work_yet_is_not_in_it() {
    let text = DOCUMENT.to_string();
    for word in ["reduce", "ndjson", "cloudevents", "bisect", "gzip", "Not built yet"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn actions_of_one_route_need_the_same() {
    for route in ROUTES.iter().filter(|route| route.path.contains("}:")) {
        let same = |other: &&&crate::Route| {
            other.method == route.method && other.path.split("}:").next() == route.path.split("}:").next()
        };
        assert!(ROUTES.iter().filter(|other| same(&other)).all(|other| other.needs == route.needs));
    }
}

#[test]
fn the_page_names_every_operation() {
    for (.., it) in operations() {
        assert!(PAGE.contains(&format!("<section id=\"{}\">", it["operationId"].as_str().unwrap())));
    }
}
