//! Stores a file as a credential at a credd, and asks for its times.
//!
//! The environment's `BEARER_TOKEN` opens the credd (it should live some minutes), `CA_FILE` holds the trusted
//! authorities.
//!
//! `BEARER_TOKEN=… CA_FILE=… cargo run --example push -- COLLECTOR:PORT HOST SERVICE FILE`

use std::time::Duration;

use htcondor_cedar::{AccessToken, Collector, Credd, Credential, Kind, Query, Tls};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

const WITHIN: Duration = Duration::from_secs(10);
const TOKEN_LIFETIME: Duration = Duration::from_mins(5);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [collector, host, service, file] = arguments.as_slice() else {
        return Err("usage: push COLLECTOR:PORT HOST SERVICE FILE".into());
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
    Ok(())
}
