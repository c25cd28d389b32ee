//! Addresses that servers listen on, and the processes that hold those in use.
//!
//! A server that cannot listen is reported at once with the holder's name and process id, as far
//! as `/proc` shows it: a process outside the sandbox stays unnamed.

use std::fmt::{self, Display};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use anyhow::Context as _;

/// Transport protocol of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A process that has a socket at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its name, as in `/proc/PID/comm`.
    pub name: String,
}

impl Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.pid)
    }
}

/// Listens for TCP; the error names the holder of an address that is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| explained(Protocol::Tcp, address, &error))
}

/// The same for a task of tokio.
pub async fn listen_async(address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let listening = tokio::net::TcpListener::bind(address).await;
    listening.map_err(|error| explained(Protocol::Tcp, address, &error))
}

/// Fails with the holder's name when a server that is started next could not have the address.
pub fn require_free(server: &str, protocol: Protocol, address: SocketAddr) -> anyhow::Result<()> {
    let bound = match protocol {
        Protocol::Tcp => TcpListener::bind(address).map(drop),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    bound
        .map_err(|error| explained(protocol, address, &error))
        .with_context(|| format!("{server} cannot have its address"))
}

/// The error of a failed bind, with the holders of the address when it is in use.
fn explained(protocol: Protocol, address: SocketAddr, error: &io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AddrInUse {
        return io::Error::new(error.kind(), format!("cannot bind {address}: {error}"));
    }
    let names: Vec<String> = holders(protocol, address)
        .iter()
        .map(Holder::to_string)
        .collect();
    let names = if names.is_empty() {
        "a process that cannot be seen from here".to_owned()
    } else {
        names.join(", ")
    };
    io::Error::new(error.kind(), format!("{address} is in use by {names}"))
}

/// The processes with a socket that keeps others from binding the address, by process id.
#[must_use]
pub fn holders(protocol: Protocol, address: SocketAddr) -> Vec<Holder> {
    let tables = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let tables = tables.map(|table| fs::read_to_string(table).unwrap_or_default());
    let sockets: Vec<String> = tables
        .iter()
        .flat_map(|table| inodes(table, address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut found: Vec<Holder> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            has_one(&entry.path().join("fd"), &sockets).then(|| Holder {
                pid,
                name: name(&entry.path()),
            })
        })
        .collect();
    found.sort_unstable_by_key(|holder| holder.pid);
    found
}

/// Whether a folder of descriptors has one of these sockets.
fn has_one(descriptors: &Path, sockets: &[String]) -> bool {
    let open = fs::read_dir(descriptors).into_iter().flatten().flatten();
    open.filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| {
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        })
}

fn name(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    name.trim_end().to_owned()
}

/// The inodes of a kernel's table of sockets whose local address is this one, or any on its port.
fn inodes(table: &str, address: SocketAddr) -> Vec<&str> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let local = socket_address(fields.get(1)?)?;
            let inode = *fields.get(9)?;
            let same = local.ip().to_canonical() == address.ip().to_canonical()
                || local.ip().is_unspecified()
                || address.ip().is_unspecified();
            // A connection that nobody owns any more has no inode.
            (same && local.port() == address.port() && inode != "0").then_some(inode)
        })
        .collect()
}

/// Reads an address such as `0100007F:1F90`: words in the machine's order of bytes.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let octets: Vec<u8> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok())
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = if let Ok(octets) = <[u8; 4]>::try_from(octets.as_slice()) {
        IpAddr::V4(Ipv4Addr::from(octets))
    } else {
        IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?))
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY_PORT: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    fn myself() -> Holder {
        Holder {
            pid: std::process::id(),
            name: name(Path::new("/proc/self")),
        }
    }

    #[test]
    fn an_address_in_use_is_reported_with_its_holder() {
        for address in ANY_PORT {
            let first = listen(address.parse().unwrap()).unwrap();
            let address = first.local_addr().unwrap();
            let error = listen(address).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            let message = format!("{address} is in use by {}", myself());
            assert_eq!(error.to_string(), message);

            let error = require_free("htvault-dev", Protocol::Tcp, address).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                format!("htvault-dev cannot have its address: {message}")
            );
            drop(first);
            require_free("htvault-dev", Protocol::Tcp, address).unwrap();
        }
    }

    #[test]
    fn udp_is_apart_from_tcp() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        assert_eq!(holders(Protocol::Udp, address), [myself()]);
        assert_eq!(holders(Protocol::Tcp, address), []);
        require_free("krb5kdc", Protocol::Tcp, address).unwrap();
        require_free("krb5kdc", Protocol::Udp, address).unwrap_err();
    }

    #[test]
    fn a_server_on_all_addresses_holds_each_of_them() {
        let all = TcpListener::bind("0.0.0.0:0").unwrap();
        let one = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), all.local_addr().unwrap().port());
        assert_eq!(holders(Protocol::Tcp, one), [myself()]);
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_an_error_without_a_holder() {
        let error = listen_async("192.0.2.1:80".parse().unwrap()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("cannot bind 192.0.2.1:80: "), "{error}");
    }
}
