//! Tokens in a credential directory, and which of them live shorter than was promised.
//!
//! What always holds: each file is looked at every ten seconds or so, and again before it is called late.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use htvault::Claims;
use htvault::clock::{Clock as _, SystemClock};

/// Files that are looked at in each step: a part of all.
const PARTS: usize = 10;
/// A token that is due is renewed within so many seconds.
const TOLERANCE: i64 = 10;

/// When a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As it says itself: an access token.
    InToken,
    /// So many seconds after the file was written: a vault token.
    AfterStore(i64),
}

/// Tokens of one sort.
pub(super) struct Tokens {
    files: Vec<Token>,
    end: End,
    /// Seconds that each has left at least.
    promised: i64,
    next: usize,
}

struct Token {
    path: PathBuf,
    /// Inode and time of change of the file that was read.
    identity: Option<(u64, i64, i64)>,
    /// Unix time of its end.
    ends: Option<i64>,
}

/// The state of all.
pub(super) struct Found {
    /// Tokens that have less left than is promised.
    pub(super) late: usize,
    /// Tokens that are not there, or have expired.
    pub(super) missing: usize,
    /// What the one that ends first has left beyond what is promised, in seconds.
    pub(super) least_spare: i64,
}

impl Tokens {
    /// The tokens in these files.
    pub(super) fn new(
        paths: impl IntoIterator<Item = PathBuf>,
        end: End,
        promised: u64,
    ) -> anyhow::Result<Self> {
        let files = paths.into_iter().map(|path| Token {
            path,
            identity: None,
            ends: None,
        });
        let mut made = Self {
            files: files.collect(),
            end,
            promised: i64::try_from(promised)?,
            next: 0,
        };
        for token in &mut made.files {
            token.look(end);
        }
        Ok(made)
    }

    /// Looks at a part of them, and judges all.
    pub(super) fn look(&mut self) -> Found {
        let (end, promised) = (self.end, self.promised);
        let part = self.files.len().div_ceil(PARTS);
        for token in self.files.iter_mut().skip(self.next).take(part) {
            token.look(end);
        }
        self.next += part;
        if self.next >= self.files.len() {
            self.next = 0;
        }
        let now = SystemClock.now().as_second();
        let mut found = Found {
            late: 0,
            missing: 0,
            least_spare: i64::MAX,
        };
        for token in &mut self.files {
            let mut spare = token.spare(now, promised);
            if spare < TOLERANCE {
                token.look(end);
                spare = token.spare(now, promised);
            }
            found.late += usize::from(spare < -TOLERANCE);
            found.missing += usize::from(spare <= -promised);
            found.least_spare = found.least_spare.min(spare);
        }
        found
    }
}

impl Token {
    /// Reads the file, if it is another one than before.
    fn look(&mut self, end: End) {
        let Ok(meta) = fs::symlink_metadata(&self.path) else {
            (self.identity, self.ends) = (None, None);
            return;
        };
        let identity = Some((meta.ino(), meta.ctime(), meta.ctime_nsec()));
        if self.identity == identity {
            return;
        }
        self.ends = match end {
            End::AfterStore(life) => Some(meta.mtime() + life),
            End::InToken => fs::read_to_string(&self.path)
                .ok()
                .and_then(|token| Some(Claims::read(token.trim())?.expires?.as_second())),
        };
        self.identity = identity;
    }

    /// Seconds that it has left beyond what is promised; a missing one has none of what is promised.
    fn spare(&self, now: i64, promised: i64) -> i64 {
        self.ends.map_or(-promised, |ends| ends - now - promised)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_old_ones_are_late() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::write(path(name), "").unwrap();
        }
        let of = |names: &[&str], life: i64| {
            let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
            Tokens::new(paths, End::AfterStore(life), 100).unwrap()
        };
        assert_eq!(of(&["a", "b"], 200).look().late, 0);
        let found = of(&["a", "b", "c"], 200).look();
        assert_eq!((found.late, found.missing), (1, 1));
        let found = of(&["a", "b"], 80).look();
        assert_eq!((found.late, found.missing), (2, 0));
        assert!(
            (-21..=-20).contains(&found.least_spare),
            "{}",
            found.least_spare
        );
    }

    #[test]
    fn another_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cms.use");
        // {"exp":32503680000}, which is far away, and no token.
        fs::write(&path, "e30.eyJleHAiOjMyNTAzNjgwMDAwfQ.c2ln\n").unwrap();
        let mut tokens = Tokens::new([path.clone()], End::InToken, 100).unwrap();
        assert_eq!(tokens.look().late, 0);
        fs::write(path.with_extension("new"), "e30").unwrap();
        fs::rename(path.with_extension("new"), &path).unwrap();
        assert_eq!(tokens.look().late, 1);
    }
}
