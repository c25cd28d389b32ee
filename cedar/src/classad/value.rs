//! Values of attributes, and how they are written.

use std::borrow::Cow;

use crate::packet::Fault;

/// Value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A string.
    String(String),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// `undefined`.
    Undefined,
    /// Anything else, as it was written. It is not evaluated.
    Expression(String),
}

impl Value {
    /// The value that a text on the wire stands for. What is no literal is an expression.
    pub(crate) fn read(text: &str) -> Self {
        if let Some(inside) = text
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        {
            return match unescaped(inside) {
                Some(string) => Self::String(string),
                None => Self::Expression(text.to_owned()),
            };
        }
        if let Ok(value) = text.parse() {
            return Self::Integer(value);
        }
        let is_real = text.contains(['.', 'e', 'E']) && !text.contains(['n', 'N', 'i', 'I']);
        match text.parse() {
            Ok(value) if is_real => return Self::Real(value),
            _ => {}
        }
        for (word, value) in [
            ("true", Self::Boolean(true)),
            ("false", Self::Boolean(false)),
            ("undefined", Self::Undefined),
        ] {
            if text.eq_ignore_ascii_case(word) {
                return value;
            }
        }
        Self::Expression(text.to_owned())
    }

    /// The value as it is written on the wire.
    pub(crate) fn literal(&self) -> Result<Cow<'_, str>, Fault> {
        Ok(match self {
            Self::String(text) => {
                if text.contains(char::is_control) {
                    return Err(Fault::NotSent(
                        "a text with control characters cannot be sent",
                    ));
                }
                format!("\"{}\"", text.replace('"', r#"\""#)).into()
            }
            Self::Integer(value) => value.to_string().into(),
            Self::Real(value) => {
                if !value.is_finite() {
                    return Err(Fault::NotSent("a number that is not finite cannot be sent"));
                }
                format!("{value:?}").into()
            }
            Self::Boolean(value) => value.to_string().into(),
            Self::Undefined => "undefined".into(),
            Self::Expression(text) => {
                if text.is_empty() || text.contains(char::is_control) {
                    return Err(Fault::NotSent(
                        "an expression that is empty or has control characters cannot be sent",
                    ));
                }
                text.as_str().into()
            }
        })
    }
}

/// Content of a string without its quotation marks; `None` when the string ends within.
fn unescaped(inside: &str) -> Option<String> {
    let mut out = String::with_capacity(inside.len());
    let mut rest = inside;
    while let Some((before, after)) = rest.split_once('"') {
        // The mark belongs to the string when a backslash is before it.
        out.push_str(before.strip_suffix('\\')?);
        out.push('"');
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}
