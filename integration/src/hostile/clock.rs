//! A wall clock that a test can set, for one program: `libfaketime`. Its monotonic clock stays true.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::credmon::Setup;
use crate::sandbox;

/// The clock of a program.
pub struct FalseClock {
    file: PathBuf,
}

impl FalseClock {
    /// A clock in a file below `folder`; it is right at first.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        let clock = Self {
            file: folder.join("clock"),
        };
        clock.set(0)?;
        Ok(clock)
    }

    /// Gives a program, and its `status`, a clock in a file below `folder`; it is right at first.
    pub fn of(setup: &mut Setup, folder: &Path) -> anyhow::Result<Self> {
        let clock = Self::new(folder)?;
        for (name, value) in clock.variables()? {
            setup.env(name, value);
        }
        Ok(clock)
    }

    /// The environment of a program that has this clock.
    pub fn variables(&self) -> anyhow::Result<[(&'static str, String); 6]> {
        let library = "usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
        let library = sandbox::fault_tools()?.join(library);
        Ok([
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Times of files do not step along.
            ("NO_FAKE_STAT", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ])
    }

    /// Sets it so many seconds ahead of the true time (or behind it, below zero).
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        let new = self.file.with_extension("new");
        // By a rename, so that nobody reads half of it.
        fs::write(&new, format!("{seconds:+}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .context("cannot set the clock")
    }
}
