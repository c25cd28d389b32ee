//! What others see of this daemon: when it is written anew, and where.
//!
//! Always true: writing takes at most half a percent of the time, however much there is to write;
//! with thousands of credentials, whose tokens are renewed all the time, far less: what is no news
//! waits up to 15 s. A failure is said once and stops nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use tokio::time::Instant;

/// Least time between two writings.
const PAUSE: Duration = Duration::from_secs(1);

/// Writing takes this part of the time at most, when there is news.
const PART: u32 = 200;

/// Writing takes this part of the time, when there is none, ...
const UNHURRIED_PART: u32 = 5000;

/// ... but is not put off for longer.
const LONGEST: Duration = Duration::from_secs(15);

/// Where views go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewSettings {
    /// The status file.
    pub status_file: Option<PathBuf>,
    /// Its mode.
    pub status_mode: Mode,
    /// A file for `node_exporter`'s textfile collector.
    pub metrics_file: Option<PathBuf>,
    /// Where metrics are told by HTTP.
    pub metrics_address: Option<SocketAddr>,
    /// Whether metrics tell of single credentials.
    pub metrics_per_credential: bool,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self {
            status_file: None,
            status_mode: Mode::from_bits_truncate(0o644),
            metrics_file: None,
            metrics_address: None,
            metrics_per_credential: true,
        }
    }
}

impl ViewSettings {
    /// All files that are written.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.status_file, &self.metrics_file];
        files.into_iter().flatten().map(PathBuf::as_path)
    }
}

/// When the views are written anew.
#[derive(Debug)]
pub struct Views {
    outdated: bool,
    /// Whether there is something that others wait for.
    news: bool,
    not_before: Instant,
    unhurried: Instant,
    fault: Option<String>,
}

impl Views {
    /// Nothing is written yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            outdated: true,
            news: true,
            not_before: now,
            unhurried: now,
            fault: None,
        }
    }

    /// Something changed: a renewal was done as planned, or, if it is `news`, something that
    /// others wait for.
    pub fn outdate(&mut self, news: bool) {
        self.outdated = true;
        self.news |= news;
    }

    /// When to write; `None` while nothing changed.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        let at = if self.news {
            self.not_before
        } else {
            self.unhurried
        };
        self.outdated.then_some(at)
    }

    /// They were written, from one moment to another.
    pub fn written(&mut self, from: Instant, now: Instant) {
        self.outdated = false;
        self.news = false;
        let took = now.saturating_duration_since(from);
        let pause = PAUSE.max(took * PART);
        self.not_before = now + pause;
        self.unhurried = now + pause.max((took * UNHURRIED_PART).min(LONGEST));
    }

    /// Takes a failure to write; gives it back when it is news.
    pub fn news(&mut self, fault: Option<String>) -> Option<String> {
        let is_news = self.fault != fault;
        self.fault.clone_from(&fault);
        fault.filter(|_| is_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_is_rare_however_often_things_change() {
        let now = Instant::now();
        let mut views = Views::new(now);
        assert_eq!(views.due(), Some(now));
        views.written(now, now);
        assert_eq!(views.due(), None);
        views.outdate(false);
        assert_eq!(views.due(), Some(now + PAUSE));
        let later = now + Duration::from_millis(20);
        views.written(now, later);
        views.outdate(false);
        assert_eq!(views.due(), Some(later + LONGEST));
        views.outdate(true);
        views.outdate(false);
        assert_eq!(views.due(), Some(later + Duration::from_secs(4)));
    }

    #[test]
    fn a_fault_is_news_once() {
        let mut views = Views::new(Instant::now());
        let full = || Some("full".to_owned());
        assert_eq!(views.news(full()), full());
        assert_eq!(views.news(full()), None);
        assert_eq!(views.news(None), None);
        assert_eq!(views.news(full()), full());
    }
}
