//! Stores a file as a credential at a credd, and asks for its times.
//!
//! With ROUNDS it stores it so often, first with a full authentication each time, then in a resumed
//! session, and prints how long that takes. The environment's `BEARER_TOKEN` opens the credd (it should
//! live some minutes), `CA_FILE` holds the trusted authorities.
//!
//! `BEARER_TOKEN=… CA_FILE=… cargo run --release --example push -- COLLECTOR:PORT HOST SERVICE FILE [ROUNDS]`

use std::time::{Duration, Instant};

use htcondor_cedar::{AccessToken, Collector, Credd, Credential, Error, Kind, Query, Tls};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const WITHIN: Duration = Duration::from_secs(10);
const TOKEN_LIFETIME: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [collector, host, service, file, rounds @ ..] = arguments.as_slice() else {
        return Err("usage: push COLLECTOR:PORT HOST SERVICE FILE [ROUNDS]".into());
    };
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(std::env::var("CA_FILE")?)? {
        authorities.add(certificate?)?;
    }
    let token = AccessToken::new(std::env::var("BEARER_TOKEN")?, TOKEN_LIFETIME);
    let secret = std::fs::read(file)?;

    let query = Query {
        requirements: Some(format!(r#"Machine == "{host}""#)),
        projection: vec!["MyAddress".to_owned()],
        limit: Some(1),
        ..Query::new(Kind::Credd)
    };
    let found = Collector::new(collector.parse()?)
        .query(&query, WITHIN)
        .await?;
    let address = found.first().and_then(|ad| ad.string("MyAddress"));
    let address = address.ok_or("the collector knows no credd on that host")?;
    let credd = Credd::new(address.parse()?, Tls::new(authorities, host)?, token);
    let credential = Credential::new(service);

    let stored = credd.store(&credential, &secret, WITHIN).await?;
    println!("stored as {}: {:?}", stored.user, stored.outcome);
    let times = credd.query(&credential, WITHIN).await?;
    println!("{:?} (session resumed: {})", times.outcome, times.resumed);

    if let Some(rounds) = rounds.first() {
        let rounds = rounds.parse()?;
        measure("resumed", &credd, &credential, &secret, rounds).await?;
        let credd = credd.with_session_lifetime(Duration::ZERO);
        measure("full", &credd, &credential, &secret, rounds).await?;
    }
    Ok(())
}

async fn measure(
    name: &str,
    credd: &Credd,
    credential: &Credential,
    secret: &[u8],
    rounds: usize,
) -> Result<(), Error> {
    let mut times = Vec::with_capacity(rounds);
    let (begun, processor) = (Instant::now(), processor_time());
    let mut resumed = 0;
    for _ in 0..rounds {
        let one = Instant::now();
        resumed += usize::from(credd.store(credential, secret, WITHIN).await?.resumed);
        times.push(one.elapsed());
    }
    let (all, processor) = (begun.elapsed(), processor_time().saturating_sub(processor));
    times.sort();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{name}: {rounds} in {all:.1?} ({resumed} resumed): median {:.2?}, p95 {:.2?}; \
         processor time {:.2?} each",
        at(50),
        at(95),
        processor / u32::try_from(rounds).unwrap_or(u32::MAX).max(1),
    );
    Ok(())
}

/// Processor time of this process, from `/proc` (nanoseconds on a processor); zero where there is none.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
