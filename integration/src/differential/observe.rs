//! What is compared: the files of an account and the requests that the server saw, each as lines of
//! text in which nothing differs from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use htvault::Claims;
use serde_json::Value;
use url::form_urlencoded;

use super::case::Outcome;
use super::rig::{Rig, Side};

/// Values of `minimum_seconds` that come from settings or are fixed; others depend on the time.
const CONFIGURED: [&str; 6] = ["10", "40", "1200", "2400", "3599", "7200"];

/// What tells a file from a replaced one.
type Identity = (u64, i64, i64);

/// The files of an account, by path below its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<String, Identity>);

/// What a side made of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// In a word.
    pub outcome: Outcome,
    /// In lines.
    pub lines: BTreeSet<String>,
}

/// The paths of an account: its folder, what is in it, and its mark.
fn paths(directory: &Path, account: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let folder = directory.join(account);
    if folder.symlink_metadata().is_ok() {
        paths.push(String::new());
    }
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        paths.push(entry.file_name().to_string_lossy().into_owned());
    }
    if directory.join(format!("{account}.mark")).exists() {
        paths.push(format!("../{account}.mark"));
    }
    paths
}

/// Where a path is that is seen from an account's folder.
fn place(directory: &Path, account: &str, path: &str) -> PathBuf {
    match path.strip_prefix("../") {
        Some(beside) => directory.join(beside),
        None if path.is_empty() => directory.join(account),
        None => directory.join(account).join(path),
    }
}

impl Snapshot {
    /// Looks at an account's files.
    #[must_use]
    pub fn take(directory: &Path, account: &str) -> Self {
        let mut found = BTreeMap::new();
        for path in paths(directory, account) {
            let at = place(directory, account, &path);
            if let Ok(meta) = at.symlink_metadata() {
                let identity = if meta.is_dir() {
                    (meta.ino(), 0, 0)
                } else {
                    (meta.ino(), meta.mtime(), meta.mtime_nsec())
                };
                found.insert(path, identity);
            }
        }
        Self(found)
    }

    /// What became of the files since an earlier look.
    #[must_use]
    pub fn since(
        &self,
        before: &Self,
        rig: &Rig,
        directory: &Path,
        account: &str,
    ) -> (Outcome, BTreeSet<String>) {
        let mut lines = BTreeSet::new();
        let ends = |path: &str, end: &str| Path::new(path).extension().is_some_and(|e| e == end);
        let (mut new_token, mut old_token) = (false, false);
        for (path, identity) in &self.0 {
            let is_new = before.0.get(path) != Some(identity);
            if ends(path, "use") {
                new_token |= is_new;
                old_token |= !is_new;
            }
            let state = if is_new { "new" } else { "as it was" };
            let at = place(directory, account, path);
            let Ok(meta) = at.symlink_metadata() else {
                continue;
            };
            lines.insert(format!(
                "{} {state}, {:04o} {}",
                shown(path),
                meta.mode() & 0o7777,
                rig.owner(meta.uid(), meta.gid())
            ));
            if is_new && ends(path, "use") {
                lines.insert(format!("{} {}", shown(path), token(&at)));
            }
        }
        let mut top_gone = false;
        for path in before.0.keys().filter(|path| !self.0.contains_key(*path)) {
            top_gone |= ends(path, "top");
            lines.insert(format!("{} gone", shown(path)));
        }
        let outcome = match (new_token, old_token, top_gone) {
            (true, _, _) => Outcome::Served,
            (false, true, _) => Outcome::Kept,
            (false, false, true) => Outcome::Deleted,
            (false, false, false) => Outcome::NotServed,
        };
        (outcome, lines)
    }
}

/// A path in words; names drawn at random become one.
fn shown(path: &str) -> String {
    let temporary = path.starts_with(".credmon-") || (path.starts_with("tmp") && path.len() == 11);
    match path {
        "" => "folder".to_owned(),
        _ if temporary => "a temporary file".to_owned(),
        _ => path.trim_start_matches("../").to_owned(),
    }
}

/// Whose token a file holds, and what for.
pub(super) fn token(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let Some(claims) = Claims::read(&text) else {
        return "holds no token".to_owned();
    };
    let lines = text.lines().count();
    let end = if text.ends_with('\n') && lines == 1 {
        "one line"
    } else {
        "not one line"
    };
    format!(
        "holds {end}: a token of {}, for {}, with {} scopes",
        claims.subject.unwrap_or_default(),
        claims.audience.join(" "),
        claims.scopes.len()
    )
}

/// What ours asks once for each new `.top`, so that `status` can show the vault token's end; theirs
/// never does.
const LOOKS_UP: &str = "asks auth/token/lookup-self → 200";

/// The requests that the server has seen, from its log.
#[derive(Clone, Debug, Default)]
pub struct Requests(Vec<Value>);

impl Requests {
    /// Reads the log.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(file).context("cannot read the request log")?;
        let lines = text.lines().map(serde_json::from_str);
        Ok(Self(lines.collect::<Result<_, _>>()?))
    }

    /// How many there are: a place in the log.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those of a case of a side after a place, as lines. They are known by the accessor of the
    /// vault token, or by the case's and the side's names in the path.
    #[must_use]
    pub fn of(
        &self,
        after: usize,
        accessor: &str,
        account: &str,
        side: Side,
        counted: bool,
    ) -> BTreeSet<String> {
        let mark = format!("/{account}.{}:", side.word());
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.0.iter().skip(after) {
            let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
            let path = text("path");
            if text("server") != "vault" || !(text("accessor") == accessor || path.contains(&mark))
            {
                continue;
            }
            let path = path
                .trim_start_matches("/v1/")
                .trim_start_matches("secret/oauth/")
                .replace(&format!(".{}:", side.word()), ":");
            let mut query: Vec<String> = form_urlencoded::parse(text("query").as_bytes())
                .map(|(name, value)| match name.as_ref() {
                    "minimum_seconds" if !CONFIGURED.contains(&value.as_ref()) => {
                        "minimum_seconds=(more than is left)".to_owned()
                    }
                    _ => format!("{name}={value}"),
                })
                .collect();
            query.sort();
            let status = line.get("status").and_then(Value::as_u64).unwrap_or(0);
            let words = format!("asks {path}?{} → {status}", query.join("&"));
            let words = words.replace("? →", " →");
            // Said once, at the head of the page, instead of in every row.
            if side == Side::Ours && words == LOOKS_UP {
                continue;
            }
            *found.entry(words).or_default() += 1;
        }
        (found.into_iter())
            .map(|(words, times)| {
                if counted {
                    format!("{words}, {times} times")
                } else {
                    words
                }
            })
            .collect()
    }
}

impl Snapshot {
    /// Takes these paths as they are in a later look.
    pub fn accept(&mut self, paths: &[&str], now: &Self) {
        for path in paths {
            match now.0.get(*path) {
                Some(identity) => self.0.insert((*path).to_owned(), *identity),
                None => self.0.remove(*path),
            };
        }
        // With a folder goes what is in it.
        if !now.0.contains_key("") {
            self.0.clone_from(&now.0);
        }
    }
}
