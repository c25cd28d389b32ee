//! Each Vault host by itself: how many requests are under way, and whether it is given a rest.
//!
//! At most [`PER_HOST`] requests are under way at a host, and [`PER_ISSUER`] for one issuer there,
//! so an issuer that hangs leaves room for the others. A host that does not answer, or asks for
//! fewer requests, is left in peace for growing times; then a single request finds out whether it
//! is back. Other hosts are not touched by any of this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use htvault::ErrorKind;
use jiff::Timestamp;

use crate::old::schedule::{self, Patience, Spread};
use crate::old::state::Note;
use crate::old::status::VaultStatus;
use crate::old::top_file::Lane;

/// Requests under way at one host, at most.
pub const PER_HOST: usize = 8;

/// Requests under way for one issuer at one host, at most.
pub const PER_ISSUER: usize = 6;

/// Answers of 5xx in a row, without a good answer between, that make a host one that is down.
const ERRORS_IN_A_ROW: u32 = 3;

/// Longest wait that a host is believed, in seconds.
const LONGEST_ASKED: u64 = 3600;

/// What was said at a request's end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'s> {
    /// The words.
    pub text: &'s str,
    /// When to come again.
    pub retry_after: Option<Duration>,
}

/// What a request's end tells about its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Answers,
    /// Nothing: no request was made, or it says nothing of the host as a whole.
    Unknown,
    /// It answered nonsense or an error of its own; three of these in a row are taken for an outage.
    Doubtful,
    /// It is down, for all.
    Down,
    /// It wants fewer requests.
    Busy,
}

impl Verdict {
    /// What a failure tells.
    #[must_use]
    pub fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unreachable
            | ErrorKind::TimedOut
            | ErrorKind::Untrusted
            | ErrorKind::Sealed
            | ErrorKind::NoLeader => Self::Down,
            ErrorKind::RateLimited => Self::Busy,
            ErrorKind::ServerError | ErrorKind::BadAnswer => Self::Doubtful,
            ErrorKind::Configuration => Self::Unknown,
            _ => Self::Answers,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Host {
    under_way: BTreeMap<Arc<str>, usize>,
    failures: u32,
    doubts: u32,
    rests_until: Option<Timestamp>,
    /// What was said when it last failed.
    words: String,
}

/// All hosts that are asked.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    hosts: BTreeMap<Arc<str>, Host>,
}

impl Hosts {
    /// Whether a request may start.
    #[must_use]
    pub fn has_room(&self, lane: &Lane, now: Timestamp) -> bool {
        let Some(host) = self.hosts.get(&lane.host) else {
            return true;
        };
        let total: usize = host.under_way.values().sum();
        if host.rests_until.is_some_and(|until| now < until) {
            return false;
        }
        if host.failures > 0 {
            return total == 0;
        }
        let issuer = host.under_way.get(&lane.issuer).copied().unwrap_or(0);
        total < PER_HOST && issuer < PER_ISSUER
    }

    /// Until when a host is given a rest.
    #[must_use]
    pub fn rests_until(&self, host: &str) -> Option<Timestamp> {
        self.hosts.get(host)?.rests_until
    }

    /// What is wrong with a host that has not answered since it failed.
    #[must_use]
    pub fn trouble(&self, host: &str) -> Option<&str> {
        let host = self.hosts.get(host).filter(|host| host.failures > 0)?;
        Some(&host.words)
    }

    /// All hosts that are in trouble.
    pub fn troubles(&self) -> impl Iterator<Item = VaultStatus> {
        let failing = self.hosts.iter().filter(|(_, host)| host.failures > 0);
        failing.map(|(name, host)| VaultStatus {
            host: name.to_string(),
            rests_until: host.rests_until,
            why: host.words.clone(),
        })
    }

    /// A request starts.
    pub fn start(&mut self, lane: &Lane) {
        let host = self.hosts.entry(lane.host.clone()).or_default();
        *host.under_way.entry(lane.issuer.clone()).or_default() += 1;
    }

