//! Names as people choose schedds by: whole names, and globs.

use std::fmt;

use glob::{MatchOptions, Pattern};

/// A glob over names: `*`, `?` and `[a-c]`; host names have no case, and no part of them is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Pattern);

const RULES: MatchOptions = MatchOptions {
    case_sensitive: false,
    require_literal_separator: false,
    require_literal_leading_dot: false,
};

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// The text is no glob.
    pub fn parse(text: &str) -> Result<Self, String> {
        let refuse = |error: glob::PatternError| format!("{text:?} is no glob: {}", error.msg);
        Pattern::new(text).map(Self).map_err(refuse)
    }

    /// One name and nothing else.
    #[must_use]
    pub fn literal(name: &str) -> Self {
        // What was escaped is always a glob.
        Self(Pattern::new(&Pattern::escape(name)).unwrap_or_default())
    }

    /// Every name.
    #[must_use]
    pub fn all() -> Self {
        Self(Pattern::new("*").unwrap_or_default())
    }

    /// True for the text of a glob, false for a plain name.
    #[must_use]
    pub fn is_glob(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    /// True when it fits the name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches_with(name, RULES)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// A choice of names: those that one of the globs fits, but for those that are taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// One of these fits.
    pub any: Vec<Glob>,
    /// None of these does.
    pub except: Vec<Glob>,
}

impl NameFilter {
    /// Every name.
    #[must_use]
    pub fn all() -> Self {
        Self {
            any: vec![Glob::all()],
            except: Vec::new(),
        }
    }

    /// True when a name is chosen.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.any.iter().any(|glob| glob.matches(name))
            && !self.except.iter().any(|glob| glob.matches(name))
    }
}

impl fmt::Display for NameFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let any = self.any.iter().map(ToString::to_string);
        let except = self.except.iter().map(|glob| format!("!{glob}"));
        let all: Vec<String> = any.chain(except).collect();
        f.write_str(&all.join(" "))
    }
}
