//! The setting `CREDMON_HTVAULT_COPIES`: `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::model::{CredentialId, TokenCopy};

/// Outcome of the look-ups of users and groups, the worst of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LookUps {
    #[default]
    Done,
    /// The system does not know one; perhaps it will.
    Unknown,
    /// The system failed.
    Failed,
}

/// Reason why an entry cannot be used.
#[derive(Debug)]
struct Fault {
    text: String,
    look_ups: LookUps,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            look_ups: LookUps::Done,
        }
    }
}

/// Parses the setting; adds entries that cannot be used to the `faults`, in words.
pub(super) fn parse(text: &str, faults: &mut Vec<String>) -> (Vec<TokenCopy>, LookUps) {
    let (mut copies, mut look_ups) = (Vec::<TokenCopy>::new(), LookUps::Done);
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
        look_ups = look_ups.max(fault.look_ups);
        faults.push(format!("{entry:?}: {}", fault.text));
    }
    (copies, look_ups)
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
    let (text, look_ups) = match found {
        Ok(Some(found)) => return Ok(found),
        Ok(None) => (format!("there is no {kind} {name}"), LookUps::Unknown),
        Err(errno) => {
            let why = errno.desc();
            let text = format!("{kind} {name} cannot be looked up: {why}");
            (text, LookUps::Failed)
        }
    };
    Err(Fault { text, look_ups })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let mut faults = Vec::new();
        let (copies, look_ups) = parse(
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
        assert_eq!(look_ups, LookUps::Unknown);
        let (_, look_ups) = parse("u/cms relative; u/cms /run/a root", &mut faults);
        assert_eq!(look_ups, LookUps::Done);
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
        assert_eq!(fault.look_ups, LookUps::Failed);
        assert!(LookUps::Failed > LookUps::Unknown);
    }
}
