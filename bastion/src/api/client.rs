//! Client of the control socket, for commands.
//!
//! Always true: a command never waits for a service that hangs: before an order, and again while it waits for the end of
//! one, the service has to answer another request within seconds.

use std::fmt::Display;
use std::future::pending;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::request::Builder;
use axum::http::{Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use super::bodies::{ErrorBody, VERSION, Version};
use crate::engine::report::Report;
use crate::model::delivery::Selection;

/// systemd unit of the service.
const UNIT: &str = "token-bastion";
/// Time after which a service that does not answer is checked for a suspended process.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Deadline for a short answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Deadline for a status, which is large and may have to wait for others: the service's own.
const STATUS: Duration = Duration::from_secs(30);
/// Pause between two checks of a service that executes an order.
const CHECK: Duration = Duration::from_secs(30);

/// A running service.
#[derive(Debug)]
pub(crate) struct Client {
    path: PathBuf,
}

/// Failure of a request: cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientError {
    /// No service runs.
    #[error("{0}")]
    Absent(String),
    /// The request itself is wrong: a repetition is of no use.
    #[error("{0}")]
    Wrong(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Client {
    /// Connects to the service and checks that it understands this version's requests.
    pub(crate) async fn connect(path: &Path) -> Result<Self, ClientError> {
        let client = Self {
            path: path.to_owned(),
        };
        client.check().await?;
        Ok(client)
    }

    /// Requests the status of deliveries.
    pub(crate) async fn status(&self, selection: &Selection) -> Result<Report, ClientError> {
        let names = [
            ("account", &selection.account),
            ("service", &selection.service),
            ("schedd", &selection.schedd),
        ];
        let names = names
            .into_iter()
            .filter_map(|(key, name)| Some((key, name.as_ref()?)));
        let mut query = form_urlencoded::Serializer::new(String::new());
        let query = query.extend_pairs(names).finish();
        let request = Request::get(format!("/status.json?{query}"));
        self.request(request, Body::empty(), STATUS).await
    }

    /// Sends an order and waits for its end, as long as the service answers other requests.
    pub(crate) async fn order<A: DeserializeOwned>(
        &self,
        order: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        let request = Request::post(format!("{VERSION}/{order}"));
        let body = serde_json::to_vec(body).map_err(unexpected)?;
        let mut answer = pin!(self.request(request, body.into(), Duration::MAX));
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                () = sleep(CHECK) => self.check().await?,
            }
        }
    }

    /// Checks that the service answers and has this version of the requests.
    async fn check(&self) -> Result<(), ClientError> {
        let request = Request::get(format!("{VERSION}/version"));
        let answer = self.request::<Version>(request, Body::empty(), ANSWER);
        answer.await.map(drop)
    }

    async fn request<A: DeserializeOwned>(
        &self,
        request: Builder,
        body: Body,
        deadline: Duration,
    ) -> Result<A, ClientError> {
        let stream = UnixStream::connect(&self.path).await;
        let stream = stream.map_err(|error| cannot_connect(&self.path, &error))?;
        let service = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let request = request.header(header::HOST, "localhost").body(body);
        let exchange = exchange(stream, request.map_err(unexpected)?);
        let late = |_| {
            let seconds = deadline.as_secs();
            let message = "it hangs or too many commands wait for it";
            unexpected(format!("nothing came within {seconds} s, {message}"))
        };
        let (status, body) = tokio::select! {
            answer = timeout(deadline, exchange) => answer.map_err(late)??,
            pid = suspended(service) => return Err(ClientError::Other(format!(
                "the service (process {pid}) is suspended; `kill -CONT {pid}` resumes it, `systemctl restart {UNIT}` starts it anew"
            ))),
        };
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(unexpected),
            StatusCode::NOT_FOUND => Err(other_version()),
            _ => Err(match serde_json::from_slice(&body) {
                Ok(ErrorBody { error }) if status == StatusCode::BAD_REQUEST => {
                    ClientError::Wrong(error)
                }
                Ok(ErrorBody { error }) => ClientError::Other(error),
                Err(_) => unexpected(status),
            }),
        }
    }
}

