//! Looking at the directory: at the folders that changed, and at all of them each minute.
//!
//! What the look each minute finds though no event told of it:
//!
//! - within a minute: a folder that came, went or was replaced; a file that was put in place, renamed
//!   or removed in any folder; every change where the kernel gives no or not all events (a folder
//!   without a watch or on another device, a file system that other hosts change), and after events
//!   that the kernel says were lost;
//! - within [`TURNS`](crate::old::looks::TURNS) minutes: every change, such as a file that was written to
//!   in its place by a way that the kernel does not tell of (mapped into memory), or a name that came
//!   in the very moment in which the folder was listed or a token of ours was put there.

use std::sync::Arc;

use tokio::time::Instant;

use super::Daemon;
use crate::old::directory::{Directory, DirectoryFault};
use crate::old::folders::Folders;
use crate::old::log;
use crate::old::looks::Depth;
use crate::old::own_files;
use crate::old::service_name::is_account;
use crate::old::source::TokenSource;

impl<S: TokenSource> Daemon<S> {
    /// Opens the directory, and begins a look at everything.
    pub(super) fn look_at_directory(&mut self, began: Instant) {
        (self.at_look)();
        let path = self.configuration.directory.as_deref();
        let opened = path
            .ok_or(DirectoryFault::NotConfigured)
            .and_then(Directory::open);
        let looked = opened.and_then(|directory| {
            let (path, root) = (directory.path(), directory.root());
            self.watch.root(path, root, &mut self.folders);
            if self.directory.is_err() {
                tracing::info!("serves {}", directory.path().display());
            }
            self.settle_in(&directory);
            self.folders.list(&directory, self.clock.now())?;
            self.looks.go_through(&self.folders);
            Ok(Arc::new(directory))
        });
        if let Err(fault) = &looked
            && (!self.has_looked || self.directory.as_ref().err() != Some(fault))
        {
            tracing::error!("{fault}");
            self.has_looked = true;
        }
        self.directory = looked;
        self.looks.ended(began, Instant::now());
    }

    pub(super) fn look_at_folders(&mut self, began: Instant, folders: &[(Arc<str>, Depth)]) {
        let Ok(directory) = &self.directory else {
            return;
        };
        let now = self.clock.now();
        let rules = &self.configuration.rules;
        let (mut news, count) = (false, self.monitor.count());
        for (user, depth) in folders.iter().filter(|(name, _)| is_account(name)) {
            // As it was when all of it was looked at, and whatever happened to its files since was
            // told.
            if *depth == Depth::Glance
                && let Some(folder) = directory.glance_at(user)
                && self.folders.is_unchanged(user, folder)
            {
                continue;
            }
            let user = &self.folders.kept(user);
            let known = self.monitor.known(user);
            let watch = |file, folders: &mut Folders| self.watch.folder(user, file, folders);
            let found = directory.look_at(user, now, known, &mut self.folders, watch);
            for note in self.monitor.absorb(user, found, rules, now) {
                news |= note.is_news();
                log::note(&note);
            }
        }
        news |= self.monitor.count() != count;
        // At the end of a look at everything all is told anyway.
        if news || !self.looks.is_under_way() {
            self.views.outdate(news);
        }
        self.looks.ended(began, Instant::now());
    }

    pub(super) fn full_look_over(&mut self, began: Instant) {
        self.has_looked = true;
        self.looked = Some(self.clock.now());
        self.views.outdate(false);
        if self.directory.is_ok() {
            self.keep_what_is_there();
            self.monitor.tidy();
            self.pass = self.pass.or(Some(began));
        }
        self.copy(None);
    }

    /// Forgets accounts that are gone, unless they are the same as at the last look.
    fn keep_what_is_there(&mut self) {
        if !self.folders.are_news() {
            return;
        }
        self.folders.keep();
        for note in self.monitor.keep(&self.folders) {
            // A credential is gone.
            self.views.outdate(true);
            log::note(&note);
        }
    }

    /// Puts `pid` into a directory that is new to us.
    fn settle_in(&mut self, directory: &Directory) {
        let root = directory.root();
        if self.is_guest {
            return;
        }
        let home = root.stat().ok().map(|stat| (stat.st_dev, stat.st_ino));
        if home == self.home {
            return;
        }
        let settled = own_files::remove_complete(root).and_then(|()| own_files::write_pid(root));
        match settled {
            Ok(()) => self.home = home,
            Err(error) => tracing::error!(
                "pid cannot be written to {}: {error}; the credd cannot send signals",
                directory.path().display()
            ),
        }
    }
}
