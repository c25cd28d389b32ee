//! The present [`Endpoints`] of a client, kept up to date in the background.
//!
//! What holds: no lock is held while a name is looked up or a file is read. The first look-up is
//! shared by all who wait for it; later ones delay nobody. Files are read on a thread of its own,
//! for a file system may hang; a call that finds them due waits a second at most. A look-up or a file
//! that fails leaves in force what worked before, and is tried again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{Endpoints, look_up};
use crate::credential_url::ServerUrl;
use crate::error::{Error, ErrorKind};
use crate::settings::Settings;
use crate::thread;
use crate::tls::Authorities;

/// Pause between two look-ups of a name: as long as a preference stays put.
const LOOK_UP_AGAIN: Duration = crate::preference::STAY;
/// The same after a look-up that failed, or after no address was reached.
const LOOK_UP_SOON: Duration = Duration::from_secs(15);
/// Pause between two checks of the files with certificate authorities.
const CHECK_FILES: Duration = Duration::from_secs(10);
/// Longest wait of a request for such a check.
const CHECK_WAIT: Duration = Duration::from_secs(1);

/// Keeps the present [`Endpoints`] of a client.
pub(crate) struct Directory(Arc<Shared>);

struct Shared {
    settings: Arc<Settings>,
    state: Mutex<State>,
    /// Changes of the files are followed.
    follows_files: bool,
}

struct State {
    /// `None` when the caller's own HTTP client is used.
    authorities: Option<Authorities>,
    files_due: Instant,
    checking_files: bool,
    /// The last complaint about the files, which is logged once.
    complaint: Option<String>,
    present: Option<Arc<Endpoints>>,
    looked_up: Option<Instant>,
    look_up_due: Instant,
    flight: Option<Flight>,
}

/// A look-up under way, and its outcome to come.
type Flight = watch::Receiver<Option<Result<Arc<Endpoints>, Error>>>;

impl Directory {
    /// For authorities that were read; `follows_files`: changes of the files are followed.
    pub(crate) fn new(
        settings: Arc<Settings>,
        authorities: Authorities,
        follows_files: bool,
    ) -> Self {
        Self::with(settings, Some(authorities), follows_files, None)
    }

    /// For the caller's own HTTP client, which finds addresses itself.
    pub(crate) fn over(settings: Arc<Settings>, http: &reqwest::Client) -> Self {
        let endpoints = Arc::new(Endpoints::over(http, &settings));
        Self::with(settings, None, false, Some(endpoints))
    }

