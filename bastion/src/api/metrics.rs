//! The metrics, in Prometheus's text format.
//!
//! Times are timestamps, so that an alert computes ages itself and a dead exporter is noticed. The text is written
//! from the report and from counts: there is no second copy of the state. `docs/monitoring.md` lists the same metrics
//! in the same order, as a test checks.

mod text;

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::time::Duration;

use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};

use self::text::Text;
use crate::engine::report::{Line, Report};
use crate::model::problem::Kind;
use crate::policy::plan::State;
use crate::system::stages::{BOUNDS, Count, Stage};

/// The version of the text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATES: [State; 6] = [
    State::New,
    State::Pending,
    State::Good,
    State::Failed,
    State::Revoked,
    State::Gone,
];

/// A time of a delivery, if it has that.
type TimeOf = fn(&Line) -> Option<Timestamp>;

/// Formats all metrics.
#[must_use]
pub(super) fn write(
    report: &Report,
    stages: &BTreeMap<Stage, Count>,
    started: Timestamp,
) -> String {
    let mut text = Text::default();
    text.gauge(
        "token_bastion_info",
        "1, with the program's version as a label.",
    )
    .labelled(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.gauge(
        "token_bastion_start_timestamp_seconds",
        "Start of the service.",
    )
    .value(started.as_second());
    text.gauge(
        "token_bastion_report_timestamp_seconds",
        "Time of this report.",
    )
    .value(report.at.as_second());
    write_deliveries(&mut text, report);
    write_requests(&mut text, report);
    write_stages(&mut text, stages);
    text.counter(
        "token_bastion_log_lines_dropped_total",
        "Log lines that could not be written.",
    )
    .value(report.log.dropped_lines);
    text.gauge("token_bastion_configuration_ok",
        "1 while the configuration on disk is the one in force, 0 while it has faults and is not used.",
    )
    .value(u8::from(report.health.configuration.is_none()));
    text.gauge("token_bastion_state_ok",
        "1 while the state directory can be written, 0 while what is known would be lost by a restart.",
    )
    .value(u8::from(report.health.state.is_none()));
    text.counter(
        "token_bastion_internal_faults_total",
        "Tasks that panicked, a fault of this program, and were restarted.",
    )
    .value(report.health.internal_faults);
    write_process(&mut text);
    text.0
}

fn write_deliveries(text: &mut Text, report: &Report) {
    let lines = &report.deliveries;
    let mut metric = text.gauge("token_bastion_deliveries", "Deliveries in each state.");
    for state in STATES {
        let count = lines.iter().filter(|line| line.state == state).count();
        metric.labelled(&[("state", state_label(state))], count);
    }
    let mut failing: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
    for group in &report.problems {
        let key = (group.kind, group.remedy.words());
        *failing.entry(key).or_default() += group.deliveries;
    }
    let mut metric = text.gauge(
        "token_bastion_failing_deliveries",
        "Deliveries that fail, by kind of problem and by who must act.",
    );
    for ((kind, remedy), count) in failing {
        metric.labelled(&[("kind", &kind_word(kind)), ("remedy", remedy)], count);
    }
    let mut metric = text.gauge(
        "token_bastion_delivery_state",
        "1 for the state that a delivery is in, 0 for the others.",
    );
    for line in lines {
        let [account, service, schedd] = names(line);
        for state in STATES {
            let labels = [account, service, schedd, ("state", state_label(state))];
            metric.labelled(&labels, u8::from(line.state == state));
        }
    }
    let times: [(&str, &str, TimeOf); 5] = [
        (
            "token_bastion_vault_token_expiry_timestamp_seconds",
            "Expiry of the vault token at the schedd.",
            |line| line.vault_token_expires,
        ),
        (
            "token_bastion_access_token_expiry_timestamp_seconds",
            "Expiry of the access token that was last read with it.",
            |line| line.access_token_expires,
        ),
        (
            "token_bastion_jobs_safe_until_timestamp_seconds",
            "Time until which jobs surely have an access token if nothing more succeeds.",
            |line| line.jobs_safe_until,
        ),
        (
            "token_bastion_last_success_timestamp_seconds",
            "Time at which a delivery was last found or made good.",
            |line| line.last_success,
        ),
        (
            "token_bastion_next_step_timestamp_seconds",
            "Time of the next step for a delivery.",
            |line| line.next_at,
        ),
    ];
    for (name, help, time) in times {
        let mut metric = text.gauge(name, help);
        for line in lines {
            if let Some(time) = time(line) {
                metric.labelled(&names(line), time.as_second());
            }
        }
    }
}

/// Without a limit neither has a sample.
fn write_requests(text: &mut Text, report: &Report) {
    let requests = report.requests;
    let mut metric = text.gauge(
        "token_bastion_vault_requests_limit",
        "Requests that may be sent to Vault in any span of vault.requests.per.",
    );
    if let Some(requests) = requests {
        metric.value(requests.limit);
    }
    let mut metric = text.gauge(
        "token_bastion_vault_requests_used",
        "Requests that were sent in the span that ended with the report.",
    );
    if let Some(requests) = requests {
        metric.value(requests.used);
    }
}

fn write_stages(text: &mut Text, stages: &BTreeMap<Stage, Count>) {
    // Counts begin with 0, so that the first is a rise.
    let count = |stage: Stage| stages.get(&stage).cloned().unwrap_or_default();
    let mut metric = text.histogram(
        "token_bastion_stage_seconds",
        "Durations of the stages of attempts.",
    );
    for stage in Stage::ALL {
        let (count, label) = (count(stage), ("stage", stage.word()));
        let mut sum = 0;
        for (bound, number) in BOUNDS.iter().zip(&count.buckets) {
            sum += number;
            metric.sample("_bucket", &[label, ("le", &bound.to_string())], sum);
        }
        metric.sample("_bucket", &[label, ("le", "+Inf")], count.number);
        metric.sample("_sum", &[label], count.sum.as_secs_f64());
        metric.sample("_count", &[label], count.number);
    }
    let mut metric = text.counter(
        "token_bastion_stage_failures_total",
        "Failures of a stage, by kind of problem.",
    );
    for stage in Stage::ALL {
        for (kind, number) in count(stage).failures {
            let labels = [("stage", stage.word()), ("kind", &kind_word(kind))];
            metric.labelled(&labels, number);
        }
    }
}

/// The kernel's figures for this process; no samples where it has none.
fn write_process(text: &mut Text) {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    if let Some(kilobytes) = kilobytes {
        text.gauge(
            "process_resident_memory_bytes",
            "Resident memory of the process.",
        )
        .value(kilobytes * 1024);
    }
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let times = [usage.user_time(), usage.system_time()];
        let micros = times.map(|time| time.tv_sec() * 1_000_000 + time.tv_usec());
        let micros = u64::try_from(micros.iter().sum::<i64>()).unwrap_or(0);
        text.counter(
            "process_cpu_seconds_total",
            "Processor time that the process used.",
        )
        .value(Duration::from_micros(micros).as_secs_f64());
    }
}

