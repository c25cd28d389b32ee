//! Keytabs as MIT's tools write them, and damaged ones.

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

fn read(content: &[u8]) -> (Vec<String>, Option<&'static str>) {
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
        (&[][..], 0, Some("it is empty")),
        (b"no keytab", 0, Some("it is not a keytab")),
        (&whole[..1], 0, Some(TRUNCATED)),
        (&whole[..2], 0, None),
        (&whole[..4], 0, Some(TRUNCATED)),
        (&whole[..whole.len() - 1], 1, Some(TRUNCATED)),
        (&[5, 2, 0, 0, 0, 2, 0, 1], 0, Some(GARBLED)),
        (&[5, 2, 0x80, 0, 0, 0], 0, Some(TRUNCATED)),
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
