//! `docs/security.md` says what is true: the tests that it names exist, and so does what it counts.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/security.md")).unwrap()
}

/// All sources of the workspace, with their paths.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["bastion", "credmon", "htvault", "integration", "fuzz"]
        .iter()
        .flat_map(|package| {
            ["src", "tests", "examples"].map(|part| root().join(package).join(part))
        })
        .filter(|folder| folder.is_dir())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// Names in backticks that have the form of a test's.
fn named(page: &str) -> BTreeSet<&str> {
    let is_test = |text: &&str| {
        let is_letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        text.bytes().all(is_letter) && text.matches('_').count() >= 3
    };
    page.split('`').skip(1).step_by(2).filter(is_test).collect()
}

#[test]
fn the_tests_that_the_page_names_exist() {
    let (page, sources) = (page(), sources());
    let named = named(&page);
    assert!(named.len() > 40, "{named:?}");
    let exists = |name: &&str| {
        let function = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&function))
    };
    let missing: Vec<&str> = named.into_iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "no test has these names: {missing:#?}");
}

#[test]
fn unsafe_code_is_in_one_module() {
    let forms = ["{", "fn", "impl", "extern"].map(|what| ["unsafe", what].join(" "));
    let mut count = 0;
    for (path, text) in sources() {
        let uses: usize = forms
            .iter()
            .map(|form| text.matches(form.as_str()).count())
            .sum();
        let is_there = path.components().any(|part| part.as_os_str() == "ffi");
        assert!(uses == 0 || is_there, "{}", path.display());
        count += uses;
    }
    let told = format!("three files, {count} uses");
    assert!(page().contains(&told), "the page should say: {told}");
}
