//! A disk that can be full or read-only, for tests.

use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

const NOTHING: Option<&str> = None;

/// Printed when the work was done.
const DONE: &str = "done on a small disk";

/// Does something with a folder on a disk of 64 KiB, on a thread that alone sees it. Who is not root
/// runs the test again as the root of a user namespace; `test` is its name with its module. Where the
/// system permits neither, the test fails: it never passes without having run.
pub(crate) fn on_small_disk(test: &str, act: impl FnOnce(&Path) + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        return run_again(test);
    }
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own for a thread");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(NOTHING, "/", NOTHING, private, NOTHING).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (tmpfs, options) = (Some("tmpfs"), Some("size=64k,mode=2770"));
        mount(tmpfs, dir.path(), tmpfs, MsFlags::empty(), options).unwrap();
        act(dir.path());
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    });
    thread.join().unwrap();
    println!("{DONE}");
}

fn run_again(test: &str) {
    let name = test.split_once("::").map_or(test, |(_crate, name)| name);
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .output()
        .expect("the program unshare of util-linux, or root");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    let done = output.status.success() && said.contains(DONE);
    assert!(done, "{test} needs root or user namespaces: {said}{error}");
}

/// Makes a disk read-only, or writable again.
pub(crate) fn set_read_only(path: &Path, read_only: bool) {
    let mut flags = MsFlags::MS_REMOUNT;
    flags.set(MsFlags::MS_RDONLY, read_only);
    mount(NOTHING, path, NOTHING, flags, NOTHING).unwrap();
}
