//! Checks of values that are good one by one and do not fit together.
//!
//! Always true: a fault is only what can never work. Anything else is a warning and stops nothing: it can be
//! meant, for a while or on a test system.

use std::collections::BTreeSet;
use std::time::Duration;

use super::credential::Typed;
use crate::config::Config;
use crate::config::faults::{Faults, Position};
use crate::config::sections::{FileSections, ScheduleSection, VaultSection};
use crate::model::duration;

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
pub(super) fn unused_groups(sections: &FileSections, used: &BTreeSet<String>, faults: &mut Faults) {
    for (name, _) in sections.schedds.entries() {
        if !used.contains(&name.value) {
            faults.warn(
                name.place,
                "nothing is delivered to this group, name it in an account's `schedds` or remove it",
            );
        }
    }
}

/// Checks make good what a planned renewal missed (a clock that was set, a host that slept): they
/// must come while a token that is due still lives.
pub(super) fn checks(file: &str, schedule: &ScheduleSection, config: &Config, faults: &mut Faults) {
    let known = config.deliveries.iter().map(|d| d.renew_below);
    let found = config.searches.iter().flat_map(|search| &search.templates);
    let Some(margin) = known
        .chain(found.map(|template| template.renew_below))
        .min()
    else {
        return;
    };
    let pause = config.check.longest_pause().saturating_add(config.spread);
    if pause < margin {
        return;
    }
    let what = format!(
        "up to {} pass between two checks (spread included), and a vault token may have {} left at \
         the first: it could end before the second one; check more often, or raise renew_below",
        duration::format(pause),
        duration::format(margin)
    );
    match schedule.check.place().or(schedule.spread.place()) {
        Some(place) => faults.warn(place, what),
        None => faults.warn_at(Position::file(file, "schedule"), what),
    }
}

/// A bound on requests that keeps even one delivery from its tokens is a fault: in the lifetime of a
/// vault token each delivery needs a login, a new token and an access token.
pub(super) fn requests(vault: &VaultSection, config: &Config, faults: &mut Faults) {
    const NEEDED: u128 = 3;
    let requests = vault.requests.get();
    let limit = requests.and_then(|requests| requests.limit.place());
    let (Some(bound), Some(limit)) = (config.vault.requests, limit) else {
        return;
    };
    let found = config.searches.iter().flat_map(|search| &search.templates);
    let lifetimes = config.deliveries.iter().map(|d| d.lifetime);
    // Of the schedds that a search finds one is enough to see that it cannot work.
    let lifetimes = lifetimes.chain(found.map(|template| template.lifetime).take(1));
    let lifetimes: Vec<Duration> = lifetimes.collect();
    let Some(longest) = lifetimes.iter().max() else {
        return;
    };
    let deliveries = u128::try_from(lifetimes.len()).unwrap_or(u128::MAX);
    let needed = NEEDED.saturating_mul(deliveries);
    // Each of them lives no longer than the longest, so this is the least that is needed.
    if u128::from(bound.limit) * longest.as_millis() < needed * bound.per.as_millis() {
        let what = format!(
            "at least {needed} requests are needed in {}, the lifetime of vault tokens, and {} in {} \
             are fewer; allow more",
            duration::format(*longest),
            bound.limit,
            duration::format(bound.per)
        );
        faults.add(limit, what);
    }
}

/// Credds are opened with the role's whole token, which nobody here knows; what was configured for
/// jobs is the best hint.
pub(super) fn opening_scopes(credentials: &[Typed<'_>], faults: &mut Faults) {
    for (_, section, _) in credentials {
        let Some(name) = section.authorize_with.located() else {
            continue;
        };
        let mut openers = credentials.iter().map(|(_, _, credential)| credential);
        let opener = openers.find(|credential| credential.service == name.value);
        if opener.is_some_and(|opener| !opener.scopes.is_empty() && !can_write(&opener.scopes)) {
            let what = format!(
                "the scopes of {:?} do not let it write at a credd; it works only if its role has \
                 condor:/WRITE, or compute.create with compute.modify, compute.cancel and compute.read",
                name.value
            );
            faults.warn(name.place, what);
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
