//! The metrics, written for Prometheus.
//!
//! Times are timestamps, so that an alert computes ages itself and a dead exporter shows. The text
//! is written from the report and from counts: there is no second copy of what is known.

mod names;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;

use names::{
    ACCESS, CONFIGURATION, DELIVERIES, FAILING, FAILURES, INFO, LOG_LINES, MEMORY, NEXT, PROCESSOR,
    REQUEST_LIMIT, REQUESTS, SAFE, STAGES, STARTED, STATE, STATE_WRITTEN, SUCCESS, TURNED, VAULT,
};
pub use names::{METRICS, Metric};
use text::Text;

use crate::plan::State;
use crate::problem::{Kind, Remedy};
use crate::report::{Line, Report};
use crate::stages::{BOUNDS, Count, Stage};

/// The version of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [State; 6] = [
    State::New,
    State::Pending,
    State::Good,
    State::Failed,
    State::CutOff,
    State::Gone,
];

/// A time of a delivery, if it has that.
type TimeOf = fn(&Line) -> Option<Timestamp>;

/// All metrics.
#[must_use]
pub fn write(report: &Report, stages: &BTreeMap<Stage, Count>, started: Timestamp) -> String {
    let mut text = Text::default();
    text.begin(INFO);
    text.value(INFO.name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.one(STARTED, started.as_second());
    text.one(TURNED, report.at.as_second());
    deliveries(&mut text, report);
    counts(&mut text, report);
    durations(&mut text, stages);
    text.one(LOG_LINES, report.log.dropped_lines);
    let health = &report.health;
    text.one(CONFIGURATION, u8::from(health.configuration.is_none()));
    text.one(STATE_WRITTEN, u8::from(health.state.is_none()));
    process(&mut text);
    text.0
}

fn deliveries(text: &mut Text, report: &Report) {
    text.begin(DELIVERIES);
    for state in STATES {
        let count = report
            .deliveries
            .iter()
            .filter(|l| l.state == state)
            .count();
        text.value(DELIVERIES.name, &[("state", state.word())], count);
    }
    text.begin(FAILING);
    let mut failing: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    for group in &report.problems {
        *failing
            .entry((group.kind, remedy_word(group.remedy)))
            .or_default() += group.deliveries;
    }
    for ((kind, remedy), count) in failing {
        let kind = kind_word(kind);
        text.value(FAILING.name, &[("kind", &kind), ("remedy", remedy)], count);
    }
    text.begin(STATE);
    for line in &report.deliveries {
        for state in STATES {
            let is = u8::from(line.state == state);
            let [account, service, schedd] = names(line);
            let labels = [account, service, schedd, ("state", state.word())];
            text.value(STATE.name, &labels, is);
        }
    }
    let times: [(Metric, TimeOf); 5] = [
        (VAULT, |line| line.vault_token_expires),
        (ACCESS, |line| line.access_token_expires),
        (SAFE, |line| line.jobs_safe_until),
        (SUCCESS, |line| line.last_success),
        (NEXT, |line| line.next_at),
    ];
    for (metric, time) in times {
        text.begin(metric);
        for line in &report.deliveries {
            if let Some(time) = time(line) {
                text.value(metric.name, &names(line), time.as_second());
            }
        }
    }
}

/// Nothing is said of a bound that there is not.
fn counts(text: &mut Text, report: &Report) {
    text.begin(REQUEST_LIMIT);
    if let Some(requests) = report.requests {
        text.value(REQUEST_LIMIT.name, &[], requests.limit);
    }
    text.begin(REQUESTS);
    if let Some(requests) = report.requests {
        text.value(REQUESTS.name, &[], requests.used);
    }
}

fn durations(text: &mut Text, stages: &BTreeMap<Stage, Count>) {
    let counts: Vec<(Stage, Count)> = Stage::ALL
        .into_iter()
        // From the start, so that the first is a rise.
        .map(|stage| (stage, stages.get(&stage).cloned().unwrap_or_default()))
        .collect();
    text.begin(STAGES);
    for (stage, count) in &counts {
        let stage = ("stage", stage.word());
        let name = |what: &str| format!("{}_{what}", STAGES.name);
        let mut sum = 0;
        for (bound, number) in BOUNDS.iter().zip(&count.buckets) {
            sum += number;
            text.value(&name("bucket"), &[stage, ("le", &bound.to_string())], sum);
        }
        text.value(&name("bucket"), &[stage, ("le", "+Inf")], count.number);
        text.value(&name("sum"), &[stage], count.sum.as_secs_f64());
        text.value(&name("count"), &[stage], count.number);
    }
    text.begin(FAILURES);
    for (stage, count) in &counts {
        for (kind, number) in &count.failures {
            let labels = [("stage", stage.word()), ("kind", &kind_word(*kind))];
            text.value(FAILURES.name, &labels, number);
        }
    }
}

/// What the kernel says of this process; nothing where it says nothing.
fn process(text: &mut Text) {
    let kilobytes = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("VmRSS:"))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        });
    if let Some(kilobytes) = kilobytes {
        text.one(MEMORY, kilobytes * 1024);
    }
    if let Ok(usage) = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF) {
        let times = [usage.user_time(), usage.system_time()];
        let micros: i64 = times
            .iter()
            .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
            .sum();
        let time = std::time::Duration::from_micros(u64::try_from(micros).unwrap_or(0));
        text.one(PROCESSOR, time.as_secs_f64());
    }
}

