//! The setting `CREDMON_HTVAULT_COPIES`: `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::model::{CredentialId, TokenCopy};

/// Looks up users and groups.
pub(super) trait Names {
    /// Number and main group of a user.
    fn user(&self, name: &str) -> Option<(u32, u32)>;
    /// Number of a group.
    fn group(&self, name: &str) -> Option<u32>;
}

/// Users and groups of this system.
pub(super) struct SystemNames;

impl Names for SystemNames {
    fn user(&self, name: &str) -> Option<(u32, u32)> {
        let user = User::from_name(name).ok().flatten()?;
        Some((user.uid.as_raw(), user.gid.as_raw()))
    }

    fn group(&self, name: &str) -> Option<u32> {
        Some(Group::from_name(name).ok().flatten()?.gid.as_raw())
    }
}

/// Parses the setting; returns what cannot be used, too.
pub(super) fn parse(text: &str, names: &impl Names) -> (Vec<TokenCopy>, Vec<String>) {
    let mut copies: Vec<TokenCopy> = Vec::new();
    let mut faults = Vec::new();
    for entry in text
        .split([';', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        match parse_one(entry, names) {
            Ok(copy) if copies.iter().any(|other| other.path == copy.path) => {
                faults.push(format!("{entry:?}: two copies would go to one file"));
            }
            Ok(copy) => copies.push(copy),
            Err(why) => faults.push(format!("{entry:?}: {why}")),
        }
    }
    (copies, faults)
}

fn parse_one(entry: &str, names: &impl Names) -> Result<TokenCopy, String> {
    const FORM: &str = "expected USER/SERVICE PATH [OWNER[:GROUP] [MODE]]";
    let mut words = entry.split_whitespace();
    let (id, path) = words.next().zip(words.next()).ok_or(FORM)?;
    let (owner, mode) = (words.next(), words.next());
    if words.next().is_some() {
        return Err(FORM.to_owned());
    }
    let (user, service) = id.split_once('/').ok_or(FORM)?;
    let id = CredentialId::new(&user.into(), service).ok_or(FORM)?;
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("the path must begin with / and name a file".to_owned());
    }
    let find_owner = |owner: &str| {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let (user, main) = names.user(user).ok_or(format!("there is no user {user}"))?;
        let group = match group {
            "" => main,
            name => names
                .group(name)
                .ok_or(format!("there is no group {name}"))?,
        };
        Ok::<_, String>((user, group))
    };
    let mode = match mode.map(|mode| u32::from_str_radix(mode, 8)) {
        None => 0o400,
        // A bearer token is never for everybody.
        Some(Ok(bits)) if bits & !0o660 == 0 => bits,
        Some(_) => return Err("the mode must be one such as 0400 or 0440".to_owned()),
    };
    Ok(TokenCopy {
        id,
        path: path.to_owned(),
        owner: owner.map(find_owner).transpose()?,
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Names for Known {
        fn user(&self, name: &str) -> Option<(u32, u32)> {
            (name == "crab").then_some((12_345, 54_321))
        }

        fn group(&self, name: &str) -> Option<u32> {
            (name == "agents").then_some(777)
        }
    }

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let (copies, faults) = parse(
            "u/cms /run/a; u/dune /run/b crab 0440;\nv/cms /run/c crab:agents;
             u/cms relative; u /run/d; u/cms /run/e nobody-knows; u/cms /run/f crab:none;
             u/cms /run/g crab 0444; u/cms /run/h crab 0400 x; u/cms /run/a; u/cms /",
            &Known,
        );
        let read: Vec<_> = copies
            .iter()
            .map(|c| (c.id.to_string(), c.owner.map(|o| o.1), c.mode))
            .collect();
        assert_eq!(
            read,
            [
                ("u/cms".to_owned(), None, 0o400),
                ("u/dune".to_owned(), Some(54_321), 0o440),
                ("v/cms".to_owned(), Some(777), 0o400),
            ]
        );
        assert_eq!(faults.len(), 8, "{faults:?}");
    }
}
