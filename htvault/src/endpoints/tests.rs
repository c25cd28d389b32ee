//! Connections of runtimes, and look-ups that hang or fail.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{Instant, advance};

use super::*;
use crate::error::FailureScope;
use crate::{Authorities, Resolve, Resolving, TlsSettings};

/// A resolver that gives one answer after the other, and then none.
#[derive(Debug)]
struct Scripted {
    answers: Vec<io::Result<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Scripted {
    fn new(answers: Vec<io::Result<Vec<SocketAddr>>>) -> Arc<Self> {
        let asked = AtomicUsize::default();
        Arc::new(Self { answers, asked })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Resolve for Scripted {
    fn resolve<'a>(&'a self, _host: &'a str, _port: u16) -> Resolving<'a> {
        let answer = self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match self.answers.get(answer) {
                Some(Ok(addresses)) => Ok(addresses.clone()),
                Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
                None => pending().await,
            }
        })
    }
}

fn directory(resolver: &Arc<Scripted>) -> Directory {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
    let tls = TlsSettings {
        ca_file: Some(file),
        ca_dir: None,
    };
    let authorities = Authorities::read(&tls).unwrap();
    let mut settings = Settings::new("https://vault.test:8200".parse().unwrap());
    let resolver: Arc<Scripted> = Arc::clone(resolver);
    settings.resolver = resolver;
    Directory::new(Arc::new(settings), authorities, false)
}

fn address(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 8200).into()
}

async fn addresses(directory: &Directory) -> Result<Vec<SocketAddr>, Error> {
    let endpoints = directory.endpoints().await?;
    Ok(endpoints.list.iter().filter_map(|e| e.address).collect())
}

/// Lets the tasks in the background run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_hangs_or_fails_delays_no_request_and_changes_nothing() {
    let gone = || Err(io::Error::from(io::ErrorKind::NotFound));
    let resolver = Scripted::new(vec![
        Ok(vec![address(1)]),
        gone(),
        Ok(vec![address(2), address(1)]),
    ]);
    let directory = directory(&resolver);
    let begin = Instant::now();
    assert_eq!(addresses(&directory).await.unwrap(), [address(1)]);
    assert_eq!(addresses(&directory).await.unwrap(), [address(1)]);
    assert_eq!(resolver.asked(), 1);

    // The second look-up fails.
    advance(Duration::from_mins(5)).await;
    assert_eq!(addresses(&directory).await.unwrap(), [address(1)]);
    settle().await;
    assert_eq!(addresses(&directory).await.unwrap(), [address(1)]);
    assert_eq!(resolver.asked(), 2);

    // The third one succeeds soon afterwards: the next call has what it found.
    advance(Duration::from_secs(15)).await;
    assert_eq!(addresses(&directory).await.unwrap(), [address(1)]);
    settle().await;
    let both = [address(2), address(1)];
    assert_eq!(addresses(&directory).await.unwrap(), both);

    // All others hang.
    advance(Duration::from_mins(5)).await;
    for _ in 0..50 {
        assert_eq!(addresses(&directory).await.unwrap(), both);
    }
    settle().await;
    assert_eq!(resolver.asked(), 4, "one at a time");
    assert_eq!(
        begin.elapsed(),
        Duration::from_secs(10 * 60 + 15),
        "nobody waited"
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_look_up_is_shared_and_has_a_deadline() {
    let resolver = Scripted::new(Vec::new());
    let directory = Arc::new(directory(&resolver));
    let begin = Instant::now();
    let callers: JoinSet<_> = (0..20)
        .map(|_| {
            let directory = Arc::clone(&directory);
            async move { addresses(&directory).await.unwrap_err() }
        })
        .collect();
    for error in callers.join_all().await {
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert_eq!(error.scope(), FailureScope::Host);
        assert!(
            error.message().contains("DNS did not answer within 10 s"),
            "{error}"
        );
    }
    assert_eq!(resolver.asked(), 1);
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_leaves_the_preference_with_its_address() {
    let resolver = Scripted::new(vec![
        Ok(vec![address(1), address(2)]),
        Ok(vec![address(3), address(1), address(2)]),
    ]);
    let directory = directory(&resolver);
    let first = async || {
        let endpoints = directory.endpoints().await.unwrap();
        let order = endpoints.preference().order(Instant::now());
        endpoints.list[order[0]].address.unwrap()
    };
    assert_eq!(first().await, address(1));
    advance(Duration::from_mins(4)).await;
    let endpoints = directory.endpoints().await.unwrap();
    endpoints.preference().succeeded(1, Instant::now());
    assert_eq!(first().await, address(2));

    advance(Duration::from_mins(1)).await;
    directory.endpoints().await.unwrap();
    settle().await;
    assert_eq!(addresses(&directory).await.unwrap().len(), 3);
    assert_eq!(first().await, address(2));
    advance(Duration::from_mins(4)).await;
    assert_eq!(first().await, address(3), "it has stayed for five minutes");
}

#[tokio::test]
async fn a_look_up_that_fails_for_want_of_descriptors_is_this_hosts_own() {
    for (error, scope) in [
        (
            io::Error::from(io::ErrorKind::ResourceBusy),
            FailureScope::Local,
        ),
        (io::Error::from(io::ErrorKind::NotFound), FailureScope::Host),
    ] {
        let directory = directory(&Scripted::new(vec![Err(error)]));
        assert_eq!(addresses(&directory).await.unwrap_err().scope(), scope);
    }
}

#[test]
fn each_runtime_has_connections_of_its_own_and_only_so_many_are_kept() {
    let server: ServerUrl = "https://vault.test:8200".parse().unwrap();
    let settings = Settings::new(server.clone());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let endpoint = Endpoint {
        server,
        address: Some(([127, 0, 0, 1], 8200).into()),
        connections: Connections::new(tls),
        idle: 1,
    };
    let runtimes: Vec<_> = (0..=RUNTIMES)
        .map(|_| runtime::Builder::new_current_thread().build().unwrap())
        .collect();
    let kept = || {
        let Connections::Own { of, .. } = &*endpoint.connections else {
            panic!("not the caller's own")
        };
        let of = of.lock().unwrap();
        of.iter().map(|(id, _)| *id).collect::<Vec<_>>()
    };
    let all: Vec<_> = runtimes.iter().map(|r| r.handle().id()).collect();
    for (index, runtime) in runtimes.iter().enumerate() {
        for _ in 0..2 {
            runtime.block_on(async { endpoint.http(&settings).map(drop).unwrap() });
        }
        assert_eq!(kept(), all[index.saturating_sub(RUNTIMES - 1)..=index]);
    }
}
