//! Modules of a crate import each other in one direction, as crates do: none can be read before itself.

use std::collections::{BTreeMap, BTreeSet};

use crate::{clean, files};

/// Crates whose modules still go round: the list only gets shorter.
const ROUND: [&str; 2] = ["router", "dispatcher"];

type Edges = BTreeMap<String, BTreeSet<String>>;

#[test]
fn modules_do_not_import_each_other_in_circles() {
    let mut crates: BTreeMap<String, Edges> = BTreeMap::new();
    for file in files(&[".rs"]) {
        let Some((folder, inside)) = file.path.split_once("/src/") else { continue };
        let module = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if matches!(module, "lib" | "main" | "bin") || inside.ends_with("tests.rs") {
            continue;
        }
        let edges = crates.entry(folder.to_owned()).or_default().entry(module.to_owned()).or_default();
        edges.extend(imports(file.text.split("#[cfg(test)]").next().unwrap()));
    }
    assert!(crates.len() >= 9, "the sources were not found");
    let checked = crates.iter().filter(|(name, _)| !ROUND.contains(&name.as_str()));
    let findings = checked.flat_map(|(name, edges)| {
        let round = edges.keys().filter(|module| reached(edges, module).contains(*module));
        round.map(move |module| format!("{name}: the module {module} imports itself by way of others"))
    });
    clean(&findings.collect::<Vec<_>>());
}

/// What stands behind `crate::`, one by one; what is no module is no edge that leads anywhere.
fn imports(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.split(|it: char| !it.is_alphanumeric() && it != '_').next().unwrap_or("").to_owned();
    let of = |rest: &str| match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap_or("").split(',').map(|one| word(one.trim())).collect(),
        None => vec![word(rest)],
    };
    text.split("crate::").skip(1).flat_map(of).collect()
}

/// Everything that a module imports, and what that imports.
fn reached(edges: &Edges, from: &str) -> BTreeSet<String> {
    let (mut found, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(module) = left.pop() {
        // A module's own parts are named by its own name too.
        for next in edges.get(&module).into_iter().flatten().filter(|next| **next != module) {
            if found.insert(next.clone()) {
                left.push(next.clone());
            }
        }
    }
    found
}

#[test]
fn a_circle_is_found() {
    let edges =
        |text: &[(&str, &str)]| text.iter().map(|(of, text)| ((*of).to_owned(), imports(text))).collect::<Edges>();
    let round =
        edges(&[("a", "use crate::{b, X};"), ("b", "use crate::c::{d};"), ("c", "crate::a::f(); crate::c::g()")]);
    assert!(reached(&round, "a").contains("a"));
    let straight = edges(&[("a", "use crate::b;"), ("b", "use crate::c;"), ("c", "use crate::c::d;")]);
    assert!(!reached(&straight, "a").contains("a") && !reached(&straight, "c").contains("c"));
}
