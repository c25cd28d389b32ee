//! Runs of HTCondor's own command line tools.
//!
//! Always true: a tool sees nothing of our environment but what is named here, has a deadline, is killed when
//! that is over or the service stops, and its output is read up to a limit. Secrets are in its environment or
//! its standard input, never in an argument or a file.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::model::problem::Kind;
use crate::system::files::is_passing;
use crate::system::request_slots::RequestSlots;

/// Tools that run at a time for each processor of this machine: one works while another waits for
/// its credd, and each takes about as much of a processor as its credd does.
const PER_PROCESSOR: usize = 2;
/// Longest output that is read, in bytes: many times the answer of a collector with thousands of schedds.
const OUTPUT_LIMIT: u64 = 8 * 1024 * 1024;
/// Environment of the site's configuration and of the system; `HOME` holds a user's IDTOKENS.
const KEPT: [&str; 5] = ["CONDOR_CONFIG", "PATH", "LANG", "HOME", "KRB5_CONFIG"];

/// `true` for a variable that tools inherit: HTCondor's settings are among them (`_CONDOR_NAME`, and nothing
/// else with `CONDOR_CONFIG=ONLY_ENV`).
fn is_kept(name: &OsStr) -> bool {
    KEPT.iter().any(|kept| name == *kept) || name.as_encoded_bytes().starts_with(b"_CONDOR_")
}

pub(super) struct ToolCall<'a> {
    pub(super) tool: &'static str,
    pub(super) arguments: Vec<&'a str>,
    /// Goes to its standard input.
    pub(super) input: &'a str,
    pub(super) environment: Vec<(&'static str, OsString)>,
    pub(super) deadline: Duration,
    /// Name of the server that it asks, and kind of the problem when that does not answer in time.
    pub(super) server: (&'static str, Kind),
}

#[derive(Clone, Debug, Default)]
pub(super) struct ToolOutput {
    pub(super) success: bool,
    pub(super) stdout: String,
    /// With `-d` and `D_SECURITY`: the reasons.
    pub(super) stderr: String,
}

impl ToolOutput {
    /// All lines, those with reasons first.
    pub(super) fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.stderr.lines().chain(self.stdout.lines())
    }
}

/// Runner of tools, as many at a time as this machine has processors for; those that only wait for an answer
/// are not counted.
#[derive(Debug)]
pub(super) struct Tools {
    slots: RequestSlots,
    /// Folders that have them, as `PATH` names them.
    folders: Option<OsString>,
}

impl Default for Tools {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            slots: RequestSlots::new(processors.saturating_mul(PER_PROCESSOR)),
            folders: std::env::var_os("PATH"),
        }
    }
}

impl Tools {
    /// Runs a tool to its end.
    ///
    /// # Errors
    /// The kind of the problem, and the message.
    pub(super) async fn run(&self, call: ToolCall<'_>) -> Result<ToolOutput, (Kind, String)> {
        // By its path: for a name and a `PATH` that is given here, the standard library would copy this whole
        // process (fork) where it can start another at once.
        let program = path_of(call.tool, self.folders.as_deref());
        let program = program.unwrap_or_else(|| call.tool.into());
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
        // The deadline begins with the run. Boxed: it is large, and would be a part of all that wait for it.
        let output = async { tokio::time::timeout(call.deadline, talk(command, call.input)).await };
        let Ok(output) = self.slots.run(Box::pin(output)).await else {
            let ((server, silent), seconds) = (call.server, call.deadline.as_secs());
            let message = format!(
                "{server} did not answer within {seconds} s; check that it runs and the network; it is tried again"
            );
            return Err((silent, message));
        };
        output.map_err(|error| cannot_run(call.tool, &error))
    }
}

pub(super) fn path_of(tool: &str, folders: Option<&OsStr>) -> Option<PathBuf> {
    let mut paths = std::env::split_paths(folders?).map(|folder| folder.join(tool));
    paths.find(|path| path.is_file())
}

pub(super) fn not_found(tool: &str) -> String {
    format!(
        "{tool} is not found; name the `collector` of the group, so that no tool is needed (`transport: cedar`), or \
         install HTCondor's tools on this host, or set PATH"
    )
}

fn cannot_run(tool: &str, error: &io::Error) -> (Kind, String) {
    if error.kind() == io::ErrorKind::NotFound {
        return (Kind::Transport, not_found(tool));
    }
    let (kind, advice) = if htvault::is_of_this_host(error) {
        (
            Kind::Local,
            "raise the limits of the service (descriptors, memory, processes); it is tried again",
        )
    } else if is_passing(error) {
        (
            Kind::Local,
            "check the file system with HTCondor's tools; it is tried again",
        )
    } else {
        (Kind::Transport, "check HTCondor's tools on this host")
    };
    (kind, format!("{tool} cannot be run: {error}; {advice}"))
}

async fn talk(mut command: Command, input: &str) -> io::Result<ToolOutput> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A tool that fails before it reads says so in its output.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
    };
    let ((), out, err) = tokio::join!(write, read(stdout), read(stderr));
    let (stdout, stderr) = (out?, err?);
    let status = child.wait().await?;
    Ok(ToolOutput {
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

#[cfg(test)]
mod tests {
    use super::*;

    impl Tools {
        /// Those in a folder.
        pub(in crate::schedd) fn of(folder: &std::path::Path) -> Self {
            Self {
                folders: Some(folder.into()),
                ..Self::default()
            }
        }
    }

    #[test]
    fn a_tool_that_this_host_cannot_start_for_now_is_tried_again_soon() {
        for (errno, expected, advice) in [
            (nix::libc::EMFILE, Kind::Local, "raise the limits"),
            (nix::libc::EAGAIN, Kind::Local, "raise the limits"),
            (nix::libc::ESTALE, Kind::Local, "check the file system"),
            (nix::libc::EACCES, Kind::Transport, "check HTCondor's tools"),
            (nix::libc::ENOENT, Kind::Transport, "is not found"),
        ] {
            let (kind, message) = cannot_run("tool", &io::Error::from_raw_os_error(errno));
            assert_eq!(kind, expected, "{message}");
            assert!(message.contains(advice), "{message}");
        }
    }

    #[test]
    fn tools_get_htcondors_settings_from_the_environment_and_nothing_that_is_not_theirs() {
        for (name, kept) in [
            ("CONDOR_CONFIG", true),
            ("_CONDOR_AUTH_SSL_CLIENT_CAFILE", true),
            ("_CONDOR_SEC_TOKEN_DIRECTORY", true),
            ("KRB5_CONFIG", true),
            ("BEARER_TOKEN", false),
            ("LD_PRELOAD", false),
            ("HTTPS_PROXY", false),
        ] {
            assert_eq!(is_kept(OsStr::new(name)), kept, "{name}");
        }
    }
}
