//! Checks of values that are good one by one and do not fit together.
//!
//! Always true: a fault is only what can never work. Anything else is a warning and stops nothing: it can be
//! meant, for a while or on a test system.

use std::collections::BTreeSet;

use crate::config::Config;
use crate::config::faults::{Faults, Located, Position};
use crate::config::sections::{FileSections, ScheduleSection, VaultSection};
use crate::model::delivery::Credential;
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

/// Warns of groups that no account uses.
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

/// Warns of checks that are so rare that a token may expire between two of them. They find what planned renewals missed,
/// after a clock was set or the host slept.
pub(super) fn checks(file: &str, schedule: &ScheduleSection, config: &Config, faults: &mut Faults) {
    let Some(margin) = config.durations().map(|(_, renew_below)| renew_below).min() else {
        return;
    };
    let pause = config.check.longest_pause().saturating_add(config.spread);
    if pause < margin {
        return;
    }
    let message = format!(
        "up to {} pass between two checks (spread included), and a vault token may have {} left at \
         the first: it could expire before the second one; check more often, or raise renew_below",
        duration::format(pause),
        duration::format(margin)
    );
    match schedule.check.place().or(schedule.spread.place()) {
        Some(place) => faults.warn(place, message),
        None => faults.warn_at(Position::file(file, "schedule"), message),
    }
}

/// Adds a fault for a limit of requests that is too low for even one delivery: in the lifetime of a vault token each
/// delivery needs a login, a new token and an access token.
pub(super) fn requests(vault: &VaultSection, config: &Config, faults: &mut Faults) {
    const NEEDED: u128 = 3;
    let limits = config.vault.limit.zip(vault.requests.limit.place());
    // Of the schedds that searches find, one is enough to see that it cannot work.
    let found = usize::from(!config.searches.is_empty());
    let count = config.deliveries.len() + found;
    let longest = config.durations().map(|(lifetime, _)| lifetime).max();
    let (Some((limit, place)), Some(longest)) = (limits, longest) else {
        return;
    };
    let needed = NEEDED.saturating_mul(u128::try_from(count).unwrap_or(u128::MAX));
    // No token lives longer than the longest, so this is the least that is needed.
    if u128::from(limit.limit) * longest.as_millis() < needed * limit.per.as_millis() {
        let message = format!(
            "at least {needed} requests are needed in {}, the lifetime of vault tokens, and {} in {} \
             are fewer; allow more",
            duration::format(longest),
            limit.limit,
            duration::format(limit.per)
        );
        faults.add(place, message);
    }
}

/// Warns of a credential that can probably not authorize at a credd. That is done with its role's whole token, whose
/// scopes are not known here; the scopes that are configured for jobs are the best hint.
pub(super) fn authorizing_scopes(name: &Located<String>, opener: &Credential, faults: &mut Faults) {
    if !opener.scopes.is_empty() && !can_write(&opener.scopes) {
        let message = format!(
            "the scopes of {:?} do not let it write at a credd; it works only if its role has \
             condor:/WRITE, or compute.create with compute.modify, compute.cancel and compute.read",
            name.value
        );
        faults.warn(name.place, message);
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
