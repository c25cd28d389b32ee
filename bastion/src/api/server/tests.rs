//! The server under clients that are hostile, on real sockets.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::*;

struct Running {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

async fn start(limit: usize) -> Running {
    start_with(Router::new(), limit).await
}

async fn start_with(router: Router, limit: usize) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.route("/", get(async || "it is well\n"));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve("the test", listener, router, limit));
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

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_and_the_connection_closed() {
    let running = start(4).await;
    let answer = running.say(GET).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("it is well\n"), "{answer}");
    let simple = running.say(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(simple.starts_with("HTTP/1.0 200"), "{simple}");
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
async fn clients_that_send_half_a_header_or_none_lose_their_connection_and_others_get_their_turn() {
    let running = start(2).await;
    let mut slow = Vec::new();
    for header in [b"GET / HTTP/1.1\r\nHost:".as_slice(), b""] {
        for _ in 0..10 {
            let mut stream = running.connect().await;
            stream.write_all(header).await.unwrap();
            slow.push(stream);
        }
    }
    let answer = running.say(GET).await;
    assert!(answer.ends_with("it is well\n"), "{answer}");
    for stream in slow {
        assert_eq!(text(stream).await, "");
    }
}

static LARGE_ANSWERS: AtomicUsize = AtomicUsize::new(0);

/// An answer that is larger than what the system takes for a reader who is not there. It counts how
/// many of its kind are in memory.
struct Large(Vec<u8>);

impl Large {
    fn new() -> Self {
        LARGE_ANSWERS.fetch_add(1, Ordering::Relaxed);
        Self(vec![b'x'; 64 * 1024 * 1024])
    }
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        LARGE_ANSWERS.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_do_not_take_their_answers_lose_their_connections_and_few_answers_are_in_memory()
 {
    let large = async |Extension(connection): Extension<Connection>| {
        connection.take_room().await;
        Bytes::from_owner(Large::new())
    };
    let small = async |Extension(connection): Extension<Connection>| {
        connection.take_room().await;
        "small"
    };
    let router = Router::new().route("/large", get(large));
    let router = router.route("/small", get(small));
    let running = start_with(router, 4 * ANSWERS).await;
    let mut idle = Vec::new();
    for _ in 0..2 * ANSWERS {
        let mut stream = running.connect().await;
        let request = b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.write_all(request).await.unwrap();
        idle.push(stream);
    }
    // Long before they are given up.
    sleep(CONNECTION / 2).await;
    assert_eq!(LARGE_ANSWERS.load(Ordering::Relaxed), ANSWERS);
    // It gets its turn when they are.
    let small = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = running.say(small).await;
    assert!(answer.ends_with("small"), "{answer}");
    sleep(CONNECTION).await;
    assert_eq!(LARGE_ANSWERS.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn an_order_may_take_long_and_taking_its_answer_may_not() {
    let hour = Duration::from_hours(1);
    let order = async move |Extension(connection): Extension<Connection>| {
        connection.untimed(sleep(hour)).await;
        vec![b'x'; 64 * 1024 * 1024]
    };
    let running = start_with(Router::new().route("/order", post(order)), 1).await;
    let mut stream = running.connect().await;
    let request = b"POST /order HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let begin = Instant::now();
    stream.readable().await.unwrap();
    assert!(begin.elapsed() >= hour);
    // The slot is free again, though nobody took the answer.
    assert!(running.say(GET).await.ends_with("it is well\n"));
    assert!(begin.elapsed() >= hour + CONNECTION);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_cannot_be_had_at_the_start_is_served_when_it_can() {
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap();
    let bind = move || async move { Ok(TcpListener::bind(address).await?) };
    let router = Router::new().route("/", get(async || "it is well\n"));
    let begin = Instant::now();
    let _served = spawn("the test", bind, router, 4).await;
    assert_eq!(begin.elapsed(), Duration::ZERO, "nobody waits for it");
    drop(other);
    sleep(2 * BIND_AGAIN).await;
    let running = Running {
        address,
        _tasks: JoinSet::new(),
    };
    assert!(running.say(GET).await.ends_with("it is well\n"));
}

/// Accepts after some failures.
struct Failing(AtomicUsize);

impl Listen for &Failing {
    type Stream = tokio::io::DuplexStream;
    type Peer = ();

    async fn accept(&mut self) -> io::Result<(Self::Stream, ())> {
        match self.0.fetch_add(1, Ordering::Relaxed) {
            0..3 => Err(io::Error::from_raw_os_error(24)),
            3 => Ok((tokio::io::duplex(64).0, ())),
            _ => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_accept_that_fails_is_retried_after_a_pause() {
    let listener = Failing(AtomicUsize::new(0));
    let served = serve("the test", &listener, Router::new(), 1);
    assert!(timeout(3 * PAUSE, served).await.is_err());
    assert_eq!(listener.0.load(Ordering::Relaxed), 4);
}

#[test]
fn three_quarters_of_all_descriptors_are_left_for_work() {
    assert_eq!(slots(64, 1024), 64);
    assert_eq!(slots(64, 256), 32);
    assert_eq!(slots(64, 16), 2);
    assert_eq!(slots(64, 4), 1);
    assert_eq!(slots(64, u64::MAX), 64);
}
