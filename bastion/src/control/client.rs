//! A command's side of the control socket. It blocks: a command has nothing else to do.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::protocol::{Answer, Event, Hello, PROTOCOL, Progress, Request};
use crate::commands::Failure;

/// The unit that the service runs as.
const UNIT: &str = "token-bastion";
/// A service that works says hello at once,
const AT_ONCE: Duration = Duration::from_secs(1);
/// within this at the latest, and something of an order within [`SILENCE`].
const HELLO: Duration = Duration::from_secs(5);
/// A push may wait minutes for a schedd's credmon.
const SILENCE: Duration = Duration::from_mins(30);

/// A connection to the running service.
#[derive(Debug)]
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects, and sees to it that both speak the same protocol.
    pub(crate) fn connect(path: &Path) -> Result<Self, Failure> {
        let stream = UnixStream::connect(path).map_err(|error| cannot_connect(path, &error))?;
        Self::greet(&stream)
    }

    /// The same; `None` where no service runs.
    pub(crate) fn connect_if_running(path: &Path) -> Result<Option<Self>, Failure> {
        match UnixStream::connect(path) {
            Ok(stream) => Self::greet(&stream).map(Some),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(cannot_connect(path, &error)),
        }
    }

    fn greet(stream: &UnixStream) -> Result<Self, Failure> {
        let limit = |time| stream.set_read_timeout(Some(time)).map_err(silent);
        let mut client = Self {
            stream: BufReader::new(stream.try_clone().map_err(silent)?),
        };
        limit(AT_ONCE)?;
        if is_late(client.stream.fill_buf().err().as_ref()) {
            if let Some(pid) = peer(stream).filter(|pid| is_suspended(*pid)) {
                return Err(Failure::not_good(format!(
                    "the service (process {pid}) is suspended; `kill -CONT {pid}` lets it go on, `systemctl restart {UNIT}` starts it anew"
                )));
            }
            limit(HELLO.saturating_sub(AT_ONCE))?;
        }
        let hello: Hello = client.receive()?;
        limit(SILENCE)?;
        if hello.protocol != PROTOCOL {
            return Err(Failure::not_good(format!(
                "the running service is version {}, this command is version {}, and they do not understand each other; restart the service (systemctl restart {UNIT}) or use the command of its version",
                hello.version,
                env!("CARGO_PKG_VERSION")
            )));
        }
        Ok(client)
    }

    /// Whether the service does not run.
    pub(crate) fn nobody_listens(path: &Path) -> bool {
        let error = UnixStream::connect(path).err().map(|error| error.kind());
        matches!(
            error,
            Some(ErrorKind::NotFound | ErrorKind::ConnectionRefused)
        )
    }

    /// Sends a request and waits for its answer; `progress` hears how far it is.
    pub(crate) fn ask(
        mut self,
        request: &Request,
        mut progress: impl FnMut(Progress),
    ) -> Result<Answer, Failure> {
        let mut line = serde_json::to_vec(request).map_err(silent)?;
        line.push(b'\n');
        // Who is refused may not be listened to any more, and is told why.
        let sent = self.stream.get_mut().write_all(&line);
        loop {
            match self.receive()? {
                Event::Progress(step) => progress(step),
                Event::Done(answer) => return Ok(answer),
                Event::Refused(refusal) if refusal.usage => {
                    return Err(Failure::wrong([refusal.message]));
                }
                Event::Refused(refusal) => return Err(Failure::not_good(refusal.message)),
            }
            if let Err(error) = &sent {
                return Err(silent(error));
            }
        }
    }

    /// What is said when nothing came.
    fn late(&self) -> Failure {
        let deadline = self.stream.get_ref().read_timeout().ok().flatten();
        let deadline = if deadline == Some(SILENCE) {
            SILENCE
        } else {
            HELLO
        };
        silent(format!(
            "nothing came within {} s, it hangs or too many commands wait for it",
            deadline.as_secs()
        ))
    }

    fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = Vec::new();
        if let Err(error) = self.stream.read_until(b'\n', &mut line) {
            return Err(if is_late(Some(&error)) {
                self.late()
            } else {
                silent(error)
            });
        }
        if line.is_empty() {
            return Err(silent("it closed the connection"));
        }
        serde_json::from_slice(&line).map_err(silent)
    }
}

/// Whether a read ended by its deadline, for which the system has the words "Resource temporarily
/// unavailable".
fn is_late(error: Option<&io::Error>) -> bool {
    error.is_some_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Returns the process that listens at the other end, which the standard library cannot ask for yet.
fn peer(stream: &UnixStream) -> Option<i32> {
    let ask = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_io().build().ok()?;
        let _inside = runtime.enter();
        let same = tokio::net::UnixStream::from_std(stream.try_clone().ok()?).ok()?;
        same.peer_cred().ok()?.pid()
    };
    stream.set_nonblocking(true).ok()?;
    // On a thread of its own, for the command may have a runtime.
    let pid = thread::scope(|scope| scope.spawn(ask).join());
    stream.set_nonblocking(false).ok()?;
    pid.ok()?
}

/// Whether a signal or a debugger stopped a process until another signal.
fn is_suspended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().unwrap_or_default();
    state.starts_with(['T', 't'])
}

/// The answer belongs to another request.
pub(crate) fn unexpected() -> Failure {
    silent("it answered something else")
}

fn silent(why: impl std::fmt::Display) -> Failure {
    Failure::not_good(format!(
        "the running service does not answer as it should: {why}; see `journalctl -u {UNIT}`"
    ))
}

fn cannot_connect(path: &Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::not_good(match error.kind() {
        ErrorKind::NotFound => format!(
            "the service does not run: there is no socket {path}; start it with `systemctl start {UNIT}`, and see `journalctl -u {UNIT}` if it does not stay"
        ),
        ErrorKind::ConnectionRefused => format!(
            "the service does not run any more: nobody listens at {path}; see `journalctl -u {UNIT}`, and start it with `systemctl start {UNIT}`"
        ),
        ErrorKind::PermissionDenied => {
            format!("this user may not use {path}; become root or a member of its group")
        }
        _ => format!("the service cannot be reached at {path}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn failure(path: &Path) -> String {
        Client::connect(path).unwrap_err().lines().concat()
    }

    #[tokio::test]
    async fn who_does_not_answer_in_time_is_said_to_hang_and_who_is_dead_to_be_dead() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let told = failure(&path);
        assert!(told.contains("nothing came within 5 s"), "{told}");
        let stream = UnixStream::connect(&path).unwrap();
        assert_eq!(peer(&stream), i32::try_from(std::process::id()).ok());
        drop(listener);
        let told = failure(&path);
        assert!(told.contains("nobody listens at"), "{told}");
    }
}
