//! A credd, reached with the site's own `condor_store_cred`, which an access token authorises.
//!
//! What holds: no token is in an argument or a file; the access token is in the tool's environment
//! (`BEARER_TOKEN`), what is stored goes through its standard input. The tool sees nothing else of
//! our environment, has a time limit, and is killed when that is over or the service ends.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use htvault::AccessToken;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::condor_answer::Said;
use super::{Observed, StoreFailure};
use crate::delivery::Delivery;
use crate::problem::{Cause, Kind, Problem};

pub(crate) const TOOL: &str = "condor_store_cred";
/// The credd itself waits 20 s for its credmon.
const LIMIT: Duration = Duration::from_mins(1);
/// Tools that run at a time.
const AT_A_TIME: usize = 4;
/// More than this is not read of what a tool prints, in bytes.
const OUTPUT_LIMIT: u64 = 256 * 1024;

/// How a credd is found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credd<'a> {
    host: &'a str,
    collector: Option<&'a str>,
}

impl<'a> Credd<'a> {
    pub(super) fn new(host: &'a str, collector: Option<&'a str>) -> Self {
        Self { host, collector }
    }
}

/// The tool.
#[derive(Debug)]
pub(super) struct Condor {
    places: Semaphore,
}

impl Default for Condor {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_A_TIME),
        }
    }
}

impl Condor {
    pub(super) async fn observe(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        opener: Option<&AccessToken>,
    ) -> Result<Observed, Problem> {
        // Without -s: the answer for one service compares scopes and audience first.
        let said = self
            .run(delivery, credd, &["query-oauth"], "", opener)
            .await?;
        if let Some(user) = said.user() {
            same_account(delivery, user)?;
        }
        said.observed(&delivery.id.service)
            .ok_or_else(|| failure(delivery, &said))
    }

    pub(super) async fn store(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        top: &SecretString,
        opener: Option<&AccessToken>,
    ) -> Result<(), StoreFailure> {
        let arguments = ["add-oauth", "-s", &delivery.id.service, "-i", "-"];
        let failed = |misplaced| move |problem| StoreFailure { problem, misplaced };
        let said = self
            .run(delivery, credd, &arguments, top.expose_secret(), opener)
            .await
            .map_err(failed(false))?;
        if let Some(user) = said.user() {
            let same = same_account(delivery, user);
            if let Err(problem) = same {
                // Nothing was stored there before, or its owner had been seen and nothing sent.
                let delete = ["delete-oauth", "-s", &delivery.id.service];
                let _ = self.run(delivery, credd, &delete, "", opener).await;
                return Err(failed(true)(problem));
            }
        }
        if said.success {
            Ok(())
        } else {
            Err(failed(false)(failure(delivery, &said)))
        }
    }

    pub(super) async fn delete(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        opener: Option<&AccessToken>,
    ) -> Result<(), Problem> {
        // Whose credential that would be is asked first: what was deleted cannot be put back.
        let seen = self
            .run(delivery, credd, &["query-oauth"], "", opener)
            .await?;
        if let Some(user) = seen.user() {
            same_account(delivery, user)?;
        }
        let there = seen
            .observed(&delivery.id.service)
            .ok_or_else(|| failure(delivery, &seen))?;
        if there.stored.is_none() && there.served.is_none() {
            return Ok(());
        }
        let arguments = ["delete-oauth", "-s", &delivery.id.service];
        let said = self.run(delivery, credd, &arguments, "", opener).await?;
        if said.success || said.is_nothing_there() {
            Ok(())
        } else {
            Err(failure(delivery, &said))
        }
    }

