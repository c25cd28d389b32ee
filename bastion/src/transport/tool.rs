//! One run of one of HTCondor's own command line tools.
//!
//! What holds: a tool sees nothing of our environment but what is named here, has a time limit, is
//! killed when that is over or the service ends, and its output is read up to a bound. An access
//! token is in its environment alone (`BEARER_TOKEN`), never in an argument or a file.

use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use htvault::AccessToken;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::delivery::{Delivery, Method, Target};
use crate::problem::Kind;

/// Tools that run at a time.
const AT_A_TIME: usize = 4;
/// More than this is not read of what a tool prints, in bytes: the answer of a collector with
/// thousands of schedds, or a line for each of 100,000 jobs.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;
/// What the site's own configuration and the system need; `HOME` holds a user's IDTOKENS.
const KEPT: [&str; 5] = ["CONDOR_CONFIG", "PATH", "LANG", "HOME", "KRB5_CONFIG"];

/// What is run.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    pub(super) tool: &'static str,
    pub(super) arguments: Vec<&'a str>,
    /// Goes to its standard input.
    pub(super) input: &'a str,
    /// Further environment.
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) limit: Duration,
}

/// What one run said.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) stdout: String,
    /// With `-d` and `D_SECURITY`: the reasons.
    pub(super) stderr: String,
}

/// Why a tool said nothing.
#[derive(Debug)]
pub(super) enum Silence {
    /// It cannot be run here.
    CannotRun(&'static str, io::Error),
    /// It took longer than this.
    TimedOut(Duration),
}

/// Runs tools, a bounded number at a time.
#[derive(Debug)]
pub(super) struct Tools {
    places: Semaphore,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_A_TIME),
        }
    }
}

impl Tools {
    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Silence> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        let mut command = Command::new(call.tool);
        command
            .args(&call.arguments)
            .env_clear()
            .envs(
                KEPT.iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            .envs(call.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match tokio::time::timeout(call.limit, talk(command, call.input)).await {
            Ok(said) => said.map_err(|error| Silence::CannotRun(call.tool, error)),
            Err(_) => Err(Silence::TimedOut(call.limit)),
        }
    }
}

/// What is said where a tool of HTCondor's is missing.
pub(crate) fn not_found(tool: &str) -> String {
    format!("{tool} is not found; install HTCondor's tools on this host, or set PATH")
}

impl Silence {
    /// What it means, and what to do; `who` should have answered.
    pub(super) fn explain(&self, who: &str) -> (Kind, String) {
        match self {
            Self::CannotRun(tool, error) if error.kind() == io::ErrorKind::NotFound => {
                (Kind::Transport, not_found(tool))
            }
            Self::CannotRun(tool, error) => (
                Kind::Transport,
                format!("{tool} cannot be run: {error}; check HTCondor's tools on this host"),
            ),
            Self::TimedOut(limit) => (
                Kind::CreddDown,
                format!(
                    "{who} did not answer within {} s; check that it runs and the network; it is tried again",
                    limit.as_secs()
                ),
            ),
        }
    }
}

async fn talk(mut command: Command, input: &str) -> io::Result<Said> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A tool that fails before it reads says so in its answer.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), out, err) = tokio::join!(write, read(stdout), read(stderr));
    let (stdout, stderr) = (out?, err?);
    let status = child.wait().await?;
    Ok(Said {
        success: status.success(),
        stdout,
        stderr,
    })
}

async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(OUTPUT_LIMIT).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How this host shows who it is, and which collector is asked.
pub(super) fn environment(
    delivery: &Delivery,
    opener: Option<&AccessToken>,
) -> Vec<(&'static str, OsString)> {
    let Target::Credd {
        collector, opening, ..
    } = &delivery.target
    else {
        return Vec::new();
    };
    let mut all = vec![
        (
            "_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS",
            words(opening.method).into(),
        ),
        // The reasons of a failure.
        ("_CONDOR_TOOL_DEBUG", "D_SECURITY".into()),
    ];
    if let Some(collector) = collector {
        all.push(("_CONDOR_COLLECTOR_HOST", collector.into()));
    }
    match opening.method {
        Method::Scitokens => {
            all.extend(opener.map(|opener| ("BEARER_TOKEN", opener.expose().into())));
        }
        Method::Kerberos => all.extend(by_keytab(delivery)),
        Method::Idtokens | Method::Ssl | Method::Fs => {}
    }
    all
}

/// Root's tools log in by keytab themselves, and keep the ticket in their own memory.
fn by_keytab(delivery: &Delivery) -> [(&'static str, OsString); 2] {
    let identity = &delivery.credential.identity;
    [
        (
            "_CONDOR_KERBEROS_SERVER_KEYTAB",
            identity.keytab.clone().into(),
        ),
        (
            "_CONDOR_KERBEROS_SERVER_PRINCIPAL",
            identity.principal.clone().into(),
        ),
    ]
}

/// HTCondor's name of a method.
pub(super) fn words(method: Method) -> &'static str {
    match method {
        Method::Scitokens => "SCITOKENS",
        Method::Idtokens => "IDTOKENS",
        Method::Ssl => "SSL",
        Method::Kerberos => "KERBEROS",
        Method::Fs => "FS",
    }
}
