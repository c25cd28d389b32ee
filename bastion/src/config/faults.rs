//! Faults of a configuration: all that can be found at once, one line each.
//!
//! A line reads `file:line:column: path: what is wrong, what to do`, so that editors jump to it.
//! Always true: each fault has a place, and no text of a file is printed unescaped.

use std::fmt;
use std::sync::Arc;

use htvault::text::printable;

use crate::model::names::suggestion;

/// Characters of a file's name or a path of keys in a message.
const NAME_LIMIT: usize = 300;
/// Characters of a description in a message.
const MESSAGE_LIMIT: usize = 1000;
/// Faults or warnings of one kind that log and status name.
const NAMED: usize = 50;

/// Position in a configuration file, with the path of keys that leads to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    /// File, as named on the command line.
    pub(crate) file: Arc<str>,
    /// Line and column, from 1; `(0, 0)` for the whole file.
    pub(crate) line: u64,
    pub(crate) column: u64,
    /// Path of keys, `accounts.crabtw.keytab`; empty for the whole file.
    pub(crate) path: String,
}

impl Position {
    /// Position of a key that is missing from a file, or of the file itself when `path` is empty.
    pub(crate) fn file(file: &str, path: &str) -> Self {
        Self {
            file: Arc::from(file),
            line: 0,
            column: 0,
            path: path.to_owned(),
        }
    }
}

/// `file:line:column`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&printable(&self.file, NAME_LIMIT))?;
        if self.line == 0 {
            return Ok(());
        }
        write!(f, ":{}:{}", self.line, self.column)
    }
}

/// Handle of a [`Position`] in [`Faults`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) place: Place,
}

/// One fault or warning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    position: Position,
    /// Description and advice.
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.position)?;
        if !self.position.path.is_empty() {
            write!(f, "{}: ", printable(&self.position.path, NAME_LIMIT))?;
        }
        f.write_str(&printable(&self.message, MESSAGE_LIMIT))
    }
}

/// The first of faults or warnings (`what`), as the log and the status name them, and the number of the others: a mistake in
/// `defaults` is one of each account.
pub(crate) fn first_of(mut lines: Vec<String>, what: &str) -> Vec<String> {
    let others = lines.len().saturating_sub(NAMED);
    lines.truncate(NAMED);
    if others > 0 {
        let plural = if others == 1 { "" } else { "s" };
        lines.push(format!(
            "{others} more {what}{plural}, which `token-bastion check` prints"
        ));
    }
    lines
}

/// The faults of a configuration, in the order of the files; as an error never empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    positions: Vec<Position>,
    all: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Faults {
    /// Adds a place that faults may have.
    pub(crate) fn place(&mut self, position: Position) -> Place {
        self.positions.push(position);
        Place(u32::try_from(self.positions.len() - 1).unwrap_or(u32::MAX))
    }

    /// Position of a place.
    pub(crate) fn position(&self, place: Place) -> Position {
        let position = usize::try_from(place.0).ok();
        let position = position.and_then(|index| self.positions.get(index));
        position
            .cloned()
            .unwrap_or_else(|| Position::file("configuration", ""))
    }

    /// Adds a fault: what is wrong, and what to do.
    pub(crate) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.add_at(self.position(place), message);
    }

    /// Adds a fault at a position that only this fault has.
    pub(crate) fn add_at(&mut self, position: Position, message: impl Into<String>) {
        let message = message.into();
        self.all.push(Fault { position, message });
    }

    /// Adds a warning: allowed, and probably a mistake.
    pub(crate) fn warn(&mut self, place: Place, message: impl Into<String>) {
        self.warn_at(self.position(place), message);
    }

    /// Adds a warning at a position that only this warning has.
    pub(crate) fn warn_at(&mut self, position: Position, message: impl Into<String>) {
        let message = message.into();
        self.warnings.push(Fault { position, message });
    }

    /// Removes and returns the warnings.
    pub(crate) fn take_warnings(&mut self) -> Vec<Fault> {
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.sort();
        warnings.dedup();
        warnings
    }

    /// Returns true when there is no fault.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Iterates over the faults.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.all.iter()
    }

    /// Returns the value when there is no fault, else the faults.
    pub(crate) fn or<T>(mut self, value: Option<T>) -> Result<T, Self> {
        self.positions = Vec::new();
        self.all.sort();
        self.all.dedup();
        match value {
            Some(value) if self.all.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.all.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Faults {}

/// Returns `did you mean "NAME"?`, or the list of known names when none is similar.
pub(crate) fn hint<'a>(typed: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    suggestion(typed, known.clone()).unwrap_or_else(|| {
        let known: Vec<&str> = known.into_iter().collect();
        format!("known are {}", known.join(", "))
    })
}
