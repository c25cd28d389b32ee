//! The metrics for Prometheus, by a file for `node_exporter`'s textfile collector.
//!
//! `docs/credmon.md` lists all names, which a test checks. Times are
//! timestamps, so that an alert computes ages itself and a dead exporter shows. Labels hold states,
//! results, and (unless the site says no) names of accounts and services; no secret.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;

use crate::model::{CredentialStatus, Snapshot, State};

const STATES: [State; 5] = [
    State::Fresh,
    State::Renewing,
    State::Degraded,
    State::Dead,
    State::Ignored,
];

/// A time of a credential, if it has that.
type TimeOf = fn(&CredentialStatus) -> Option<Timestamp>;

/// Times of single credentials: name, meaning, and which one it is.
const TIMES: [(&str, &str, TimeOf); 3] = [
    (
        "credmon_access_token_expiry_timestamp_seconds",
        "Expiry of the access token of a credential.",
        |c| c.access_token.as_ref()?.expires,
    ),
    (
        "credmon_vault_token_expiry_timestamp_seconds",
        "Expiry of the vault token of a credential, where that is known.",
        |c| c.vault_token.as_ref()?.expires,
    ),
    (
        "credmon_last_success_timestamp_seconds",
        "Time when the access token of a credential was fetched, or confirmed to be the newest.",
        |c| c.last_success,
    ),
];

/// Writes all metrics; those of single credentials only when asked for.
pub(super) fn write(
    to: &mut dyn Write,
    snapshot: &Snapshot,
    per_credential: bool,
) -> io::Result<()> {
    let daemon = &snapshot.daemon;
    let mut states = BTreeMap::from(STATES.map(|state| (state, 0_usize)));
    let mut earliest: Option<Timestamp> = None;
    // Of each credential what is needed below alone: all of very many would take much memory.
    let mut rows = Vec::new();
    for credential in snapshot.credentials.statuses() {
        *states.entry(credential.state).or_default() += 1;
        if per_credential {
            let times = TIMES.map(|(_, _, time)| time(&credential));
            rows.push((credential.user, credential.service, times));
        }
        let token = (credential.access_token).filter(|_| credential.state != State::Ignored);
        if let Some(expires) = token.and_then(|token| token.expires) {
            earliest = Some(earliest.map_or(expires, |earliest| earliest.min(expires)));
        }
    }
    let troubled = daemon.troubled_vaults.len() + daemon.more_troubled_vaults;
    let single = [
        (
            "credmon_start_timestamp_seconds",
            "Time of the start.",
            Some(snapshot.started.as_second().to_string()),
        ),
        (
            "credmon_written_timestamp_seconds",
            "Time when these metrics were written.",
            Some(daemon.written.as_second().to_string()),
        ),
        (
            "credmon_directory_ok",
            "1 when configuration, credential directory and log are as they should be, else 0.",
            Some(u8::from(daemon.problem.is_none()).to_string()),
        ),
        (
            "credmon_last_look_timestamp_seconds",
            "End of the last full scan of the credential directory.",
            snapshot.scanned.map(|time| time.as_second().to_string()),
        ),
        (
            "credmon_troubled_vaults",
            "Vaults, and issuers at one, that are down or limit requests.",
            Some(troubled.to_string()),
        ),
        (
            "credmon_watched_folders",
            "Folders whose changes are noticed at once; others are scanned each minute.",
            Some(snapshot.watched_folders.to_string()),
        ),
        (
            "credmon_earliest_access_token_expiry_timestamp_seconds",
            "Expiry of the access token of ours that expires first.",
            earliest.map(|time| time.as_second().to_string()),
        ),
    ];
    for (name, help, value) in single {
        if let Some(value) = value {
            head(to, name, "gauge", help)?;
            writeln!(to, "{name} {value}")?;
        }
    }
    let name = "credmon_info";
    head(
        to,
        name,
        "gauge",
        "1, with the program's version as a label.",
    )?;
    writeln!(to, "{name}{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))?;
    let name = "credmon_credentials";
    head(to, name, "gauge", "Credentials in each state.")?;
    for (state, number) in states {
        writeln!(to, "{name}{{state=\"{state}\"}} {number}")?;
    }
    let name = "credmon_renewals_total";
    head(to, name, "counter", "Renewals that ended, by result.")?;
    for (result, number) in &snapshot.renewals {
        writeln!(to, "{name}{{result=\"{result}\"}} {number}")?;
    }
    let name = "credmon_log_lines_dropped_total";
    head(to, name, "counter", "Log lines that could not be written.")?;
    writeln!(to, "{name} {}", snapshot.lines_dropped)?;
    for (place, (name, help, _)) in TIMES.iter().enumerate().filter(|_| per_credential) {
        head(to, name, "gauge", help)?;
        for (user, service, times) in &rows {
            if let Some(Some(time)) = times.get(place) {
                let (user, second) = (escaped(user), time.as_second());
                writeln!(
                    to,
                    "{name}{{user=\"{user}\",service=\"{service}\"}} {second}"
                )?;
            }
        }
    }
    Ok(())
}

fn head(to: &mut dyn Write, name: &str, kind: &str, help: &str) -> io::Result<()> {
    writeln!(to, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// A label's value in Prometheus's text format.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests;
