//! The scanner: finds out which credentials there are and reports what changed.
//!
//! Owns the watches and the knowledge of each file's version. It takes no hint of what happened in a
//! folder: it checks all of it, and reads only what changed. Every minute it checks everything. No secret stays in
//! memory: of a `.top` only its route, of a `.use` only its claims. An error of the system never makes a credential
//! disappear: what was known stays, and the next scan tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::stat::SFlag;
use tokio::sync::mpsc::UnboundedSender;

use super::account::Account;
use super::directory::{Directory, DirectoryError};
use super::folder::{Folder, file_id, kind};
use super::install::{is_temporary, remove_leftovers, writer_is_gone};
use super::observation::{Observation, ScanReport};
use super::odd_names::OddNames;
use super::own_files::Service;
use super::wakes::{Installed, Pending, Wake, Wakes};
use super::watch::Watcher;
use super::{observe, own_files};
use crate::model::{CredentialId, FileId, Heartbeat, Observed, is_account};

/// Time between full scans.
pub(crate) const RESCAN: Duration = Duration::from_mins(1);
/// Time to the next full scan after an error that may pass.
const RETRY: Duration = Duration::from_secs(5);
/// Time from an event to the scan, so that changes that belong together are seen together.
const SETTLE: Duration = Duration::from_millis(3);
/// Folders that a full scan checks before it turns to folders that just changed.
const PORTION: usize = 16;
/// An account's folder is scanned for so small a part of the time, however often it changes, and so is the directory,
/// however often that is asked for: the credd does for each credential that is stored.
const PART: u32 = 5;
/// Credentials of one account that are looked at.
const ACCOUNT_LIMIT: usize = 10_000;
/// Names in one account's folder that are looked at: far more than those of its credentials.
const NAME_LIMIT: usize = 4 * ACCOUNT_LIMIT;
/// Age of a folder's last change from which on its names are taken for known, in seconds: far above the
/// ticks of clocks and their differences within a site.
const SETTLED: i64 = 30;

/// Scanner of one credential directory.
pub(crate) struct Scanner {
    path: Option<PathBuf>,
    observations: UnboundedSender<Observation>,
    /// A guest (`--once`) leaves pid, lock and `CREDMON_COMPLETE` to the daemon that may run beside.
    is_guest: bool,
    /// The directory that is served.
    directory: Option<Arc<Directory>>,
    service: Service,
    watcher: Watcher,
    /// To be filled by who installs tokens.
    pub(crate) installed: Installed,
    pub(crate) heartbeat: Heartbeat,
    accounts: BTreeMap<Arc<str>, Account>,
    odd: OddNames,
    clock: Arc<dyn htvault::clock::Clock>,
}

impl Scanner {
    pub(crate) fn new(
        path: Option<PathBuf>,
        is_guest: bool,
        observations: UnboundedSender<Observation>,
        clock: Arc<dyn htvault::clock::Clock>,
    ) -> Self {
        Self {
            path,
            watcher: Watcher::new(Path::new("")),
            observations,
            is_guest,
            directory: None,
            service: Service::default(),
            installed: Installed::default(),
            heartbeat: Heartbeat::default(),
            accounts: BTreeMap::new(),
            odd: OddNames::default(),
            clock,
        }
    }

    /// Scans until it is stopped: body of the scanner's thread.
    pub(crate) fn run(mut self, wakes: &Wakes) {
        let mut pending = Pending {
            all: true,
            ..Pending::default()
        };
        let mut next_full = Instant::now();
        while !pending.stop {
            let next = pending.next(next_full);
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() && wakes.wait(self.watcher.events(), left) {
                std::thread::sleep(SETTLE);
            }
            self.take_requests(&mut pending, wakes);
            let path = self.path.as_deref();
            let _working = self.heartbeat.start(path.unwrap_or("".as_ref()));
            self.handle(&mut pending);
            if pending.next_all(next_full) <= Instant::now() {
                pending.all = false;
                let began = Instant::now();
                next_full = began + self.scan_beside(&mut pending, wakes);
            }
        }
        self.stop();
    }

    /// Takes what is asked for, and what the watches report.
    fn take_requests(&mut self, pending: &mut Pending, wakes: &Wakes) {
        for wake in wakes.take() {
            pending.add(wake);
        }
        self.watcher.report(pending);
    }

    /// Scans the whole directory, and meanwhile folders that just changed; returns the time to the next full scan.
    fn scan_beside(&mut self, pending: &mut Pending, wakes: &Wakes) -> Duration {
        let began = Instant::now();
        let pause = self.scan_all(|scanner| {
            scanner.take_requests(pending, wakes);
            scanner.scan_changed(pending);
            !pending.stop
        });
        pending.all_rests = Some(Instant::now() + began.elapsed() * (PART - 1));
        pause
    }

