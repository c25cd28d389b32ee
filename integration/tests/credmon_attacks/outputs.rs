//! Where it writes: only plain files are replaced, no link is followed, nothing hangs at the start.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, ensure};
use integration::hostile::{Answer, Credmon, Setup, Site};
use integration::wait;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;

use super::{FAR, HOUR, MINUTES, Test, all};

/// Files that a setting may name by mistake, in a private `/dev`.
const DEVICES: [(&str, u64); 4] = [("null", 3), ("zero", 5), ("full", 7), ("urandom", 9)];

/// Gives a credmon a private `/dev`, so that the machine's own is not at stake.
fn private_devices(site: &Site, setup: &mut Setup) -> anyhow::Result<std::path::PathBuf> {
    let folder = site.path("dev");
    fs::create_dir(&folder)?;
    for (name, minor) in DEVICES {
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&folder.join(name), SFlag::S_IFCHR, mode, makedev(1, minor))?;
    }
    mkfifo(&folder.join("fifo"), Mode::from_bits_truncate(0o666))?;
    fs::create_dir(folder.join("folder"))?;
    setup.mounted(&folder, "/dev");
    Ok(folder)
}

/// What each name in a folder is.
fn kinds(folder: &Path) -> anyhow::Result<Vec<(String, u32, u64, u64)>> {
    let mut kinds = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.path().symlink_metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = meta.mode() & 0o170_000;
        kinds.push((name, kind, meta.rdev(), meta.ino()));
    }
    kinds.sort();
    Ok(kinds)
}

fn setting(name: &str, file: &str) -> String {
    match name {
        "CREDMON_HTVAULT_COPIES" => format!("cmsprod/cms {file} root:root 0400"),
        _ => file.to_owned(),
    }
}

const OUTPUTS: [&str; 3] = [
    "CREDMON_HTVAULT_STATUS_FILE",
    "CREDMON_HTVAULT_METRICS_FILE",
    "CREDMON_HTVAULT_COPIES",
];

async fn dev_null(name: &'static str) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, 30)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let devices = private_devices(&site, &mut setup)?;
    let before = kinds(&devices)?;
    setup.set(name, setting(name, "/dev/null")).for_life(30);
    let mut credmon = setup.start()?;
    let first = site.directory.served("cmsprod", "cms", FAR).await?;
    site.directory
        .renewed("cmsprod", "cms", &first, FAR)
        .await?;
    credmon.terminate().await?;
    assert_eq!(kinds(&devices)?, before, "{name}");
    assert!(
        devices
            .join("null")
            .metadata()?
            .file_type()
            .is_char_device()
    );
    assert!(!credmon.log().contains("ERROR"), "{}", credmon.tail());
    Ok(())
}

#[tokio::test]
async fn dev_null_means_off_and_stays_a_device() -> Test {
    let names = OUTPUTS.into_iter().chain(["CREDMON_OAUTH_LOG"]);
    all(names.map(dev_null)).await
}

async fn no_plain_file(name: &'static str, file: &'static str) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let mut setup = site.credmon();
    let devices = private_devices(&site, &mut setup)?;
    let before = kinds(&devices)?;
    let mut credmon = setup.set(name, setting(name, file)).start()?;
    let said = wait::until("the setting to be named", FAR, async || -> Test {
        // By its name, or in words: "the copy of cmsprod/cms".
        let said = credmon.complaints(&[file]);
        let is_named = |line: &String| {
            line.contains(name) || (name.ends_with("COPIES") && line.contains("copy"))
        };
        ensure!(said.iter().any(is_named), "{}", credmon.tail());
        Ok(())
    });
    said.await.with_context(|| format!("{name} = {file}"))?;
    if credmon.daemon.try_ended()?.is_none() {
        credmon.terminate().await?;
    }
    assert_eq!(kinds(&devices)?, before, "{name} = {file}");
    Ok(())
}

#[tokio::test]
async fn what_is_no_plain_file_is_an_error_and_not_replaced() -> Test {
    let files = ["/dev/full", "/dev/fifo", "/dev/folder"];
    let pairs = files
        .into_iter()
        .flat_map(|file| OUTPUTS.map(|name| (name, file)));
    all(pairs.map(|(name, file)| no_plain_file(name, file))).await
}

#[tokio::test]
async fn a_log_that_is_a_pipe_is_refused_at_once() -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let fifo = site.path("log/fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
    for log in [fifo.as_path(), &site.path("log")] {
        let mut setup = site.credmon();
        setup.set("CREDMON_OAUTH_LOG", log.display());
        let mut credmon = setup.start()?;
        let status = credmon.daemon.wait(FAR).await?;
        assert_eq!(status.code(), Some(44), "{}", log.display());
        let said = credmon.daemon.tail(5);
        assert!(said.contains(log.to_str().context("a text")?), "{said}");
    }
    // On a terminal the log is seen anyway.
    let mut setup = site.credmon();
    setup.set("CREDMON_OAUTH_LOG", fifo.display());
    let mut credmon = setup.arg("-v").start()?;
    site.directory.served("cmsprod", "cms", FAR).await?;
    credmon.terminate().await?;
    Ok(())
}

#[tokio::test]
async fn a_status_that_is_no_plain_file_cannot_be_asked() -> Test {
    let site = Site::new()?;
    let fifo = site.path("run/fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
    for file in [fifo.as_path(), &site.path("run"), Path::new("/dev/zero")] {
        let mut setup = site.credmon();
        let status = setup.status_in(file).status(&[]).await?;
        assert_eq!(status.code, Some(2), "{}: {status:?}", file.display());
        assert!(status.errors.len() < 2000, "{status:?}");
    }
    Ok(())
}

async fn copy_is_refused(site: &Site, credmon: &Credmon, copy: &Path, real: &Path) -> Test {
    site.directory.served("cmsprod", "cms", FAR).await?;
    let text = copy.to_str().context("a text")?;
    wait::until("the copy to be refused", MINUTES, async || -> Test {
        ensure!(
            !credmon.complaints(&[text]).is_empty(),
            "{}",
            credmon.tail()
        );
        Ok(())
    })
    .await?;
    assert!(!real.join("token").exists(), "it followed the link");
    Ok(())
}

async fn link_on_the_way(way: &'static str) -> Test {
    let site = Site::new()?;
    let vault = site.server("vault", |r| Answer::good(r, HOUR)).await?;
    site.directory
        .store("cmsprod", "cms", "s.t", &vault.creds("cmsprod"))?;
    let real = site.path("real");
    fs::create_dir_all(real.join("inner"))?;
    symlink(&real, site.path("link"))?;
    symlink("..", site.path("real/inner/up"))?;
    let copy = site.path(way);
    let mut setup = site.credmon();
    setup.set(
        "CREDMON_HTVAULT_COPIES",
        format!("cmsprod/cms {} root", copy.display()),
    );
    let credmon = setup.start()?;
    copy_is_refused(&site, &credmon, &copy, &real).await?;
    assert!(!real.join("inner/token").exists(), "it followed the link");
    Ok(())
}

#[tokio::test]
async fn copies_follow_no_link() -> Test {
    let ways = ["link/token", "link/inner/token", "real/inner/up/token"];
    all(ways.into_iter().map(link_on_the_way)).await
}
