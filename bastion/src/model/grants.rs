//! Grants: refresh tokens from logins of people, with their age and possible expiry.
//!
//! Always true: a grant is one credential at Vault, whatever services and schedds use it; its record holds no secret.
//! Nothing here makes a delivery bad: the expiry of a refresh token cannot be observed before it comes, so people are
//! warned while there is time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::delivery::{Credential, Grant};
use crate::model::duration;
use crate::model::moment::{after, before, until};

/// Age and expiry of a grant, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantAge {
    /// Time of the login for it on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onboarded: Option<Timestamp>,
    /// First successful use since the grant was stored: a lower bound of its age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_worked: Option<Timestamp>,
    /// Expiry that the issuer stated at the login.
    #[serde(rename = "said_to_end", skip_serializing_if = "Option::is_none")]
    pub stated_expiry: Option<Timestamp>,
}

/// Grants by the path of their credential at Vault.
pub type Grants = BTreeMap<String, GrantAge>;

/// Report of one grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GrantLine {
    /// The account that uses it.
    pub account: String,
    /// HTCondor's service name.
    pub service: String,
    /// Time of the login for it on this host, if known.
    pub onboarded: Option<Timestamp>,
    /// Lower bound of its age, in seconds.
    pub age_seconds: Option<u64>,
    /// Earliest possible expiry, if anything is known about its lifetime.
    pub may_end: Option<Timestamp>,
    /// It may expire within the configured warning time.
    pub warn: bool,
    /// Warning with the command that renews it, when `warn` is set.
    pub message: Option<String>,
}

/// The name of the grant that a credential is read with.
#[must_use]
pub fn name(credential: &Credential) -> String {
    format!(
        "{}/{}:{}",
        credential.issuer, credential.credkey, credential.role
    )
}

/// The command that renews the grant of a credential.
#[must_use]
pub fn command(credential: &Credential) -> String {
    format!(
        "token-bastion onboard --account {} --service {}",
        credential.identity.account, credential.service
    )
}

impl GrantAge {
    /// Earliest known time of the grant.
    #[must_use]
    pub fn since(&self) -> Option<Timestamp> {
        self.onboarded.or(self.first_worked)
    }

    /// Earliest possible expiry: as stated by the issuer, or `lifetime` after the login, whichever comes first.
    ///
    /// An issuer may extend a refresh token at each use. That cannot be observed, so it is not assumed.
    #[must_use]
    pub fn may_end(&self, lifetime: Option<Duration>) -> Option<Timestamp> {
        let age = self.since().zip(lifetime);
        let by_age = age.map(|(since, lifetime)| after(since, lifetime));
        [self.stated_expiry, by_age].into_iter().flatten().min()
    }
}

/// Makes the report of one credential's grant.
#[must_use]
pub fn line(credential: &Credential, known: &GrantAge, now: Timestamp) -> GrantLine {
    let Grant { lifetime, warn } = credential.grant;
    let may_end = known.may_end(lifetime);
    let soon = may_end.filter(|end| before(*end, warn) <= now);
    let message = soon.map(|end| {
        let left = until(now, end);
        let when = if left.is_zero() {
            "may have expired".to_owned()
        } else {
            let left = Duration::from_secs(left.as_secs());
            format!("may expire in {}", duration::format(left))
        };
        format!(
            "the refresh token of {} {when} ({end:.0}); have somebody log in: {}",
            name(credential),
            command(credential)
        )
    });
    GrantLine {
        account: credential.identity.account.clone(),
        service: credential.service.clone(),
        onboarded: known.onboarded,
        age_seconds: known.since().map(|since| until(since, now).as_secs()),
        may_end,
        warn: soon.is_some(),
        message,
    }
}

/// Returns each credential once, in the order of account and service.
#[must_use]
pub fn credentials<'a>(all: impl IntoIterator<Item = &'a Arc<Credential>>) -> Vec<Arc<Credential>> {
    let mut each = BTreeMap::new();
    for credential in all {
        let key = (&credential.identity.account, &credential.service);
        each.entry(key).or_insert_with(|| Arc::clone(credential));
    }
    each.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::credential;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_hours(24);

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(day * 86_400).unwrap()
    }

    fn onboarded(at: i64) -> GrantAge {
        GrantAge {
            onboarded: Some(day(at)),
            first_worked: Some(day(at + 1)),
            stated_expiry: None,
        }
    }

    fn report(known: &GrantAge, lifetime: Option<Duration>, now: i64) -> GrantLine {
        let mut credential = credential("cmsprod", "cms_crab");
        credential.grant.lifetime = lifetime;
        line(&credential, known, day(now))
    }

    #[test]
    fn people_are_warned_two_weeks_before_and_with_the_command() {
        let early = report(&onboarded(10), Some(90 * DAY), 85);
        assert_eq!(early.may_end, Some(day(100)));
        assert_eq!(early.age_seconds, Some(75 * 86_400));
        assert_eq!((early.warn, early.message), (false, None));
        let soon = report(&onboarded(10), Some(90 * DAY), 86);
        assert!(soon.warn);
        assert_eq!(
            soon.message.as_deref(),
            Some(
                "the refresh token of cms/cmsprod:crab may expire in 14d (1970-04-11T00:00:00Z); have somebody log in: \
                 token-bastion onboard --account cmsprod --service cms_crab"
            )
        );
        let late = report(&onboarded(10), Some(90 * DAY), 101);
        assert!(late.message.unwrap().contains("may have expired"));
    }

    #[test]
    fn without_facts_there_is_no_warning() {
        let line = report(&onboarded(10), None, 10_000);
        assert_eq!((line.may_end, line.warn), (None, false));
        let line = report(&GrantAge::default(), Some(DAY), 10_000);
        assert_eq!((line.age_seconds, line.may_end), (None, None));
    }

    #[test]
    fn what_was_given_elsewhere_counts_from_when_it_first_worked() {
        let known = GrantAge {
            first_worked: Some(day(3)),
            ..GrantAge::default()
        };
        assert_eq!(report(&known, Some(90 * DAY), 4).may_end, Some(day(93)));
        assert_eq!(report(&known, Some(90 * DAY), 4).onboarded, None);
    }

    proptest! {
        #[test]
        fn the_earlier_end_counts_and_a_warning_comes_in_time_and_stays(
            since in 0_i64..1000, life in 1_u32..1000, stated in proptest::option::of(0_i64..2000),
            warn in 0_u32..100, now in 0_i64..4000,
        ) {
            let known = GrantAge {
                onboarded: Some(day(since)),
                first_worked: None,
                stated_expiry: stated.map(day),
            };
            let mut credential = credential("a", "cms");
            credential.grant = Grant { lifetime: Some(life * DAY), warn: warn * DAY };
            let at = |now| line(&credential, &known, day(now));
            let end = at(now).may_end.unwrap();
            prop_assert!(end <= day(since + i64::from(life)));
            prop_assert!(stated.is_none_or(|stated| end <= day(stated)));
            prop_assert_eq!(at(now).warn, day(now + i64::from(warn)) >= end);
            prop_assert!(!at(now).warn || at(now + 1).warn);
        }
    }
}