    /// Scans the folders that changed and may be scanned now. One that takes long waits before the next time.
    fn scan_changed(&mut self, pending: &mut Pending) {
        for (user, is_other) in pending.take_accounts(Instant::now()) {
            let began = Instant::now();
            if is_other {
                self.watcher.unwatch(&user);
            }
            self.scan_account(&user);
            let rest = began.elapsed() * (PART - 1);
            if rest > SETTLE {
                pending.resting.insert(user, Instant::now() + rest);
            }
        }
    }

    /// Does what was asked for, but full scans.
    fn handle(&mut self, pending: &mut Pending) {
        if let Some(Wake::Use(path)) = pending.directory.take()
            && path != self.path
        {
            self.path = path;
            self.forget();
            (pending.all, pending.all_rests) = (true, None);
        }
        self.scan_changed(pending);
        if std::mem::take(&mut pending.complete)
            && let Some(directory) = self.directory.as_ref().filter(|_| self.service.is_ours())
            && let Err(errno) = own_files::touch_complete(directory.root())
        {
            tracing::warn!("CREDMON_COMPLETE cannot be written: {}", errno.desc());
        }
    }

    /// Takes in the tokens of this daemon, so that whatever somebody else does to them is noticed.
    fn take_in_installed(&mut self) {
        for observed in self.installed.take() {
            let account = self.accounts.get_mut(observed.top.id.user());
            let known = account.and_then(|account| account.get_mut(observed.top.id.service()));
            if let Some(known) = known.filter(|known| known.top.stamp == observed.top.stamp) {
                *known = observed;
            }
        }
    }

    /// Takes its files out of the directory.
    pub(crate) fn stop(&mut self) {
        if let Some(directory) = self.directory.as_ref().filter(|_| self.service.is_ours()) {
            own_files::remove_pid(directory.root());
        }
    }

    /// Forgets everything about the present directory.
    fn forget(&mut self) {
        self.stop();
        for user in self.accounts.keys().cloned().collect::<Vec<_>>() {
            self.account_gone(&user, None);
        }
        (self.directory, self.odd, self.service) = (None, OddNames::default(), Service::default());
        self.watcher = Watcher::new(Path::new(""));
    }

    /// Scans the whole directory; returns the time to the next full scan. `urgent` is called now and then, and scans
    /// folders that changed meanwhile; `false`: the scan breaks off. After an error that may pass the directory that is
    /// open is used on.
    pub(crate) fn scan_all(&mut self, mut urgent: impl FnMut(&mut Self) -> bool) -> Duration {
        let path = self.path.as_deref();
        let _working = self.heartbeat.start(path.unwrap_or("".as_ref()));
        let mut report = ScanReport::default();
        let mut pause = RESCAN;
        match self.open() {
            Ok((directory, names)) => {
                report.problems.extend(directory.warning());
                if !self.is_guest {
                    report.problems.extend(self.service.settle_in(&directory));
                }
                self.odd.begin(&names);
                for (number, user) in names.iter().enumerate() {
                    if number % PORTION == 0 && !urgent(self) {
                        return pause;
                    }
                    self.scan_account(user);
                }
                // One that came during the scan is not gone.
                let known = self.accounts.keys();
                let gone = known.filter(|user| !names.contains(&***user));
                for user in gone.cloned().collect::<Vec<_>>() {
                    self.scan_account(&user);
                }
                report.is_complete = true;
            }
            Err(error) => {
                report.problems.push(error.to_string());
                if error.may_pass() {
                    pause = RETRY;
                }
                if !error.may_pass() || self.directory.is_none() {
                    self.send(Observation::Directory(Err(error)));
                }
            }
        }
        report.watched_folders = self.watcher.len();
        self.send(Observation::Scanned(report));
        pause
    }

    /// Opens the directory anew, and lists the accounts' folders in order.
    fn open(&mut self) -> Result<(Arc<Directory>, BTreeSet<String>), DirectoryError> {
        let path = self.path.clone().ok_or(DirectoryError::NotConfigured)?;
        let served = self.directory.as_ref().map(|directory| directory.place());
        let directory = Arc::new(Directory::open(&path, served)?);
        if served != Some(directory.place()) {
            self.watcher = Watcher::new(&path);
            self.service = Service::default();
            tracing::info!("serves {}", path.display());
        }
        self.watcher.start();
        self.directory = Some(directory.clone());
        self.send(Observation::Directory(Ok(directory.clone())));
        let names = directory.names()?;
        remove_leftovers(directory.root(), &names, self.clock.now(), writer_is_gone);
        let accounts = names.into_iter().filter(|name| is_account(name));
        Ok((directory, accounts.collect()))
    }