    async fn run(
        &self,
        delivery: &Delivery,
        credd: &Credd<'_>,
        arguments: &[&str],
        input: &str,
        opener: Option<&AccessToken>,
    ) -> Result<Said, Problem> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        let problem = |kind, message| Problem::new(Cause::schedd(delivery), kind, message);
        let mut command = Command::new(TOOL);
        command
            // Reasons are printed only with both.
            .args(["-d"])
            .args(arguments)
            .env_clear()
            .envs(environment(credd, opener))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A name in angle brackets is an address.
        if credd.host.starts_with('<') {
            command.args(["-n", credd.host]);
        }
        match tokio::time::timeout(LIMIT, talk(command, input)).await {
            Ok(Ok(said)) => Ok(said),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(problem(Kind::Transport, not_found()))
            }
            Ok(Err(error)) => Err(problem(
                Kind::Transport,
                format!("{TOOL} cannot be run: {error}; check HTCondor's tools on this host"),
            )),
            Err(_) => Err(problem(
                Kind::CreddDown,
                format!(
                    "the credd did not answer within {} s; check that it runs and the network; it is tried again",
                    LIMIT.as_secs()
                ),
            )),
        }
    }
}

async fn talk(mut command: Command, input: &str) -> std::io::Result<Said> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A tool that fails before it reads says so in its answer.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let read_out = async {
        match stdout {
            Some(stdout) => stdout.take(OUTPUT_LIMIT).read_to_end(&mut out).await,
            None => Ok(0),
        }
    };
    let read_err = async {
        match stderr {
            Some(stderr) => stderr.take(OUTPUT_LIMIT).read_to_end(&mut err).await,
            None => Ok(0),
        }
    };
    let ((), out_read, err_read) = tokio::join!(write, read_out, read_err);
    out_read?;
    err_read?;
    let status = child.wait().await?;
    Ok(Said {
        success: status.success(),
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
    })
}

/// The whole environment of the tool.
fn environment(credd: &Credd<'_>, opener: Option<&AccessToken>) -> Vec<(&'static str, OsString)> {
    let kept = ["CONDOR_CONFIG", "PATH", "LANG"];
    let mut all: Vec<(&str, OsString)> = kept
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
        .collect();
    all.push((
        "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS",
        "SCITOKENS".into(),
    ));
    all.push(("_CONDOR_TOOL_DEBUG", "D_SECURITY".into()));
    if !credd.host.starts_with('<') {
        all.push(("_CONDOR_CREDD_HOST", credd.host.into()));
    }
    if let Some(collector) = credd.collector {
        all.push(("_CONDOR_COLLECTOR_HOST", collector.into()));
    }
    if let Some(opener) = opener {
        all.push(("BEARER_TOKEN", opener.expose().into()));
    }
    all
}

/// What is said where HTCondor's tools are missing.
pub(crate) fn not_found() -> String {
    format!("{TOOL} is not found; install HTCondor's tools on this host, or set PATH")
}

fn failure(delivery: &Delivery, said: &Said) -> Problem {
    let (kind, message) = said.failure(&delivery.id.account);
    Problem::new(Cause::schedd(delivery), kind, format!("{TOOL}: {message}"))
}

fn same_account(delivery: &Delivery, user: &str) -> Result<(), Problem> {
    let account = user.split('@').next().unwrap_or(user);
    if account == delivery.id.account {
        return Ok(());
    }
    Err(Problem::new(
        Cause::schedd(delivery),
        Kind::CreddRefused,
        format!(
            "the credd takes the access token of {} for user {user}, not for {}; correct the SCITOKENS line of the \
             schedd's map file, or the account's name here",
            delivery.authorize.service, delivery.id.account
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_sees_only_what_it_needs() {
        let token = AccessToken::from("ey.a.b".to_owned());
        let names = |credd, opener| -> Vec<&str> {
            let all = environment(&credd, opener);
            let all = all.iter().map(|(name, _)| *name);
            all.filter(|name| !["CONDOR_CONFIG", "PATH", "LANG"].contains(name))
                .collect()
        };
        assert_eq!(
            names(Credd::new("ap.test", Some("cm.test")), Some(&token)),
            [
                "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS",
                "_CONDOR_TOOL_DEBUG",
                "_CONDOR_CREDD_HOST",
                "_CONDOR_COLLECTOR_HOST",
                "BEARER_TOKEN"
            ]
        );
        assert!(
            !names(Credd::new("<10.0.0.1:9618?sock=x>", None), None)
                .contains(&"_CONDOR_CREDD_HOST")
        );
    }
}
