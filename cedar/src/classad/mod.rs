//! Ads: HTCondor's lists of named values (`ClassAds`).
//!
//! What is sent are literals; an expression can only be a query's requirements. What is received may
//! hold expressions: these are kept as text and never evaluated. Names are compared without regard to
//! case, as HTCondor does.
//!
//! On the wire an ad is the number of attributes, each as the string `Name = value`, and two strings
//! (type names; empty today). Values are in HTCondor's old syntax, in which a quotation mark in a
//! string is `\"` and every other backslash stands for itself (source:
//! `ConvertEscapingOldToNew` in `compat_classad.cpp`).

mod value;

use std::borrow::Cow;
use std::fmt;

use crate::packet::Fault;
use crate::wire::{Decoder, Encoder};

pub use value::Value;

/// Most attributes of an ad in a negotiation (HTCondor 25.10 and later hang up on more).
pub(crate) const MOST_NEGOTIATED: usize = 100;
/// Most attributes of an ad that is received. A machine's ad has some 300.
const MOST_RECEIVED: usize = 10_000;
/// In the place of an attribute: the next string is one that its sender holds secret.
const SECRET_MARKER: &[u8] = b"ZKM";

/// A list of named values.
///
/// ```
/// use htcondor_cedar::{Ad, Value};
///
/// let mut ad = Ad::new();
/// ad.set("Name", "ap.example.org");
/// ad.set("TotalRunningJobs", 12);
/// assert_eq!(ad.string("name"), Some("ap.example.org"));
/// assert_eq!(ad.integer("TOTALRUNNINGJOBS"), Some(12));
/// assert_eq!(ad.get("Absent"), None::<&Value>);
/// ```
#[derive(Clone, Default, PartialEq)]
pub struct Ad(Vec<(String, Value)>);

impl Ad {
    /// An ad without attributes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an attribute, in the place of one of this name.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(own, _)| is_name(own, name)) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        // Of an ad that was received the last of a name counts.
        let last = self.0.iter().rev().find(|(own, _)| is_name(own, name));
        last.map(|(_, value)| value)
    }

    /// Value of an attribute that is a string.
    #[must_use]
    pub fn string(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Value of an attribute that is an integer.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// Names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Number of attributes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without attributes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds it to a message.
    pub(crate) fn encode(&self, to: &mut Encoder) -> Result<(), Fault> {
        to.length(self.0.len());
        for (name, value) in &self.0 {
            if !is_valid_name(name) {
                return Err(Fault::NotSent(
                    "an attribute's name is not one of HTCondor's",
                ));
            }
            to.string(&format!("{name} = {}", value.literal()?))?;
        }
        to.string("")?;
        to.string("")
    }

    /// Adds it to a message of a negotiation, where the other side takes literals only, in a bounded
    /// number.
    pub(crate) fn encode_negotiated(&self, to: &mut Encoder) -> Result<(), Fault> {
        let literal = |(_, value): &(String, Value)| !matches!(value, Value::Expression(_));
        if self.0.len() > MOST_NEGOTIATED || !self.0.iter().all(literal) {
            return Err(Fault::NotSent(
                "an ad of a negotiation holds 100 literals at most",
            ));
        }
        self.encode(to)
    }

    /// The next ad of a message.
    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Self, Fault> {
        let count = from.integer()?;
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MOST_RECEIVED)
            .ok_or(Fault::TooLarge("an ad of more than 10,000 attributes"))?;
        let mut ad = Self::new();
        for _ in 0..count {
            let line = match from.string()? {
                SECRET_MARKER => from.string()?,
                line => line,
            };
            let line = readable(line);
            let Some((name, value)) = line.split_once('=') else {
                return Err(Fault::Malformed("an attribute without a value"));
            };
            ad.0.push((name.trim().to_owned(), Value::read(value.trim())));
        }
        for name in ["MyType", "TargetType"] {
            let text = readable(from.string()?);
            if !text.is_empty() && text != "(unknown type)" && ad.get(name).is_none() {
                ad.set(name, text.as_ref());
            }
        }
        Ok(ad)
    }
}

/// Shows names only: values may be secrets of others.
impl fmt::Debug for Ad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.iter().map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

fn is_name(own: &str, name: &str) -> bool {
    own.eq_ignore_ascii_case(name)
}

fn is_valid_name(name: &str) -> bool {
    let mut letters = name.bytes();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == b'_')
}

/// The text, or (when it is no UTF-8) its ASCII with `?` for the rest: no longer than the bytes.
fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes
            .iter()
            .map(|byte| {
                if byte.is_ascii() {
                    char::from(*byte)
                } else {
                    '?'
                }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
