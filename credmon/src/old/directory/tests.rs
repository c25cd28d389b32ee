//! What a look at a directory finds, with real files.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

const URL: &str = "https://vault.test:8200/v1/secret/oauth/creds/cms/cmsprod:crab";

struct Fixture {
    dir: tempfile::TempDir,
    known: BTreeMap<CredentialId, Seen>,
    folders: Folders,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o2770)).unwrap();
        Self {
            dir,
            known: BTreeMap::new(),
            folders: Folders::default(),
        }
    }

    fn put(&self, user: &str, name: &str, content: &str) {
        let folder = self.dir.path().join(user);
        fs::create_dir_all(&folder).unwrap();
        let new = folder.join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, folder.join(name)).unwrap();
    }

    fn look(&mut self) -> (Vec<String>, BTreeMap<String, String>) {
        let directory = Directory::open(self.dir.path()).unwrap();
        let mut folders = Vec::new();
        let mut oddities = BTreeMap::new();
        let known = std::mem::take(&mut self.known);
        let now = Timestamp::default();
        self.folders.list(&directory, now).unwrap();
        let users: Vec<_> = self.folders.after("").cloned().collect();
        for user in &users {
            let known = known.values().filter(|seen| seen.id.user() == &**user);
            let known = known.cloned().collect();
            let watch = |_, _: &mut Folders| folders.push(user.to_string());
            let found = directory.look_at(user, now, known, &mut self.folders, watch);
            oddities.extend(found.oddities);
            let seen = found.credentials.into_iter();
            self.known.extend(seen.map(|seen| (seen.id.clone(), seen)));
        }
        (folders, oddities)
    }

    fn seen(&mut self, user: &str, service: &str) -> Seen {
        self.look();
        self.known
            .get(&CredentialId::new(user, service).unwrap())
            .unwrap()
            .clone()
    }
}

fn top(token: Option<&str>) -> String {
    serde_json::json!({"vault_token": token, "vault_url": URL}).to_string()
}

#[test]
fn credentials_are_found_with_their_lane_and_faults_beside_each_other() {
    let mut fixture = Fixture::new();
    fixture.put("alice", "cms_crab.top", &top(Some("s.a")));
    fixture.put("alice", "cms_crab.use", "opaque\n");
    fixture.put("alice", "broken.top", "{");
    fixture.put("bob", "cms.top", &top(None));
    fixture.put("bob", "odd name.top", &top(Some("s.b")));
    fixture.put("bob", ".hidden.top", &top(Some("s.b")));
    fs::write(fixture.dir.path().join("bob.mark"), "").unwrap();
    let (_, oddities) = fixture.look();
    assert_eq!(fixture.known.len(), 3);
    assert_eq!(oddities.len(), 1);
    let crab = fixture.seen("alice", "cms_crab");
    assert_eq!(&*crab.top.unwrap().host, "vault.test");
    assert!(crab.used.is_some());
    let broken = fixture.seen("alice", "broken").top.unwrap_err();
    assert!(matches!(*broken, TopFault::NotJson { .. }));
    assert_eq!(
        fixture.seen("bob", "cms").top,
        Err(Box::new(TopFault::NoToken))
    );
}

#[test]
fn whatever_stands_in_the_place_of_a_top_stops_nothing() {
    let mut fixture = Fixture::new();
    fixture.put("u", "good.top", &top(Some("s.a")));
    fixture.put("u", "large.top", &" ".repeat(70_000));
    let folder = fixture.dir.path().join("u");
    symlink(folder.join("good.top"), folder.join("link.top")).unwrap();
    symlink("nowhere", folder.join("dangling.top")).unwrap();
    fs::create_dir(folder.join("dir.top")).unwrap();
    nix::unistd::mkfifo(&folder.join("pipe.top"), Mode::S_IRWXU).unwrap();
    symlink(&folder, fixture.dir.path().join("linked")).unwrap();
    let (folders, oddities) = fixture.look();
    assert_eq!(folders, ["u"]);
    assert!(oddities.contains_key("linked"));
    for (service, fault) in [
        ("large", TopFault::TooLarge),
        ("link", TopFault::NotAFile("a symbolic link")),
        ("dangling", TopFault::NotAFile("a symbolic link")),
        ("dir", TopFault::NotAFile("a directory")),
        ("pipe", TopFault::NotAFile("a pipe")),
    ] {
        assert_eq!(
            fixture.seen("u", service).top,
            Err(Box::new(fault)),
            "{service}"
        );
    }
    assert!(fixture.seen("u", "good").top.is_ok());
}

