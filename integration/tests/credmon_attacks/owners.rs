//! Somebody who owns a folder of the credential directory swaps its files, and the folder itself, for links and other
//! things while tokens are renewed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::ensure;
use integration::hostile::{AccessToken, Answer, Request, Server, Site};
use integration::wait;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use super::{FAR, MINUTES, Test};

/// Life of tokens in seconds; the monitor renews three times in it.
const LIFE: u64 = 24;
/// Renewals of the other account before the end.
const RENEWALS: usize = 8;
const VICTIM: &str = "s.vault-token-of-cmsprod";
const MALLORY: &str = "s.vault-token-of-mallory";

/// A token for the account that the path names.
fn own_token(request: &Request) -> Answer {
    if request.is_lookup() {
        return Answer::alive();
    }
    let subject = if request.path.contains("mallory") {
        "mallory"
    } else {
        "cmsprod"
    };
    let token =
        AccessToken::living(std::time::Duration::from_secs(LIFE)).with("sub", json!(subject));
    Answer::access_token(&token.text())
}

/// Path, content, mode, group and inode of a file.
type FileState = (PathBuf, String, u32, u32, u64);

/// What stands outside, or belongs to others, and must stay as it is.
struct Bait {
    folder: PathBuf,
}

impl Bait {
    fn set(site: &Site) -> anyhow::Result<Self> {
        let folder = site.path("creds/bait");
        fs::create_dir(&folder)?;
        for name in ["cms.use", "cms.top", "precious"] {
            fs::write(folder.join(name), format!("the content of {name}"))?;
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o640))?;
        }
        Ok(Self { folder })
    }

    fn state(&self) -> anyhow::Result<BTreeSet<FileState>> {
        let mut state = BTreeSet::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            let content = fs::read_to_string(&path)?;
            state.insert((path, content, meta.mode(), meta.gid(), meta.ino()));
        }
        Ok(state)
    }
}

/// Swaps until it is told to stop. Errors are the other side's moves.
fn swap(directory: &Path, bait: &Path, stop: &AtomicBool, rounds: &AtomicUsize) {
    let own = directory.join("mallory");
    let (top, used) = (own.join("cms.top"), own.join("cms.use"));
    let good = fs::read(&top).unwrap_or_default();
    let put = |path: &Path, make: &dyn Fn(&Path) -> std::io::Result<()>| {
        let new = own.join("new");
        let _ = fs::remove_dir(&new);
        let _ = fs::remove_file(&new);
        if make(&new).is_ok() && fs::rename(&new, path).is_err() {
            let _ = fs::remove_dir(path);
            let _ = fs::rename(&new, path);
        }
    };
    while !stop.load(Ordering::Relaxed) {
        let round = rounds.fetch_add(1, Ordering::Relaxed);
        match round % 12 {
            0 => put(&used, &|new| symlink(bait.join("cms.use"), new)),
            1 => put(&used, &|new| fs::hard_link(bait.join("precious"), new)),
            2 => put(&used, &|new| symlink("/etc/passwd", new)),
            3 => put(&used, &|new| symlink("../cmsprod/cms.use", new)),
            4 => put(&used, &|new| fs::create_dir(new)),
            5 => put(&used, &|new| {
                Ok(mkfifo(new, Mode::from_bits_truncate(0o600))?)
            }),
            6 => put(&top, &|new| symlink("../cmsprod/cms.top", new)),
            7 => put(&top, &|new| symlink(bait.join("cms.top"), new)),
            8 => put(&top, &|new| {
                Ok(mkfifo(new, Mode::from_bits_truncate(0o600))?)
            }),
            9 | 10 => {
                // The folder itself becomes a link: to another account's, or to one outside.
                let moved = directory.join("moved");
                let to = if round % 24 < 12 {
                    directory.join("cmsprod")
                } else {
                    bait.to_owned()
                };
                if fs::rename(&own, &moved).is_ok() {
                    let _ = symlink(to, &own);
                    std::thread::yield_now();
                    let _ = fs::remove_file(&own);
                    let _ = fs::rename(&moved, &own);
                }
            }
            _ => put(&top, &|new| fs::write(new, &good)),
        }
    }
    put(&used, &|new| fs::write(new, "x"));
    put(&top, &|new| fs::write(new, &good));
}

