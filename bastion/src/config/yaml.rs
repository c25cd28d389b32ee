//! YAML as a tree in which every key and value has its file, line and column.
//!
//! Always true: faults of YAML are described for people who write configurations, without terms of the parser's API.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::NonFiniteFloatPolicy;
use serde_saphyr::{Error, Location, Spanned, UserMessageFormatter};

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
    /// The root of all files.
    pub(crate) fn root(sections: Vec<(Self, Self)>) -> Self {
        Self {
            file: Arc::default(),
            line: 0,
            column: 0,
            value: Value::Map(sections),
        }
    }

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
}

/// Parses the text of a file.
pub(crate) fn parse(file: &Arc<str>, text: &str, faults: &mut Faults) -> Option<Node> {
    // A name may look like any number, an infinite one too: its text is taken from the source.
    let options = serde_saphyr::options! {
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! { max_depth: DEPTH },
    };
    let source = Source { file, text };
    let error = match serde_saphyr::from_str_with_options::<Spanned<Parsed>>(text, options) {
        Ok(root) => return Some(source.node(root)),
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

/// A file and its text.
struct Source<'a> {
    file: &'a Arc<str>,
    text: &'a str,
}

impl Source<'_> {
    /// A parsed value, its scalars as they were typed.
    fn node(&self, parsed: Spanned<Parsed>) -> Node {
        let value = match parsed.value {
            Parsed::Nothing => Value::Nothing,
            Parsed::Text(text) => Value::Text(text),
            Parsed::Typed(shown) => Value::Text(self.typed(parsed.defined).unwrap_or(shown)),
            Parsed::List(items) => {
                Value::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            Parsed::Map(entries) => {
                let entry = |(key, value): (Spanned<String>, _)| {
                    let key = self.at(key.referenced, Value::Text(key.value));
                    (key, self.node(value))
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        self.at(parsed.referenced, value)
    }

    /// A value at the place where it is used; behind a reference (`*NAME`), it is defined elsewhere.
    fn at(&self, place: Location, value: Value) -> Node {
        Node {
            file: Arc::clone(self.file),
            line: place.line(),
            column: place.column(),
            value,
        }
    }

    /// Text of a number or a truth value at the place where it is defined.
    fn typed(&self, place: Location) -> Option<String> {
        let span = place.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let length = usize::try_from(span.byte_len()?).ok()?;
        let text = self.text.get(start..start.checked_add(length)?)?;
        // With a tag (`!!int`), a quoted text is a number too.
        Some(text.trim().trim_matches(['"', '\'']).to_owned())
    }
}

/// Value as the parser understands it.
enum Parsed {
    Nothing,
    Text(String),
    /// A number or a truth value, as Rust shows it: `0x1F` is `31`, and may have been meant as a name.
    Typed(String),
    List(Vec<Spanned<Parsed>>),
    Map(Vec<(Spanned<String>, Spanned<Parsed>)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(ParsedVisitor)
    }
}

struct ParsedVisitor;

impl<'de> Visitor<'de> for ParsedVisitor {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Parsed, E> {
        Ok(Parsed::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Parsed, E> {
        Ok(Parsed::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Parsed, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Parsed::Map(map))
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

    #[test]
    fn names_that_look_like_numbers_are_the_text_that_was_typed() {
        for typed in [
            "2024_1",
            "0x1F",
            "0o17",
            "1.10",
            "0012",
            "-007",
            "+5",
            "1e5",
            "12e5678",
            ".5",
            ".inf",
            ".nan",
            "True",
            "12345678901234567890123",
        ] {
            let mut faults = Faults::default();
            let text = format!(
                "\u{feff}# é\r\nplain:   {typed}   # remark\nlist: [ {typed} , x]\nnamed: &name {typed}\nagain: *name\n\
                 text: !!str {typed}\nquoted: \"{typed}\"\n{typed}: x\nlast: {typed}"
            );
            let root = parse(&Arc::from("f"), &text, &mut faults).unwrap();
            let Value::Map(entries) = &root.value else {
                panic!("{root:?}")
            };
            for (key, value) in entries {
                let text = match &value.value {
                    Value::List(items) => items[0].text(),
                    _ => value.text(),
                };
                let is_key = text == Some("x") && key.text() == Some(typed);
                assert!(is_key || text == Some(typed), "{key:?}: {value:?}");
            }
            assert_eq!(entries.len(), 8);
        }
        let mut faults = Faults::default();
        let root = parse(
            &Arc::from("f"),
            "a: !!int 0x1F\nb: !!int \"5\"",
            &mut faults,
        )
        .unwrap();
        let Value::Map(entries) = &root.value else {
            panic!("{root:?}")
        };
        let texts: Vec<_> = entries.iter().map(|(_, value)| value.text()).collect();
        assert_eq!(texts, [Some("0x1F"), Some("5")]);
    }
}
