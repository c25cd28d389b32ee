//! Copies of access tokens for agents beside the schedd that cannot read the credential directory.
//!
//! A copy follows its `.use`: it is compared after each renewal and at each full look, and replaced
//! when content, owner or mode differ. It is put in place as `.use` is (whole, by a rename, through
//! no link), and stays when the `.use` is gone. A copy that fails is said once and stops nothing.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Group, Uid, User};

use crate::old::folder::Folder;
use crate::old::placing::{self, Like, Owner};
use crate::old::service_name::CredentialId;

/// Largest token that is copied, in bytes.
const SIZE_LIMIT: usize = 64 * 1024;

/// Where a copy goes, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCopy {
    /// Of which credential.
    pub id: CredentialId,
    /// Where.
    pub path: PathBuf,
    /// Whose; ours when not said.
    pub owner: Option<(Uid, Gid)>,
    /// Its mode.
    pub mode: Mode,
}

/// Finds a user, or a group.
pub trait Names {
    /// A user's number and main group.
    fn user(&self, name: &str) -> Option<(Uid, Gid)>;
    /// A group's number.
    fn group(&self, name: &str) -> Option<Gid>;
}

/// The system's users and groups.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn user(&self, name: &str) -> Option<(Uid, Gid)> {
        let user = User::from_name(name).ok().flatten()?;
        Some((user.uid, user.gid))
    }

    fn group(&self, name: &str) -> Option<Gid> {
        Some(Group::from_name(name).ok().flatten()?.gid)
    }
}

/// Reads `USER/SERVICE PATH [OWNER[:GROUP] [MODE]]; …`; says what cannot be used.
#[must_use]
pub fn parse(text: &str, names: &impl Names) -> (Vec<TokenCopy>, Vec<String>) {
    let mut copies: Vec<TokenCopy> = Vec::new();
    let mut complaints = Vec::new();
    for entry in text.split([';', '\n']).map(str::trim) {
        if entry.is_empty() {
            continue;
        }
        match parse_one(entry, names) {
            Ok(copy) if copies.iter().any(|other| other.path == copy.path) => {
                complaints.push(format!("{entry:?}: two copies would go to one file"));
            }
            Ok(copy) => copies.push(copy),
            Err(why) => complaints.push(format!("{entry:?}: {why}")),
        }
    }
    (copies, complaints)
}

fn parse_one(entry: &str, names: &impl Names) -> Result<TokenCopy, String> {
    const FORM: &str = "USER/SERVICE PATH [OWNER[:GROUP] [MODE]] is meant";
    let mut words = entry.split_whitespace();
    let (id, path) = words.next().zip(words.next()).ok_or(FORM)?;
    let (owner, mode) = (words.next(), words.next());
    if words.next().is_some() {
        return Err(FORM.to_owned());
    }
    let id = id
        .split_once('/')
        .and_then(|(user, service)| CredentialId::new(user, service))
        .ok_or(FORM)?;
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("the path must begin with / and name a file".to_owned());
    }
    let owner = owner.map(|owner| {
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let (user, own_group) = names.user(user).ok_or(format!("there is no user {user}"))?;
        let group = match group {
            "" => own_group,
            name => names
                .group(name)
                .ok_or(format!("there is no group {name}"))?,
        };
        Ok::<_, String>((user, group))
    });
    let mode = match mode.map(|mode| u32::from_str_radix(mode, 8)) {
        None => Mode::S_IRUSR,
        // A bearer token is never for everybody.
        Some(Ok(bits)) if bits & !0o660 == 0 => Mode::from_bits_truncate(bits),
        Some(_) => return Err("the mode must be one such as 0400 or 0440".to_owned()),
    };
    Ok(TokenCopy {
        id,
        path: path.to_owned(),
        owner: owner.transpose()?,
        mode,
    })
}

/// All copies.
#[derive(Debug, Default)]
pub struct Copies {
    faults: BTreeMap<PathBuf, String>,
}

impl Copies {
    /// Brings those copies up to date that `which` picks. Returns what is worth telling.
    pub fn follow<'c>(
        &mut self,
        root: &Folder,
        which: impl IntoIterator<Item = &'c TokenCopy>,
    ) -> Vec<String> {
        let mut told = Vec::new();
        for copy in which {
            match bring_up_to_date(root, copy) {
                Ok(()) => _ = self.faults.remove(&copy.path),
                Err(why) => {
                    if self.faults.get(&copy.path) != Some(&why) {
                        told.push(format!(
                            "the copy of {} at {} cannot be written: {why}",
                            copy.id,
                            copy.path.display()
                        ));
                    }
                    self.faults.insert(copy.path.clone(), why);
                }
            }
        }
        told
    }
}

