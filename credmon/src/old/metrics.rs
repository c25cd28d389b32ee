//! The metrics: which there are, what they mean, and how they are written for Prometheus.
//!
//! All names are in [`METRICS`]; `docs/credmon.md` lists the same ones, which a test sees to. Times
//! are timestamps, so that an alert computes ages itself and a dead exporter shows. Labels hold
//! states, results, and (unless the site says no) names of accounts and services; no secret.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;

use crate::old::monitor::Counts;
use crate::old::renewal::Outcome;
use crate::old::state::State;
use crate::old::status::CredentialStatus;

/// Sorts of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, until a restart.
    Counter,
}

impl Kind {
    /// As Prometheus writes it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its sort.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        help,
    }
}

const INFO: Metric = gauge("credmon_info", "1, with the program's version as a label.");
const STARTED: Metric = gauge("credmon_start_timestamp_seconds", "When it started.");
const WRITTEN: Metric = gauge(
    "credmon_written_timestamp_seconds",
    "When these metrics were told.",
);
const DIRECTORY: Metric = gauge(
    "credmon_directory_ok",
    "1 when the credential directory can be served, else 0.",
);
const LOOK: Metric = gauge(
    "credmon_last_look_timestamp_seconds",
    "When the whole directory was last looked at.",
);
const CREDENTIALS: Metric = gauge("credmon_credentials", "Credentials in each state.");
const TROUBLED: Metric = gauge("credmon_troubled_vaults", "Vaults that do not answer now.");
const FOLDERS: Metric = gauge(
    "credmon_watched_folders",
    "Folders whose changes are noticed at once; others are looked at each minute.",
);
const EARLIEST: Metric = gauge(
    "credmon_earliest_access_token_expiry_timestamp_seconds",
    "When the first access token ends of those that are ours.",
);
const RENEWALS: Metric = Metric {
    name: "credmon_renewals_total",
    kind: Kind::Counter,
    help: "Renewals that ended, by result.",
};
const ACCESS: Metric = gauge(
    "credmon_access_token_expiry_timestamp_seconds",
    "When the access token of a credential ends.",
);
const VAULT: Metric = gauge(
    "credmon_vault_token_expiry_timestamp_seconds",
    "When the vault token of a credential ends, where that is known.",
);
const SUCCESS: Metric = gauge(
    "credmon_last_success_timestamp_seconds",
    "When the access token of a credential was last got, or found to be the newest.",
);

/// All metrics.
pub const METRICS: [Metric; 13] = [
    INFO,
    STARTED,
    WRITTEN,
    DIRECTORY,
    LOOK,
    CREDENTIALS,
    TROUBLED,
    FOLDERS,
    EARLIEST,
    RENEWALS,
    ACCESS,
    VAULT,
    SUCCESS,
];

/// Results of renewals, as labels.
const RESULTS: [&str; 7] = [
    "renewed", "kept", "less", "refused", "dead", "failed", "gone",
];

const STATES: [State; 5] = [
    State::Fresh,
    State::Renewing,
    State::Degraded,
    State::Dead,
    State::Ignored,
];

/// Counts of what happened.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Default for Counters {
    fn default() -> Self {
        // From the start, so that the first failure is a rise.
        Self(RESULTS.into_iter().map(|result| (result, 0)).collect())
    }
}

impl Counters {
    /// A renewal ended.
    pub fn count(&mut self, outcome: &Outcome) {
        let result = match outcome {
            Outcome::Renewed { less: None, .. } => "renewed",
            Outcome::Renewed { less: Some(_), .. } => "less",
            Outcome::Kept => "kept",
            Outcome::Refused(_) => "refused",
            Outcome::Dead(_) => "dead",
            Outcome::BadTop(_) | Outcome::NotWritten(_) => "failed",
            Outcome::TopChanged | Outcome::Vanished => "gone",
        };
        let count = self.0.entry(result).or_default();
        *count = count.saturating_add(1);
    }
}

/// What the metrics tell, but for single credentials.
#[derive(Clone, Debug)]
pub struct Overview<'o> {
    /// When it started.
    pub started: Timestamp,
    /// The present time.
    pub now: Timestamp,
    /// Whether the directory can be served.
    pub directory_ok: bool,
    /// When the last full look ended.
    pub looked: Option<Timestamp>,
    /// Credentials in each state, as they are told.
    pub states: Counts,
    /// Vaults in trouble.
    pub troubled_vaults: usize,
    /// Folders that are watched.
    pub watched_folders: usize,
    /// What happened.
    pub counters: &'o Counters,
}

