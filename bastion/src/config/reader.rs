//! Typed sections from a YAML tree, by serde.
//!
//! A derived deserializer stops at the first error. Here an error stops only the nearest
//! [`Given`](super::given::Given) around it, which makes a fault with a place of it, and reading continues after it. An
//! unknown key is a fault, and is left out.
//! Always true: reading a file never fails.

use std::cell::RefCell;
use std::collections::HashMap;

use htvault::text::printable;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::faults::{Faults, Place, hint};
use super::given::{ENTRIES, LOCATED};
use super::yaml::{Node, Value};

/// Name of a type whose text may have several lines.
const EXPRESSION: &str = "Expression";

/// Keys of earlier versions, in any section, with advice.
const FORMER: [(&str, &str); 1] = [(
    "release_held",
    "remove it: held jobs are released by HTCondor itself, with a line at the schedd that the manual \
     gives (docs/schedds.md, Held jobs)",
)];

/// Message for a value that is not a section.
pub(super) const NO_SECTION: &str = "expected keys and values, as in `key: value`";

/// Reads the tree of all files.
pub(crate) fn read<T: DeserializeOwned + Default>(root: &Node, faults: &mut Faults) -> T {
    let collected = RefCell::new(std::mem::take(faults));
    let reader = Reader {
        node: root,
        path: String::new(),
        faults: &collected,
        is_name: false,
    };
    // Errors of values are among the faults, and the root has no others.
    let value = T::deserialize(reader).unwrap_or_default();
    *faults = collected.into_inner();
    value
}

/// Deserializer of one value of the tree.
#[derive(Clone)]
struct Reader<'a> {
    node: &'a Node,
    /// Path of keys that leads to it.
    path: String,
    faults: &'a RefCell<Faults>,
    /// A name may be empty: its check has a better message.
    is_name: bool,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: impl Into<String>) {
        let position = self.node.position(&self.path);
        self.faults.borrow_mut().add_at(position, message);
    }

    /// A value below this one.
    fn at(&self, node: &'a Node, path: String, is_name: bool) -> Self {
        Self {
            node,
            path,
            is_name,
            ..*self
        }
    }

    /// Keys and values of a map; a missing value counts as an empty map.
    fn entries(&self) -> Result<Vec<(Self, Self)>, Error> {
        let entries: &[(Node, Node)] = match &self.node.value {
            Value::Map(entries) => entries,
            Value::Nothing => &[],
            Value::Text(_) | Value::List(_) => return Err(Error::custom(NO_SECTION)),
        };
        let entries = entries.iter().map(|(key, value)| {
            let mut path = self.path.clone();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key.text().unwrap_or_default());
            (
                self.at(key, path.clone(), true),
                self.at(value, path, false),
            )
        });
        let mut entries: Vec<(Self, Self)> = entries.collect();
        // In another file, or a number that is quoted once: to the parser, that is another name.
        let mut known: HashMap<&str, &Node> = HashMap::new();
        entries.retain(|(key, _)| {
            let first = known.insert(key.node.text().unwrap_or_default(), key.node);
            if let Some(first) = first {
                let first = first.position("");
                key.fault(format!(
                    "it is defined at {first} already, keep one of them"
                ));
            }
            first.is_none()
        });
        Ok(entries)
    }

    /// A text that is not blank.
    fn text(&self) -> Result<&'a str, Error> {
        let text = self.node.text();
        let text = text.filter(|text| self.is_name || !text.trim().is_empty());
        text.ok_or_else(|| Error::custom("expected a single value, as text"))
    }

    fn check_characters(&self, text: &str) {
        if printable(text, usize::MAX) != text {
            self.fault("it has control characters or invisible ones, remove them");
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    /// A text on one line.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.text()?;
        self.check_characters(text);
        visitor.visit_str(text)
    }

    /// One of the known words, in upper or lower case.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let word = self.text()?.to_lowercase();
        if !words.contains(&word.as_str()) {
            let hint = hint(&word, words.iter().copied());
            return Err(Error::custom(format!("unknown value {word:?}, {hint}")));
        }
        visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(word))
    }

    /// A list; a single value counts as a list of one.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let readers = match &self.node.value {
            Value::List(items) => {
                let items = items.iter().enumerate();
                let at = |(index, item)| self.at(item, format!("{}[{index}]", self.path), false);
                items.map(at).collect()
            }
            _ => vec![self],
        };
        visitor.visit_seq(SeqDeserializer::new(readers.into_iter()))
    }

    /// A section.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut entries = self.entries()?;
        entries.retain(|(key, _)| {
            let typed = key.node.text().unwrap_or_default();
            if known.contains(&typed) {
                return true;
            }
            let former = FORMER.iter().find(|(name, _)| *name == typed);
            key.fault(former.map_or_else(
                || format!("unknown key, {}", hint(typed, known.iter().copied())),
                |(_, advice)| (*advice).to_owned(),
            ));
            false
        });
        visitor.visit_map(MapDeserializer::new(entries.into_iter()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            LOCATED => visitor.visit_map(Pair(self)),
            ENTRIES => {
                let entries = self.entries()?.into_iter();
                visitor.visit_newtype_struct(MapDeserializer::new(entries))
            }
            EXPRESSION => {
                let text = self.text()?.replace(['\n', '\r', '\t'], " ");
                self.check_characters(&text);
                visitor
                    .visit_newtype_struct(IntoDeserializer::<Error>::into_deserializer(text.trim()))
            }
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct map tuple tuple_struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Reader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// A value with its place, for [`Given`]; an error in the value becomes a fault.
struct Pair<'a>(Reader<'a>);

impl<'de> MapAccess<'de> for Pair<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let position = self.0.node.position(&self.0.path);
        let Place(index) = self.0.faults.borrow_mut().place(position);
        seed.deserialize(index.into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let value = seed.deserialize(self.0.clone());
        value.inspect_err(|why| self.0.fault(why.to_string()))
    }
}
