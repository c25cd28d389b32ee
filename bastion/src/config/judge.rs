//! Judgement of values that are good one by one: what does not fit together.
//!
//! A warning stops nothing: each of these can be meant, for a while or on a test system. A fault is only
//! what can never work.

use std::collections::BTreeSet;
use std::time::Duration;

use super::faults::{At, Faults};
use super::raw::Raw;
use super::resolve_credential::Typed;
use super::{Config, duration};

/// Scopes that let a token store a credential at a credd: one of these sets (HTCondor's own, and
/// those of the WLCG profile that give WRITE).
const WRITING: [&[&str]; 2] = [
    &["condor:/WRITE"],
    &[
        "compute.create",
        "compute.modify",
        "compute.cancel",
        "compute.read",
    ],
];

/// Groups that nobody uses.
pub(crate) fn unused_groups(raw: &Raw, used: &BTreeSet<String>, faults: &mut Faults) {
    for group in &raw.schedds {
        if !used.contains(&group.name.value) {
            group.name.warn(
                faults,
                "nothing is delivered to this group, name it in an account's `schedds` or remove it",
            );
        }
    }
}

/// Looks make good what a planned renewal missed (a clock that was set, a host that slept): they
/// must come while a token that is due still lives.
pub(crate) fn looks(raw: &Raw, whole: &At, config: &Config, faults: &mut Faults) {
    let known = config.deliveries.iter().map(|d| d.renew_below);
    let found = config.searches.iter().flat_map(|search| &search.wanted);
    let Some(margin) = known.chain(found.map(|pattern| pattern.renew_below)).min() else {
        return;
    };
    let pause = config.check.longest_pause().saturating_add(config.spread);
    if pause < margin {
        return;
    }
    let what = format!(
        "up to {} pass between two looks (spread included), and a vault token may have {} left at \
         the first: it could end before the second one; look more often, or raise renew_below",
        duration::format(pause),
        duration::format(margin)
    );
    match (&raw.check, &raw.spread) {
        (Some(check), _) => check.warn(faults, what),
        (None, Some(spread)) => spread.warn(faults, what),
        (None, None) => faults.warn(whole, "schedule", what),
    }
}

/// A bound on requests that keeps even one delivery from its tokens is a fault: in the lifetime of a
/// vault token each delivery needs a login, a new token and an access token.
pub(crate) fn requests(raw: &Raw, config: &Config, faults: &mut Faults) {
    const NEEDED: u128 = 3;
    let (Some(bound), Some(limit)) = (config.vault.requests, &raw.vault.limit) else {
        return;
    };
    let found = config.searches.iter().flat_map(|search| &search.wanted);
    let lifetimes = config.deliveries.iter().map(|d| d.lifetime);
    // Of the schedds that a search finds one is enough to see that it cannot work.
    let lifetimes = lifetimes.chain(found.map(|pattern| pattern.lifetime).take(1));
    let lifetimes: Vec<Duration> = lifetimes.collect();
    let Some(longest) = lifetimes.iter().max() else {
        return;
    };
    let deliveries = u128::try_from(lifetimes.len()).unwrap_or(u128::MAX);
    let needed = NEEDED.saturating_mul(deliveries);
    // Each of them lives no longer than the longest, so this is the least that is needed.
    if u128::from(bound.limit) * longest.as_millis() < needed * bound.per.as_millis() {
        limit.fault(
            faults,
            format!(
                "at least {needed} requests are needed in {}, the lifetime of vault tokens, and {} in {} \
                 are fewer; allow more",
                duration::format(*longest),
                bound.limit,
                duration::format(bound.per)
            ),
        );
    }
}

/// Credds are opened with the role's whole token, which nobody here knows; what was configured for
/// jobs tells what was thought of.
pub(crate) fn opening_scopes(credentials: &[Typed<'_>], faults: &mut Faults) {
    for (typed, _) in credentials {
        let Some(name) = &typed.value.authorize_with else {
            continue;
        };
        let opener = credentials.iter().find(|(_, c)| c.service == name.value);
        let Some((_, opener)) = opener else {
            continue;
        };
        if !opener.scopes.is_empty() && !can_write(&opener.scopes) {
            name.warn(
                faults,
                format!(
                    "the scopes of {:?} do not let it write at a credd; it works only if its role has \
                     condor:/WRITE, or compute.create with compute.modify, compute.cancel and compute.read",
                    name.value
                ),
            );
        }
    }
}

fn can_write(scopes: &[String]) -> bool {
    WRITING.iter().any(|set| {
        let mut set = set.iter();
        set.all(|wanted| scopes.iter().any(|scope| scope == wanted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_set_of_scopes_may_write_and_parts_of_one_may_not() {
        for (scopes, writes) in [
            ("condor:/WRITE storage.read:/", true),
            (
                "compute.read compute.create compute.modify compute.cancel",
                true,
            ),
            ("compute.read compute.create compute.modify", false),
            ("condor:/READ", false),
            ("", false),
        ] {
            let list: Vec<String> = scopes.split(' ').map(str::to_owned).collect();
            assert_eq!(can_write(&list), writes, "{scopes}");
        }
    }
}