    /// A request has ended. `here` is this machine's name, for the draw of waits. A host that says
    /// itself when to come again is believed, within reason.
    pub fn end(
        &mut self,
        lane: &Lane,
        verdict: Verdict,
        said: Said<'_>,
        here: &str,
        now: Timestamp,
    ) -> Option<Note> {
        let name = &lane.host;
        let host = self.hosts.entry(name.clone()).or_default();
        if let Some(count) = host.under_way.get_mut(&lane.issuer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                host.under_way.remove(&lane.issuer);
            }
        }
        let patience = match verdict {
            Verdict::Unknown => return None,
            Verdict::Answers => {
                host.doubts = 0;
                host.rests_until = None;
                let was_down = std::mem::take(&mut host.failures) > 0;
                return was_down.then(|| Note::Info(format!("Vault {name} answers again")));
            }
            Verdict::Doubtful => {
                host.doubts += 1;
                if host.doubts < ERRORS_IN_A_ROW {
                    return None;
                }
                Patience::Host
            }
            Verdict::Down => Patience::Host,
            Verdict::Busy => Patience::RateLimit,
        };
        if host.rests_until.is_some_and(|until| now < until) {
            // Another request that was under way found the same.
            return None;
        }
        host.failures = host.failures.saturating_add(1);
        said.text.clone_into(&mut host.words);
        let drawn =
            || schedule::retry_delay(patience, host.failures, Spread::of_vault(here, name), 0);
        let asked = said.retry_after.filter(|_| verdict == Verdict::Busy);
        let wait = asked.map_or_else(drawn, |asked| {
            // The next full second, so that the first request is not a moment too early.
            let seconds = asked.as_secs().saturating_add(1).min(LONGEST_ASKED);
            i64::try_from(seconds).unwrap_or(i64::MAX)
        });
        host.rests_until = Some(schedule::after(now, wait).timestamp());
        let words = format!("Vault {name} is left in peace for {wait} s: {}", said.text);
        Some(if host.failures == 1 {
            Note::Warning(words)
        } else {
            Note::Debug(words)
        })
    }

    /// The time at which the next rest ends, after `now`.
    #[must_use]
    pub fn next_end_of_rest(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.hosts.values().filter_map(|host| host.rests_until);
        ends.filter(|&until| until > now).min()
    }

    /// Hosts that are given a rest or have not answered since.
    #[must_use]
    pub fn failing(&self) -> usize {
        self.hosts.values().filter(|h| h.failures > 0).count()
    }

    /// Ends all rests: an operator asks to try now.
    pub fn wake_all(&mut self) {
        for host in self.hosts.values_mut() {
            host.rests_until = None;
        }
    }

    /// Forgets hosts that have nothing under way and are well.
    pub fn forget_idle(&mut self) {
        self.hosts
            .retain(|_, host| !host.under_way.is_empty() || host.failures > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(host: &str, issuer: &str) -> Lane {
        Lane {
            host: host.into(),
            issuer: issuer.into(),
        }
    }

    fn said(text: &str) -> Said<'_> {
        Said {
            text,
            retry_after: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn requests_are_bounded_for_each_host_and_issuer() {
        let mut hosts = Hosts::default();
        let now = at(0);
        let start = |hosts: &mut Hosts, lane: &Lane| {
            let mut count = 0;
            while hosts.has_room(lane, now) {
                hosts.start(lane);
                count += 1;
            }
            count
        };
        assert_eq!(start(&mut hosts, &lane("a", "cms")), PER_ISSUER);
        assert_eq!(start(&mut hosts, &lane("a", "dune")), PER_HOST - PER_ISSUER);
        assert_eq!(start(&mut hosts, &lane("b", "cms")), PER_ISSUER);
        hosts.end(
            &lane("a", "cms"),
            Verdict::Answers,
            Said::default(),
            "",
            now,
        );
        assert!(hosts.has_room(&lane("a", "dune"), now));
    }

    #[test]
    fn a_host_that_is_down_rests_longer_each_time_and_is_probed_by_one_request() {
        let mut hosts = Hosts::default();
        let cms = lane("a", "cms");
        hosts.start(&cms);
        hosts.start(&cms);
        let note = hosts.end(&cms, Verdict::Down, said("no route"), "here", at(0));
        assert!(matches!(note, Some(Note::Warning(_))));
        let first = hosts.rests_until("a").unwrap();
        assert_eq!(
            hosts.end(&cms, Verdict::Down, Said::default(), "here", at(1)),
            None
        );
        assert_eq!(hosts.rests_until("a"), Some(first));
        assert!(!hosts.has_room(&cms, at(1)));
        assert!(hosts.has_room(&lane("b", "cms"), at(1)));

        assert!(hosts.has_room(&cms, first));
        hosts.start(&cms);
        assert!(!hosts.has_room(&lane("a", "dune"), first));
        hosts.end(&cms, Verdict::Down, Said::default(), "here", first);
        let second = hosts.rests_until("a").unwrap();
        assert!(second.as_second() - first.as_second() >= first.as_second());

        hosts.start(&cms);
        let note = hosts.end(&cms, Verdict::Answers, Said::default(), "here", second);
        assert!(matches!(note, Some(Note::Info(_))));
        hosts.start(&cms);
        assert!(hosts.has_room(&cms, second));
    }

    #[test]
    fn single_errors_of_the_server_do_not_stop_it_but_three_in_a_row_do() {
        let mut hosts = Hosts::default();
        let cms = lane("a", "cms");
        for verdict in [Verdict::Doubtful, Verdict::Doubtful, Verdict::Answers] {
            hosts.start(&cms);
            hosts.end(&cms, verdict, Said::default(), "", at(0));
        }
        for expected in [None, None, Some(())] {
            hosts.start(&cms);
            hosts.end(&cms, Verdict::Doubtful, Said::default(), "", at(0));
            assert_eq!(hosts.rests_until("a").map(drop), expected);
        }
    }

    #[test]
    fn a_rate_limit_is_waited_for_longer() {
        let mut hosts = Hosts::default();
        let cms = lane("a", "cms");
        hosts.start(&cms);
        hosts.end(&cms, Verdict::Busy, Said::default(), "", at(0));
        assert!(hosts.rests_until("a").unwrap() >= at(22));
    }

    #[test]
    fn a_host_that_says_when_to_come_again_is_believed_within_an_hour() {
        for (asked, until) in [(0, 1), (90, 91), (100_000, 3600)] {
            let mut hosts = Hosts::default();
            let cms = lane("a", "cms");
            hosts.start(&cms);
            let said = Said {
                text: "",
                retry_after: Some(Duration::from_secs(asked)),
            };
            hosts.end(&cms, Verdict::Busy, said, "", at(0));
            assert_eq!(hosts.rests_until("a"), Some(at(until)));
        }
    }
}
