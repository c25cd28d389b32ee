//! A JSON body with its fields in the order they were sent, and with what differs from one answer
//! to the next (identifiers, tokens, times) reduced to its form.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<Shape>),
    Fields(Vec<(String, Shape)>),
}

/// Fields whose value is another in each answer.
const VOLATILE: [&str; 13] = [
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
];

impl Shape {
    pub fn of(body: &str) -> Self {
        let exact: Self = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        exact.reduced()
    }

    fn reduced(self) -> Self {
        match self {
            Self::Fields(fields) => Self::Fields(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let value = if VOLATILE.contains(&name.as_str()) {
                            value.form(&name)
                        } else {
                            value.reduced()
                        };
                        (name, value)
                    })
                    .collect(),
            ),
            other => other,
        }
    }

    /// What kind of value it is, in words.
    fn form(self, name: &str) -> Self {
        let form = match &self {
            Self::Text(text) if text.is_empty() => "nothing",
            Self::Text(text) if name.ends_with("_time") => {
                let time: jiff::Timestamp = text.parse().unwrap();
                assert!(text.ends_with('Z'), "{time} is not written in UTC");
                "a time"
            }
            Self::Text(text) if is_uuid(text) => "a UUID",
            Self::Text(text) if text.starts_with("s.") => "a service token",
            Self::Text(text) if text.starts_with("b.") => "a batch token",
            Self::Text(text) if text == "<jwt>" || text.split('.').count() == 3 => "a JWT",
            Self::Text(text) if name == "accessor" && text.len() == 24 => "an accessor",
            Self::Text(text) if text.starts_with("vault-cluster-") => "a cluster",
            Self::Text(text) => panic!("{name} has a form not known: {text}"),
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
        struct Ordered;
        impl<'de> Visitor<'de> for Ordered {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
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
            fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
                Ok(Shape::Number(value.try_into().unwrap()))
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
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Shape::Fields(fields))
            }
        }
        deserializer.deserialize_any(Ordered)
    }
}
