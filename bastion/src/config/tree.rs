//! YAML as a tree in which every key and value knows its place.
//!
//! Sections are read from the tree by key, so that one fault does not hide the others: a derived
//! deserialiser stops at the first. Keys that a section does not know are faults.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use htvault::text::printable;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::duration;
use super::faults::{At, Faults, hint};
use super::keys::{FORMER, Key};
use super::yaml_error;

/// Limit for levels of nesting: twice what there is to nest. The parser's own needs more stack than a
/// thread has.
const DEPTH: usize = 16;

/// Fault of a name or value.
pub(crate) const INVISIBLE: &str = "it has control characters or invisible ones, remove them";

/// A value with its place and the path of keys that leads to it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) path: String,
    pub(crate) value: Value,
}

/// A value's shape. Scalars are text: what they mean is decided by who reads them.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Nothing,
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// An entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The key's place.
    pub(crate) at: At,
    pub(crate) node: Node,
}

/// A value that was read, with its place for later faults.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) at: At,
    pub(crate) path: String,
}

impl<T> Located<T> {
    pub(crate) fn fault(&self, faults: &mut Faults, what: impl Into<String>) {
        faults.add(&self.at, &self.path, what);
    }

    pub(crate) fn warn(&self, faults: &mut Faults, what: impl Into<String>) {
        faults.warn(&self.at, &self.path, what);
    }
}

/// Reads the text of a file.
pub(crate) fn parse(file: &str, text: &str, faults: &mut Faults) -> Option<Node> {
    // Only `true` and `false` are truth values: a role may be called `no`.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: DEPTH },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Plain>>(text, options) {
        Ok(plain) => Some(node(plain, &Arc::from(file), String::new())),
        Err(error) => {
            let error = error.without_snippet();
            let at = error.location().map_or_else(
                || At::file(file),
                |location| At {
                    file: Arc::from(file),
                    line: location.line(),
                    column: location.column(),
                },
            );
            let words = yaml_error::words(error);
            faults.add(&at, "", format!("this is no correct YAML: {words}"));
            None
        }
    }
}

/// True for a text that is shown as it is: no control characters, and no invisible ones.
pub(crate) fn is_printable(text: &str) -> bool {
    printable(text, usize::MAX) == text
}

/// The tree as the deserialiser makes it, before paths are known.
enum Plain {
    Nothing,
    Text(String),
    List(Vec<Spanned<Plain>>),
    Map(Vec<(Spanned<String>, Spanned<Plain>)>),
}

fn node(plain: Spanned<Plain>, file: &Arc<str>, path: String) -> Node {
    let at = |location: serde_saphyr::Location| At {
        file: Arc::clone(file),
        line: location.line(),
        column: location.column(),
    };
    let place = at(plain.referenced);
    let value = match plain.value {
        Plain::Nothing => Value::Nothing,
        Plain::Text(text) => Value::Text(text),
        Plain::List(items) => Value::List(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| node(item, file, format!("{path}[{index}]")))
                .collect(),
        ),
        Plain::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| {
                    let path = if path.is_empty() {
                        key.value.clone()
                    } else {
                        format!("{path}.{}", key.value)
                    };
                    Entry {
                        at: at(key.referenced),
                        node: node(value, file, path),
                        key: key.value,
                    }
                })
                .collect(),
        ),
    };
    Node {
        at: place,
        path,
        value,
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nothing)
    }

    fn visit_none<E>(self) -> Result<Plain, E> {
        Ok(Plain::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, input: D) -> Result<Plain, D::Error> {
        Plain::deserialize(input)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Plain, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Plain::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Plain, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Plain::Map(map))
    }
}

/// A map whose keys are fixed names.
pub(crate) struct Section<'a> {
    entries: &'a [Entry],
    known: &'static [Key],
}

impl Node {
    /// The entries of a map; nothing counts as an empty one.
    pub(crate) fn entries(&self, faults: &mut Faults) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Nothing => &[],
            Value::Text(_) | Value::List(_) => {
                faults.add(
                    &self.at,
                    &self.path,
                    "keys and values must stand here, as in `key: value`",
                );
                &[]
            }
        }
    }

    /// A section: what is not in `known` is a fault, with the nearest known name, or with what to do
    /// instead.
    pub(crate) fn section(&self, known: &'static [Key], faults: &mut Faults) -> Section<'_> {
        let entries = self.entries(faults);
        for entry in entries {
            if !known.iter().any(|key| key.name == entry.key) {
                let former = FORMER.iter().find(|(name, _)| *name == entry.key);
                let what = former.map_or_else(
                    || {
                        let hint = hint(&entry.key, known.iter().map(|key| key.name));
                        format!("unknown key, {hint}")
                    },
                    |(_, advice)| (*advice).to_owned(),
                );
                faults.add(&entry.at, &entry.node.path, what);
            }
        }
        Section { entries, known }
    }

    fn located<T>(&self, value: T) -> Located<T> {
        Located {
            value,
            at: self.at.clone(),
            path: self.path.clone(),
        }
    }

    /// A text that is not empty, on one line.
    pub(crate) fn text(&self, faults: &mut Faults) -> Option<Located<String>> {
        let text = self.any_text(faults)?;
        if !is_printable(&text.value) {
            text.fault(faults, INVISIBLE);
        }
        Some(text)
    }

    /// A text that is not empty; line ends and tabs count as blanks.
    pub(crate) fn lines(&self, faults: &mut Faults) -> Option<Located<String>> {
        let typed = self.any_text(faults)?;
        let text = self.located(
            typed
                .value
                .replace(['\n', '\r', '\t'], " ")
                .trim()
                .to_owned(),
        );
        if !is_printable(&text.value) {
            text.fault(faults, INVISIBLE);
        }
        Some(text)
    }

    fn any_text(&self, faults: &mut Faults) -> Option<Located<String>> {
        match &self.value {
            Value::Text(text) if !text.trim().is_empty() => Some(self.located(text.clone())),
            _ => {
                faults.add(
                    &self.at,
                    &self.path,
                    "one value must stand here, write a text",
                );
                None
            }
        }
    }

    /// One text, or a list of texts.
    pub(crate) fn texts(&self, faults: &mut Faults) -> Vec<Located<String>> {
        match &self.value {
            Value::List(items) => items.iter().filter_map(|item| item.text(faults)).collect(),
            _ => self.text(faults).into_iter().collect(),
        }
    }

    /// A duration.
    pub(crate) fn duration(&self, faults: &mut Faults) -> Option<Located<Duration>> {
        let text = self.text(faults)?;
        match duration::parse(&text.value) {
            Ok(duration) => Some(self.located(duration)),
            Err(why) => {
                text.fault(faults, why);
                None
            }
        }
    }
}

impl<'a> Section<'a> {
    /// The value of a key that is there.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(
            self.known.iter().any(|known| known.name == key),
            "{key} is read and stands in no table"
        );
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    pub(crate) fn text(&self, key: &str, faults: &mut Faults) -> Option<Located<String>> {
        self.get(key)?.text(faults)
    }

    pub(crate) fn lines(&self, key: &str, faults: &mut Faults) -> Option<Located<String>> {
        self.get(key)?.lines(faults)
    }

    pub(crate) fn texts(&self, key: &str, faults: &mut Faults) -> Option<Vec<Located<String>>> {
        Some(self.get(key)?.texts(faults))
    }

    pub(crate) fn duration(&self, key: &str, faults: &mut Faults) -> Option<Located<Duration>> {
        self.get(key)?.duration(faults)
    }
}
