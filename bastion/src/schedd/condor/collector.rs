//! Schedds found with the site's own `condor_status`: no token is shown to a collector.

use std::ffi::OsString;
use std::time::Duration;

use super::tool::{Call, Said, Silence, Tools};
use crate::config::Search;
use crate::problem::{Cause, Kind, Problem};
use crate::schedd::discovery::{self, Ad, CreddAd, Known};

const TOOL: &str = "condor_status";
const LIMIT: Duration = Duration::from_secs(30);
/// Where there is another way if the collector is silent.
const SHORT_LIMIT: Duration = Duration::from_secs(5);
const OF_A_SCHEDD: &str = "Name,Machine,CredDIpAddr,TotalJobAds";
const OF_A_CREDD: &str = "Name,Machine,MyAddress";
const CREDDS: &str = r#"MyType == "CredD""#;

/// Asks the collector for the schedds of a search, for those of `known` that it knows besides,
/// and for where their credds are.
pub(super) async fn find(
    tools: &Tools,
    search: &Search,
    known: &Known,
) -> Result<Vec<Ad>, Problem> {
    let constraint = search.constraint.as_deref().unwrap_or("true");
    let arguments = ["-schedd", "-json", "-attributes", OF_A_SCHEDD];
    let mut schedds = ads(
        search,
        &ask(tools, search, &arguments, constraint).await?,
        discovery::schedds,
    )?;
    let missing: Vec<String> = known
        .names()
        .filter(|name| !schedds.iter().any(|ad| ad.name == *name))
        .filter(|name| is_plain(name))
        .map(|name| format!("Name == \"{name}\""))
        .collect();
    // Where nothing was found the answer counts for nothing anyway.
    if !missing.is_empty() && !schedds.is_empty() {
        let constraint = missing.join(" || ");
        let said = ask(tools, search, &arguments, &constraint).await?;
        let others = ads(search, &said, discovery::schedds)?;
        schedds.extend(others.into_iter().map(|ad| Ad {
            matches: false,
            ..ad
        }));
    }
    if schedds.iter().any(|ad| ad.credd.is_none()) {
        let arguments = ["-any", "-json", "-attributes", OF_A_CREDD];
        let said = ask(tools, search, &arguments, CREDDS).await?;
        let credds = ads(search, &said, discovery::credds)?;
        schedds = discovery::with_credds(schedds, &credds);
    }
    Ok(schedds)
}

/// Asks a collector for all credds that it knows; `None` when it gives no answer. Whoever then asks
/// for one by name is told why.
pub(super) async fn credds(tools: &Tools, collector: Option<&str>) -> Option<Vec<CreddAd>> {
    let arguments = ["-any", "-json", "-attributes", OF_A_CREDD];
    let said = run(tools, collector, &arguments, CREDDS, SHORT_LIMIT).await;
    let said = said.ok().filter(|said| said.success)?;
    discovery::credds(&said.stdout).ok()
}

/// A name that stands in an expression as it is.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    name.chars().all(plain)
}

async fn ask(
    tools: &Tools,
    search: &Search,
    arguments: &[&str],
    constraint: &str,
) -> Result<Said, Problem> {
    let collector = search.collector.as_deref();
    let said = run(tools, collector, arguments, constraint, LIMIT).await;
    let said = said.map_err(|silence| {
        let (kind, message) = silence.explain("the collector");
        problem(search, kind, message)
    })?;
    if said.success {
        return Ok(said);
    }
    let (kind, message) = failure(search, &said);
    Err(problem(search, kind, message))
}

async fn run(
    tools: &Tools,
    collector: Option<&str>,
    arguments: &[&str],
    constraint: &str,
    limit: Duration,
) -> Result<Said, Silence> {
    let mut arguments = arguments.to_vec();
    arguments.extend(["-constraint", constraint]);
    let environment: Vec<(&str, OsString)> = collector
        .map(|collector| ("_CONDOR_COLLECTOR_HOST", collector.into()))
        .into_iter()
        .collect();
    let call = Call {
        tool: TOOL,
        arguments,
        environment,
        limit,
        ..Call::default()
    };
    tools.run(call).await
}

fn ads<T>(
    search: &Search,
    said: &Said,
    read: impl Fn(&str) -> Result<Vec<T>, serde_json::Error>,
) -> Result<Vec<T>, Problem> {
    read(&said.stdout).map_err(|error| {
        let message = format!(
            "{TOOL} printed what is no list of ads ({error}); check the version of HTCondor's tools on this host"
        );
        problem(search, Kind::Transport, message)
    })
}

fn problem(search: &Search, kind: Kind, message: String) -> Problem {
    Problem::new(Cause::Group(search.group.clone()), kind, message)
}

/// Why the collector gave no answer, and what to do.
fn failure(search: &Search, said: &Said) -> (Kind, String) {
    let collector = search.collector.as_deref();
    let whose = collector.unwrap_or("of this host's HTCondor configuration");
    let find = |part: &str| said.stderr.contains(part);
    if find("invalid constraint") {
        let constraint = search.constraint.as_deref().unwrap_or_default();
        return (
            Kind::Transport,
            format!(
                "`constraint: {constraint}` is no expression that HTCondor takes; try it with `{TOOL} -schedd -constraint`"
            ),
        );
    }
    if find("unknown host") || find("hostname for a pool") {
        return (
            Kind::CollectorDown,
            format!(
                "the name of the collector {whose} is unknown; correct `collector`, or the name service"
            ),
        );
    }
    if find("communication error") || find("Failed to connect") || find("Couldn't contact") {
        return (
            Kind::CollectorDown,
            format!(
                "the collector {whose} does not answer; check that it runs, the port, and that it lets this host read \
                 (ALLOW_READ); schedds that are known are served as before, and it is tried again"
            ),
        );
    }
    if find("CONDOR_CONFIG") {
        return (
            Kind::Transport,
            "HTCondor's configuration on this host is missing; install it, or set CONDOR_CONFIG=ONLY_ENV for this service \
             and name the `collector`"
                .to_owned(),
        );
    }
    let line = said.stderr.lines().find(|line| !line.trim().is_empty());
    let what = line.unwrap_or("without a word");
    (
        Kind::CollectorDown,
        format!("{TOOL} failed: {what}; try it by hand on this host"),
    )
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
            let said = Said {
                stderr: stderr.to_owned(),
                ..Said::default()
            };
            let (found, message) = failure(&search(), &said);
            assert_eq!(found, kind, "{stderr}");
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn only_plain_names_stand_in_expressions() {
        assert!(is_plain("crab3@vocms0119.cern.ch"));
        assert!(!is_plain("a\" || true"));
    }
}
