//! The public API of each crate that others use, compared with the list in its `api.txt`: a change of it is a
//! decision, for the changelog. `UPDATE_API=1 cargo test -p integration --test api` writes the lists anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Declarations that begin with `pub` in a source file, each on one line without its body.
fn declarations(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            break;
        }
        if !line.starts_with("pub ") || line.starts_with("pub mod ") {
            continue;
        }
        let mut whole = line.to_owned();
        // A field or variant ends with a comma, a declaration with its body or a semicolon.
        while !whole.ends_with(['{', ';', '}', ','])
            || whole.matches('(').count() > whole.matches(')').count()
        {
            let Some(next) = lines.next() else { break };
            if !whole.ends_with('(') {
                whole.push(' ');
            }
            whole.push_str(next);
        }
        let name = whole.trim_end_matches([' ', '{', ',']).to_owned();
        // Variants of an enum and functions of a trait are public with it.
        if whole.starts_with("pub enum ") || whole.starts_with("pub trait ") {
            let inner = lines.by_ref().take_while(|line| *line != "}");
            let is_member = |line: &&str| {
                line.starts_with(|c: char| c.is_ascii_uppercase()) || line.starts_with("fn ")
            };
            let members: Vec<String> = inner
                .filter(is_member)
                .map(|line| format!("{name}: {line}"))
                .collect();
            found.push(name);
            found.extend(members);
        } else {
            found.push(name);
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_test = path.ends_with("tests.rs");
        if path.is_dir() {
            sources(&path, found);
        } else if !is_test {
            found.push(path);
        }
    }
}

/// The list of a crate.
fn list(root: &Path) -> String {
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();
    let mut list = String::new();
    for file in files {
        let name = file.strip_prefix(root.join("src")).unwrap().display();
        for declaration in declarations(&std::fs::read_to_string(&file).unwrap()) {
            writeln!(list, "{name}: {declaration}").unwrap();
        }
    }
    list
}

#[test]
fn the_public_apis_are_the_ones_that_are_written_down() {
    for name in ["htvault", "cedar"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        let list = list(&root);
        let written = root.join("api.txt");
        if std::env::var_os("UPDATE_API").is_some() {
            std::fs::write(&written, &list).unwrap();
        }
        let expected = std::fs::read_to_string(&written).unwrap_or_default();
        let missing = |from: &str, of: &str| -> Vec<String> {
            let lines = of.lines().filter(|line| !from.lines().any(|l| l == *line));
            lines.map(str::to_owned).collect()
        };
        let (added, gone) = (missing(&expected, &list), missing(&list, &expected));
        assert!(
            added.is_empty() && gone.is_empty(),
            "the public API of {name} has changed; write it down with UPDATE_API=1, and in CHANGELOG.md\n\
             added: {added:#?}\ngone: {gone:#?}"
        );
    }
}
