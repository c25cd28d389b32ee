//! The accounts' folders: what is remembered of each from one look to the next, in little memory.
//!
//! Which there are, which file each was, whether its names are known, and which watch of the kernel
//! is on it. What always holds:
//!
//! - The names in a folder count as known only while the monitor has taken in each credential that
//!   was listed there and has dropped none: whoever looks forgets them first ([`Folders::take`]),
//!   and remembers them only when everything listed was seen ([`Folders::remember`]). They go with
//!   the account ([`Folders::keep`]).
//! - A watch is that of one folder, and a folder is covered by one only as the very file that it was
//!   when the watch was set.

use std::sync::Arc;

use jiff::Timestamp;
use nix::sys::inotify::WatchDescriptor;

use crate::old::directory::{Directory, DirectoryFault};
use crate::old::folder::{FileId, Place};
use crate::old::listing::{self, Trust};
use crate::old::renewal::OwnChange;
use crate::old::service_name::is_account;
use crate::old::table::{Name, Named, Slot, Table};

/// What is remembered of a folder. There are many thousands.
#[derive(Debug)]
struct Row {
    name: Arc<str>,
    /// Which file it was when it was listed or watched last.
    file: FileId,
    /// The last watch that was set on it.
    watch: Option<WatchDescriptor>,
    /// Whether its names, as that file, are known.
    names: Option<Trust>,
    /// Whether that file is what the watch is on, as far as one can know.
    is_watched: bool,
    /// Whether the directory had it when it was listed, or it was found since.
    is_there: bool,
}

impl Named for Row {
    fn name(&self) -> Name<'_> {
        (&self.name, "")
    }
}

impl Row {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            file: FileId::default(),
            watch: None,
            names: None,
            is_watched: false,
            is_there: true,
        }
    }

    /// It is this file now.
    fn become_(&mut self, file: FileId) {
        self.is_watched &= self.covers(file.place());
        self.names = None;
        self.file = file;
    }

    fn covers(&self, place: Place) -> bool {
        self.is_watched && self.file.place() == place
    }

    fn knows(&self, file: FileId) -> bool {
        self.names.is_some() && self.file == file
    }

    fn unwatch(&mut self) {
        self.watch = None;
        self.is_watched = false;
    }
}

/// The accounts' folders.
#[derive(Debug, Default)]
pub struct Folders {
    table: Table<Row>,
    /// Whose each watch is, in the order of the watches: the kernel gives rising numbers.
    watches: Vec<(WatchDescriptor, Slot)>,
    /// The directory itself, when it was listed and had been unchanged for a while.
    listed: Option<FileId>,
    /// Whether there may be others than when the rest was forgotten last.
    are_news: bool,
}

