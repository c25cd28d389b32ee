//! Values of keys that may be left out, with their places; lists of values, sections, and sections by name.
//!
//! Always true: a faulty value is reported once, and not also as missing ([`Given::is_missing`]).

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use super::faults::{Located, Place};

/// Name by which [`Given`] asks the reader for a place and a value.
pub(crate) const LOCATED: &str = "Located";
/// Name by which [`ByName`] asks the reader for the entries of a map.
pub(crate) const ENTRIES: &str = "Entries";

/// Value of a key.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(with = "T")]
pub(crate) enum Given<T> {
    /// There is no such key.
    #[default]
    Missing,
    /// The reader has added an error to the faults.
    Faulty,
    Valid(Located<T>),
}

/// A section; an empty one when the key is missing, or its value is faulty.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(with = "T")]
pub(crate) struct Section<T> {
    value: T,
    /// `None` when the key is missing, or its value is faulty.
    pub(crate) place: Option<Place>,
}

/// One value, or a list of values, without faulty ones.
#[derive(Clone, Debug)]
pub(crate) struct Several<T> {
    pub(crate) items: Vec<Located<T>>,
    is_faulty: bool,
}

/// Sections by name, in the order of the files.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Entries<T>", bound = "T: Deserialize<'de> + Default")]
pub(crate) struct ByName<T>(pub(crate) Vec<(Located<String>, T)>);

impl<T> Given<T> {
    /// The value.
    pub(crate) fn get(&self) -> Option<&T> {
        self.located().map(|located| &located.value)
    }

    /// The value with its place.
    pub(crate) fn located(&self) -> Option<&Located<T>> {
        match self {
            Self::Valid(located) => Some(located),
            Self::Missing | Self::Faulty => None,
        }
    }

    fn valid(self) -> Option<Located<T>> {
        match self {
            Self::Valid(located) => Some(located),
            Self::Missing | Self::Faulty => None,
        }
    }

    /// Place of the value.
    pub(crate) fn place(&self) -> Option<Place> {
        self.located().map(|located| located.place)
    }

    /// Returns true when the key is missing; false when its value is faulty.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// This key, or else the one of an outer level.
    pub(crate) fn or<'a>(&'a self, outer: &'a Self) -> &'a Self {
        if self.is_missing() { outer } else { self }
    }
}

impl<T> Deref for Section<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Given<Several<T>> {
    /// The valid values, of a list or alone.
    pub(crate) fn items(&self) -> &[Located<T>] {
        self.get().map_or(&[], |several| &several.items)
    }

    /// Returns true when there is no value, not even a faulty one.
    pub(crate) fn is_empty(&self) -> bool {
        let is_empty = |several: &Several<T>| several.items.is_empty() && !several.is_faulty;
        self.is_missing() || self.get().is_some_and(is_empty)
    }
}

impl<T> Given<ByName<T>> {
    /// Names and their sections.
    pub(crate) fn entries(&self) -> &[(Located<String>, T)] {
        self.get().map_or(&[], |named| &named.0)
    }

    /// Returns true when there is no name, and the value is not faulty.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_missing() || self.get().is_some_and(|named| named.0.is_empty())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct GivenVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for GivenVisitor<T> {
            type Value = Given<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a place and a value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut pair: A) -> Result<Given<T>, A::Error> {
                let place = Place(pair.next_key()?.unwrap_or_default());
                let valid = |value| Given::Valid(Located { value, place });
                Ok(pair.next_value().map_or(Given::Faulty, valid))
            }
        }

        input.deserialize_newtype_struct(LOCATED, GivenVisitor(PhantomData))
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let valid = Given::<T>::deserialize(input)?.valid();
        let (value, place) = valid.map(|located| (located.value, located.place)).unzip();
        let value = value.unwrap_or_default();
        Ok(Self { value, place })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let items = Vec::<Given<T>>::deserialize(input)?;
        Ok(Self {
            is_faulty: items.iter().any(|item| matches!(item, Given::Faulty)),
            items: items.into_iter().filter_map(Given::valid).collect(),
        })
    }
}

/// Entries of a map, as the reader gives them for this name.
#[derive(Deserialize)]
#[serde(bound = "T: Deserialize<'de> + Default")]
struct Entries<T>(Vec<(Given<String>, Section<T>)>);

impl<T> From<Entries<T>> for ByName<T> {
    fn from(entries: Entries<T>) -> Self {
        // A faulty section keeps its name, which others may refer to.
        let named = entries.0.into_iter();
        let named = named.filter_map(|(name, section)| Some((name.valid()?, section.value)));
        Self(named.collect())
    }
}
