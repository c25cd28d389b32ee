//! The service as a process: its log, its lock, its sockets, and commands that ask it. No network is
//! needed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod commands;
mod held;
#[path = "../host/mod.rs"]
mod host;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Deadline of everything that a test waits for.
const FAR: Duration = Duration::from_mins(2);

/// A host whose service has a port for metrics and health.
struct Host {
    host: host::Host,
    port: u16,
}

impl Deref for Host {
    type Target = host::Host;

    fn deref(&self) -> &host::Host {
        &self.host
    }
}

impl Host {
    fn new() -> Self {
        // Free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let host = host::Host::new(b"no keytab");
        let listen = format!("listen: {{address: \"127.0.0.1:{port}\"}}\n");
        host.configure("c.yaml", "control", &listen);
        Self { host, port }
    }

    /// The same with limits that the shell sets.
    fn limited(&self, limits: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limits} && exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_token-bastion"))
            .arg("--config")
            .arg(self.path("c.yaml"));
        command
    }

    fn run(&self, config: &str, arguments: &[&str]) -> Output {
        self.command(config).args(arguments).output().unwrap()
    }

    /// Starts the service, and waits until it answers.
    fn start(&self, stderr: impl Into<Stdio>) -> Service {
        self.start_as(self.command("c.yaml"), stderr)
    }

    fn start_as(&self, mut command: Command, stderr: impl Into<Stdio>) -> Service {
        let mut service = Service(command.arg("run").stderr(stderr).spawn().unwrap());
        until("the service answers", || {
            assert_eq!(service.0.try_wait().unwrap(), None, "the service ended");
            let status = self.run("c.yaml", &["status"]);
            let healthy = || Some(self.get("/healthz").ok()?.ends_with("ok\n"));
            !status.stdout.is_empty() && healthy() == Some(true)
        });
        service
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(FAR))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// A running service, killed if a test ends without stopping it.
struct Service(Child);

impl Service {
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Ends it as systemd does; returns its exit code.
    fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        let mut status = None;
        until("the service ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + FAR;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_log_on_a_full_disk_is_counted_and_ends_nothing() {
    let host = Host::new();
    let service = host.start(full());
    let dropped = |line: &str| {
        let count = line.strip_prefix("token_bastion_log_lines_dropped_total ");
        count.is_some_and(|count| count.parse::<u64>().unwrap() > 0)
    };
    until("lost lines are counted", || {
        host.get("/metrics").unwrap().lines().any(dropped)
    });
    let status = text(&host.run("c.yaml", &["status"]).stdout);
    assert!(status.contains("No space left on device"), "{status}");
    let json = host.run("c.yaml", &["status", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert!(json["log"]["dropped_lines"].as_u64().unwrap() > 0, "{json}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_log_whose_reader_ended_is_counted_and_ends_nothing() {
    let host = Host::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let service = host.start(writer);
    let status = text(&host.run("c.yaml", &["status"]).stdout);
    assert!(status.contains("Broken pipe"), "{status}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let host = Host::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let size = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    writer
        .write_all(&vec![b'\n'; usize::try_from(size).unwrap()])
        .unwrap();
    let service = host.start(writer);
    assert_eq!(service.stop(), Some(0));
    drop(reader);
}

#[test]
fn the_last_lines_of_the_log_are_written() {
    let host = Host::new();
    let mut command = host.command("c.yaml");
    let mut service = Service(command.arg("run").stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(service.0.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("started")));
    service.signal(Signal::SIGTERM);
    let last = lines.last().unwrap().unwrap();
    assert!(last.contains("stopped"), "{last}");
}

#[test]
fn clients_that_send_half_a_request_lose_their_connection() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    let half = || {
        let mut stream = host.connect();
        stream.write_all(b"GET /status.json HTTP/1.1\r\n").unwrap();
        stream.set_read_timeout(Some(FAR)).unwrap();
        stream
    };
    let slow: Vec<TcpStream> = (0..80).map(|_| half()).collect();
    assert!(host.get("/healthz").unwrap().ends_with("ok\n"));
    for mut stream in slow {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(text(&answer), "");
    }
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn with_few_descriptors_commands_are_answered_while_strangers_connect() {
    let host = Host::new();
    let service = host.start_as(
        host.limited("ulimit -Sn 40 && ulimit -Hn 80"),
        Stdio::null(),
    );
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.0.id())).unwrap();
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = open_files.unwrap().split_whitespace().nth(3);
    assert_eq!(soft, Some("80"), "{limits}");
    let strangers: Vec<TcpStream> = (0..100).map(|_| host.connect()).collect();
    let status = host.run("c.yaml", &["status"]);
    assert!(text(&status.stdout).contains("cmsprod"), "{status:?}");
    drop(strangers);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_page_of_another_site_reads_nothing() {
    let host = Host::new();
    let service = host.start(Stdio::null());
    let mut stream = host.connect();
    stream
        .write_all(b"GET /status.json HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(!answer.contains("cmsprod"), "{answer}");
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn a_second_service_with_the_same_state_is_refused() {
    let host = Host::new();
    host.configure("second.yaml", "other", "");
    let service = host.start(Stdio::null());
    for command in ["run", "once"] {
        let second = host.run("second.yaml", &[command]);
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        let error = text(&second.stderr);
        let who = format!("process {} ", service.0.id());
        assert!(error.contains(&who), "{error}");
        assert!(!host.path("other").exists());
    }
    assert_eq!(service.stop(), Some(0));
    let after = host.run("second.yaml", &["once", "--json"]);
    assert!(!after.stdout.is_empty(), "{after:?}");
}

#[test]
fn the_socket_of_another_program_is_left_alone() {
    let host = Host::new();
    let socket = host.path("control");
    let other = UnixListener::bind(&socket).unwrap();
    let mut command = host.command("c.yaml");
    let mut service = Service(command.arg("run").stderr(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(service.0.stderr.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let error = lines.find(|line| line.contains("ERROR")).unwrap();
    assert!(error.contains("another program listens"), "{error}");
    // What it has is still there.
    let client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    other.accept().unwrap();
    drop(client);
    assert_eq!(service.stop(), Some(0));
    assert!(socket.exists());
}

#[test]
fn the_socket_of_a_killed_service_is_replaced_and_commands_say_at_once_that_it_is_dead() {
    let host = Host::new();
    drop(host.start(Stdio::null()));
    assert!(host.path("control").exists());
    let status = host.run("c.yaml", &["status"]);
    let error = text(&status.stderr);
    assert!(error.contains("nobody listens at"), "{error}");
    assert_eq!(status.status.code(), Some(1));
    assert_eq!(host.start(Stdio::null()).stop(), Some(0));
}
