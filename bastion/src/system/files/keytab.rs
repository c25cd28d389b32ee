//! Principals of a keytab, for checks that need no KDC.
//!
//! The format is documented by MIT: <https://web.mit.edu/kerberos/krb5-latest/doc/formats/keytab_file_format.html>.
//! A file begins with the bytes 5 and 2. Entries follow, each a signed 32 bit length and that many bytes; a
//! negative length is a hole that is skipped, and a length of zero ends the file. An entry has a 16 bit
//! count of components, the realm and the components (each a 16 bit length and so many bytes), then name
//! type, time, key version and the key. All numbers are big-endian. Keys are skipped, never stored.
//!
//! Files of version 1, in the byte order of the host that wrote them, are no longer made; they are
//! left to the Kerberos library.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::plain::{self, ReadError};

/// Limit for a keytab's size: room for thousands of keys, of some 100 bytes each.
pub(crate) const LIMIT: u64 = 1 << 20;

/// Bytes of an entry behind its principal, without the key: name type, time, version, key type, length.
const BEHIND_PRINCIPAL: usize = 4 + 4 + 1 + 2 + 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keytab {
    pub(crate) mode: u32,
    /// `None` for a format that is not examined here.
    pub(crate) entries: Option<Entries>,
}

/// Entries of a keytab that have a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Principals as Kerberos writes them, `NAME/PART@REALM`.
    pub(crate) principals: BTreeSet<String>,
    /// Damage that ends the list early, in words for a person.
    pub(crate) damage: Option<&'static str>,
}

const TRUNCATED: &str = "it is truncated";
const GARBLED: &str = "it is damaged";

pub(crate) fn read(path: &Path) -> Result<Keytab, ReadError> {
    let file = plain::open(path)?;
    let content = plain::read_from(&file, LIMIT)?;
    Ok(Keytab {
        mode: file.metadata()?.mode() & 0o7777,
        entries: entries(&content),
    })
}

/// Entries of a keytab's content; `None` for version 1.
fn entries(content: &[u8]) -> Option<Entries> {
    let mut principals = BTreeSet::new();
    let read = match content {
        [5, 1, ..] => return None,
        [5, 2, rest @ ..] => read_all(rest, &mut principals),
        [5] => Err(TRUNCATED),
        [] => Err("it is empty"),
        _ => Err("it is not a keytab"),
    };
    let damage = read.err();
    Some(Entries { principals, damage })
}

/// Reads the principals of all entries; an error is damage that ends the list early.
fn read_all(content: &[u8], principals: &mut BTreeSet<String>) -> Result<(), &'static str> {
    let mut input = Input(content);
    while !input.0.is_empty() {
        let length = i32::from_be_bytes(input.take().ok_or(TRUNCATED)?);
        if length == 0 {
            break;
        }
        let size = usize::try_from(length.unsigned_abs()).map_err(|_| GARBLED)?;
        let entry = input.bytes(size).ok_or(TRUNCATED)?;
        // A negative length is that of a hole.
        if length > 0 {
            principals.insert(principal(&mut Input(entry)).ok_or(GARBLED)?);
        }
    }
    Ok(())
}

/// Principal of an entry; `None` when the entry is shorter than it says.
fn principal(entry: &mut Input<'_>) -> Option<String> {
    let components = u16::from_be_bytes(entry.take()?);
    let realm = entry.counted()?;
    let mut name = String::new();
    for index in 0..components {
        if index > 0 {
            name.push('/');
        }
        escape(entry.counted()?, &mut name);
    }
    name.push('@');
    escape(realm, &mut name);
    let (_, key) = entry.0.split_at_checked(BEHIND_PRINCIPAL - 2)?;
    // The key itself must be there, too.
    Input(key).counted()?;
    Some(name)
}

/// Writes a part of a principal as Kerberos does, with a backslash before what has a meaning.
fn escape(part: &[u8], name: &mut String) {
    for c in String::from_utf8_lossy(part).chars() {
        match c {
            '/' | '@' | '\\' => name.extend(['\\', c]),
            '\n' => name.push_str("\\n"),
            '\t' => name.push_str("\\t"),
            '\u{8}' => name.push_str("\\b"),
            '\0' => name.push_str("\\0"),
            c => name.push(c),
        }
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    /// Bytes behind their 16 bit count.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let count = u16::from_be_bytes(self.take()?);
        self.bytes(count.into())
    }
}

#[cfg(test)]
pub(crate) mod tests;
