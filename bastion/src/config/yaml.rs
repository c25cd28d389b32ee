//! YAML as a tree in which every key and value has its file, line and column.
//!
//! Always true: faults of YAML are described for people who write configurations, without terms of the parser's API.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Spanned, UserMessageFormatter};

use super::faults::{Faults, Position};

/// Limit for levels of nesting: twice what there is to nest. The parser's own needs more stack than a
/// thread has.
const DEPTH: usize = 16;

/// A value with its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) file: Arc<str>,
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) value: Value,
}

/// A value's shape. Scalars are text: what they mean is decided by the type that is read.
#[derive(Debug)]
pub(crate) enum Value {
    Nothing,
    Text(String),
    List(Vec<Node>),
    /// Keys, which are texts, and their values.
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Position, at the end of a path of keys.
    pub(crate) fn position(&self, path: &str) -> Position {
        Position {
            file: Arc::clone(&self.file),
            line: self.line,
            column: self.column,
            path: path.to_owned(),
        }
    }

    fn set_file(&mut self, file: &Arc<str>) {
        self.file = Arc::clone(file);
        match &mut self.value {
            Value::Nothing | Value::Text(_) => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.set_file(file)),
            Value::Map(entries) => {
                for (key, value) in entries {
                    key.set_file(file);
                    value.set_file(file);
                }
            }
        }
    }
}

/// Parses the text of a file.
pub(crate) fn parse(file: &Arc<str>, text: &str, faults: &mut Faults) -> Option<Node> {
    // Only `true` and `false` are truth values: a role may be called `no`.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: DEPTH },
    };
    let error = match serde_saphyr::from_str_with_options::<Node>(text, options) {
        Ok(mut node) => {
            node.set_file(file);
            return Some(node);
        }
        Err(error) => error,
    };
    let error = error.without_snippet();
    let mut position = Position::file(file, "");
    if let Some(location) = error.location() {
        position.line = location.line();
        position.column = location.column();
    }
    faults.add_at(position, format!("invalid YAML: {}", words(error)));
    None
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Spanned::deserialize(input).map(node)
    }
}

/// Takes the place where a value is used; behind a reference (`*NAME`), it is defined elsewhere.
fn node(spanned: Spanned<Value>) -> Node {
    Node {
        file: Arc::default(),
        line: spanned.referenced.line(),
        column: spanned.referenced.column(),
        value: spanned.value,
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Spanned<String>, Node>()? {
            let text = Value::Text(key.value);
            let key = node(Spanned::new(text, key.referenced, key.defined));
            map.push((key, value));
        }
        Ok(Value::Map(map))
    }
}

/// Description of an error and advice, on one line and without its place.
fn words(error: &Error) -> String {
    let words = match error {
        Error::AliasError { error, .. } => return words(error),
        Error::MultipleDocuments { .. } => {
            "a second document begins here, and only one is allowed; remove the line `---`, or use another file in config.d"
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            return format!("{key:?} is defined twice, keep one of them");
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key is defined twice, keep one of them",
        Error::NullIntoString { .. } => "expected a name",
        Error::Unexpected { .. } | Error::SerdeInvalidType { .. } | Error::InvalidScalar { .. } => {
            "expected a name or a plain value"
        }
        Error::UnsupportedTag { .. }
        | Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::InvalidBinaryBase64 { .. }
        | Error::BinaryNotUtf8 { .. } => "tags (`!…`) are not supported, remove them",
        Error::Budget {
            breach: BudgetBreach::Depth { .. },
            ..
        } => "it is nested too deeply, write it flat",
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is too long or has too many references (`*NAME`) for one file, divide it into files in config.d"
        }
        error => return of_parser(error),
    };
    words.to_owned()
}

/// The parser's own words, those for its users.
fn of_parser(error: &Error) -> String {
    let text = error.render_with_options(serde_saphyr::render_options! {
        formatter: &UserMessageFormatter,
        snippets: serde_saphyr::SnippetMode::Off,
    });
    let line = text.lines().next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    line.split(" at line ").next().unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let mut faults = Faults::default();
        assert!(
            parse(&Arc::from("f"), text, &mut faults).is_none(),
            "{text}"
        );
        faults.iter().next().unwrap().to_string()
    }

    #[test]
    fn faults_of_yaml_name_no_parts_of_the_library() {
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        let long = format!("a: [{}]", "1,".repeat(300_000));
        let nine = |n: u32| vec![format!("*{n}"); 9].join(",");
        let lines = (1..10).map(|n| format!("{n}: &{n} [{}]", nine(n - 1)));
        let wide = lines.collect::<Vec<_>>().join("\n");
        for (text, words) in [
            ("a: 1\n---\nb: 2\n", "a second document begins here"),
            (
                "a: 1\na: 2\n",
                "f:2:1: invalid YAML: \"a\" is defined twice, keep one of them",
            ),
            ("~: 1\n", "expected a name"),
            ("? [a]\n: 1\n", "expected a name or a plain value"),
            ("a: !!binary \"%%\"\n", "remove them"),
            (&deep, "it is nested too deeply, write it flat"),
            (&long, "it is too long or has too many references"),
            (
                &format!("0: &0 [x]\n{wide}"),
                "it is too long or has too many references",
            ),
            ("a: *none\n", ""),
            ("a: [\n", ""),
            ("a: b: c", ""),
            ("a: \"\\q\"", ""),
            ("a: .nan", ""),
        ] {
            let told = told(text);
            assert!(told.contains(words), "{told}");
            for foreign in [
                "Option",
                "from_str",
                "budget",
                "Nodes",
                "Policy",
                "deserialize",
                "&str",
                "serde",
                "_",
                "replay",
            ] {
                assert!(!told.contains(foreign), "{foreign}: {told}");
            }
        }
    }
}
