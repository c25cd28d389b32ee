//! The setting `CREDMON_HTVAULT_COPIES`: `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`.

use std::path::Path;

use nix::unistd::{Group, User};

use crate::model::{CredentialId, TokenCopy};

/// Parses the setting; returns what cannot be used, too.
pub(super) fn parse(text: &str) -> (Vec<TokenCopy>, Vec<String>) {
    let mut copies: Vec<TokenCopy> = Vec::new();
    let mut faults = Vec::new();
    for entry in text
        .split([';', '\n'])
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        match parse_one(entry) {
            Ok(copy) if copies.iter().any(|other| other.path == copy.path) => {
                faults.push(format!("{entry:?}: two copies would go to one file"));
            }
            Ok(copy) => copies.push(copy),
            Err(why) => faults.push(format!("{entry:?}: {why}")),
        }
    }
    (copies, faults)
}

fn parse_one(entry: &str) -> Result<TokenCopy, String> {
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
        let found = User::from_name(user).ok().flatten();
        let user = found.ok_or(format!("there is no user {user}"))?;
        let group = match group {
            "" => user.gid,
            name => {
                let found = Group::from_name(name).ok().flatten();
                found.ok_or(format!("there is no group {name}"))?.gid
            }
        };
        Ok::<_, String>((user.uid.as_raw(), group.as_raw()))
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

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let (copies, faults) = parse(
            "u/cms /run/a; u/dune /run/b root 0440;\nv/cms /run/c root:daemon;
             u/cms relative; u /run/d; u/cms /run/e nobody-knows; u/cms /run/f root:nobody-knows;
             u/cms /run/g root 0444; u/cms /run/h root 0400 x; u/cms /run/a; u/cms /",
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
    }
}
