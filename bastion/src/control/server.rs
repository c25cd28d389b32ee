//! The service's side of the control socket: who may, one request, its progress, its answer.
//!
//! What holds: few clients at a time, each with limits of size and time; an order that was begun
//! goes on to its end, whether or not its client still listens.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use nix::unistd::{Gid, Uid};
use serde::Serialize;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::peer::{Admission, Peer, groups_of};
use super::protocol::{
    Answer, Event, Hello, LONGEST_REQUEST, PROTOCOL, Progress, Refusal, Request,
};
use super::socket::Socket;
use crate::connections::Connections;

/// Clients at a time; further ones wait.
pub const CLIENTS: usize = 32;
/// What a client has to send its request, and to take each line of the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of an answer that may wait for a slow client.
const WAITING: usize = 16;

/// Carries out what is asked for.
pub trait Orders: Send + Sync + 'static {
    /// Carries out one request; the caller waits for it to end.
    fn carry_out(
        &self,
        request: Request,
        events: Events,
    ) -> impl Future<Output = Result<Answer, Refusal>> + Send;
}

/// Where progress of a request is told.
#[derive(Clone, Debug)]
pub struct Events(mpsc::Sender<Event>);

impl Events {
    /// Tells how far it is. Whether anybody listens still.
    pub async fn tell(&self, progress: Progress) -> bool {
        self.0.send(Event::Progress(progress)).await.is_ok()
    }

    /// Ends when nobody listens any more.
    pub async fn unheard(&self) {
        self.0.closed().await;
    }
}

/// Serves whoever asks, so many at a time, until it is dropped.
pub async fn serve(socket: Socket, orders: Arc<impl Orders>, limit: usize) {
    let mut connections = Connections::new("the control socket", limit);
    loop {
        let accept = |cx: &mut Context<'_>| socket.listener.poll_accept(cx);
        let (stream, slot) = connections.next(accept).await;
        let (admission, orders) = (socket.admission, Arc::clone(&orders));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = converse(stream, admission, orders).await {
                debug!(%error, "a client of the control socket went away");
            }
        });
    }
}

async fn converse(
    stream: UnixStream,
    admission: Admission,
    orders: Arc<impl Orders>,
) -> std::io::Result<()> {
    let credentials = stream.peer_cred()?;
    let (uid, gid) = (credentials.uid(), credentials.gid());
    let (reader, mut writer) = stream.into_split();
    let hello = Hello {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    send(&mut writer, &hello).await?;
    let peer = Peer {
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
    };
    // A directory service may be asked for groups.
    let admitted = tokio::task::spawn_blocking(move || admission.admits(peer, groups_of)).await;
    if !admitted.unwrap_or(false) {
        warn!(uid, "somebody was refused at the control socket");
        let message = format!(
            "user {uid} may not use the control socket; become root or a member of group {}",
            admission.group
        );
        return send(&mut writer, &Event::Refused(Refusal::now(message))).await;
    }
    let mut reader = BufReader::new(reader);
    let request = match timeout(PATIENCE, request(&mut reader)).await {
        Ok(Ok(request)) => request,
        Ok(Err(message)) => {
            return send(&mut writer, &Event::Refused(Refusal::usage(message))).await;
        }
        Err(_) => {
            let refusal = Refusal::usage("no request came");
            return send(&mut writer, &Event::Refused(refusal)).await;
        }
    };
    if matches!(request, Request::Status { .. }) {
        debug!(uid, "asked: {request}");
    } else {
        info!(uid, "ordered: {request}");
    }
    let (sender, mut events) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let result = orders.carry_out(request, Events(sender.clone())).await;
        let last = result.map_or_else(Event::Refused, Event::Done);
        // Who asked may have gone away.
        let _ = sender.send(last).await;
    });
    let mut nothing = [0];
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => send(&mut writer, &event).await?,
                None => return Ok(()),
            },
            // One request each: more is not read, an end is the client's.
            read = reader.read(&mut nothing) => {
                if read? == 0 {
                    info!(uid, "a client of the control socket did not wait for its answer");
                }
                return Ok(());
            }
        }
    }
}

/// Reads one request, or says what is wrong with it.
async fn request(reader: &mut (impl AsyncBufRead + Unpin)) -> Result<Request, String> {
    let mut line = Vec::new();
    let mut limited = reader.take(LONGEST_REQUEST);
    limited
        .read_until(b'\n', &mut line)
        .await
        .map_err(|error| error.to_string())?;
    if line.last() != Some(&b'\n') {
        return Err("the request is cut off or too long".to_owned());
    }
    serde_json::from_slice(&line).map_err(|error| {
        format!("the running service does not know this request ({error}); it is version {}, use its own command", env!("CARGO_PKG_VERSION"))
    })
}