/// A time of a credential, if it has that.
type TimeOf<T> = fn(&CredentialStatus<T>) -> Option<Timestamp>;

/// Writes all metrics. `credentials` lists all credentials; none for a site that wants none.
///
/// # Errors
/// The writer's.
pub fn write<T: AsRef<str>, I: Iterator<Item = CredentialStatus<T>>>(
    to: &mut dyn Write,
    overview: &Overview<'_>,
    earliest: Option<Timestamp>,
    credentials: impl Fn() -> I,
) -> io::Result<()> {
    let mut one = |metric: Metric, value: i64| -> io::Result<()> {
        head(to, metric)?;
        writeln!(to, "{} {value}", metric.name)
    };
    one(STARTED, overview.started.as_second())?;
    one(WRITTEN, overview.now.as_second())?;
    one(DIRECTORY, i64::from(overview.directory_ok))?;
    if let Some(looked) = overview.looked {
        one(LOOK, looked.as_second())?;
    }
    one(TROUBLED, number(overview.troubled_vaults))?;
    one(FOLDERS, number(overview.watched_folders))?;
    if let Some(earliest) = earliest {
        one(EARLIEST, earliest.as_second())?;
    }
    head(to, INFO)?;
    writeln!(
        to,
        "{}{{version=\"{}\"}} 1",
        INFO.name,
        env!("CARGO_PKG_VERSION")
    )?;
    head(to, CREDENTIALS)?;
    for state in STATES {
        let count = overview.states.get(&state).copied().unwrap_or(0);
        writeln!(to, "{}{{state=\"{state}\"}} {count}", CREDENTIALS.name)?;
    }
    head(to, RENEWALS)?;
    for (result, count) in &overview.counters.0 {
        writeln!(to, "{}{{result=\"{result}\"}} {count}", RENEWALS.name)?;
    }
    let times: [(Metric, TimeOf<T>); 3] = [
        (ACCESS, |c| c.access_token.as_ref()?.expires),
        (VAULT, |c| c.vault_token.as_ref()?.expires),
        (SUCCESS, |c| c.last_success),
    ];
    for (metric, time) in times {
        let mut is_first = true;
        for credential in credentials() {
            let Some(time) = time(&credential) else {
                continue;
            };
            if std::mem::take(&mut is_first) {
                head(to, metric)?;
            }
            writeln!(
                to,
                "{}{{user=\"{}\",service=\"{}\"}} {}",
                metric.name,
                escaped(credential.user.as_ref()),
                escaped(credential.service.as_ref()),
                time.as_second()
            )?;
        }
    }
    Ok(())
}

fn head(to: &mut dyn Write, metric: Metric) -> io::Result<()> {
    let Metric { name, kind, help } = metric;
    writeln!(to, "# HELP {name} {help}\n# TYPE {name} {}", kind.word())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::old::status::tests::{at, credential};

    fn told(credentials: &[CredentialStatus]) -> String {
        let overview = Overview {
            started: at(1),
            now: at(2),
            directory_ok: true,
            looked: Some(at(3)),
            states: Counts::from([(State::Fresh, 2)]),
            troubled_vaults: 1,
            watched_folders: 7,
            counters: &Counters::default(),
        };
        let mut text = Vec::new();
        write(&mut text, &overview, Some(at(9)), || {
            credentials.iter().cloned()
        })
        .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_documentation_lists_what_there_is() {
        let page = include_str!("../../../docs/credmon.md");
        let documented: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
                let name = name.split('{').next()?;
                name.starts_with("credmon_")
                    .then_some((name, cells.next()?))
            })
            .collect();
        let all: Vec<_> = METRICS.iter().map(|m| (m.name, m.kind.word())).collect();
        assert_eq!(documented, all);
    }

    #[test]
    fn every_metric_is_told_once_with_its_sort() {
        let text = told(&[credential("a\"b", State::Fresh, 3600)]);
        for metric in METRICS {
            let head = format!("# TYPE {} {}\n", metric.name, metric.kind.word());
            assert_eq!(text.matches(&head).count(), 1, "{head}{text}");
        }
        for line in [
            "credmon_credentials{state=\"fresh\"} 2",
            "credmon_credentials{state=\"dead\"} 0",
            "credmon_renewals_total{result=\"refused\"} 0",
            "credmon_access_token_expiry_timestamp_seconds{user=\"a\\\"b\",service=\"cms\"} 3600",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(!told(&[]).contains("user="));
    }
}
