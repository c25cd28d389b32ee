//! The setting `CREDMON_HTVAULT_COPIES`: `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`.

use std::path::Path;

use crate::model::{CopyOwner, CredentialId, TokenCopy};

/// Parses the setting; adds entries that cannot be used to the `faults`, in words.
pub(super) fn parse(text: &str, faults: &mut Vec<String>) -> Vec<TokenCopy> {
    let mut copies = Vec::<TokenCopy>::new();
    let entries = text.split([';', '\n']).map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let fault = match parse_one(entry) {
            Ok(copy) if copies.iter().any(|other| other.path == copy.path) => {
                "two copies would go to one file"
            }
            Ok(copy) => {
                copies.push(copy);
                continue;
            }
            Err(fault) => fault,
        };
        faults.push(format!("{entry:?}: {fault}"));
    }
    copies
}

fn parse_one(entry: &str) -> Result<TokenCopy, &'static str> {
    const FORM: &str = "expected USER/SERVICE PATH [OWNER[:GROUP] [MODE]]";
    let mut words = entry.split_whitespace();
    let (id, path) = words.next().zip(words.next()).ok_or(FORM)?;
    let (owner, mode) = (words.next(), words.next());
    if words.next().is_some() {
        return Err(FORM);
    }
    let (user, service) = id.split_once('/').ok_or(FORM)?;
    let id = CredentialId::new(&user.into(), service).ok_or(FORM)?;
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("the path must begin with / and name a file");
    }
    let owner = owner.map(|owner| {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        CopyOwner {
            user: user.to_owned(),
            group: (!group.is_empty()).then(|| group.to_owned()),
        }
    });
    let mode = match mode.map(|mode| u32::from_str_radix(mode, 8)) {
        None => 0o400,
        // A bearer token is never for everybody.
        Some(Ok(bits)) if bits & !0o660 == 0 => bits,
        Some(_) => return Err("the mode must be one such as 0400 or 0440"),
    };
    Ok(TokenCopy {
        id,
        path: path.to_owned(),
        owner,
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let mut faults = Vec::new();
        let copies = parse(
            "u/cms /run/a; u/dune /run/b root 0440;\nv/cms /run/c root:daemon; v/x /run/d root:
             u/cms relative; u /run/d; u/cms /run/g root 0444; u/cms /run/h root 0400 x;
             u/cms /run/a; u/cms /",
            &mut faults,
        );
        let owner = |owner: CopyOwner| (owner.user, owner.group.unwrap_or_default());
        let read = copies.into_iter().map(|copy| {
            let owner = copy.owner.map(owner).unwrap_or_default();
            (copy.id.to_string(), owner.0, owner.1, copy.mode)
        });
        let read: Vec<_> = read.collect();
        let of = |id: &str, user: &str, group: &str, mode| {
            (id.to_owned(), user.to_owned(), group.to_owned(), mode)
        };
        assert_eq!(
            read,
            [
                of("u/cms", "", "", 0o400),
                of("u/dune", "root", "", 0o440),
                of("v/cms", "root", "daemon", 0o400),
                of("v/x", "root", "", 0o400),
            ]
        );
        assert_eq!(faults.len(), 6, "{faults:?}");
    }
}