fn names(line: &Line) -> [(&str, &str); 3] {
    [
        ("account", line.wanted.account.as_str()),
        ("service", &line.wanted.service),
        ("schedd", &line.wanted.schedd),
    ]
}

/// A sort of problem, as the report's JSON has it.
fn kind_word(kind: Kind) -> String {
    let json = serde_json::to_value(kind).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

fn remedy_word(remedy: Remedy) -> &'static str {
    remedy.words()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Cause;
    use crate::report::Requests;
    use crate::report::tests::{at, failed, good};

    fn told() -> String {
        let mut bad = failed("b", Cause::Vault("v".to_owned()), Kind::VaultDown);
        bad.wanted.account.push('"');
        let mut report = Report::of(vec![good("a"), bad], at(7));
        report.requests = Some(Requests {
            limit: 300,
            per_seconds: 300,
            used: 12,
        });
        report.log.dropped_lines = 5;
        let mut count = Count {
            number: 3,
            sum: std::time::Duration::from_millis(2500),
            ..Count::default()
        };
        count.buckets[0] = 1;
        count.buckets[4] = 1;
        count.failures.insert(Kind::VaultDown, 2);
        write(&report, &BTreeMap::from([(Stage::Issue, count)]), at(1))
    }

    #[test]
    fn the_documentation_lists_what_there_is() {
        let page = include_str!("../../../../docs/monitoring.md");
        let documented: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
                Some((name.split('{').next()?, cells.next()?))
            })
            .filter(|(name, _)| name.starts_with("token_bastion_") || name.starts_with("process_"))
            .collect();
        let all: Vec<_> = METRICS.iter().map(|m| (m.name, m.kind)).collect();
        assert_eq!(documented, all);
    }

    #[test]
    fn every_metric_is_told_once_with_its_sort() {
        let text = told();
        for metric in METRICS {
            let head = format!("# TYPE {} {}\n", metric.name, metric.kind);
            assert_eq!(text.matches(&head).count(), 1, "{head}{text}");
        }
        for line in [
            "token_bastion_deliveries{state=\"good\"} 1",
            "token_bastion_deliveries{state=\"new\"} 0",
            "token_bastion_failing_deliveries{kind=\"vault_down\",remedy=\"wait\"} 1",
            "token_bastion_delivery_state{account=\"a\",service=\"cms\",schedd=\"ap1\",state=\"good\"} 1",
            "token_bastion_delivery_state{account=\"b\\\"\",service=\"cms\",schedd=\"ap1\",state=\"good\"} 0",
            "token_bastion_vault_token_expiry_timestamp_seconds{account=\"a\",service=\"cms\",schedd=\"ap1\"} 604800",
            "token_bastion_vault_requests_limit 300",
            "token_bastion_vault_requests_used 12",
            "token_bastion_stage_seconds_count{stage=\"login\"} 0",
            "token_bastion_stage_seconds_bucket{stage=\"issue\",le=\"0.01\"} 1",
            "token_bastion_stage_seconds_bucket{stage=\"issue\",le=\"300\"} 2",
            "token_bastion_stage_seconds_bucket{stage=\"issue\",le=\"+Inf\"} 3",
            "token_bastion_stage_seconds_sum{stage=\"issue\"} 2.5",
            "token_bastion_stage_seconds_count{stage=\"store\"} 0",
            "token_bastion_stage_failures_total{stage=\"issue\",kind=\"vault_down\"} 2",
            "token_bastion_log_lines_dropped_total 5",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
