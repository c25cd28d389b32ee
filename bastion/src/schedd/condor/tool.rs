//! One run of one of HTCondor's own command line tools.
//!
//! What holds: a tool sees nothing of our environment but what is named here, has a time limit, is
//! killed when that is over or the service ends, and its output is read up to a bound. An access
//! token is in its environment alone (`BEARER_TOKEN`), never in an argument or a file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use htvault::AccessToken;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::delivery::{Delivery, Method, Target};
use crate::problem::Kind;

/// Tools that run at a time for each processor of this machine: one works while another waits for
/// its credd, and each takes about as much of a processor as its credd does.
const FOR_A_PROCESSOR: usize = 2;
/// A tool that has run for so long waits for somebody who does not answer, and takes up no room for
/// others. Tries are bounded in number, for each credd and in all.
const WAITS: Duration = Duration::from_secs(2);
/// More than this is not read of what a tool prints, in bytes: many times the answer of a collector
/// with thousands of schedds.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;
/// What the site's own configuration and the system need; `HOME` holds a user's IDTOKENS.
const KEPT: [&str; 5] = ["CONDOR_CONFIG", "PATH", "LANG", "HOME", "KRB5_CONFIG"];

/// `true` for what tools are to see of our environment: HTCondor's settings by it among that
/// (`_CONDOR_NAME`, and nothing else with `CONDOR_CONFIG=ONLY_ENV`).
fn is_kept(name: &OsStr) -> bool {
    KEPT.iter().any(|kept| name == *kept) || name.as_encoded_bytes().starts_with(b"_CONDOR_")
}

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

/// Runs tools, as many at a time as this machine has processors for; those that only wait for an
/// answer are not counted.
#[derive(Debug)]
pub(super) struct Tools {
    places: Semaphore,
}

impl Default for Tools {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            places: Semaphore::new(processors.saturating_mul(FOR_A_PROCESSOR)),
        }
    }
}

impl Tools {
    pub(super) async fn run(&self, call: Call<'_>) -> Result<Said, Silence> {
        // By its path: for a name that is to be looked for in a `PATH` which is given here, the standard
        // library copies this whole process (fork) where it could start another at once.
        let program = path_of(call.tool).unwrap_or_else(|| call.tool.into());
        let mut command = Command::new(program);
        command
            .args(&call.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| is_kept(name)))
            .envs(call.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // The limit begins with the run. Boxed: it is large, and would be a part of all that wait for it.
        let said = async { tokio::time::timeout(call.limit, talk(command, call.input)).await };
        let said = Box::pin(said);
        match self.in_turn(said).await {
            Ok(said) => said.map_err(|error| Silence::CannotRun(call.tool, error)),
            Err(_) => Err(Silence::TimedOut(call.limit)),
        }
    }

    /// Does `work` when there is room for it. What only waits gives its room to others.
    async fn in_turn<T>(&self, work: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let place = self.places.acquire().await.ok();
        let mut work = pin!(work);
        let done = tokio::time::timeout(WAITS, &mut work).await;
        drop(place);
        match done {
            Ok(done) => done,
            Err(_) => work.await,
        }
    }
}

/// Where a tool is, by `PATH`.
pub(super) fn path_of(tool: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(tool));
    places.find(|place| place.is_file())
}

/// What is said where a tool of HTCondor's is missing.
pub(super) fn not_found(tool: &str) -> String {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_silent_credd_leaves_room_for_others() {
        let tools = Tools {
            places: Semaphore::new(2),
        };
        let (running, most) = (Cell::new(0), Cell::new(0));
        let work = |lasts: Duration| {
            let (running, most) = (&running, &most);
            tools.in_turn(async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                tokio::time::sleep(lasts).await;
                running.set(running.get() - 1);
            })
        };
        let quick = Duration::from_millis(30);
        tokio::join!(work(quick), work(quick), work(quick), work(quick));
        assert_eq!(most.get(), 2, "so many at a time");

        let begin = tokio::time::Instant::now();
        let silent = async { tokio::join!(work(LONG), work(LONG)) };
        let others = async {
            tokio::join!(work(quick), work(quick), work(quick));
            begin.elapsed()
        };
        let (_, took) = tokio::join!(silent, others);
        assert!(took >= WAITS && took < WAITS + 3 * quick, "{took:?}");
    }
}
