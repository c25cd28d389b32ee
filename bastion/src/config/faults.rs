//! What is wrong with a configuration: each fault one line, all that can be found in one go.
//!
//! A line reads `file:line:column: path: what is wrong, what to do`, so that editors jump to it.

use std::fmt;
use std::sync::Arc;

use htvault::text::printable;

/// Characters of a file's name or a path of keys in a message.
const NAME_LIMIT: usize = 300;
/// Characters of a description in a message.
const WHAT_LIMIT: usize = 1000;

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// The file as it was named.
    pub file: Arc<str>,
    /// Line, from 1; 0 for the whole file.
    pub line: u64,
    /// Column, from 1; 0 for the whole file.
    pub column: u64,
}

impl At {
    /// A whole file.
    #[must_use]
    pub fn file(file: &str) -> Self {
        Self {
            file: Arc::from(file),
            line: 0,
            column: 0,
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.file, NAME_LIMIT))?;
        if self.line == 0 {
            Ok(())
        } else {
            write!(f, ":{}:{}", self.line, self.column)
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    at: At,
    /// Path of keys, `accounts.crabtw.keytab`; empty for the whole file.
    path: String,
    what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", printable(&self.path, NAME_LIMIT))?;
        }
        f.write_str(&printable(&self.what, WHAT_LIMIT))
    }
}

/// The faults of a configuration; as an error never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    faults: Vec<Fault>,
    /// What is allowed and probably not meant.
    warnings: Vec<Fault>,
}

impl Faults {
    /// Adds a fault: where, which key, and what is wrong with what to do.
    pub fn add(&mut self, at: &At, path: &str, what: impl Into<String>) {
        self.faults.push(Fault {
            at: at.clone(),
            path: path.to_owned(),
            what: what.into(),
        });
    }

    /// Adds what is allowed and probably not meant.
    pub fn warn(&mut self, at: &At, path: &str, what: impl Into<String>) {
        self.warnings.push(Fault {
            at: at.clone(),
            path: path.to_owned(),
            what: what.into(),
        });
    }

    /// Takes the warnings out, in the order of the files.
    pub fn take_warnings(&mut self) -> Vec<Fault> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort();
        warnings.dedup();
        warnings
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// The value when there is no fault, else the faults in the order of the files.
    ///
    /// # Errors
    /// The faults, if there are any.
    pub fn or<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.faults.sort();
        self.faults.dedup();
        match value {
            Some(value) if self.faults.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The name among `known` that was probably meant by `typed`, if one is near enough.
#[must_use]
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = typed.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (distance(&folded, name), name))
        .filter(|(distance, name)| *distance * 3 <= name.len().max(3))
        .min()
        .map(|(_, name)| name)
}

/// `" (did you mean NAME?)"`, or the names there are when none is near.
pub(crate) fn hint<'a>(typed: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = nearest(typed, known.clone()) {
        return format!("did you mean {name:?}?");
    }
    let known: Vec<&str> = known.into_iter().collect();
    format!("known are {}", known.join(", "))
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    let mut previous_char = None;
    for (row, a) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        let mut previous_other = None;
        for (column, b) in to.iter().enumerate() {
            let get = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX);
            let mut best = (get(&last, column) + usize::from(a != b))
                .min(get(&last, column + 1) + 1)
                .min(get(&next, column) + 1);
            if previous_char == Some(b) && previous_other == Some(a) && column > 0 {
                best = best.min(get(&before_last, column - 1).saturating_add(1));
            }
            next.push(best);
            previous_other = Some(b);
        }
        before_last = std::mem::replace(&mut last, next);
        previous_char = Some(a);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_finger_are_recognised() {
        let known = ["lifetime", "renew_below", "keytab"];
        for (typed, meant) in [
            ("lifetme", Some("lifetime")),
            ("renew-below", Some("renew_below")),
            ("Keytab", Some("keytab")),
            ("ketyab", Some("keytab")),
            ("listen", None),
        ] {
            assert_eq!(nearest(typed, known), meant, "{typed}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }
}
