//! What a process uses, second by second; figures and charts of it.

use std::fs;

use anyhow::Context as _;
use chart::{Chart, Line};
use nix::unistd::Pid;
use serde::Serialize;

use crate::bench::credmon::megabytes;
use crate::bench::figures::{Bound, Figure, percentile};

/// Most points of a line in a chart.
const POINTS: usize = 600;

/// What a process uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub(super) resident: u64,
    pub(super) descriptors: u32,
    pub(super) threads: u32,
}

impl Usage {
    /// Asks the kernel.
    pub(super) fn of(pid: Pid) -> anyhow::Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid} has ended"))?;
        let figure = |name: &str| -> anyhow::Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            let number = number.and_then(|number| number.parse().ok());
            number.with_context(|| format!("/proc/{pid}/status has no {name}"))
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
            .with_context(|| format!("the descriptors of process {pid} cannot be listed"))?;
        Ok(Self {
            resident: figure("VmRSS:")? * 1024,
            descriptors: u32::try_from(descriptors.count())?,
            threads: u32::try_from(figure("Threads:")?)?,
        })
    }
}

/// One second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    /// Since the first sample.
    pub(super) second: u64,
    /// Resident memory in bytes.
    pub(super) resident: u64,
    pub(super) descriptors: u32,
    pub(super) threads: u32,
    /// Tokens that have less left than is promised.
    pub(super) late: usize,
    /// Tokens that are not there, or have expired.
    pub(super) missing: usize,
    /// Credentials that are not fresh, or deliveries that are not good, as the program itself says.
    pub(super) not_good: usize,
    /// What the token of each sort that ends first has left beyond what is promised, in seconds.
    pub(super) spare: Vec<i64>,
}

/// A figure of a sample.
type Pick<'a> = &'a dyn Fn(&Sample) -> f64;

impl Sample {
    fn megabytes(&self) -> f64 {
        megabytes(self.resident)
    }
}

/// Figures of the samples. `sorts` names the sorts of tokens.
pub(super) fn figures(samples: &[Sample], sorts: &[&str]) -> anyhow::Result<Vec<Figure>> {
    let most = |pick: Pick<'_>| samples.iter().map(pick).fold(0.0, f64::max);
    let mut figures = vec![Figure::new(
        "samples",
        "samples, one a second",
        "",
        number(samples.len())?,
    )];
    let faults: [(&str, &str, Pick<'_>); 3] = [
        ("late", "tokens that were late in a sample, at most", &|s| {
            count(s.late)
        }),
        (
            "missing",
            "tokens that were missing or had expired, at most",
            &|s| count(s.missing),
        ),
        (
            "not_good",
            "not good by the program's own status, at most",
            &|s| count(s.not_good),
        ),
    ];
    for (name, what, pick) in faults {
        figures.push(Figure::new(name, what, "", most(pick)).bound(Bound::AtMost(0.0)));
    }
    for (place, sort) in sorts.iter().enumerate() {
        let spare = samples.iter().filter_map(|sample| sample.spare.get(place));
        let least = spare.min().context("there are samples")?;
        figures.push(Figure::new(
            &format!("spare_{}", sort.replace(' ', "_")),
            format!("{sort} that ended first: left beyond what is promised"),
            "s",
            f64::from(i32::try_from(*least)?),
        ));
    }
    let tenth = samples.len().div_ceil(10);
    // The first tenth is for the start.
    let begin = samples.get(tenth..).unwrap_or(samples);
    let begin = begin.get(..tenth).unwrap_or(begin);
    let end = samples.get(samples.len() - tenth..).unwrap_or(samples);
    let median = |part: &[Sample], pick: Pick<'_>| {
        let values: Vec<f64> = part.iter().map(pick).collect();
        percentile(&values, 50).context("there are samples")
    };
    let usages: [(&str, &str, &'static str, Pick<'_>); 3] = [
        ("memory", "resident memory", "MB", &Sample::megabytes),
        ("descriptors", "open descriptors", "", &|s| {
            f64::from(s.descriptors)
        }),
        ("threads", "threads", "", &|s| f64::from(s.threads)),
    ];
    for (name, what, unit, pick) in usages {
        let mut add = |when: &str, words: &str, value| {
            figures.push(Figure::new(
                &format!("{name}_{when}"),
                format!("{what}, {words}"),
                unit,
                value,
            ));
        };
        add(
            "begin",
            "second tenth of the time (median)",
            median(begin, pick)?,
        );
        add("end", "last tenth (median)", median(end, pick)?);
        add("most", "at most", most(pick));
    }
    Ok(figures)
}

/// Charts of the samples, one below the other.
pub(super) fn charts(samples: &[Sample], of: &str) -> [Chart; 3] {
    let line = |name: &str, pick: Pick<'_>| {
        let chunks = samples.chunks(samples.len().div_ceil(POINTS).max(1));
        let points = chunks.filter_map(|chunk| {
            let most = chunk.iter().map(pick).fold(0.0, f64::max);
            let second = u32::try_from(chunk.first()?.second).ok()?;
            Some((f64::from(second) / 60.0, most))
        });
        Line::new(name, points)
    };
    let chart = |title: String, y: &str, lines: Vec<Line>| Chart {
        title,
        x: "minutes".to_owned(),
        y: y.to_owned(),
        lines,
        spans: Vec::new(),
    };
    [
        chart(
            format!("{of}: resident memory"),
            "MB",
            vec![line("memory", &Sample::megabytes)],
        ),
        chart(
            "Descriptors and threads".to_owned(),
            "number",
            vec![
                line("descriptors", &|sample| f64::from(sample.descriptors)),
                line("threads", &|sample| f64::from(sample.threads)),
            ],
        ),
        chart(
            "Late or missing tokens, and what is not good by the program's own status".to_owned(),
            "number",
            vec![
                line("late or missing", &|sample| count(sample.late)),
                line("not good", &|sample| count(sample.not_good)),
            ],
        ),
    ]
}

/// A count as a coordinate or a value of a bound.
fn count(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A count as a figure.
pub(super) fn number(count: usize) -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Sample> {
        let sample = |second: u64| Sample {
            second,
            resident: 50_000_000 + second * 1000,
            descriptors: 20,
            threads: 12,
            late: usize::from(second == 700),
            missing: 0,
            not_good: 0,
            spare: vec![i64::try_from(second).unwrap() - 5],
        };
        (0..2000).map(sample).collect()
    }

    #[test]
    fn one_late_token_in_one_second_is_a_fault() {
        let figures = figures(&samples(), &["access token"]).unwrap();
        let figure = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap();
        assert_eq!(figure("late").holds, Some(false));
        assert!((figure("spare_access_token").ours + 5.0).abs() < 1e-9);
        assert!(figure("memory_begin").ours < figure("memory_end").ours);
        assert!((figure("descriptors_most").ours - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_has_few_points_and_every_peak() {
        let [memory, _, late] = charts(&samples(), "credmon");
        assert!(memory.lines[0].points.len() <= POINTS);
        assert!(late.lines[0].points.iter().any(|(_, late)| *late > 0.5));
    }

    #[test]
    fn this_process_can_be_asked() {
        let usage = Usage::of(Pid::this()).unwrap();
        assert!(usage.resident > 0 && usage.descriptors > 0 && usage.threads > 0);
    }
}
