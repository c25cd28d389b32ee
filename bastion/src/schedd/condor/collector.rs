//! Schedds and credds that a collector knows, asked for with the site's own `condor_status`. No token is shown
//! to a collector.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::COLLECTOR_HOST;
use super::refusals::{self, Rule};
use super::tool::{ToolCall, ToolOutput, Tools};
use crate::model::delivery::Method;
use crate::model::problem::Kind;
use crate::schedd::advice;
use crate::schedd::discovery::{Collector, CreddAd, DEADLINE, IS_CREDD, QueryFailure, ScheddAd};

const TOOL: &str = "condor_status";

/// Failures of the tool. The first that fits counts.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule(Kind::Transport, None, &["invalid constraint"],
        advice::CONSTRAINT),
    Rule(Kind::CollectorDown, None, &["unknown host", "hostname for a pool"],
        "the name of the collector {collector} is unknown; correct `collector`, or the name service"),
    Rule(Kind::CollectorDown, None, &["communication error", "Failed to connect", "Couldn't contact"],
        advice::COLLECTOR_SILENT),
    Rule(Kind::Transport, None, &["CONDOR_CONFIG"],
        "HTCondor's configuration on this host is missing; install it, or set CONDOR_CONFIG=ONLY_ENV for this \
         service and name the `collector`"),
];

pub(super) trait Ad: DeserializeOwned {
    const OPTION: &str;
    const ATTRIBUTES: &str;
}

impl Ad for ScheddAd {
    const OPTION: &str = "-schedd";
    const ATTRIBUTES: &str = "Name,Machine,CredDIpAddr,TotalJobAds";
}

impl Ad for CreddAd {
    const OPTION: &str = "-any";
    const ATTRIBUTES: &str = "Name,Machine,MyAddress";
}

/// A collector, asked with the tool; that of the local configuration when it has no name.
pub(crate) struct ToolCollector<'a> {
    pub(super) tools: &'a Tools,
    pub(super) name: Option<&'a str>,
}

impl Collector for ToolCollector<'_> {
    async fn schedds(&self, constraint: &str) -> Result<Vec<ScheddAd>, QueryFailure> {
        ask(self.tools, self.name, constraint, DEADLINE).await
    }

    async fn credds(&self, within: Duration) -> Result<Vec<CreddAd>, QueryFailure> {
        ask(self.tools, self.name, IS_CREDD, within).await
    }
}

async fn ask<A: Ad>(
    tools: &Tools,
    collector: Option<&str>,
    constraint: &str,
    deadline: Duration,
) -> Result<Vec<A>, QueryFailure> {
    let output = tools
        .run(call::<A>(collector, constraint, deadline))
        .await?;
    if !output.success {
        return Err(explain(&output, collector, constraint));
    }
    read(&output.stdout)
}

fn call<'a, A: Ad>(
    collector: Option<&str>,
    constraint: &'a str,
    deadline: Duration,
) -> ToolCall<'a> {
    let mut arguments = vec![A::OPTION, "-json", "-attributes", A::ATTRIBUTES];
    arguments.extend(["-constraint", constraint]);
    let environment = collector.map(|collector| (COLLECTOR_HOST, collector.into()));
    ToolCall {
        tool: TOOL,
        arguments,
        input: "",
        environment: environment.into_iter().collect(),
        deadline,
        server: ("the collector", Kind::CollectorDown),
    }
}

pub(super) fn read<A: Ad>(json: &str) -> Result<Vec<A>, QueryFailure> {
    // Nothing is printed where there is no ad.
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(json).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        let message = format!(
            "{TOOL} printed what is no list of ads ({place}); check the version of HTCondor's tools on this host"
        );
        (Kind::Transport, message)
    })
}

pub(super) fn explain(
    output: &ToolOutput,
    collector: Option<&str>,
    constraint: &str,
) -> QueryFailure {
    let Some((rule, _)) = refusals::find(RULES, output, Method::default()) else {
        let line = output.stderr.lines().find(|line| !line.trim().is_empty());
        let line = refusals::undated(line.unwrap_or("without a word"));
        let message = format!("{TOOL} failed: {line}; try it by hand on this host");
        return (Kind::CollectorDown, message);
    };
    let collector = collector.unwrap_or("of this host's HTCondor configuration");
    let values = [("{collector}", collector), ("{constraint}", constraint)];
    (rule.0, rule.fill(&values))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let (found, message) = explain(&output, Some("cm.test:9618"), "Name == = 3");
            assert_eq!(found, kind, "{stderr}");
            assert!(message.contains(what), "{message}");
        }
    }

    #[tokio::test]
    async fn a_collector_that_does_not_answer_in_time_is_down_and_no_credd_is() {
        let call = ToolCall {
            tool: "sleep",
            arguments: vec!["60"],
            ..call::<ScheddAd>(None, "true", Duration::from_millis(10))
        };
        let (kind, message) = Tools::default().run(call).await.unwrap_err();
        assert_eq!(kind, Kind::CollectorDown);
        assert!(message.starts_with("the collector did not"), "{message}");
    }

    #[test]
    fn no_schedd_is_printed_as_nothing_and_an_odd_answer_is_not_repeated() {
        assert_eq!(read::<ScheddAd>("\n"), Ok(Vec::new()));
        let (kind, message) = read::<ScheddAd>(r#"[{"Name": 7777}]"#).unwrap_err();
        assert_eq!(kind, Kind::Transport);
        assert!(
            message.contains("no list of ads (line 1, column 14)"),
            "{message}"
        );
        assert!(!message.contains("7777"), "{message}");
    }
}
