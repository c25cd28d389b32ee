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

/// State of a keytab file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keytab {
    /// Permission bits.
    pub(crate) mode: u32,
    /// `None` for a format that is not examined here.
    pub(crate) entries: Option<Entries>,
}

/// Entries of a keytab that have a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Principals as Kerberos writes them, `NAME/PART@REALM`.
    pub(crate) principals: BTreeSet<String>,
    /// Damage that ends the list early.
    pub(crate) damage: Option<Damage>,
}

/// Damage of a keytab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The file is empty.
    Empty,
    /// It does not begin like a keytab.
    NoKeytab,
    /// It ends within an entry.
    Truncated,
    /// An entry contradicts itself.
    Garbled,
}

impl Damage {
    /// Words for a person.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Empty => "it is empty",
            Self::NoKeytab => "it is not a keytab",
            Self::Truncated => "it is truncated",
            Self::Garbled => "it is damaged",
        }
    }
}

/// Reads a keytab. Blocks.
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
    let mut entries = Entries::default();
    let rest = match content {
        [5, 1, ..] => return None,
        [5, 2, rest @ ..] => rest,
        [] => {
            entries.damage = Some(Damage::Empty);
            return Some(entries);
        }
        [5] => {
            entries.damage = Some(Damage::Truncated);
            return Some(entries);
        }
        _ => {
            entries.damage = Some(Damage::NoKeytab);
            return Some(entries);
        }
    };
    let mut input = Input(rest);
    while !input.0.is_empty() {
        match next(&mut input) {
            Ok(Next::Principal(principal)) => {
                entries.principals.insert(principal);
            }
            Ok(Next::Hole) => {}
            Ok(Next::End) => break,
            Err(damage) => {
                entries.damage = Some(damage);
                break;
            }
        }
    }
    Some(entries)
}

enum Next {
    Principal(String),
    Hole,
    End,
}

fn next(input: &mut Input<'_>) -> Result<Next, Damage> {
    let length = input.take::<4>().ok_or(Damage::Truncated)?;
    let length = i32::from_be_bytes(length);
    if length == 0 {
        return Ok(Next::End);
    }
    let size = usize::try_from(length.unsigned_abs()).map_err(|_| Damage::Garbled)?;
    let entry = input.bytes(size).ok_or(Damage::Truncated)?;
    if length < 0 {
        return Ok(Next::Hole);
    }
    let principal = principal(&mut Input(entry)).ok_or(Damage::Garbled)?;
    Ok(Next::Principal(principal))
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

/// Bytes that are not read yet.
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
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    /// An entry with a key of 32 bytes.
    fn entry(principal: &str) -> Vec<u8> {
        let (name, realm) = principal.rsplit_once('@').unwrap();
        let components: Vec<&str> = name.split('/').collect();
        let mut entry = u16::try_from(components.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        entry.extend(counted(realm.as_bytes()));
        for component in components {
            entry.extend(counted(component.as_bytes()));
        }
        // Name type, time, version, key type.
        entry.extend([0, 0, 0, 1, 0x69, 0, 0, 0, 2, 0, 18]);
        entry.extend(counted(&[0xaa; 32]));
        let length = i32::try_from(entry.len()).unwrap();
        [length.to_be_bytes().as_slice(), &entry].concat()
    }

    /// Content of a keytab with a key of each principal.
    pub(crate) fn keytab(principals: &[&str]) -> Vec<u8> {
        let entries = principals.iter().flat_map(|principal| entry(principal));
        [5, 2].into_iter().chain(entries).collect()
    }

    fn read(content: &[u8]) -> (Vec<String>, Option<Damage>) {
        let entries = entries(content).unwrap();
        (entries.principals.into_iter().collect(), entries.damage)
    }

    /// Written by MIT's ktutil 1.20.1: `addent -password -p user/robot@TEST -k 3 -e
    /// aes128-cts-hmac-sha1-96`, the same for `b@TEST` with `-k 300 -e aes256-cts-hmac-sha1-96`, and
    /// `wkt`. The password was `secret`.
    const OF_KTUTIL: &str = "05020000003600020004544553540004757365720005726f626f74000000\
        016b0b68430300110010f8072426312e7c74d01c01f60bf5f8d300000003\
        0000003c0001000454455354000162000000016b0b68432c001200200187\
        93f21246f324fd8126d76aca23791d1427984151f16e13d787202b4fc649\
        0000012c";

    #[test]
    fn a_keytab_of_ktutil_is_read() {
        let digits = OF_KTUTIL.chars().map(|c| c.to_digit(16).unwrap());
        let digits: Vec<u8> = digits.map(|digit| u8::try_from(digit).unwrap()).collect();
        let content: Vec<u8> = digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect();
        let principals = ["b@TEST", "user/robot@TEST"].map(str::to_owned).to_vec();
        assert_eq!(read(&content), (principals, None));
    }

    #[test]
    fn principals_are_read_and_holes_skipped() {
        let mut content = keytab(&["cmsprod@TEST", "cmsprod/bastion/host.test@TEST"]);
        content.extend((-4_i32).to_be_bytes());
        content.extend([1, 2, 3, 4]);
        content.extend(entry("other@TEST"));
        let all = [
            "cmsprod/bastion/host.test@TEST",
            "cmsprod@TEST",
            "other@TEST",
        ];
        assert_eq!(read(&content), (all.map(str::to_owned).to_vec(), None));
        // A length of zero ends it, whatever stands behind.
        content.extend([0, 0, 0, 0, 9, 9]);
        assert_eq!(read(&content), (all.map(str::to_owned).to_vec(), None));
    }

    #[test]
    fn a_version_behind_the_key_is_allowed() {
        let mut content = keytab(&["a@T"]);
        content.extend([0, 0, 0, 3]);
        let length = i32::try_from(content.len() - 6).unwrap();
        content[2..6].copy_from_slice(&length.to_be_bytes());
        assert_eq!(read(&content), (vec!["a@T".to_owned()], None));
    }

    #[test]
    fn characters_with_a_meaning_are_escaped_as_kerberos_does() {
        let mut content = vec![5, 2];
        let mut body = vec![0, 1];
        body.extend(counted(b"T"));
        body.extend(counted(b"a/b@c\\"));
        body.extend([0; BEHIND_PRINCIPAL]);
        content.extend(i32::try_from(body.len()).unwrap().to_be_bytes());
        content.extend(body);
        assert_eq!(read(&content), (vec![r"a\/b\@c\\@T".to_owned()], None));
    }

    #[test]
    fn damage_is_named() {
        let whole = keytab(&["a@T", "b@T"]);
        for (content, principals, damage) in [
            (&[][..], 0, Some(Damage::Empty)),
            (b"no keytab", 0, Some(Damage::NoKeytab)),
            (&whole[..1], 0, Some(Damage::Truncated)),
            (&whole[..2], 0, None),
            (&whole[..4], 0, Some(Damage::Truncated)),
            (&whole[..whole.len() - 1], 1, Some(Damage::Truncated)),
            (&[5, 2, 0, 0, 0, 2, 0, 1], 0, Some(Damage::Garbled)),
            (&[5, 2, 0x80, 0, 0, 0], 0, Some(Damage::Truncated)),
        ] {
            let read = read(content);
            assert_eq!((read.0.len(), read.1), (principals, damage), "{content:?}");
        }
        assert_eq!(entries(&[5, 1, 0, 0]), None, "left to the library");
    }

    proptest! {
        #[test]
        fn nothing_panics(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = entries(&content);
            let _ = entries(&[&[5, 2], content.as_slice()].concat());
        }
    }
}
