//! Jobs that are held for want of credentials: which ones count, and which may run again. Pure.
//!
//! HTCondor holds a job whose access token is missing with `HoldReasonCode` 4, and leaves it held
//! when the token is there again: somebody has to release it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use crate::moment::until;

/// A schedd is asked this often at most, for one account.
const EVERY: Duration = Duration::from_mins(5);
/// And this often after its credentials turned good.
const AFTER_GOOD: Duration = Duration::from_secs(10);

/// Held jobs of one account at one schedd, by the services they need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldJobs(BTreeMap<String, u64>);

/// Whether a schedd is to be asked now.
#[must_use]
pub fn is_due(asked: Option<Timestamp>, turned_good: bool, now: Timestamp) -> bool {
    let pause = if turned_good { AFTER_GOOD } else { EVERY };
    // A clock that was set back must not silence it.
    asked.is_none_or(|asked| until(asked, now) >= pause || now < asked)
}

/// What the ads of these accounts' jobs must satisfy.
#[must_use]
pub fn constraint<'a>(accounts: impl IntoIterator<Item = &'a str>) -> String {
    let owners: Vec<String> = accounts
        .into_iter()
        .map(|account| format!("Owner == \"{account}\""))
        .collect();
    let owners = match owners.as_slice() {
        [owner] => owner.clone(),
        _ => format!("({})", owners.join(" || ")),
    };
    format!(
        "JobStatus == 5 && HoldReasonCode == 4 && {owners} && OAuthServicesNeeded =!= undefined"
    )
}

/// Reads one line for each job: its owner.
#[must_use]
pub fn owners(lines: &str) -> BTreeSet<String> {
    let lines = lines.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

impl HeldJobs {
    /// Reads one line for each job: the services it needs.
    #[must_use]
    pub fn read(lines: &str) -> Self {
        let mut jobs = BTreeMap::new();
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let count: &mut u64 = jobs.entry(line.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        Self(jobs)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// What the ads of jobs satisfy that need nothing but `services`; `None` when there is none.
    /// Others would be held again at once.
    #[must_use]
    pub fn releasable(&self, account: &str, services: &BTreeSet<String>) -> Option<String> {
        let needs = self.0.keys().filter(|needs| {
            is_plain(needs) && services_of(needs).all(|service| services.contains(&service))
        });
        let any: Vec<String> = needs
            .map(|needs| format!("OAuthServicesNeeded == \"{needs}\""))
            .collect();
        let any = any.join(" || ");
        (!any.is_empty()).then(|| format!("{} && ({any})", constraint([account])))
    }
}

/// `cms, cms*crab` are the services `cms` and `cms_crab`: the star parts a handle.
fn services_of(needs: &str) -> impl Iterator<Item = String> {
    let words = needs.split([',', ' ']).filter(|word| !word.is_empty());
    words.map(|word| word.replace('*', "_"))
}

/// What stands in an expression as it is.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-+=_.*, ".contains(c);
    text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn jobs_are_counted_by_what_they_need() {
        let jobs = HeldJobs::read("cms\ncms\n\ncms*crab,rucio\n");
        assert_eq!(jobs.count(), 3);
        assert_eq!(HeldJobs::read("\n").count(), 0);
    }

    #[test]
    fn the_jobs_of_many_are_asked_for_at_once() {
        assert_eq!(
            constraint(["a", "b"]),
            "JobStatus == 5 && HoldReasonCode == 4 && (Owner == \"a\" || Owner == \"b\") && \
             OAuthServicesNeeded =!= undefined"
        );
        let owners = owners("b\nb\n\na\n");
        assert_eq!(owners.iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn only_jobs_that_need_nothing_else_are_released() {
        let jobs = HeldJobs::read("cms\ncms*crab\ncms, rucio\n\"x\n");
        let release = jobs.releasable("crabtw", &services(&["cms_crab", "cms"]));
        let release = release.unwrap();
        assert!(
            release.ends_with(
                "&& (OAuthServicesNeeded == \"cms\" || OAuthServicesNeeded == \"cms*crab\")"
            ),
            "{release}"
        );
        assert!(release.contains("HoldReasonCode == 4 && Owner == \"crabtw\""));
        assert_eq!(jobs.releasable("crabtw", &services(&["other"])), None);
    }

    #[test]
    fn a_schedd_is_not_asked_at_every_look() {
        let at = |seconds: i64| Timestamp::from_second(1_795_000_000 + seconds).unwrap();
        assert!(is_due(None, false, at(0)));
        assert!(!is_due(Some(at(0)), false, at(299)));
        assert!(is_due(Some(at(0)), false, at(300)));
        assert!(is_due(Some(at(0)), true, at(10)));
        assert!(!is_due(Some(at(0)), true, at(5)));
        assert!(is_due(Some(at(0)), false, at(-1)));
    }
}
