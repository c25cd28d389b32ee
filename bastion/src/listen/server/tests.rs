//! The server under clients that are hostile, on real sockets.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::*;

struct Running {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn start(limit: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", get(async || "it is well\n"));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, router, limit));
    Running {
        address,
        _tasks: tasks,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes; returns the whole answer.
    async fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that refuses what it got does not read the rest.
        let _ = stream.write_all(bytes).await;
        text(stream).await
    }
}

/// Everything until the server closes; closing with unread bytes is a reset.
async fn text(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn get_for(host: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn a_request_for_a_loopback_name_is_answered_and_the_connection_closed() {
    let running = start(4).await;
    for host in [
        "localhost",
        "LOCALHOST:9118",
        "localhost.localdomain",
        "127.0.0.1:9118",
        "127.0.0.2",
        "[::1]:9118",
        "[::ffff:127.0.0.1]",
    ] {
        let answer = running.say(&get_for(host)).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
        assert!(answer.contains("connection: close"), "{host}: {answer}");
        assert!(answer.ends_with("it is well\n"), "{host}: {answer}");
    }
    let simple = running.say(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(simple.starts_with("HTTP/1.0 200"), "{simple}");
}

#[tokio::test]
async fn a_request_for_another_name_is_refused_with_the_reason() {
    let running = start(4).await;
    let rebound = [
        "evil.example",
        "localhost.evil.example",
        "192.0.2.1:9118",
        "0.0.0.0",
        "[2001:db8::1]",
        "127.0.0.1.evil.example",
        "a b",
        "\u{7f}",
        "",
    ];
    let mut requests: Vec<Vec<u8>> = rebound.iter().map(|host| get_for(host)).collect();
    requests.push(b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n".to_vec());
    requests.push(b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec());
    for request in requests {
        let answer = running.say(&request).await;
        let request = String::from_utf8_lossy(&request);
        let refused = answer.starts_with("HTTP/1.1 421") || answer.starts_with("HTTP/1.1 400");
        assert!(refused, "{request}: {answer}");
        assert!(!answer.contains("it is well"), "{request}: {answer}");
    }
    let answer = running.say(&get_for("evil.example")).await;
    assert!(answer.ends_with(WRONG_HOST), "{answer}");
    // Other paths say no more than that.
    let path = b"GET /nowhere HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    assert!(running.say(path).await.starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn a_header_that_is_too_large_is_refused() {
    let running = start(4).await;
    let mut request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".to_vec();
    request.resize(HEADER_SIZE, b'x');
    let mut fits = request.clone();
    fits.truncate(HEADER_SIZE / 2);
    fits.extend(b"\r\n\r\n");
    assert!(running.say(&fits).await.starts_with("HTTP/1.1 200"));
    let answer = running.say(&request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn clients_that_send_half_a_header_lose_their_connection_and_others_get_their_turn() {
    let running = start(2).await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        slow.push(stream);
    }
    let answer = running.say(&get_for("localhost")).await;
    assert!(answer.ends_with("it is well\n"), "{answer}");
    for stream in slow {
        assert_eq!(text(stream).await, "");
    }
}

/// An answer that is larger than what the system takes for a reader who is not there. It counts how
/// many of its kind are in memory.
struct Large(Vec<u8>, watch::Sender<usize>);

impl Large {
    fn new(alive: watch::Sender<usize>) -> Self {
        alive.send_modify(|alive| *alive += 1);
        Self(vec![b'x'; 64 * 1024 * 1024], alive)
    }
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        self.1.send_modify(|alive| *alive -= 1);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_take_their_answers_lose_their_connections_and_few_answers_are_in_memory()
 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let alive = watch::Sender::new(0);
    let mut changes = alive.subscribe();
    let router = Router::new()
        .route("/", get(async || "it is well\n"))
        .route(
            "/large",
            get(async move || Bytes::from_owner(Large::new(alive.clone()))),
        );
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, router, 4 * ANSWERS));
    let running = Running {
        address,
        _tasks: tasks,
    };
    let mut idle = Vec::new();
    for _ in 0..2 * ANSWERS {
        let mut stream = running.connect().await;
        let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        idle.push(stream);
    }
    changes.wait_for(|alive| *alive == ANSWERS).await.unwrap();
    // Long before they are given up.
    tokio::time::sleep(CONNECTION / 2).await;
    assert_eq!(*changes.borrow(), ANSWERS);
    // It gets its turn when they are.
    let answer = running.say(&get_for("localhost")).await;
    assert!(answer.ends_with("it is well\n"), "{answer}");
    changes.wait_for(|alive| *alive == 0).await.unwrap();
}
