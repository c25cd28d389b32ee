//! A fault at each step of the installation of an access token, and disks that are full.

use htvault::{AccessToken, Claims};

use super::*;
use crate::fakes::{jwt, on_small_disk, set_read_only};
use crate::store::install::tests::{STEPS, before, stop_at};

/// A credential `u/cms` in a directory, and the version of its `.top`.
struct Fixture {
    directory: Directory,
    stamp: TopStamp,
    now: Timestamp,
}

impl Fixture {
    fn new(path: &Path) -> Self {
        let directory = Directory::open(path, None).unwrap();
        let folder = directory.root().folder("u").unwrap();
        let (stamp, _) = top::read(&folder, &id("cms")).unwrap();
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        Self {
            directory,
            stamp,
            now,
        }
    }

    /// A token that lives so long.
    fn answer(&self, life: i64) -> AccessTokenAnswer {
        let second = self.now.as_second();
        let claims = serde_json::json!({"iat": second, "exp": second + life, "jti": "new"});
        let text = jwt(&claims);
        AccessTokenAnswer {
            claims: Claims::read(&text),
            token: AccessToken::from(text),
            expire_time: None,
            warnings: Vec::new(),
        }
    }

    fn install(&self, life: i64) -> Result<TokenInfo, Outcome> {
        let answer = self.answer(life);
        self.directory
            .install(&id("cms"), &self.stamp, None, &answer, self.now)
    }
}

fn life_in_place(credentials: &Credentials, f: &Fixture) -> i64 {
    let claims = credentials.claims("u", "cms").unwrap();
    claims.expires.unwrap().as_second() - f.now.as_second()
}

#[test]
fn a_renewal_that_stops_at_any_step_leaves_the_old_token_or_the_new_one() {
    for cut_off in [false, true] {
        for step in STEPS {
            let credentials = Credentials::new();
            credentials.store("u", "cms", "a", "s.1");
            let f = Fixture::new(credentials.path());
            f.install(3600).unwrap();
            stop_at(Some(step), cut_off);
            let outcome = f.install(9000).unwrap_err();
            stop_at(None, false);
            let Outcome::Failed(failure) = outcome else {
                panic!("{step:?}: {outcome:?}");
            };
            assert_eq!(failure.scope, htvault::FailureScope::Local);
            let expected = if step == Step::Check { 9000 } else { 3600 };
            assert_eq!(life_in_place(&credentials, &f), expected, "{step:?}");
            // The next attempt, or the next run, puts it right.
            f.install(9000).unwrap();
            assert_eq!(life_in_place(&credentials, &f), 9000);
        }
    }
}

#[test]
fn a_folder_that_vanishes_at_any_step_is_no_error_and_does_not_come_back() {
    for step in STEPS {
        let credentials = Credentials::new();
        credentials.store("u", "cms", "a", "s.1");
        let f = Fixture::new(credentials.path());
        let folder = credentials.path().join("u");
        let gone = folder.clone();
        before(step, move || fs::remove_dir_all(gone).unwrap());
        let outcome = f.install(3600);
        let is_fine = matches!(outcome, Err(Outcome::Changed) | Ok(_));
        assert!(is_fine, "{step:?}: {outcome:?}");
        assert!(!folder.exists());
    }
}

#[test]
fn a_full_or_read_only_disk_costs_no_token_and_leaves_nothing() {
    let test = concat!(
        module_path!(),
        "::a_full_or_read_only_disk_costs_no_token_and_leaves_nothing"
    );
    on_small_disk(test, |path| {
        let folder = path.join("u");
        fs::create_dir(&folder).unwrap();
        let url = "https://a:8200/v1/secret/oauth/creds/cms/u:cms";
        let top = serde_json::json!({"vault_token": "s.1", "vault_url": url});
        fs::write(folder.join("cms.top"), top.to_string()).unwrap();
        let f = Fixture::new(path);
        f.install(100).unwrap();
        let old = fs::read(folder.join("cms.use")).unwrap();
        let refused = |why: &str| {
            let outcome = f.install(200);
            let Err(Outcome::Failed(failure)) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(failure.text.contains(why), "{failure:?}");
            assert_eq!(fs::read(folder.join("cms.use")).unwrap(), old);
            assert_eq!(folder.read_dir().unwrap().count(), 2);
        };
        let filler = path.join("filler");
        // Fills the disk to the last byte: the error is the point.
        let _ = fs::write(&filler, vec![b'x'; 200_000]);
        refused("No space");
        fs::remove_file(&filler).unwrap();
        set_read_only(path, true);
        refused("Read-only");
        set_read_only(path, false);
        f.install(200).unwrap();
        assert_ne!(fs::read(folder.join("cms.use")).unwrap(), old);
    });
}
