//! Look-ups of host names in addresses of collectors and credds.
//!
//! Always true: a name server that does not answer takes one thread for a name, and nobody waits for it but who needs
//! that name.

use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use htcondor_cedar::Address;

use crate::model::problem::Kind;
use crate::schedd::discovery::QueryFailure;
use crate::system::files::{NAMES, PoolError};

/// The same address with the IP addresses of its host. An error says what to do, and has the kind `down` unless it is of
/// this host.
pub(super) async fn resolved(address: Address, down: Kind) -> Result<Address, QueryFailure> {
    if address.host().parse::<IpAddr>().is_ok() {
        return Ok(address);
    }
    let (host, port) = (address.host().to_owned(), address.port());
    let name = host.clone();
    let look_up = move || {
        let found = (name.as_str(), port).to_socket_addrs();
        found.map(|found| found.map(|place| place.ip()).collect::<Vec<_>>())
    };
    let found = NAMES.run(Path::new(&host), look_up).await;
    match found {
        Ok(Ok(places)) => Ok(address.resolved(places)),
        Ok(Err(error)) => Err(failure(&host, &error, down)),
        Err(error) => Err(no_look_up(&host, &error, down)),
    }
}

/// Only a name that was asked for and not answered says something of its host.
fn no_look_up(host: &str, error: &PoolError, down: Kind) -> QueryFailure {
    let advice = "check the name service on this host, it is tried again";
    match error {
        PoolError::NoAnswer(_) => {
            let words = format!("the name service does not answer for {host}; {advice}");
            (down, words)
        }
        PoolError::NoThread(_) => {
            let words = format!(
                "the name {host} is not looked up, since too many others are not answered; {advice}"
            );
            (Kind::Local, words)
        }
        PoolError::Broken(_) => (Kind::Internal, error.to_string()),
    }
}

fn failure(host: &str, error: &io::Error, down: Kind) -> QueryFailure {
    let (kind, advice) = if htvault::is_of_this_host(error) {
        (
            Kind::Local,
            "raise the limits of the service (descriptors, memory); it is tried again",
        )
    } else {
        (down, "correct it, or the name service")
    };
    let message = format!("the name {host} cannot be looked up ({error}); {advice}");
    (kind, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_become_addresses_and_unknown_ones_are_named() {
        let here: Address = "<localhost:9618?sock=a>".parse().unwrap();
        let found = resolved(here, Kind::CreddDown).await.unwrap();
        assert!(found.host().parse::<IpAddr>().unwrap().is_loopback());
        assert_eq!(found.shared_port_id(), Some("a"));
        let number = Address::new("10.0.0.1", 9618).unwrap();
        let same = resolved(number.clone(), Kind::CreddDown).await;
        assert_eq!(same, Ok(number));
        let nowhere = Address::new("nowhere.invalid", 9618).unwrap();
        let (kind, told) = resolved(nowhere, Kind::CreddDown).await.unwrap_err();
        assert_eq!(kind, Kind::CreddDown);
        assert!(
            told.starts_with("the name nowhere.invalid cannot be"),
            "{told}"
        );
    }

    #[test]
    fn a_look_up_that_was_not_made_says_nothing_of_the_host() {
        let of = |error| no_look_up("ap.test", &error, Kind::CreddDown);
        let (kind, told) = of(PoolError::NoAnswer("ap.test".into()));
        assert_eq!(kind, Kind::CreddDown);
        assert!(told.starts_with("the name service does not answer for ap.test; check"));
        let (kind, told) = of(PoolError::NoThread("ap.test".into()));
        assert_eq!(kind, Kind::Local);
        assert!(told.starts_with("the name ap.test is not looked up, since too many others"));
        let (kind, told) = of(PoolError::Broken("panicked".to_owned()));
        assert_eq!(kind, Kind::Internal);
        assert!(told.ends_with("this is a fault of token-bastion, please report it"));
    }

    #[test]
    fn a_look_up_that_this_host_cannot_make_is_charged_to_nobody_else() {
        let error = io::Error::from_raw_os_error(24);
        let (kind, told) = failure("ap.test", &error, Kind::CreddDown);
        assert_eq!(kind, Kind::Local, "{told}");
        assert!(!told.contains("correct it"), "{told}");
    }
}