async fn send(writer: &mut OwnedWriteHalf, what: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    timeout(PATIENCE, writer.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::report::Report;

    /// Tells progress for as long as somebody listens, then says that nobody does.
    struct Chatty(mpsc::UnboundedSender<&'static str>);

    impl Orders for Chatty {
        async fn carry_out(&self, request: Request, events: Events) -> Result<Answer, Refusal> {
            let Request::Status { selection } = request else {
                unreachable!()
            };
            match selection.account.as_deref() {
                Some("wrong") => return Err(Refusal::usage("no such account")),
                Some("long") => {
                    events.unheard().await;
                    self.0.send("went on").unwrap();
                }
                _ => {}
            }
            let progress = Progress::Deliveries {
                settled: 0,
                lines: Vec::new(),
            };
            events.tell(progress).await;
            Ok(Answer::Report(Report::default()))
        }
    }

    struct Running {
        _folder: tempfile::TempDir,
        path: std::path::PathBuf,
        said: mpsc::UnboundedReceiver<&'static str>,
        server: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let socket = Socket::bind(&path).await.unwrap();
        let (send, said) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(socket, Arc::new(Chatty(send)), CLIENTS));
        Running {
            _folder: folder,
            path,
            said,
            server,
        }
    }

    /// Sends some bytes; all lines of the answer.
    async fn say(path: &std::path::Path, bytes: Vec<u8>) -> Vec<serde_json::Value> {
        let mut stream = UnixStream::connect(path).unwrap();
        let read = move || {
            // What is too long is not read to its end.
            let _ = stream.write_all(&bytes);
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            lines
                .map(|line| serde_json::from_str(&line).unwrap())
                .collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn hello_then_progress_then_the_answer() {
        let running = start().await;
        let lines = say(&running.path, b"{\"order\":\"status\"}\n".to_vec()).await;
        assert_eq!(lines[0]["protocol"], PROTOCOL);
        assert_eq!(lines[1]["event"], "progress");
        assert_eq!(lines[2]["event"], "done");
        assert_eq!(lines.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_keep_nobody_out() {
        let running = start().await;
        let mut silent = Vec::new();
        for _ in 0..3 * CLIENTS {
            silent.push(
                tokio::net::UnixStream::connect(&running.path)
                    .await
                    .unwrap(),
            );
        }
        let mut last = tokio::net::UnixStream::connect(&running.path)
            .await
            .unwrap();
        last.write_all(b"{\"order\":\"status\"}\n").await.unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("\"done\""), "{answer}");
        let mut refusal = String::new();
        silent[0].read_to_string(&mut refusal).await.unwrap();
        assert!(refusal.contains("no request came"), "{refusal}");
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_refused_with_the_reason() {
        let running = start().await;
        let long = vec![b'x'; usize::try_from(LONGEST_REQUEST).unwrap() + 1];
        for (bytes, reason) in [
            (
                b"{\"order\":\"fly\"}\n".to_vec(),
                "does not know this request",
            ),
            (b"nonsense\n".to_vec(), "does not know this request"),
            (long, "cut off or too long"),
            (
                b"{\"order\":\"status\",\"account\":\"wrong\"}\n".to_vec(),
                "no such account",
            ),
        ] {
            let lines = say(&running.path, bytes).await;
            assert_eq!(lines[1]["event"], "refused");
            assert_eq!(lines[1]["data"]["usage"], true);
            let message = lines[1]["data"]["message"].as_str().unwrap();
            assert!(message.contains(reason), "{message}");
        }
    }

    #[tokio::test]
    async fn an_order_goes_on_when_its_client_goes_away() {
        let mut running = start().await;
        let path = running.path.clone();
        let connect = move || {
            let stream = UnixStream::connect(path).unwrap();
            let mut reader = BufReader::new(stream);
            let mut hello = String::new();
            reader.read_line(&mut hello).unwrap();
            reader.into_inner()
        };
        let mut stream = tokio::task::spawn_blocking(connect).await.unwrap();
        let ask = b"{\"order\":\"status\",\"account\":\"long\"}\n";
        stream.write_all(ask).unwrap();
        drop(stream);
        assert_eq!(running.said.recv().await, Some("went on"));
        // Others are served as before.
        let lines = say(&running.path, b"{\"order\":\"status\"}\n".to_vec()).await;
        assert_eq!(lines.len(), 3);
        running.server.abort();
    }
}