/// The token that was written into a folder, and is no link to elsewhere, whatever is swapped meanwhile.
fn written_to(folder: &Path) -> Option<AccessToken> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let folder = open(folder, flags | OFlag::O_DIRECTORY, Mode::empty()).ok()?;
    let mut used: File = openat(&folder, "cms.use", flags, Mode::empty())
        .ok()?
        .into();
    let meta = used.metadata().ok()?;
    let mut text = String::new();
    (meta.is_file() && meta.nlink() == 1).then_some(())?;
    used.read_to_string(&mut text).ok()?;
    AccessToken::read(&text)
}

fn renewals(server: &Server, account: &str) -> usize {
    let requests = server.requests();
    let is_one = |request: &&Request| !request.is_lookup() && request.path.contains(account);
    requests.iter().filter(is_one).count()
}

#[tokio::test]
async fn an_owner_who_swaps_files_and_folders_gets_and_harms_nothing_of_others() -> Test {
    let site = Site::new()?;
    let server = site.server("good", own_token).await?;
    for (account, token) in [("cmsprod", VICTIM), ("mallory", MALLORY)] {
        site.directory
            .store(account, "cms", token, &server.creds(account))?;
    }
    let bait = Bait::set(&site)?;
    let (before, passwd) = (bait.state()?, fs::read("/etc/passwd")?);
    let credmon = site.credmon().for_life(LIFE).start()?;
    for account in ["cmsprod", "mallory"] {
        site.directory.served(account, "cms", FAR).await?;
    }
    let begun = renewals(&server, "cmsprod");

    let (stop, rounds) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let swapper = std::thread::spawn({
        let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
        let (directory, bait) = (site.directory.path().to_owned(), bait.folder.clone());
        move || swap(&directory, &bait, &stop, &rounds)
    });
    let watched = wait::until("renewals beside swaps", MINUTES, async || {
        let own = site.directory.token("cmsprod", "cms");
        let own = own.ok_or_else(|| anyhow::anyhow!("the other account's token is gone"))?;
        assert_eq!(own.claim("sub"), Some("cmsprod"), "it got another's token");
        assert!(
            own.left() > Some(0),
            "its token has ended\n{}",
            credmon.tail()
        );
        if let Some(token) = written_to(&site.directory.folder("mallory")) {
            assert_eq!(
                token.claim("sub"),
                Some("mallory"),
                "he got another's token"
            );
        }
        let done = renewals(&server, "cmsprod") - begun;
        ensure!(done >= RENEWALS, "{done} renewals, {rounds:?} swaps");
        Ok(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    watched?;
    let rounds = rounds.load(Ordering::Relaxed);
    println!(
        "{rounds} swaps, {} requests of the swapping account",
        renewals(&server, "mallory")
    );
    assert!(rounds > 1000, "{rounds} swaps");

    assert_eq!(bait.state()?, before, "something outside was changed");
    assert_eq!(fs::read("/etc/passwd")?, passwd);
    for request in server.requests() {
        let (own, other) = (request.path.contains("mallory"), request.bears(VICTIM));
        assert!(
            !(own && other),
            "the other account's vault token was used for {}",
            request.path
        );
        if !own && !request.is_lookup() {
            assert!(
                other,
                "the other account's secret was read with another vault token"
            );
        }
    }
    // When he stops he is served again.
    let what = "the swapping account to be served again";
    wait::until(what, MINUTES, async || {
        let token = site.directory.token("mallory", "cms");
        ensure!(token.is_some_and(|token| token.claim("sub") == Some("mallory")));
        Ok(())
    })
    .await?;
    let meta = fs::symlink_metadata(site.directory.used("mallory", "cms"))?;
    assert!(meta.is_file() && meta.mode() & 0o777 == 0o400, "{meta:?}");
    Ok(())
}
