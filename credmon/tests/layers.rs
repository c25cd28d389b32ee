//! Imports go one way: a module imports from its own row of the design's table or a lower one, and
//! there is no circle. Tests are exempt.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The modules of the crate, from the lowest to the highest. Those of one row know nothing of each
/// other.
const ROWS: [&[&str]; 7] = [
    &["model"],
    &["config"],
    &["store"],
    &["scheduler", "renewal"],
    &["report"],
    &["cli"],
    &["service"],
];

/// What a module may import of this crate, if that is less than all below.
const ONLY: [(&str, &[&str]); 1] = [("scheduler", &["model"])];

/// Crates that a module may not know.
const FOREIGN: [(&str, &[&str]); 2] = [
    ("model", &["nix", "tokio"]),
    ("scheduler", &["nix", "tokio"]),
];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// All source files, with the module at the top that they belong to.
fn sources(folder: &Path, top: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let is_test = matches!(name.as_str(), "tests" | "fakes" | "fixtures");
        let top = top.unwrap_or(&name);
        if is_test {
            continue;
        }
        if path.is_dir() {
            sources(&path, Some(top), found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push((top.to_owned(), path.clone()));
        }
    }
}

/// The code of a file: without comments, texts, and modules that are only for tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut test_module = false;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" && lines.peek().is_some_and(|next| next.ends_with('{')) {
            test_module = true;
        }
        if !test_module {
            let line = line.split("//").next().unwrap_or_default();
            // What stands between quotation marks is no code.
            code.extend(line.split('"').step_by(2));
            code.push('\n');
        }
        // Modules end at the margin.
        test_module &= line != "}";
    }
    code
}

fn is_in_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// Names that follow a path's beginning, such as `crate::`; those in braces, too.
fn names_after(code: &str, beginning: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (place, _) in code.match_indices(beginning) {
        let (before, rest) = code.split_at(place);
        if before.ends_with(|c: char| is_in_name(c) || c == ':' || c == '$') {
            continue;
        }
        let rest = rest.strip_prefix(beginning).unwrap();
        let Some(list) = rest.strip_prefix('{') else {
            names.extend(rest.split(|c| !is_in_name(c)).next().map(str::to_owned));
            continue;
        };
        let mut depth = 0_usize;
        let mut name = String::new();
        for letter in list.chars() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => names.extend([std::mem::take(&mut name)]),
                _ if depth == 0 && (is_in_name(letter) || letter == ':') => name.push(letter),
                _ => {}
            }
        }
        names.insert(name);
    }
    let first = |name: String| name.split("::").next().unwrap_or_default().to_owned();
    let names = names.into_iter().map(first);
    names.filter(|name| !name.is_empty()).collect()
}

/// What each module imports of this crate, with a file that does.
fn imports() -> BTreeMap<(String, String), PathBuf> {
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, None, &mut files);
    assert!(files.len() > 20, "{files:?}");
    let mut imports = BTreeMap::new();
    for (module, path) in files {
        let code = code(&std::fs::read_to_string(&path).unwrap());
        for name in names_after(&code, "crate::") {
            imports.insert((module.clone(), name), path.clone());
        }
    }
    imports
}

#[test]
fn no_import_runs_upwards() {
    for ((module, name), path) in imports() {
        let path = path.display();
        let Some(imported) = row(&name) else {
            // A name of the crate's root.
            assert!(
                matches!(module.as_str(), "main" | "lib" | "service"),
                "{path}: {name}"
            );
            continue;
        };
        if name == module || matches!(module.as_str(), "main" | "lib") {
            continue;
        }
        let own = row(&module).unwrap_or_else(|| panic!("{path}: {module} has no row"));
        assert!(
            imported < own,
            "{path}: {module} imports {name}, which stands no lower"
        );
        for (_, allowed) in ONLY.iter().filter(|(of, _)| *of == module) {
            assert!(
                allowed.contains(&name.as_str()),
                "{path}: {module} imports {name}"
            );
        }
    }
}

#[test]
fn there_is_no_circle_among_the_modules() {
    let mut open: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, name) in imports()
        .into_keys()
        .filter(|(module, name)| module != name)
    {
        open.entry(name.clone()).or_default();
        open.entry(module).or_default().insert(name);
    }
    // What imports nothing that is left is taken away, until nothing is left, or a circle.
    while let Some(free) = open.iter().find(|(_, imports)| imports.is_empty()) {
        let free = free.0.clone();
        open.remove(&free);
        for imports in open.values_mut() {
            imports.remove(&free);
        }
    }
    assert!(open.is_empty(), "a circle among {open:?}");
}

#[test]
fn data_and_decisions_know_no_system() {
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&src, None, &mut files);
    for (module, foreign) in FOREIGN {
        for (_, path) in files.iter().filter(|(top, _)| top == module) {
            let code = code(&std::fs::read_to_string(path).unwrap());
            for name in foreign {
                let uses = names_after(&code, &format!("{name}::"));
                assert!(uses.is_empty(), "{}: {name}::{uses:?}", path.display());
            }
        }
    }
}

#[test]
fn what_is_read_of_a_file_is_what_it_imports() {
    let text = "use crate::a::{self, B};\n// crate::comment\nlet x = \"crate::text\";\n\
                use crate::{\n    c::{D, E},\n    f,\n};\nfn g() { crate::h::i(); }\n\
                use other_crate::j;\n#[cfg(test)]\nmod tests {\n    use crate::k;\n}\n";
    let names = names_after(&code(text), "crate::");
    assert_eq!(names, ["a", "c", "f", "h"].map(str::to_owned).into());
}
