//! A JSON body with its fields in the order they were sent, and with what differs from one answer
//! to the next (identifiers, tokens, times) reduced to its form. Pure.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// A JSON value whose fields keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Shape>),
    /// An object.
    Fields(Vec<(String, Shape)>),
}

/// Fields whose value is another in each answer.
const VOLATILE: [&str; 15] = [
    "request_id",
    "client_token",
    "accessor",
    "entity_id",
    "access_token",
    "expire_time",
    "issue_time",
    "creation_time",
    "id",
    "server_time_utc",
    "cluster_name",
    "cluster_id",
    "nonce",
    "state",
    "oauth2_refresh_token",
];

impl Shape {
    /// The value as it was sent.
    pub fn of(body: &str) -> Result<Self, String> {
        serde_json::from_str(body).map_err(|error| format!("the body is no JSON: {error}"))
    }

    /// The same with what is another in each answer reduced to its form.
    #[must_use]
    pub fn reduced(self) -> Self {
        let Self::Fields(fields) = self else {
            return self;
        };
        let reduce = |(name, value): (String, Self)| {
            let value = if VOLATILE.contains(&name.as_str()) {
                value.form(&name)
            } else {
                value.reduced()
            };
            (name, value)
        };
        Self::Fields(fields.into_iter().map(reduce).collect())
    }

    /// What kind of value it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Fields(_) => "an object",
        }
    }

    /// The form of a value, in words.
    fn form(self, name: &str) -> Self {
        let form = match &self {
            Self::Text(text) if text.is_empty() => "nothing",
            Self::Text(text) if name.ends_with("_time") => {
                let is_time = text.parse::<jiff::Timestamp>().is_ok();
                if is_time && text.ends_with('Z') {
                    "a time"
                } else {
                    "a time that is not in UTC"
                }
            }
            Self::Text(text) if is_uuid(text) => "a UUID",
            Self::Text(text) if text.starts_with("s.") => "a service token",
            Self::Text(text) if text.starts_with("b.") => "a batch token",
            Self::Text(text) if text == "<jwt>" || text.split('.').count() == 3 => "a JWT",
            Self::Text(text) if name == "accessor" && text.len() == 24 => "an accessor",
            Self::Text(text) if text.starts_with("vault-cluster-") => "a cluster",
            Self::Text(text) if text.starts_with("st_") => "a state",
            Self::Text(_) if name == "oauth2_refresh_token" => "a refresh token",
            Self::Text(_) => "a text of another form",
            Self::Number(_) => "a number",
            _ => return self,
        };
        Self::Text(form.to_owned())
    }
}

fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Ordered)
    }
}

struct Ordered;

impl<'de> Visitor<'de> for Ordered {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without fractions")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        Ok(Shape::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        Ok(Shape::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Number(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Shape, E> {
        let number = i64::try_from(value).map_err(E::custom)?;
        Ok(Shape::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        Ok(Shape::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Shape::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut fields: Vec<(String, Shape)> = Vec::new();
        while let Some((name, value)) = map.next_entry()? {
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(A::Error::custom(format!("the field {name} is there twice")));
            }
            fields.push((name, value));
        }
        Ok(Shape::Fields(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_reduced_to_its_form() {
        let one = Shape::of(r#"{"id":"s.abc","ttl":5,"meta":{"state":"st_1"}}"#).unwrap();
        let two = Shape::of(r#"{"id":"s.xyz","ttl":5,"meta":{"state":"st_2"}}"#).unwrap();
        assert_ne!(one, two);
        assert_eq!(one.reduced(), two.reduced());
        let batch = Shape::of(r#"{"id":"b.xyz"}"#).unwrap().reduced();
        assert_ne!(batch, Shape::of(r#"{"id":"s.xyz"}"#).unwrap().reduced());
    }

    #[test]
    fn the_order_of_fields_matters() {
        assert_ne!(Shape::of(r#"{"a":1,"b":2}"#), Shape::of(r#"{"b":2,"a":1}"#));
        assert!(Shape::of(r#"{"a":1,"a":2}"#).is_err());
        assert!(Shape::of("<html>").is_err());
    }
}
