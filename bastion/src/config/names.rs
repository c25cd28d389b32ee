//! Names and globs that choose schedds.

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
    /// Parses a name or a glob. The address of a credd (`<...>`) has a `?` and is a name.
    ///
    /// # Errors
    /// The text is no glob.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pattern = if text.starts_with('<') {
            Pattern::new(&Pattern::escape(text))
        } else {
            Pattern::new(text)
        };
        let refuse = |error: glob::PatternError| format!("{text:?} is not a glob: {}", error.msg);
        pattern.map(Self).map_err(refuse)
    }

    /// Returns true for the text of a glob, false for a plain name.
    #[must_use]
    pub fn is_glob(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    /// Returns true when it matches the name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches_with(name, RULES)
    }

    /// The glob as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// Selection of names: those that an included glob matches, and no excluded one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// One of these matches.
    pub include: Vec<Glob>,
    /// None of these does.
    pub exclude: Vec<Glob>,
}

impl NameFilter {
    /// Every name.
    #[must_use]
    pub fn all() -> Self {
        Self {
            include: Glob::parse("*").into_iter().collect(),
            exclude: Vec::new(),
        }
    }

    /// Returns true when an included glob matches.
    #[must_use]
    pub fn includes(&self, name: &str) -> bool {
        self.include.iter().any(|glob| glob.matches(name))
    }

    /// Returns true when an excluded glob matches.
    #[must_use]
    pub fn excludes(&self, name: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(name))
    }

    /// Returns true for a name that is selected.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.includes(name) && !self.excludes(name)
    }
}

impl fmt::Display for NameFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let include = self.include.iter().map(|glob| glob.as_str().to_owned());
        let exclude = self
            .exclude
            .iter()
            .map(|glob| format!("!{}", glob.as_str()));
        let all: Vec<String> = include.chain(exclude).collect();
        f.write_str(&all.join(" "))
    }
}
