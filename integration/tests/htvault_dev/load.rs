//! How many cached reads one core serves. Ignored: run it alone and in release,
//! `cargo test --release -p integration --test htvault_dev load:: -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::wire::{Connection, Request};
use crate::world::World;

const CONNECTIONS: usize = 16;
const TIME: Duration = Duration::from_secs(5);

/// Processor time of this thread, in seconds.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: u64 = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn resident_kilobytes() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.to_owned()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A request as a reader of the credmon sends it.
fn read(token: &str) -> Request {
    Request {
        method: "GET".into(),
        path: "/v1/secret/oauth/creds/cms/cmsprod:crab?minimum_seconds=2400".into(),
        headers: vec![("X-Vault-Token".into(), token.into())],
        body: String::new(),
    }
}

#[test]
#[ignore = "a measurement"]
fn cached_reads_on_one_core() {
    let done = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let (say, hear) = mpsc::channel();
    let server = {
        let done = done.clone();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let world = World::new().await;
                world.server.seed_grant(&crate::world::crab(), "cmsprod");
                let token = world.login("cmsprod");
                assert_eq!(world.send(&read(&token)).await.status, 200);
                say.send((world.address(), world.tls.clone(), token))
                    .unwrap();
                while !done.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                processor_time()
            })
        })
    };
    let (address, tls, token) = hear.recv().unwrap();
    let clock = Instant::now();
    runtime().block_on(async {
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..CONNECTIONS {
            let mut connection = Connection::open(address, "vault.test", tls.clone()).await;
            let (request, count, done) = (read(&token), count.clone(), done.clone());
            readers.spawn(async move {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(connection.send(&request).await.status, 200);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        tokio::time::sleep(TIME).await;
        done.store(true, Ordering::Relaxed);
        while readers.join_next().await.is_some() {}
    });
    let elapsed = clock.elapsed().as_secs_f64();
    let busy = server.join().unwrap();
    let reads = u32::try_from(count.load(Ordering::Relaxed)).unwrap();
    let reads = f64::from(reads);
    println!(
        "{:.0} cached reads a second seen; {:.0} for each second of processor time of the server; {}",
        reads / elapsed,
        reads / busy,
        resident_kilobytes()
    );
    assert!(reads / busy > 5000.0, "the target");
}