    /// Scans one account's folder.
    pub(crate) fn scan_account(&mut self, user: &str) {
        self.heartbeat.beat();
        self.take_in_installed();
        let Some(directory) = self.directory.clone() else {
            return;
        };
        let root = directory.root();
        let known = self.accounts.get_key_value(user);
        // The same text in memory for all that has it.
        let user = &known.map_or_else(|| user.into(), |(user, _)| user.clone());
        let account = known.map(|(_, account)| account);
        let stat = match root.stat_of(user) {
            Ok(Some(stat)) if kind(&stat) == SFlag::S_IFDIR => stat,
            // Plain files stand here by right: marks, pid, CREDMON_COMPLETE, keys.
            Ok(stat) => {
                let is_link = stat.as_ref().map(kind) == Some(SFlag::S_IFLNK);
                let why = is_link.then_some("a symbolic link is not followed");
                return self.account_gone(user, why);
            }
            Err(errno) => return self.odd.report(user, errno.desc()),
        };
        let place = file_id(&stat);
        // Before the folder is read, so that no change falls between.
        self.watcher.watch(user, place);
        if account.is_some_and(|account| account.is_current(root, place, &self.heartbeat)) {
            return;
        }
        let scanned = root.folder(user);
        match scanned.and_then(|folder| self.scan_folder(user, &folder, place)) {
            Ok(()) => self.odd.forget(user),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => self.account_gone(user, None),
            Err(errno) => self.odd.report(user, errno.desc()),
        }
    }

    fn scan_folder(
        &mut self,
        user: &Arc<str>,
        folder: &Folder,
        place: FileId,
    ) -> Result<(), Errno> {
        let (ids, listed) = match self.accounts.get(user) {
            Some(account) if account.listed == Some(place) => {
                let ids = account.credentials.iter().map(|known| known.top.id.clone());
                (ids.collect(), account.listed)
            }
            _ => self.list(user, folder, place)?,
        };
        let before = self.accounts.remove(user).unwrap_or_default();
        let mut credentials: Vec<Observed> = Vec::with_capacity(ids.len());
        for id in ids {
            self.heartbeat.beat();
            let known = before.get(id.service());
            if let Some(observed) = observe::observe(folder, &id, known) {
                if known != Some(&observed) {
                    self.send(Observation::Changed(observed.clone()));
                }
                credentials.push(observed);
            }
        }
        let account = Account {
            listed,
            credentials,
        };
        for gone in before.credentials {
            if account.get(gone.top.id.service()).is_none() {
                self.send(Observation::Gone(gone.top.id.clone()));
            }
        }
        self.accounts.insert(user.clone(), account);
        Ok(())
    }

    /// Lists the credentials in an account's folder, in the order of their services, and says which
    /// version of the folder need not be listed again. One that changed just now may change once more
    /// within the same tick of its clock.
    fn list(
        &mut self,
        user: &Arc<str>,
        folder: &Folder,
        place: FileId,
    ) -> Result<(Vec<CredentialId>, Option<FileId>), Errno> {
        let (names, is_all) = folder.first_names(NAME_LIMIT)?;
        let now = self.clock.now();
        remove_leftovers(folder, &names, now, writer_is_gone);
        let age = now
            .as_second()
            .saturating_sub(place.changed / 1_000_000_000);
        let is_settled = age > SETTLED && !names.iter().any(|name| is_temporary(name));
        let (mut ids, mut odd, mut bounds) = (Vec::new(), Vec::new(), Vec::new());
        let services = names.iter().filter_map(|name| name.strip_suffix(".top"));
        for service in services.filter(|s| !s.is_empty() && !s.starts_with('.')) {
            match CredentialId::new(user, service) {
                Some(id) => ids.push(id),
                None => odd.push((
                    format!("{user}/{}.top", service.escape_default()),
                    "HTCondor's service names have letters, digits and -+=_. only".to_owned(),
                )),
            }
        }
        ids.sort_unstable();
        if !is_all {
            let why = format!("the folder has more than {NAME_LIMIT} names");
            bounds.push((format!("{user}/…"), why));
        }
        if ids.len() > ACCOUNT_LIMIT {
            ids.truncate(ACCOUNT_LIMIT);
            let why = format!("the account has more than {ACCOUNT_LIMIT} credentials");
            bounds.push((format!("{user}/….top"), why));
        }
        self.odd.found(user, bounds, odd);
        Ok((ids, is_settled.then_some(place)))
    }

    /// An account has no folder. `why`: reason why what is in its place is left alone.
    fn account_gone(&mut self, user: &Arc<str>, why: Option<&str>) {
        self.watcher.unwatch(user);
        let account = self.accounts.remove(user).unwrap_or_default();
        for gone in account.credentials {
            self.send(Observation::Gone(gone.top.id.clone()));
        }
        match why {
            Some(why) => self.odd.report(user, why),
            None => self.odd.found(user, Vec::new(), Vec::new()),
        }
    }

    fn send(&self, observation: Observation) {
        // The daemon has ended: nobody wants to know.
        let _ = self.observations.send(observation);
    }
}

#[cfg(test)]
mod tests;
