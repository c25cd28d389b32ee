//! The setting `CREDMON_HTVAULT_COPIES`: `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::model::{CredentialId, TokenCopy};

/// Reason why an entry cannot be used.
#[derive(Debug)]
struct Fault {
    text: String,
    /// Its owner is unknown, or cannot be looked up.
    has_unknown_owner: bool,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            has_unknown_owner: false,
        }
    }
}

/// Parses the setting; adds entries that cannot be used to the `faults`, in words. Returns `true` with the copies when one
/// of these is such because of its owner.
pub(super) fn parse(text: &str, faults: &mut Vec<String>) -> (Vec<TokenCopy>, bool) {
    let (mut copies, mut has_unknown_owners) = (Vec::<TokenCopy>::new(), false);
    let entries = text.split([';', '\n']).map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let fault = match parse_one(entry) {
            Ok(copy) if copies.iter().any(|other| other.path == copy.path) => {
                "two copies would go to one file".into()
            }
            Ok(copy) => {
                copies.push(copy);
                continue;
            }
            Err(fault) => fault,
        };
        has_unknown_owners |= fault.has_unknown_owner;
        faults.push(format!("{entry:?}: {}", fault.text));
    }
    (copies, has_unknown_owners)
}

fn parse_one(entry: &str) -> Result<TokenCopy, Fault> {
    const FORM: &str = "expected USER/SERVICE PATH [OWNER[:GROUP] [MODE]]";
    let mut words = entry.split_whitespace();
    let (id, path) = words.next().zip(words.next()).ok_or(FORM)?;
    let (owner, mode) = (words.next(), words.next());
    if words.next().is_some() {
        return Err(FORM.into());
    }
    let (user, service) = id.split_once('/').ok_or(FORM)?;
    let id = CredentialId::new(&user.into(), service).ok_or(FORM)?;
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("the path must begin with / and name a file".into());
    }
    let find_owner = |owner: &str| {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let user = looked_up(User::from_name(user), "user", user)?;
        let group = match group {
            "" => user.gid,
            name => looked_up(Group::from_name(name), "group", name)?.gid,
        };
        Ok::<_, Fault>((user.uid.as_raw(), group.as_raw()))
    };
    let mode = match mode.map(|mode| u32::from_str_radix(mode, 8)) {
        None => 0o400,
        // A bearer token is never for everybody.
        Some(Ok(bits)) if bits & !0o660 == 0 => bits,
        Some(_) => return Err("the mode must be one such as 0400 or 0440".into()),
    };
    Ok(TokenCopy {
        id,
        path: path.to_owned(),
        owner: owner.map(find_owner).transpose()?,
        mode,
    })
}

/// The user or group that was looked up.
fn looked_up<T>(found: nix::Result<Option<T>>, kind: &str, name: &str) -> Result<T, Fault> {
    let text = match found {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => format!("there is no {kind} {name}"),
        Err(errno) => format!("{kind} {name} cannot be looked up: {}", errno.desc()),
    };
    Err(Fault {
        text,
        has_unknown_owner: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let mut faults = Vec::new();
        let (copies, has_unknown_owners) = parse(
            "u/cms /run/a; u/dune /run/b root 0440;\nv/cms /run/c root:daemon;
             u/cms relative; u /run/d; u/cms /run/e nobody-knows; u/cms /run/f root:nobody-knows;
             u/cms /run/g root 0444; u/cms /run/h root 0400 x; u/cms /run/a; u/cms /",
            &mut faults,
        );
        let gid = |group: &str| Some(Group::from_name(group).unwrap().unwrap().gid.as_raw());
        let read: Vec<_> = copies
            .iter()
            .map(|c| (c.id.to_string(), c.owner.map(|o| o.1), c.mode))
            .collect();
        assert_eq!(
            read,
            [
                ("u/cms".to_owned(), None, 0o400),
                ("u/dune".to_owned(), gid("root"), 0o440),
                ("v/cms".to_owned(), gid("daemon"), 0o400),
            ]
        );
        assert_eq!(faults.len(), 8, "{faults:?}");
        assert!(has_unknown_owners);
        let (_, has_unknown_owners) = parse("u/cms relative; u/cms /run/a root", &mut faults);
        assert!(!has_unknown_owners);
    }

    #[test]
    fn a_look_up_that_fails_is_no_word_that_there_is_no_such_user() {
        let failed = looked_up::<()>(Err(nix::errno::Errno::EIO), "user", "u");
        let fault = failed.unwrap_err();
        assert!(
            fault.text.starts_with("user u cannot be looked up: "),
            "{}",
            fault.text
        );
        assert!(fault.has_unknown_owner);
    }
}
