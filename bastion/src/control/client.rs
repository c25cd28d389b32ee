//! A command's side of the control socket. It blocks: a command has nothing else to do.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::protocol::{Answer, Event, Hello, PROTOCOL, Progress, Request};
use crate::commands::Failure;

/// The unit that the service runs as.
const UNIT: &str = "token-bastion";
/// A service that works says hello within this, and something of an order within [`SILENCE`].
const HELLO: Duration = Duration::from_secs(10);
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
        let limit = |time| stream.set_read_timeout(Some(time));
        limit(HELLO).map_err(silent)?;
        let mut client = Self {
            stream: BufReader::new(stream.try_clone().map_err(silent)?),
        };
        let hello: Hello = client.receive()?;
        limit(SILENCE).map_err(silent)?;
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

    fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).map_err(silent)?;
        if line.is_empty() {
            return Err(silent("it closed the connection"));
        }
        serde_json::from_slice(&line).map_err(silent)
    }
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

fn cannot_connect(path: &Path, error: &std::io::Error) -> Failure {
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
