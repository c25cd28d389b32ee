//! Authorities that credds' certificates are from, read once for all groups that name the same files.
//!
//! Always true: files are read on threads that nothing else waits for. Changed files are noticed within seconds; while
//! they cannot be read the authorities of before count.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use htvault::{Authorities, TlsSettings};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::model::problem::Kind;
use crate::schedd::discovery::QueryFailure;
use crate::system::files::{CONFIGURATION, PoolError, is_passing};
use crate::system::keyed::Keyed;

/// Time for which the files are taken to be unchanged.
const CHECK: Duration = Duration::from_secs(20);

/// Authorities by the files that have them.
#[derive(Default)]
pub(super) struct AuthorityFiles(Keyed<TlsSettings, Option<Known>>);

struct Known {
    authorities: Arc<Authorities>,
    checked: Instant,
    /// The files could not be read then, which was logged.
    is_unreadable: bool,
}

impl AuthorityFiles {
    /// The authorities; the same value until the files change. An error is a kind of problem, and says what to do.
    pub(super) async fn get(
        &self,
        settings: &TlsSettings,
    ) -> Result<Arc<Authorities>, QueryFailure> {
        let mut known = self.0.lock(settings.clone()).await;
        let Some(before) = known.as_mut() else {
            let authorities = read(settings.clone(), None).await?;
            *known = Some(Known {
                authorities: Arc::clone(&authorities),
                checked: Instant::now(),
                is_unreadable: false,
            });
            return Ok(authorities);
        };
        if Instant::now() >= before.checked + CHECK {
            let authorities = Arc::clone(&before.authorities);
            before.take(read(settings.clone(), Some(authorities)).await);
        }
        Ok(Arc::clone(&before.authorities))
    }
}

impl Known {
    /// Takes over what was read; a change from readable to unreadable, or back, is logged.
    fn take(&mut self, read: Result<Arc<Authorities>, QueryFailure>) {
        match &read {
            Err((_, message)) if !self.is_unreadable => {
                warn!("authorities of credds: {message}; those of before are used");
            }
            Ok(_) if self.is_unreadable => info!("authorities of credds can be read again"),
            _ => {}
        }
        self.is_unreadable = read.is_err();
        self.checked = Instant::now();
        if let Ok(authorities) = read {
            self.authorities = authorities;
        }
    }
}

/// Those of before, if these are all and the files have not changed.
async fn read(
    settings: TlsSettings,
    before: Option<Arc<Authorities>>,
) -> Result<Arc<Authorities>, QueryFailure> {
    let path = settings.ca_file.clone().or_else(|| settings.ca_dir.clone());
    let path = path.unwrap_or_else(|| Path::new("/etc/ssl/certs").to_owned());
    let work = move || match before {
        Some(before) => Ok(before.read_again(&settings)?.map_or(before, Arc::new)),
        None => Authorities::read(&settings).map(Arc::new),
    };
    match CONFIGURATION.run(&path, work).await {
        Ok(read) => read.map_err(|error| (kind_of(&error), error.to_string())),
        Err(failure @ PoolError::Broken(_)) => Err((Kind::Internal, failure.to_string())),
        Err(failure) => Err((Kind::Local, failure.to_string())),
    }
}

fn kind_of(error: &htvault::Error) -> Kind {
    let io = error.source().and_then(|source| source.downcast_ref());
    match io {
        Some(error) if is_passing(error) => Kind::Local,
        _ => Kind::Transport,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn authorities_are_read_again_when_their_file_has_changed_and_stay_when_it_is_away() {
        // The first log line of a place without a subscriber may silence it for the test below, which counts lines.
        let subscriber = tracing_subscriber::fmt().with_writer(std::io::sink);
        let _log = tracing::subscriber::set_default(subscriber.finish());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let settings = TlsSettings {
            ca_file: Some(file.clone()),
            ca_dir: None,
        };
        let files = AuthorityFiles::default();
        let (kind, refused) = files.get(&settings).await.unwrap_err();
        assert_eq!(kind, Kind::Transport, "{refused}");
        assert!(refused.contains("ca.pem cannot be used"), "{refused}");

        let pem = include_str!("authority.pem");
        std::fs::write(&file, pem).unwrap();
        let first = files.get(&settings).await.unwrap();
        assert!(Arc::ptr_eq(&first, &files.get(&settings).await.unwrap()));

        tokio::time::pause();
        let later = async || {
            tokio::time::advance(CHECK).await;
            tokio::time::resume();
            let read = files.get(&settings).await.unwrap();
            tokio::time::pause();
            read
        };
        assert!(Arc::ptr_eq(&first, &later().await), "nothing has changed");
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&first, &later().await), "it is away");
        std::fs::write(&file, format!("# another\n{pem}")).unwrap();
        assert!(!Arc::ptr_eq(&first, &later().await));
    }

    #[tokio::test]
    async fn a_file_that_the_disk_does_not_give_now_takes_no_authority_away() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, include_str!("authority.pem")).unwrap();
        let settings = TlsSettings {
            ca_file: Some(file),
            ca_dir: Some(folder.path().to_owned()),
        };
        let first = read(settings.clone(), None).await.unwrap();
        // A plain file whose reading fails with EIO.
        let of_dir = folder.path().join("dir.pem");
        std::os::unix::fs::symlink("/proc/self/mem", &of_dir).unwrap();
        let (_, words) = read(settings, Some(first)).await.err().unwrap();
        assert!(words.contains("dir.pem cannot be read"), "{words}");
        let bundle = TlsSettings {
            ca_file: Some(of_dir),
            ca_dir: None,
        };
        let (kind, words) = read(bundle, None).await.err().unwrap();
        assert_eq!(kind, Kind::Local, "{words}");
    }

    #[tokio::test]
    async fn unreadable_authorities_are_logged_when_that_begins_and_when_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let writer = std::fs::File::create(&log).unwrap();
        let subscriber = tracing_subscriber::fmt().with_writer(writer).finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let count = |words: &str| {
            let text = std::fs::read_to_string(&log).unwrap();
            text.lines().filter(|line| line.contains(words)).count()
        };
        let file = folder.path().join("ca.pem");
        let settings = TlsSettings {
            ca_file: Some(file.clone()),
            ca_dir: None,
        };
        let files = AuthorityFiles::default();
        for times in 1..3 {
            for is_away in [false, true, true, true, false, false] {
                let _ = std::fs::remove_file(&file);
                if !is_away {
                    std::fs::write(&file, include_str!("authority.pem")).unwrap();
                }
                files.get(&settings).await.unwrap();
                tokio::time::pause();
                tokio::time::advance(CHECK).await;
                tokio::time::resume();
            }
            assert_eq!(count("those of before are used"), times);
            assert_eq!(count("can be read again"), times);
        }
    }
}