fn bring_up_to_date(root: &Folder, copy: &TokenCopy) -> Result<(), String> {
    let Ok(folder) = root.folder(copy.id.user()) else {
        return Ok(());
    };
    let Ok((_, token)) = folder.read(&copy.id.use_name(), SIZE_LIMIT) else {
        return Ok(());
    };
    let name = copy.path.file_name().and_then(|name| name.to_str());
    let (Some(name), Some(parent)) = (name, copy.path.parent()) else {
        return Err("its path names no file".to_owned());
    };
    let place = Folder::open(parent).map_err(|errno: Errno| errno.desc().to_owned())?;
    let same = place.look(name).ok().flatten().is_some_and(|stat| {
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        stat.st_mode & 0o7777 == copy.mode.bits() && copy.owner.is_none_or(|o| o == owner)
    });
    let read = |name| place.read(name, SIZE_LIMIT).ok();
    if same && read(name).is_some_and(|(_, content)| content == token) {
        return Ok(());
    }
    let like = Like {
        mode: copy.mode,
        owner: copy
            .owner
            .map_or(Owner::Ours, |(user, group)| Owner::Exactly(user, group)),
        sync: false,
    };
    placing::place(&place, name, like, |file| file.write_all(&token))
        .map(drop)
        .map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::old::fake::Credentials;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    struct Known;
    impl Names for Known {
        fn user(&self, name: &str) -> Option<(Uid, Gid)> {
            (name == "crab").then(|| (Uid::from_raw(12_345), Gid::from_raw(54_321)))
        }
        fn group(&self, name: &str) -> Option<Gid> {
            (name == "agents").then(|| Gid::from_raw(777))
        }
    }

    #[test]
    fn the_setting_is_read_and_a_bad_entry_costs_only_itself() {
        let (copies, complaints) = parse(
            "u/cms /run/a; u/dune /run/b crab 0440;\nv/cms /run/c crab:agents;
             u/cms relative; u /run/d; u/cms /run/e nobody-knows; u/cms /run/f crab:none;
             u/cms /run/g crab 0444; u/cms /run/h crab 0400 x; u/cms /run/a; u/cms /",
            &Known,
        );
        let told: Vec<_> = copies
            .iter()
            .map(|c| {
                (
                    c.id.to_string(),
                    c.owner.map(|o| o.1.as_raw()),
                    c.mode.bits(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("u/cms".to_owned(), None, 0o400),
                ("u/dune".to_owned(), Some(54_321), 0o440),
                ("v/cms".to_owned(), Some(777), 0o400),
            ]
        );
        assert_eq!(complaints.len(), 8, "{complaints:?}");
    }

    #[test]
    fn a_copy_follows_its_token_and_touches_nothing_else() {
        let credentials = Credentials::new();
        let target = tempfile::tempdir().unwrap();
        let at = |name: &str| target.path().join(name);
        std::fs::write(at("precious"), "precious").unwrap();
        symlink(at("precious"), at("token")).unwrap();
        let root = Folder::open(credentials.path()).unwrap();
        let is_root = nix::unistd::geteuid().is_root();
        let copy = TokenCopy {
            id: CredentialId::new("u", "cms").unwrap(),
            path: at("token"),
            owner: is_root.then(|| (Uid::from_raw(12_345), Gid::from_raw(54_321))),
            mode: Mode::from_bits_truncate(0o440),
        };
        let mut copies = Copies::default();
        assert!(
            copies.follow(&root, [&copy]).is_empty(),
            "there is no token yet"
        );
        assert!(at("token").is_symlink());
        let number = |content: &str, copies: &mut Copies| {
            credentials.put("u", "cms.use", content);
            assert_eq!(copies.follow(&root, [&copy]), Vec::<String>::new());
            let meta = std::fs::symlink_metadata(at("token")).unwrap();
            assert!(meta.is_file());
            assert_eq!(std::fs::read_to_string(at("token")).unwrap(), content);
            assert_eq!(meta.permissions().mode() & 0o7777, 0o440);
            if is_root {
                assert_eq!((meta.uid(), meta.gid()), (12_345, 54_321));
            }
            meta.ino()
        };
        let first = number("one\n", &mut copies);
        assert_eq!(number("one\n", &mut copies), first, "nothing changed");
        number("two\n", &mut copies);
        std::fs::set_permissions(at("token"), std::fs::Permissions::from_mode(0o400)).unwrap();
        number("two\n", &mut copies);
        std::fs::remove_file(credentials.file("u", "cms.use")).unwrap();
        assert!(copies.follow(&root, [&copy]).is_empty());
        assert_eq!(std::fs::read_to_string(at("token")).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(at("precious")).unwrap(), "precious");
        assert_eq!(target.path().read_dir().unwrap().count(), 2);
    }

    #[test]
    fn a_copy_that_fails_is_told_once() {
        let credentials = Credentials::new();
        credentials.put("u", "cms.use", "one\n");
        let root = Folder::open(credentials.path()).unwrap();
        let copy = TokenCopy {
            id: CredentialId::new("u", "cms").unwrap(),
            path: "/nowhere/token".into(),
            owner: None,
            mode: Mode::S_IRUSR,
        };
        let mut copies = Copies::default();
        let told = copies.follow(&root, [&copy]);
        assert!(told[0].contains("/nowhere/token") && !told[0].contains("one"));
        assert!(copies.follow(&root, [&copy]).is_empty());
    }
}