#[test]
fn a_child_takes_its_parents_token_and_changes_with_it() {
    let mut fixture = Fixture::new();
    fixture.put("u", "cms_read.top", &top(None));
    let fault = fixture.seen("u", "cms_read").top.unwrap_err();
    assert_eq!(*fault, TopFault::NoParent("cms".to_owned()));

    fixture.put("u", "cms.top", &top(Some("s.parent")));
    let child = fixture.seen("u", "cms_read");
    assert!(child.top.is_ok());
    let directory = Directory::open(fixture.dir.path()).unwrap();
    let (stamp, complete) = read_top(&directory.root().folder("u").unwrap(), &child.id).unwrap();
    assert_eq!(stamp, child.stamp);
    assert_eq!(complete.unwrap().vault_token.expose(), "s.parent");

    fixture.put("u", "cms.top", &top(Some("s.parent2")));
    assert_ne!(fixture.seen("u", "cms_read").stamp, child.stamp);

    fixture.put("u", "cms.top", "{");
    let fault = fixture.seen("u", "cms_read").top.unwrap_err();
    assert!(matches!(*fault, TopFault::BadParent { .. }));

    fs::remove_file(fixture.dir.path().join("u/cms.top")).unwrap();
    let fault = fixture.seen("u", "cms_read").top.unwrap_err();
    assert_eq!(*fault, TopFault::NoParent("cms".to_owned()));
}

#[test]
fn a_replaced_top_and_a_vanished_use_are_noticed() {
    let mut fixture = Fixture::new();
    fixture.put("u", "cms.top", &top(Some("s.a")));
    fixture.put("u", "cms.use", "opaque");
    let first = fixture.seen("u", "cms");
    assert_eq!(fixture.seen("u", "cms"), first);
    fixture.put("u", "cms.top", &top(Some("s.a")));
    let second = fixture.seen("u", "cms");
    assert_ne!(first.stamp, second.stamp);
    assert_eq!(first.used, second.used);
    fs::remove_file(fixture.dir.path().join("u/cms.use")).unwrap();
    assert_eq!(fixture.seen("u", "cms").used, None);
    fs::remove_dir_all(fixture.dir.path().join("u")).unwrap();
    fixture.look();
    assert!(fixture.known.is_empty());
}

#[test]
fn a_directory_open_to_others_is_refused_and_a_missing_one_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/creds");
    Directory::open(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o2770);
    for mode in [0o2771, 0o2774, 0o772] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let fault = Directory::open(&path).unwrap_err();
        assert!(matches!(fault, DirectoryFault::Open { .. }), "{fault}");
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(
        Directory::open(&file),
        Err(DirectoryFault::Refused { .. })
    ));
}

#[test]
fn access_tokens_get_the_group_that_the_directory_hands_on() {
    use nix::unistd::{Gid, chown, getegid, geteuid};
    let dir = tempfile::tempdir().unwrap();
    let other = if geteuid().is_root() {
        Gid::from_raw(54_321)
    } else {
        getegid()
    };
    chown(dir.path(), None, Some(other)).unwrap();
    for (mode, group) in [(0o2770, other), (0o770, getegid())] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        assert_eq!(directory.group(), group, "{mode:o}");
    }
}
