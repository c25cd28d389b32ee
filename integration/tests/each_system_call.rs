//! One renewal of the real monitor, with a real Vault, stopped before each of its system calls in
//! the credential directory: there it is killed, or the folder vanishes, becomes a symbolic link, or
//! changes its owner. No reader ever sees a partial or older token. Needs the sandbox.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use htvault::Claims;
use integration::differential::rig::Rig;
use integration::differential::table;
use integration::sandbox;
use integration::tracer::{Stop, Then, trace};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

/// What happens to the account's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    /// Nothing: the calls are counted.
    Nothing,
    /// The monitor is killed.
    Kill,
    /// The credd removes the folder.
    Vanish,
    /// A symbolic link to a folder elsewhere takes its place.
    Link,
    /// Folder and `.top` become another user's.
    Owner,
}

/// The directory's group.
const CONDOR: u32 = 54_321;

/// Another user and group.
const STRANGER: u32 = 12_345;

struct Place {
    folder: PathBuf,
    program: Command,
    top: String,
    old: String,
}

impl Place {
    fn new(folder: &Path, program: Command, top: String) -> Self {
        let (old, _) = table::access_token(600);
        Self {
            folder: folder.to_owned(),
            program,
            top,
            old,
        }
    }

    fn directory(&self) -> PathBuf {
        self.folder.join("credentials")
    }

    fn account(&self) -> PathBuf {
        self.directory().join("cmsprod")
    }

    /// A folder elsewhere, to which a link may lead.
    fn bait(&self) -> PathBuf {
        self.folder.join("bait")
    }

    /// Makes all anew: an older token in place, and a newer `.top`.
    fn prepare(&self) {
        for old in [self.directory(), self.bait()] {
            if old.exists() {
                fs::remove_dir_all(&old).unwrap();
            }
            fs::create_dir(&old).unwrap();
        }
        chown(self.directory(), None, Some(CONDOR)).unwrap();
        fs::set_permissions(self.directory(), fs::Permissions::from_mode(0o2770)).unwrap();
        fs::create_dir(self.account()).unwrap();
        // Not the directory's own group: so the monitor has to give the file its group.
        chown(self.account(), None, Some(STRANGER)).unwrap();
        fs::write(self.account().join("cms.use"), &self.old).unwrap();
        let written = self.account().join("cms.use").metadata().unwrap();
        // The kernel's clock for files ticks every few milliseconds.
        loop {
            fs::write(self.account().join("cms.top"), &self.top).unwrap();
            let stored = self.account().join("cms.top").metadata().unwrap();
            if (stored.ctime(), stored.ctime_nsec()) > (written.ctime(), written.ctime_nsec()) {
                break;
            }
        }
        fs::write(self.bait().join("cms.top"), &self.top).unwrap();
        fs::write(self.bait().join("cms.use"), "precious").unwrap();
    }

    fn happens(&self, mischief: Mischief) {
        match mischief {
            Mischief::Nothing | Mischief::Kill => {}
            Mischief::Vanish => fs::remove_dir_all(self.account()).unwrap(),
            Mischief::Link => {
                fs::rename(self.account(), self.folder.join("moved")).unwrap();
                symlink(self.bait(), self.account()).unwrap();
            }
            Mischief::Owner => {
                for path in [self.account(), self.account().join("cms.top")] {
                    chown(path, Some(STRANGER), Some(STRANGER)).unwrap();
                }
            }
        }
    }

    /// Whether the new token is in place in a folder; panics when neither it nor the old one is,
    /// whole.
    fn is_new(&self, folder: &Path) -> bool {
        let text = fs::read_to_string(folder.join("cms.use")).unwrap();
        if text == self.old {
            return false;
        }
        let claims = Claims::read(text.trim_end()).expect("a whole token");
        assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
        assert_eq!(claims.subject.as_deref(), Some("cmsprod"));
        let meta = folder.join("cms.use").metadata().unwrap();
        let is = (meta.mode() & 0o7777, meta.uid(), meta.gid());
        assert_eq!(is, (0o400, 0, CONDOR));
        true
    }

