//! Files of a configuration: found, read, and joined.
//!
//! Always true: only plain files of bounded size are read; faults of all files are reported at once.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faults::{Faults, Position};
use super::reader::NO_SECTION;
use super::sections::FileSections;
use super::values::AbsolutePath;
use super::yaml::{Node, Value};
use super::{Config, reader, resolve, yaml};
use crate::system::files;

/// Limit for the size of a configuration file: some 50,000 accounts.
const FILE_LIMIT: u64 = 16 << 20;
/// Folder beside the configuration whose files are read too.
const FOLDER: &str = "config.d";
/// Sections whose entries may be in several files.
const JOINED: [&str; 2] = ["schedds", "accounts"];

/// Reads a configuration: the file, and `config.d/*.yaml` beside it in the order of names. Blocks.
///
/// # Errors
/// All faults that can be found.
pub fn load(file: &Path) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let trees = trees(file, &mut faults);
    of_trees(&file.display().to_string(), trees, faults)
}

/// The socket for commands that the files name, whatever else is wrong with them; `None` where they name none. Blocks.
pub(crate) fn written_control(file: &Path) -> Option<PathBuf> {
    let mut faults = Faults::default();
    let trees = trees(file, &mut faults);
    let sections = sections(trees, &mut faults);
    let AbsolutePath(socket) = sections.control.socket.get()?;
    Some(socket.clone())
}

/// Trees of all files that can be read and are YAML.
fn trees(file: &Path, faults: &mut Faults) -> Vec<Node> {
    let mut trees = Vec::new();
    for path in paths(file, faults) {
        let name: Arc<str> = path.display().to_string().into();
        match read_text(&path) {
            Ok(text) => trees.extend(yaml::parse(&name, &text, faults)),
            Err(why) => faults.add_at(Position::file(&name, ""), why),
        }
    }
    trees
}

/// Sections of all files. The entries of accounts and of groups come together; what is defined twice is found when they
/// are read.
fn sections(trees: Vec<Node>, faults: &mut Faults) -> FileSections {
    let mut all: Vec<(Node, Node)> = Vec::new();
    for tree in trees {
        check_section(&tree, "", faults);
        let Value::Map(entries) = tree.value else {
            continue;
        };
        for (key, value) in entries {
            let name = key.text().unwrap_or_default();
            let mut others = all
                .iter_mut()
                .filter(|(other, _)| other.text() == Some(name));
            let other = others.next().filter(|_| JOINED.contains(&name));
            let Some((_, section)) = other else {
                all.push((key, value));
                continue;
            };
            check_section(section, name, faults);
            check_section(&value, name, faults);
            match (&mut section.value, value.value) {
                (Value::Map(known), Value::Map(more)) => known.extend(more),
                (Value::Map(_), _) => {}
                (_, more) => {
                    *section = Node {
                        value: more,
                        ..value
                    }
                }
            }
        }
    }
    reader::read(&Node::root(all), faults)
}

/// Adds a fault for a value that can be no section.
fn check_section(node: &Node, path: &str, faults: &mut Faults) {
    if matches!(node.value, Value::Text(_) | Value::List(_)) {
        faults.add_at(node.position(path), NO_SECTION);
    }
}

/// The configuration of these trees; `file` is named for what is missing.
pub(super) fn of_trees(file: &str, trees: Vec<Node>, mut faults: Faults) -> Result<Config, Faults> {
    // Keys in a file that cannot be read are not missing.
    if !faults.is_empty() {
        return faults.or(None);
    }
    let sections = sections(trees, &mut faults);
    let config = resolve::config(file, &sections, &mut faults);
    let warnings = faults.take_warnings();
    faults.or(config.map(|config| Config { warnings, ..config }))
}

/// Reads the text of a configuration file; the error says what to do.
fn read_text(path: &Path) -> Result<String, String> {
    let refuse = |why: &dyn std::fmt::Display, advice: &str| {
        format!("the file cannot be read: {why}; {advice}")
    };
    let content = files::read(path, FILE_LIMIT);
    let content = content.map_err(|error| refuse(&error, error.advice()))?;
    let text = std::str::from_utf8(&content);
    let text = text.map_err(|_| refuse(&"it is not UTF-8 text", "correct the path or the file"))?;
    Ok(text.to_owned())
}

/// The file itself and the files of `config.d` beside it. Hidden ones are of editors and tools.
pub(super) fn paths(file: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let mut paths = vec![file.to_owned()];
    if files::open(file).is_err() {
        return paths;
    }
    let directory = folder(file);
    // A file that is not listed would be an account that is not delivered: the whole list, or none.
    let entries = std::fs::read_dir(&directory).and_then(Iterator::collect);
    let entries: Vec<DirEntry> = match entries {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return paths,
        Err(error) => {
            faults.add_at(
                Position::file(&directory.display().to_string(), ""),
                format!("the directory cannot be read: {error}; correct its permissions"),
            );
            return paths;
        }
    };
    let is_hidden = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b".")
    };
    let entries = entries.iter().map(DirEntry::path);
    let mut more: Vec<PathBuf> = entries.filter(|path| !is_hidden(path)).collect();
    more.sort();
    for path in more {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("yaml") => paths.push(path),
            Some("yml" | "YAML" | "YML") => faults.warn_at(
                Position::file(&path.display().to_string(), ""),
                "the file is not read, since its name does not end in .yaml; rename it",
            ),
            _ => {}
        }
    }
    paths
}

/// `config.d` beside a configuration.
pub(super) fn folder(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(FOLDER)
}
