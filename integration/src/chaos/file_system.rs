//! A small file system in memory, which can be filled, and set to be read only. It goes when dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Bytes of it, as tmpfs takes them.
const SIZE: &str = "size=2m";

/// A mounted file system.
#[derive(Debug)]
pub struct SmallFileSystem(PathBuf);

impl SmallFileSystem {
    /// Mounts an empty one, whose folder has this mode.
    pub fn mount(at: &Path, mode: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        let kind = Some("tmpfs");
        mount(kind, at, kind, MsFlags::empty(), Some(SIZE))
            .with_context(|| format!("cannot mount {}", at.display()))?;
        let mounted = Self(at.to_owned());
        fs::set_permissions(at, fs::Permissions::from_mode(mode))?;
        Ok(mounted)
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Fills it, or makes room again.
    pub fn fill(&self, is_full: bool) -> anyhow::Result<()> {
        let file = self.0.join(".fill");
        if is_full {
            // As large as fits; the error is what is wanted.
            let _ = fs::write(&file, vec![0; 4 << 20]);
            ensure!(fs::metadata(&file)?.len() > 0, "nothing was written");
            Ok(())
        } else {
            fs::remove_file(&file).context("cannot make room")
        }
    }

    /// Lets nobody write, or lets them again.
    pub fn read_only(&self, is_read_only: bool) -> anyhow::Result<()> {
        let only = if is_read_only {
            MsFlags::MS_RDONLY
        } else {
            MsFlags::empty()
        };
        let flags = MsFlags::MS_REMOUNT | only;
        mount(None::<&str>, &self.0, None::<&str>, flags, Some(SIZE))
            .with_context(|| format!("cannot remount {}", self.0.display()))
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