    /// One renewal with a mischief at one stop. Gives whether that stop was reached, and the calls.
    fn run(&self, mischief: Mischief, at: usize) -> (bool, Vec<&'static str>) {
        self.prepare();
        let mut calls = Vec::new();
        let mut was_new = false;
        let status = trace(&self.program, &self.directory(), |stop: Stop| {
            calls.push(stop.call);
            if stop.number < at {
                // Once it is there, the older one does not come back.
                let is_new = self.is_new(&self.account());
                assert!(is_new || !was_new, "{stop:?}");
                was_new = is_new;
            }
            if stop.number != at {
                return Then::GoOn;
            }
            self.happens(mischief);
            if mischief == Mischief::Kill {
                Then::Kill
            } else {
                Then::GoOn
            }
        })
        .unwrap();
        let reached = calls.len() >= at && at > 0;
        match status {
            WaitStatus::Exited(_, 0 | 1) => assert!(!(reached && mischief == Mischief::Kill)),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => assert_eq!(mischief, Mischief::Kill),
            other => panic!("{mischief:?} at {at} {calls:?}: {other:?}"),
        }
        (reached, calls)
    }

    /// What must be true after a mischief.
    fn check(&self, mischief: Mischief, at: usize) {
        let told = format!("{mischief:?} at {at}");
        let bait = fs::read_to_string(self.bait().join("cms.use")).unwrap();
        assert_eq!(bait, "precious", "{told}");
        assert_eq!(fs::read_dir(self.bait()).unwrap().count(), 2, "{told}");
        match mischief {
            Mischief::Vanish => assert!(!self.account().exists(), "{told}"),
            Mischief::Link => {
                let moved = self.folder.join("moved");
                self.is_new(&moved);
                fs::remove_dir_all(moved).unwrap();
            }
            Mischief::Nothing | Mischief::Kill | Mischief::Owner => {
                self.is_new(&self.account());
                // Whatever happened, the next run puts all right.
                let status = self.again().status().unwrap();
                assert!(status.success(), "{told}: {status}");
                assert!(self.is_new(&self.account()), "{told}");
                let mut names = fs::read_dir(self.account()).unwrap().flatten();
                let stray = |name: &str| !["cms.top", "cms.use"].contains(&name);
                let left = names.find(|entry| stray(&entry.file_name().to_string_lossy()));
                assert!(
                    left.is_none() || mischief == Mischief::Kill,
                    "{told}: {left:?}"
                );
            }
        }
    }

    fn again(&self) -> Command {
        let mut command = Command::new(self.program.get_program());
        command.args(self.program.get_args());
        for (name, value) in self.program.get_envs() {
            command.env(name, value.unwrap());
        }
        command
    }
}

#[tokio::test]
async fn at_each_system_call_of_a_renewal_a_token_is_whole() {
    let folder = sandbox::new_folder().unwrap();
    let rig = Rig::start(folder.path()).await.unwrap();
    rig.warm().await.unwrap();
    let tokens = rig.tokens().await.unwrap();
    let top = table::TOP.replace("$TOKEN", tokens.living.expose());
    // Written through a thread of its own and synced on a disk, at once in memory.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    fs::set_permissions(disk.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (at, synced) in [(folder.path(), false), (disk.path(), true)] {
        let folder = at.join("traced");
        fs::create_dir(&folder).unwrap();
        let program = rig.chain.credmon(&folder.join("credentials")).unwrap();
        let mut program = program.into_std();
        program.args(["--once", "-l"]).arg(folder.join("log"));
        let place = Place::new(&folder, program, top.clone());
        tokio::task::spawn_blocking(move || each_call(&place, synced))
            .await
            .unwrap();
    }
}

/// Stops a renewal before each of its system calls, by each mischief.
fn each_call(place: &Place, synced: bool) {
    let (_, calls) = place.run(Mischief::Nothing, 0);
    place.check(Mischief::Nothing, 0);
    let kinds: BTreeSet<&str> = calls.iter().copied().collect();
    for call in [
        "openat",
        "getdents64",
        "read",
        "write",
        "fchown",
        "renameat",
    ] {
        assert!(kinds.contains(call), "no {call} in {calls:?}");
    }
    assert_eq!(kinds.contains("fsync"), synced, "{calls:?}");
    for mischief in [
        Mischief::Kill,
        Mischief::Vanish,
        Mischief::Link,
        Mischief::Owner,
    ] {
        let mut at = 1;
        while place.run(mischief, at).0 {
            place.check(mischief, at);
            at += 1;
        }
        println!("{mischief:?}: at each of {} system calls", at - 1);
        assert!(at > calls.len() / 2, "{mischief:?}: {at} of {calls:?}");
    }
}
