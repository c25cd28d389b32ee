//! The metrics for Prometheus, by a file for `node_exporter`'s textfile collector.
//!
//! `docs/credmon.md` lists all names, which a test checks. Times are
//! timestamps, so that an alert computes ages itself and a dead exporter shows. Labels hold states,
//! results, and (unless the site says no) names of accounts and services; no secret.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;

use crate::model::{CredentialStatus, Snapshot, State};

/// Name, type and help text.
type Metric = (&'static str, &'static str, &'static str);

const INFO: Metric = (
    "credmon_info",
    "gauge",
    "1, with the program's version as a label.",
);
const STARTED: Metric = (
    "credmon_start_timestamp_seconds",
    "gauge",
    "Time of the start.",
);
const WRITTEN: Metric = (
    "credmon_written_timestamp_seconds",
    "gauge",
    "Time when these metrics were written.",
);
const OK: Metric = (
    "credmon_directory_ok",
    "gauge",
    "1 when configuration, credential directory and log are as they should be, else 0.",
);
const SCANNED: Metric = (
    "credmon_last_look_timestamp_seconds",
    "gauge",
    "End of the last full scan of the credential directory.",
);
const CREDENTIALS: Metric = ("credmon_credentials", "gauge", "Credentials in each state.");
const TROUBLED: Metric = (
    "credmon_troubled_vaults",
    "gauge",
    "Vaults, and issuers at one, that are down or limit requests.",
);
const FOLDERS: Metric = (
    "credmon_watched_folders",
    "gauge",
    "Folders whose changes are noticed at once; others are scanned each minute.",
);
const EARLIEST: Metric = (
    "credmon_earliest_access_token_expiry_timestamp_seconds",
    "gauge",
    "Expiry of the access token of ours that expires first.",
);
const RENEWALS: Metric = (
    "credmon_renewals_total",
    "counter",
    "Renewals that ended, by result.",
);
const DROPPED: Metric = (
    "credmon_log_lines_dropped_total",
    "counter",
    "Log lines that could not be written.",
);
const ACCESS: Metric = (
    "credmon_access_token_expiry_timestamp_seconds",
    "gauge",
    "Expiry of the access token of a credential.",
);
const VAULT: Metric = (
    "credmon_vault_token_expiry_timestamp_seconds",
    "gauge",
    "Expiry of the vault token of a credential, where that is known.",
);
const SUCCESS: Metric = (
    "credmon_last_success_timestamp_seconds",
    "gauge",
    "Time when the access token of a credential was fetched, or confirmed to be the newest.",
);

const STATES: [State; 5] = [
    State::Fresh,
    State::Renewing,
    State::Degraded,
    State::Dead,
    State::Ignored,
];

/// A time of a credential, if it has that.
type TimeOf = fn(&CredentialStatus) -> Option<Timestamp>;

/// Writes all metrics; those of single credentials only when asked for.
pub(super) fn write(
    to: &mut dyn Write,
    snapshot: &Snapshot,
    per_credential: bool,
) -> io::Result<()> {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let daemon = &snapshot.daemon;
    let mut states = BTreeMap::from(STATES.map(|state| (state, 0)));
    let mut earliest: Option<Timestamp> = None;
    for credential in snapshot.credentials.statuses() {
        *states.entry(credential.state).or_insert(0) += 1;
        let token = (credential.access_token).filter(|_| credential.state != State::Ignored);
        if let Some(expires) = token.and_then(|token| token.expires) {
            earliest = Some(earliest.map_or(expires, |earliest| earliest.min(expires)));
        }
    }
    let mut one = |metric: Metric, value: i64| -> io::Result<()> {
        head(to, metric)?;
        writeln!(to, "{} {value}", metric.0)
    };
    one(STARTED, snapshot.started.as_second())?;
    one(WRITTEN, daemon.written.as_second())?;
    one(OK, i64::from(daemon.problem.is_none()))?;
    if let Some(scanned) = snapshot.scanned {
        one(SCANNED, scanned.as_second())?;
    }
    one(
        TROUBLED,
        count(daemon.troubled_vaults.len() + daemon.more_troubled_vaults),
    )?;
    one(FOLDERS, count(snapshot.watched_folders))?;
    if let Some(earliest) = earliest {
        one(EARLIEST, earliest.as_second())?;
    }
    head(to, INFO)?;
    writeln!(
        to,
        "{}{{version=\"{}\"}} 1",
        INFO.0,
        env!("CARGO_PKG_VERSION")
    )?;
    head(to, CREDENTIALS)?;
    for (state, number) in states {
        writeln!(to, "{}{{state=\"{state}\"}} {number}", CREDENTIALS.0)?;
    }
    head(to, RENEWALS)?;
    for (result, number) in &snapshot.renewals {
        writeln!(to, "{}{{result=\"{result}\"}} {number}", RENEWALS.0)?;
    }
    head(to, DROPPED)?;
    writeln!(to, "{} {}", DROPPED.0, snapshot.lines_dropped)?;
    if !per_credential {
        return Ok(());
    }
    let times: [(Metric, TimeOf); 3] = [
        (ACCESS, |c| c.access_token.as_ref()?.expires),
        (VAULT, |c| c.vault_token.as_ref()?.expires),
        (SUCCESS, |c| c.last_success),
    ];
    for (metric, time) in times {
        head(to, metric)?;
        for credential in snapshot.credentials.statuses() {
            if let Some(time) = time(&credential) {
                writeln!(
                    to,
                    "{}{{user=\"{}\",service=\"{}\"}} {}",
                    metric.0,
                    escaped(&credential.user),
                    credential.service,
                    time.as_second()
                )?;
            }
        }
    }
    Ok(())
}

fn head(to: &mut dyn Write, (name, kind, help): Metric) -> io::Result<()> {
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
