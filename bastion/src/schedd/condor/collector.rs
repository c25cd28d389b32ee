//! Schedds and credds that a collector knows, asked for with the site's own `condor_status`. No token is shown
//! to a collector.

use std::time::Duration;

use super::COLLECTOR_HOST;
use super::refusals::{self, Rule};
use super::tool::{ToolCall, ToolError, ToolOutput, Tools};
use crate::config::Search;
use crate::delivery::Method;
use crate::problem::{Cause, Kind, Problem};
use crate::schedd::discovery::{self, CreddAd, FoundSchedds, ScheddAd};

const TOOL: &str = "condor_status";
const DEADLINE: Duration = Duration::from_secs(30);
/// Deadline where there is another way if the collector does not answer.
const SHORT_DEADLINE: Duration = Duration::from_secs(5);

/// Failures of the tool. The first that fits counts.
const RULES: &[Rule] = &[
    Rule::new(
        &["invalid constraint"],
        Kind::Transport,
        "`constraint: {constraint}` is no expression that HTCondor takes; try it with `condor_status -schedd -constraint`",
    ),
    Rule::new(
        &["unknown host", "hostname for a pool"],
        Kind::CollectorDown,
        "the name of the collector {collector} is unknown; correct `collector`, or the name service",
    ),
    Rule::new(
        &[
            "communication error",
            "Failed to connect",
            "Couldn't contact",
        ],
        Kind::CollectorDown,
        "the collector {collector} does not answer; check that it runs, the port, and that it lets this host read \
         (ALLOW_READ); schedds that are known are served as before, and it is tried again",
    ),
    Rule::new(
        &["CONDOR_CONFIG"],
        Kind::Transport,
        "HTCondor's configuration on this host is missing; install it, or set CONDOR_CONFIG=ONLY_ENV for this service \
         and name the `collector`",
    ),
];

/// Ads that are asked for.
#[derive(Clone, Copy)]
enum Ads {
    Schedds,
    Credds,
}

impl Ads {
    fn arguments(self) -> [&'static str; 4] {
        let (which, attributes) = match self {
            Self::Schedds => ("-schedd", "Name,Machine,CredDIpAddr,TotalJobAds"),
            Self::Credds => ("-any", "Name,Machine,MyAddress"),
        };
        [which, "-json", "-attributes", attributes]
    }
}

const IS_CREDD: &str = r#"MyType == "CredD""#;

/// Asks the collector for the schedds of a search, for those of `known` that it knows besides, and for the
/// addresses of their credds.
pub(super) async fn find(
    tools: &Tools,
    search: &Search,
    known: &FoundSchedds,
) -> Result<Vec<ScheddAd>, Problem> {
    let constraint = search.constraint.as_deref().unwrap_or("true");
    let output = ask(tools, search, Ads::Schedds, constraint).await?;
    let mut schedds = read(search, discovery::schedds(&output.stdout))?;
    let missing: Vec<String> = known
        .names()
        .filter(|name| !schedds.iter().any(|ad| ad.name == *name))
        .filter(|name| is_plain(name))
        .map(|name| format!("Name == \"{name}\""))
        .collect();
    // Where nothing was found the answer counts for nothing anyway.
    if !missing.is_empty() && !schedds.is_empty() {
        let output = ask(tools, search, Ads::Schedds, &missing.join(" || ")).await?;
        let others = read(search, discovery::schedds(&output.stdout))?;
        let others = others.into_iter().map(|ad| ScheddAd {
            matches: false,
            ..ad
        });
        schedds.extend(others);
    }
    if schedds.iter().any(|ad| ad.credd.is_none()) {
        let output = ask(tools, search, Ads::Credds, IS_CREDD).await?;
        let credds = read(search, discovery::credds(&output.stdout))?;
        schedds = discovery::with_credds(schedds, &credds);
    }
    Ok(schedds)
}

/// Asks a collector for all credds that it knows; `None` when it gives no answer. Who then asks for one by
/// name is told why.
pub(super) async fn credds(tools: &Tools, collector: Option<&str>) -> Option<Vec<CreddAd>> {
    let output = run(tools, collector, Ads::Credds, IS_CREDD, SHORT_DEADLINE).await;
    let output = output.ok().filter(|output| output.success)?;
    discovery::credds(&output.stdout).ok()
}

