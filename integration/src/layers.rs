//! Layers of a crate: reads the `use` lines of its sources and reports imports that run upwards or in a circle.
//!
//! Included by path in the tests of each crate that has layers, so that these need no other crate.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rules of one crate.
pub(crate) struct Layers {
    /// Top-level modules, from the lowest row to the highest. Those of one row do not import each other.
    pub(crate) rows: &'static [&'static [&'static str]],
    /// Modules that may import less than all lower rows.
    pub(crate) only: &'static [(&'static str, &'static [&'static str])],
    /// Crates that a module may not use.
    pub(crate) foreign: &'static [(&'static str, &'static [&'static str])],
}

impl Layers {
    fn row(&self, module: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.contains(&module))
    }

    /// Faults of the sources in `src`, one in each line.
    pub(crate) fn faults(&self, src: &Path) -> Vec<String> {
        let mut files = Vec::new();
        sources(src, None, &mut files);
        assert!(files.len() > 20, "{files:?}");
        let mut faults = Vec::new();
        for (module, path) in &files {
            // Wiring, which sees everything.
            if matches!(module.as_str(), "main" | "lib") {
                continue;
            }
            let code = code(&std::fs::read_to_string(path).unwrap());
            let mut fault = |what: String| faults.push(format!("{}: {what}", path.display()));
            let Some(own) = self.row(module) else {
                fault(format!("module {module} has no row"));
                continue;
            };
            for name in names_after(&code, "crate::") {
                let only = self.only.iter().find(|(of, _)| of == module);
                match self.row(&name) {
                    _ if name == *module => {}
                    None => fault(format!("{name} is no module with a row")),
                    Some(imported) if imported >= own => {
                        fault(format!("{module} imports {name}, which stands no lower"));
                    }
                    Some(_) if only.is_some_and(|(_, all)| !all.contains(&name.as_str())) => {
                        fault(format!("{module} imports {name}, and may not"));
                    }
                    Some(_) => {}
                }
            }
            for (_, crates) in self.foreign.iter().filter(|(of, _)| of == module) {
                for name in *crates {
                    if !names_after(&code, &format!("{name}::")).is_empty() {
                        fault(format!("{module} uses {name}"));
                    }
                }
            }
        }
        faults
    }
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

#[test]
fn what_is_read_of_a_file_is_what_it_imports() {
    let text = "use crate::a::{self, B};\n// crate::comment\nlet x = \"crate::text\";\n\
                use crate::{\n    c::{D, E},\n    f,\n};\nfn g() { crate::h::i(); }\n\
                use other_crate::j;\n#[cfg(test)]\nmod tests {\n    use crate::k;\n}\n";
    let names = names_after(&code(text), "crate::");
    assert_eq!(names, ["a", "c", "f", "h"].map(str::to_owned).into());
}
