//! Look-ups of host names in addresses of collectors and credds.
//!
//! Always true: a name server that does not answer takes one thread for a name, and nobody waits for it but who needs
//! that name.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::Path;

use htcondor_cedar::Address;

use crate::system::files::{NAMES, PoolError};

/// The same address with the IP addresses of its host. An error says what to do.
pub(super) async fn resolved(address: Address) -> Result<Address, String> {
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
        Ok(Err(error)) => Err(format!(
            "the name {host} cannot be looked up ({error}); correct it, or the name service"
        )),
        Err(PoolError::Broken(what)) => Err(what),
        Err(_) => Err(format!(
            "the name service does not answer for {host}; check it on this host, it is tried again"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_become_addresses_and_unknown_ones_are_named() {
        let here: Address = "<localhost:9618?sock=a>".parse().unwrap();
        let found = resolved(here).await.unwrap();
        assert!(found.host().parse::<IpAddr>().unwrap().is_loopback());
        assert_eq!(found.shared_port_id(), Some("a"));
        let number = Address::new("10.0.0.1", 9618).unwrap();
        assert_eq!(resolved(number.clone()).await, Ok(number));
        let nowhere = Address::new("nowhere.invalid", 9618).unwrap();
        let told = resolved(nowhere).await.unwrap_err();
        assert!(
            told.starts_with("the name nowhere.invalid cannot be"),
            "{told}"
        );
    }
}