impl Folders {
    /// Finds out which there are. The directory is not listed while it is unchanged.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&mut self, directory: &Directory, now: Timestamp) -> Result<(), DirectoryFault> {
        let file = (directory.root().stat().ok()).map(|stat| FileId::from(&stat));
        if file.is_some() && file == self.listed {
            return Ok(());
        }
        self.listed = None;
        let (mut there, mut new) = (Vec::new(), Vec::new());
        let has_all = directory.go_through(now, |name| match self.table.find((name, "")) {
            Some(slot) => there.push(slot),
            None if is_account(name) => new.push(Arc::from(name)),
            None => {}
        })?;
        for row in self.table.rows_mut() {
            row.is_there = false;
        }
        for slot in there {
            if let Some(row) = self.table.get_mut(slot) {
                row.is_there = true;
            }
        }
        // In their order each goes to the end of a table that is empty.
        new.sort_unstable();
        self.table.reserve(new.len());
        for name in new {
            self.table.insert(Row::new(name));
        }
        self.are_news = true;
        self.listed = file.filter(|file| has_all && listing::is_quiet(*file, now));
        Ok(())
    }

    /// A folder of this name was found.
    pub fn add(&mut self, name: &Arc<str>) {
        match self.row_mut(name) {
            Some(row) if row.is_there => return,
            Some(row) => row.is_there = true,
            None => _ = self.table.insert(Row::new(Arc::clone(name))),
        }
        self.are_news = true;
    }

    /// Whether a name is in the directory, as far as is known.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.row(name).is_some_and(|row| row.is_there)
    }

    /// The names in the directory that come after this one, in their order.
    pub fn after(&self, name: &str) -> impl Iterator<Item = &Arc<str>> {
        let rows = self.table.after((name, "")).map(|(_, row)| row);
        rows.filter(|row| row.is_there).map(|row| &row.name)
    }

    /// A name as it is kept for all: once.
    #[must_use]
    pub fn kept(&self, name: &str) -> Arc<str> {
        let kept = self.row(name).map(|row| Arc::clone(&row.name));
        kept.unwrap_or_else(|| name.into())
    }

    /// Whether the directory was listed, or a folder found, since the last [`Folders::keep`].
    #[must_use]
    pub fn are_news(&self) -> bool {
        self.are_news
    }

    /// Forgets folders that are gone; the kernel has dropped their watches.
    pub fn keep(&mut self) {
        self.are_news = false;
        self.table.retain(|row| row.is_there);
        let table = &self.table;
        let is_on = |watch, slot| table.get(slot).is_some_and(|row| row.watch == Some(watch));
        self.watches.retain(|&(watch, slot)| is_on(watch, slot));
    }

    /// Whether a folder, which is this file, is as it was when all in it was looked at, and whatever
    /// happened to its files since was told. A change in the same tick of the clock as the listing
    /// does not show, but is told, too.
    #[must_use]
    pub fn is_unchanged(&self, name: &str, file: FileId) -> bool {
        let row = self.row(name);
        row.is_some_and(|row| row.knows(file) && row.covers(file.place()))
    }

    /// Forgets the names in a folder. Which file it was, if its names are as long known as the file
    /// is the same.
    pub fn take(&mut self, name: &str) -> Option<FileId> {
        let row = self.row_mut(name)?;
        let names = row.names.take();
        names
            .filter(|trust| *trust == Trust::Full)
            .map(|_| row.file)
    }

    /// All the names in a folder, which was this file, are known.
    pub fn remember(&mut self, name: &str, file: FileId, trust: Trust) {
        if let Some(row) = self.row_mut(name) {
            row.become_(file);
            row.names = Some(trust);
        }
    }

    /// A token of ours was put into a folder, which adds no name that is looked for. Whatever
    /// somebody else does just then is told by an event, or found by the next full look.
    pub fn follow(&mut self, name: &str, change: OwnChange) {
        if let Some(row) = self.row_mut(name).filter(|row| row.knows(change.before)) {
            row.become_(change.after);
            row.names = Some(Trust::WithEvents);
        }
    }

    /// Whether a folder, which is this file, is watched.
    #[must_use]
    pub fn covers(&self, name: &str, file: FileId) -> bool {
        self.row(name).is_some_and(|row| row.covers(file.place()))
    }

    /// How many are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        let rows = self.table.iter();
        rows.filter(|(_, row)| row.is_watched).count()
    }

    /// A watch was set on a folder, which is this file.
    pub fn watch(&mut self, name: &str, file: FileId, watch: WatchDescriptor) {
        let Some(slot) = self.table.find((name, "")) else {
            return;
        };
        match self.find_watch(watch) {
            Ok(at) => {
                let entry = self.watches.get_mut(at);
                let before = entry.map(|(_, of)| std::mem::replace(of, slot));
                // The folder got this name, or the kernel gave the number again: it tells of one
                // folder only.
                if let Some(before) = before.filter(|before| *before != slot) {
                    self.unwatch(before, watch);
                }
            }
            Err(at) => self.watches.insert(at, (watch, slot)),
        }
        if let Some(row) = self.table.get_mut(slot) {
            if row.file.place() != file.place() {
                row.become_(file);
            }
            row.watch = Some(watch);
            row.is_watched = true;
        }
    }

    /// Whose a watch is.
    #[must_use]
    pub fn watched_by(&self, watch: WatchDescriptor) -> Option<&Arc<str>> {
        let at = self.find_watch(watch).ok()?;
        let (_, slot) = self.watches.get(at)?;
        Some(&self.table.get(*slot)?.name)
    }

    /// A watch has ended. The folder that is not watched any more, if it had no other.
    pub fn watch_ended(&mut self, watch: WatchDescriptor) -> Option<Arc<str>> {
        let at = self.find_watch(watch).ok()?;
        let (_, slot) = self.watches.remove(at);
        self.unwatch(slot, watch)
    }

    /// Watches may have ended: none is relied on until it is set again.
    pub fn doubt_watches(&mut self) {
        for row in self.table.rows_mut() {
            row.is_watched = false;
        }
    }

    /// The folders are those of another directory.
    pub fn forget_watches(&mut self) {
        self.watches.clear();
        self.table.rows_mut().for_each(Row::unwatch);
    }

    fn unwatch(&mut self, slot: Slot, watch: WatchDescriptor) -> Option<Arc<str>> {
        let row = self.table.get_mut(slot)?;
        if row.watch != Some(watch) {
            return None;
        }
        row.unwatch();
        Some(Arc::clone(&row.name))
    }

    fn find_watch(&self, watch: WatchDescriptor) -> Result<usize, usize> {
        self.watches.binary_search_by_key(&watch, |(is, _)| *is)
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.table.row((name, "")).map(|(_, row)| row)
    }

    fn row_mut(&mut self, name: &str) -> Option<&mut Row> {
        let slot = self.table.find((name, ""))?;
        self.table.get_mut(slot)
    }
}

#[cfg(test)]
mod tests;