fn names(line: &Line) -> [(&str, &str); 3] {
    [
        ("account", line.wanted.account.as_str()),
        ("service", &line.wanted.service),
        ("schedd", &line.wanted.schedd),
    ]
}

/// Label of a state. The older words for [`State::Revoked`] stay: alerts of sites may name them.
fn state_label(state: State) -> &'static str {
    match state {
        State::Revoked => "cut off",
        _ => state.word(),
    }
}

/// A kind of problem, as the report's JSON has it.
fn kind_word(kind: Kind) -> String {
    let json = serde_json::to_value(kind).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::report::Requests;
    use crate::engine::report::tests::{at, failed, good};
    use crate::model::problem::Cause;

    fn metrics() -> String {
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
            sum: Duration::from_millis(2500),
            ..Count::default()
        };
        count.buckets[0] = 1;
        count.buckets[4] = 1;
        count.failures.insert(Kind::VaultDown, 2);
        write(&report, &BTreeMap::from([(Stage::Issue, count)]), at(1))
    }

    #[test]
    fn the_documentation_lists_what_there_is() {
        let page = include_str!("../../../docs/monitoring.md");
        let documented: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| {
                let mut cells = line.split('|').map(str::trim).skip(1);
                let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
                Some((name.split('{').next()?, cells.next()?))
            })
            .filter(|(name, _)| name.starts_with("token_bastion_") || name.starts_with("process_"))
            .collect();
        let text = metrics();
        let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let all: Vec<_> = heads.filter_map(|head| head.split_once(' ')).collect();
        assert_eq!(documented, all);
    }

    #[test]
    fn alerts_are_on_metrics_that_there_are_and_one_is_on_a_long_wait() {
        let rules = include_str!("../../../config-examples/prometheus/token-bastion.rules.yml");
        let rules: serde_json::Value = serde_saphyr::from_str(rules).unwrap();
        let rules = rules["groups"][0]["rules"].as_array().unwrap();
        let text = metrics();
        let mut names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = names
            .by_ref()
            .filter_map(|line| line.split(' ').next())
            .collect();
        let expressions = || rules.iter().map(|rule| rule["expr"].as_str().unwrap());
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        for name in expressions().flat_map(|text| text.split(|c: char| !is_name(c))) {
            let is_ours = name.starts_with("token_bastion_");
            assert!(!is_ours || names.contains(&name), "{name}");
        }
        let waits = rules.iter().filter(|rule| {
            let expression = rule["expr"].as_str().unwrap();
            expression.contains("token_bastion_failing_deliveries{remedy=\"wait\"}")
        });
        let lasts: Vec<&str> = waits.map(|rule| rule["for"].as_str().unwrap()).collect();
        assert_eq!(lasts, ["30m"]);
        assert!(
            text.contains(
                "token_bastion_failing_deliveries{kind=\"vault_down\",remedy=\"wait\"} 1"
            )
        );
    }

    #[test]
    fn every_value_is_written() {
        let text = metrics();
        for line in [
            "token_bastion_deliveries{state=\"good\"} 1",
            "token_bastion_deliveries{state=\"new\"} 0",
            "token_bastion_deliveries{state=\"cut off\"} 0",
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