    fn with(
        settings: Arc<Settings>,
        authorities: Option<Authorities>,
        follows_files: bool,
        present: Option<Arc<Endpoints>>,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            authorities,
            files_due: now + CHECK_FILES,
            checking_files: false,
            complaint: None,
            present,
            looked_up: None,
            look_up_due: now,
            flight: None,
        };
        Self(Arc::new(Shared {
            settings,
            state: Mutex::new(state),
            follows_files,
        }))
    }

    /// The endpoints as of now.
    ///
    /// # Errors
    /// None are known yet, and no name can be looked up.
    pub(crate) async fn endpoints(&self) -> Result<Arc<Endpoints>, Error> {
        self.check_files().await;
        // A look-up ends with the runtime of the caller that began it: then another one is begun.
        for _ in 0..2 {
            let mut flight = {
                let mut state = self.0.state();
                let due = state.authorities.is_some() && Instant::now() >= state.look_up_due;
                match (&state.present, due) {
                    (Some(present), false) => return Ok(Arc::clone(present)),
                    (Some(present), true) => {
                        let present = Arc::clone(present);
                        self.0.look_up(&mut state);
                        return Ok(present);
                    }
                    (None, _) => self.0.look_up(&mut state),
                }
            };
            if let Ok(outcome) = flight.wait_for(Option::is_some).await
                && let Some(outcome) = &*outcome
            {
                return outcome.clone();
            }
        }
        let server = self.0.settings.server().to_string();
        Err(Error::new(
            ErrorKind::LocalResource,
            &server,
            "the look-up of the name was broken off",
        ))
    }

    /// Begins another look-up in the background: after no address was reached. The next call has
    /// what it finds.
    pub(crate) fn look_up_again(&self) {
        let mut state = self.0.state();
        let long_ago = |at| Instant::now() >= at + LOOK_UP_SOON;
        if state.authorities.is_some() && state.looked_up.is_none_or(long_ago) {
            self.0.look_up(&mut state);
        }
    }

    async fn check_files(&self) {
        let authorities = {
            let mut state = self.0.state();
            let now = Instant::now();
            let due = self.0.follows_files && now >= state.files_due && !state.checking_files;
            let (true, Some(authorities)) = (due, state.authorities.clone()) else {
                return;
            };
            state.checking_files = true;
            state.files_due = now + CHECK_FILES;
            authorities
        };
        let shared = Arc::clone(&self.0);
        // Takes in what it finds itself: the call that asked may go on without the answer.
        let check = move || shared.files_checked(authorities.read_again(&shared.settings.tls));
        let checked = timeout(CHECK_WAIT, thread::run("htvault-ca", (), check)).await;
        if let Ok(Err(_) | Ok(None)) = checked {
            // No thread to be had now, or it was broken off: a later call tries.
            self.0.state().checking_files = false;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the look-up under way, or begins one.
    fn look_up(self: &Arc<Self>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight
            && flight.has_changed().is_ok()
        {
            return flight.clone();
        }
        let (send, flight) = watch::channel(None);
        state.flight = Some(flight.clone());
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let found = look_up(&shared.settings).await;
            let outcome = shared.looked_up(found);
            // Perhaps nobody waits for it.
            let _ = send.send(Some(outcome));
        });
        flight
    }

    fn looked_up(
        &self,
        found: Result<Vec<(ServerUrl, std::net::SocketAddr)>, Error>,
    ) -> Result<Arc<Endpoints>, Error> {
        let mut state = self.state();
        let now = Instant::now();
        state.flight = None;
        state.looked_up = Some(now);
        let tls = state.authorities.as_ref().map(Authorities::config);
        match (found, tls, &state.present) {
            (Ok(found), Some(tls), before) => {
                let before = before.as_deref();
                let endpoints = Arc::new(Endpoints::build(found, before, &tls, true));
                state.look_up_due = now + LOOK_UP_AGAIN;
                state.present = Some(Arc::clone(&endpoints));
                Ok(endpoints)
            }
            (Err(error), _, Some(before)) => {
                let server = self.settings.server();
                warn!(%server, %error, "name not found: the known addresses stay in use");
                let before = Arc::clone(before);
                state.look_up_due = now + LOOK_UP_SOON;
                Ok(before)
            }
            (Err(error), _, None) => Err(error),
            (Ok(_), None, _) => Err(Error::configuration("no certificate authorities")),
        }
    }

    /// Takes the outcome of a check of the files: `None` when nothing has changed.
    fn files_checked(&self, read: Result<Option<Authorities>, Error>) {
        let mut state = self.state();
        state.checking_files = false;
        match read {
            Ok(None) => state.complaint = None,
            Ok(Some(authorities)) => {
                let tls = authorities.config();
                let endpoints = state.present.as_deref().map(|before| {
                    let known = before.list.iter();
                    let known = known.filter_map(|e| Some((e.server.clone(), e.address?)));
                    Arc::new(Endpoints::build(known.collect(), Some(before), &tls, false))
                });
                state.present = endpoints;
                state.authorities = Some(authorities);
                state.complaint = None;
            }
            Err(error) => {
                let complaint = error.to_string();
                if state.complaint.as_deref() != Some(&*complaint) {
                    let server = self.settings.server();
                    warn!(%server, %error, "certificate authorities stay as they were");
                    state.complaint = Some(complaint);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::TlsSettings;

    fn authority() -> String {
        let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    fn directory(file: &Path, follows_files: bool) -> Directory {
        std::fs::write(file, authority()).unwrap();
        let mut settings = Settings::new("https://127.0.0.1:1".parse().unwrap());
        settings.tls = TlsSettings {
            ca_file: Some(file.to_owned()),
            ca_dir: None,
        };
        let authorities = Authorities::read(&settings.tls).unwrap();
        Directory::new(Arc::new(settings), authorities, follows_files)
    }

    /// Has the files checked now; true when the authorities are those of the files.
    async fn check(directory: &Directory) -> bool {
        directory.0.state().files_due = Instant::now();
        directory.endpoints().await.unwrap();
        while directory.0.state().checking_files {
            tokio::task::yield_now().await;
        }
        let state = directory.0.state();
        let authorities = state.authorities.as_ref().unwrap();
        authorities.are_those_of(&directory.0.settings.tls)
    }

    #[tokio::test]
    async fn changed_files_are_followed_and_broken_ones_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let directory = directory(&file, true);
        let first = directory.endpoints().await.unwrap();
        assert!(check(&directory).await);
        let same = directory.endpoints().await.unwrap();
        assert!(Arc::ptr_eq(&first, &same), "nothing has changed");

        std::fs::write(&file, authority() + &authority()).unwrap();
        assert!(check(&directory).await);
        let second = directory.endpoints().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second), "connections are made anew");

        std::fs::write(&file, "broken").unwrap();
        assert!(!check(&directory).await);
        assert!(directory.0.state().complaint.is_some());
        let third = directory.endpoints().await.unwrap();
        assert!(Arc::ptr_eq(&second, &third));
        std::fs::write(&file, authority()).unwrap();
        assert!(check(&directory).await);
        assert_eq!(directory.0.state().complaint, None);
    }

    #[tokio::test]
    async fn a_file_that_the_disk_does_not_give_now_takes_no_authority_away_and_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let [of_dir, away] = ["dir.pem", "away"].map(|name| folder.path().join(name));
        std::fs::write(&of_dir, authority()).unwrap();
        let mut directory = directory(&file, true);
        let shared = Arc::get_mut(&mut directory.0).unwrap();
        Arc::make_mut(&mut shared.settings).tls.ca_dir = Some(folder.path().to_owned());
        assert!(check(&directory).await);
        let first = directory.endpoints().await.unwrap();

        // A plain file whose reading fails with EIO.
        std::fs::rename(&of_dir, &away).unwrap();
        std::os::unix::fs::symlink("/proc/self/mem", &of_dir).unwrap();
        for _ in 0..2 {
            assert!(!check(&directory).await);
            let complaint = directory.0.state().complaint.clone().unwrap();
            assert!(complaint.contains("dir.pem"), "{complaint}");
            let same = directory.endpoints().await.unwrap();
            assert!(Arc::ptr_eq(&first, &same), "those of before are more");
        }
        std::fs::rename(&away, &of_dir).unwrap();
        assert!(check(&directory).await);
        assert_eq!(directory.0.state().complaint, None);
    }

    #[tokio::test]
    async fn authorities_of_the_caller_are_used_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let directory = directory(&file, false);
        std::fs::write(&file, authority() + &authority()).unwrap();
        assert!(!check(&directory).await);
    }
}