/// `true` for a name that stands in an expression as it is.
fn is_plain(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    name.chars().all(is_plain)
}

async fn ask(
    tools: &Tools,
    search: &Search,
    ads: Ads,
    constraint: &str,
) -> Result<ToolOutput, Problem> {
    let collector = search.collector.as_deref();
    match run(tools, collector, ads, constraint, DEADLINE).await {
        Ok(output) if output.success => Ok(output),
        Ok(output) => Err(failure(search, &output)),
        Err(error) => {
            let (kind, message) = error.explain("the collector");
            Err(problem(search, kind, message))
        }
    }
}

async fn run(
    tools: &Tools,
    collector: Option<&str>,
    ads: Ads,
    constraint: &str,
    deadline: Duration,
) -> Result<ToolOutput, ToolError> {
    let mut arguments = ads.arguments().to_vec();
    arguments.extend(["-constraint", constraint]);
    let collector = collector.map(|collector| (COLLECTOR_HOST, collector.into()));
    let call = ToolCall {
        tool: TOOL,
        arguments,
        environment: collector.into_iter().collect(),
        deadline,
        ..ToolCall::default()
    };
    tools.run(call).await
}

fn read<T>(search: &Search, ads: Result<Vec<T>, serde_json::Error>) -> Result<Vec<T>, Problem> {
    ads.map_err(|error| {
        let message = format!(
            "{TOOL} printed what is no list of ads ({error}); check the version of HTCondor's tools on this host"
        );
        problem(search, Kind::Transport, message)
    })
}

fn problem(search: &Search, kind: Kind, message: String) -> Problem {
    Problem::new(Cause::Group(search.group.clone()), kind, message)
}

/// Reason why the collector gave no answer, and advice.
fn failure(search: &Search, output: &ToolOutput) -> Problem {
    let Some((rule, _)) = refusals::find(RULES, output, Method::default()) else {
        let line = output.stderr.lines().find(|line| !line.trim().is_empty());
        let line = refusals::undated(line.unwrap_or("without a word"));
        let message = format!("{TOOL} failed: {line}; try it by hand on this host");
        return problem(search, Kind::CollectorDown, message);
    };
    let collector = search.collector.as_deref();
    let message = rule.fill(&[
        (
            "{collector}",
            collector.unwrap_or("of this host's HTCondor configuration"),
        ),
        (
            "{constraint}",
            search.constraint.as_deref().unwrap_or_default(),
        ),
    ]);
    problem(search, rule.kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::Opening;

    fn search() -> Search {
        Search {
            group: "crab".to_owned(),
            collector: Some("cm.test:9618".to_owned()),
            constraint: Some("Name == = 3".to_owned()),
            opening: Opening::default(),
            wanted: Vec::new(),
        }
    }

    #[test]
    fn what_a_collector_does_not_answer_becomes_advice() {
        // Seen from HTCondor 25.14.1, but for the last.
        for (stderr, kind, what) in [
            (
                "Error: invalid constraint\n\n",
                Kind::Transport,
                "`constraint: Name == = 3` is no expression",
            ),
            (
                "Error: unknown host nowhere.test\n",
                Kind::CollectorDown,
                "collector cm.test:9618 is unknown; correct `collector`",
            ),
            (
                "Error: communication error\nCEDAR:6001:Failed to connect to <127.83.0.31:9618>\n",
                Kind::CollectorDown,
                "cm.test:9618 does not answer; check",
            ),
            (
                "File specified in CONDOR_CONFIG environment variable:\n\"/nonexistent\" does not exist.\n",
                Kind::Transport,
                "CONDOR_CONFIG=ONLY_ENV",
            ),
            ("\nOh\n", Kind::CollectorDown, "failed: Oh; try it by hand"),
        ] {
            let output = ToolOutput {
                stderr: stderr.to_owned(),
                ..ToolOutput::default()
            };
            let problem = failure(&search(), &output);
            assert_eq!(problem.kind, kind, "{stderr}");
            assert!(problem.message.contains(what), "{problem}");
        }
    }

    #[test]
    fn only_plain_names_stand_in_expressions() {
        assert!(is_plain("crab3@vocms0119.cern.ch"));
        assert!(!is_plain("a\" || true"));
    }
}