/// Sends a request, the only one of its connection.
async fn exchange(
    stream: UnixStream,
    request: Request<Body>,
) -> Result<(StatusCode, Bytes), ClientError> {
    let failed = |error: hyper::Error| {
        if error.is_parse() {
            other_version()
        } else {
            unexpected(error)
        }
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // The task ends with its request.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), usize::MAX).await;
    Ok((status, body.map_err(unexpected)?))
}

/// Ends after [`AT_ONCE`] if a signal or a debugger has stopped the process then.
async fn suspended(process: Option<i32>) -> i32 {
    sleep(AT_ONCE).await;
    if let Some(pid) = process {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().unwrap_or_default();
        if state.starts_with(['T', 't']) {
            return pid;
        }
    }
    pending().await
}

/// Error of an answer that is not HTTP, or for an unknown path.
fn other_version() -> ClientError {
    ClientError::Other(format!(
        "the running service is of another version than this command ({}), and they do not understand each other; restart the service (systemctl restart {UNIT}) or use the command of its version",
        env!("CARGO_PKG_VERSION")
    ))
}

fn unexpected(why: impl Display) -> ClientError {
    ClientError::Other(format!(
        "the running service does not answer as it should: {why}; see `journalctl -u {UNIT}`"
    ))
}

fn cannot_connect(path: &Path, error: &io::Error) -> ClientError {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => ClientError::Absent(format!(
            "the service does not run: there is no socket {path}; start it with `systemctl start {UNIT}`, and see `journalctl -u {UNIT}` if it does not stay"
        )),
        ErrorKind::ConnectionRefused => ClientError::Absent(format!(
            "the service does not run any more: nobody listens at {path}; see `journalctl -u {UNIT}`, and start it with `systemctl start {UNIT}`"
        )),
        ErrorKind::PermissionDenied => ClientError::Other(format!(
            "this user may not use {path}; become root or a member of its group"
        )),
        // The queue of the socket is full.
        ErrorKind::WouldBlock => unexpected("it hangs, or too many commands wait for it"),
        _ => ClientError::Other(format!("the service cannot be reached at {path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    async fn failure(path: &Path) -> String {
        Client::connect(path).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_in_time_hangs_and_one_that_is_dead_does_not_listen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let error = failure(&path).await;
        assert!(error.contains("nothing came within 5 s"), "{error}");
        drop(listener);
        let error = Client::connect(&path).await.unwrap_err();
        assert!(matches!(error, ClientError::Absent(_)));
        assert!(error.to_string().contains("nobody listens at"), "{error}");
    }

    /// Error of a command to whom a service answers this, before or after the request.
    async fn answered(early: bool, answer: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = UnixListener::bind(&path).unwrap();
        let service = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut reader, mut writer) = stream.split();
            if !early {
                reader.read_u8().await.unwrap();
            }
            writer.write_all(answer).await.unwrap();
            writer.shutdown().await.unwrap();
            let _ = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
        };
        tokio::join!(failure(&path), service).0
    }

    #[tokio::test]
    async fn a_service_of_another_version_is_recognized() {
        let unknown = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let hello = b"{\"protocol\":1,\"version\":\"0.1.0\"}\n";
        for (early, answer) in [(false, &unknown[..]), (false, hello), (true, hello)] {
            let error = answered(early, answer).await;
            assert!(error.contains("is of another version"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_passed_on() {
        let head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 15\r\n\r\n";
        let answer = format!("{head}{{\"error\":\"why\"}}");
        assert_eq!(answered(false, answer.as_bytes()).await, "why");
        let error = answered(false, &answer.as_bytes()[..70]).await;
        assert!(error.contains("does not answer as it should"), "{error}");
    }
}
