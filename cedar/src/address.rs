//! Addresses of daemons: `<host:port?addrs=…&alias=…&sock=…>`, HTCondor's "sinful strings".
//!
//! Parameters that are not understood are kept in the text and else ignored. `alias` is never a
//! reason to trust a certificate: it comes with an answer that nobody has authenticated.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Step};

/// Longest address that is taken, in bytes. A real one with several networks has some 300.
const LONGEST: usize = 4096;
/// Most places in one address.
const MOST_PLACES: usize = 16;

/// Address of a daemon.
///
/// ```
/// let address: htcondor_cedar::Address =
///     "<10.0.0.1:9618?addrs=10.0.0.1-9618+[2001-db8--1]-9618&alias=ap.example.org&sock=credd_1_2>".parse()?;
/// assert_eq!((address.host(), address.port()), ("10.0.0.1", 9618));
/// assert_eq!(address.shared_port_id(), Some("credd_1_2"));
/// # Ok::<(), htcondor_cedar::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    host: String,
    port: u16,
    others: Vec<SocketAddr>,
    shared_port_id: Option<String>,
    alias: Option<String>,
}

impl Address {
    /// The daemon (or shared port) that listens at a port of a host: a name or an IP address.
    ///
    /// # Errors
    /// The host is empty or has characters that no name has.
    pub fn new(host: &str, port: u16) -> Result<Self, Error> {
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let is_ip = host.parse::<IpAddr>().is_ok();
        let is_name_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !is_ip && (host.is_empty() || !host.chars().all(is_name_letter)) {
            return Err(Error::bad_value(&format!("{host} is no host")));
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            others: Vec::new(),
            shared_port_id: None,
            alias: None,
        })
    }

    /// Name or IP address of the host.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Id of the daemon behind a shared port (`sock`). It changes when the daemon is restarted.
    #[must_use]
    pub fn shared_port_id(&self) -> Option<&str> {
        self.shared_port_id.as_deref()
    }

    /// Name that the daemon claims to have (`alias`). For messages; nothing vouches for it.
    #[must_use]
    pub fn alias(&self) -> Option<&str> {
        self.alias.as_deref()
    }

    /// The same daemon at these IP addresses of its host: for a caller that looks names up itself. Without any it
    /// stays as it is.
    #[must_use]
    pub fn resolved(&self, places: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut places = places.into_iter().take(MOST_PLACES);
        let Some(first) = places.next() else {
            return self.clone();
        };
        let mut others: Vec<SocketAddr> = places.map(|ip| SocketAddr::new(ip, self.port)).collect();
        others.extend_from_slice(&self.others);
        Self {
            host: first.to_string(),
            others,
            ..self.clone()
        }
    }

    /// Further addresses of the same daemon (`addrs`), without the first.
    pub(crate) fn others(&self) -> &[SocketAddr] {
        &self.others
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            "sock" if !value.is_empty() => {
                let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if !value.chars().all(is_letter) {
                    return Err("its shared port id has odd characters");
                }
                self.shared_port_id = Some(value.to_owned());
            }
            "alias" => self.alias = Some(value.to_owned()),
            "addrs" => {
                let own = self.host.parse::<IpAddr>().ok();
                let all = value.split('+').filter_map(place).take(MOST_PLACES);
                self.others = all
                    .filter(|place| Some(place.ip()) != own || place.port() != self.port)
                    .collect();
            }
            _ => {}
        }
        Ok(())
    }
}

/// One of `addrs`: `10.0.0.1-9618`, or `[2001-db8--1]-9618` with dashes for colons. What is neither is
/// skipped.
fn place(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once('-')?;
    let ip = match ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')) {
        Some(six) => IpAddr::V6(six.replace('-', ":").parse().ok()?),
        None => ip.parse().ok()?,
    };
    Some(SocketAddr::new(
        ip,
        port.parse().ok().filter(|port| *port > 0)?,
    ))
}

/// `%41` as `A`; `None` when it is no text then.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `<host:port?parameters>`, or `host:port` alone.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse =
            |why: &str| Error::bad_value(&format!("{text} is no address of a daemon: {why}"));
        if text.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        let bare = match text.strip_prefix('<') {
            Some(rest) => rest
                .strip_suffix('>')
                .ok_or_else(|| refuse("> is missing"))?,
            None => text,
        };
        let (place, parameters) = bare.split_once('?').unwrap_or((bare, ""));
        let (host, port) = place
            .rsplit_once(':')
            .ok_or_else(|| refuse("it has no port"))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(refuse("an IPv6 address stands in brackets"));
        }
        let port = port.parse().ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| refuse("its port is no port"))?;
        let mut address = Self::new(host, port).map_err(|_| refuse("its host is no host"))?;
        for parameter in parameters.split(['&', ';']) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = decoded(value).ok_or_else(|| refuse("a parameter is no text"))?;
            if name == "CCBID" {
                let words = format!("{text} is reachable through a connection broker (CCB) only");
                return Err(Error::new(ErrorKind::BrokerOnly, Step::Prepare, &words));
            }
            address.parameter(name, &value).map_err(refuse)?;
        }
        Ok(address)
    }
}

/// `host:port`, and the id behind a shared port: what a person can use.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")?;
        } else {
            write!(f, "{host}:{port}")?;
        }
        match &self.shared_port_id {
            Some(id) => write!(f, " ({id})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Address, ErrorKind> {
        text.parse::<Address>().map_err(|error| error.kind())
    }

    #[test]
    fn addresses_of_daemons_are_read() {
        let all = "<10.0.0.1:9618?addrs=10.0.0.1-9618+[2001-db8--1]-9618&alias=a.test&noUDP&PrivNet=x%20y&sock=credd_1_2>";
        let address = read(all).unwrap();
        assert_eq!(address.others(), ["[2001:db8::1]:9618".parse().unwrap()]);
        assert_eq!(address.alias(), Some("a.test"));
        assert_eq!(address.to_string(), "10.0.0.1:9618 (credd_1_2)");
        let six = read("<[::1]:9618?sock=a>").unwrap();
        assert_eq!(
            (six.host(), six.to_string().as_str()),
            ("::1", "[::1]:9618 (a)")
        );
        assert_eq!(read("ap.test:9618").unwrap().host(), "ap.test");
        for odd in [
            "<h:1?>",
            "<h:1?&&=&x>",
            "<h:1?addrs=+-+x-1>",
            "<h:1?sock=>",
            "<h:1?sock=a;noUDP>",
        ] {
            assert!(read(odd).is_ok(), "{odd}");
        }
    }

    #[test]
    fn a_name_that_was_looked_up_elsewhere_keeps_all_else() {
        let named = read("<cm.test:9618?sock=collector>").unwrap();
        let found = named.resolved([[10, 0, 0, 1].into(), [10, 0, 0, 2].into()]);
        assert_eq!((found.host(), found.port()), ("10.0.0.1", 9618));
        assert_eq!(found.shared_port_id(), Some("collector"));
        assert_eq!(found.others(), ["10.0.0.2:9618".parse().unwrap()]);
        assert_eq!(named.resolved([]), named);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "",
            "<>",
            "h",
            "<h:1",
            "<h:0>",
            "<h:99999>",
            "<::1:9618>",
            "<h/x:1>",
            "<h:1?a=%4>",
            "<h:1?sock=a%00>",
        ] {
            assert_eq!(read(bad), Err(ErrorKind::BadValue), "{bad}");
        }
        assert_eq!(
            read("<h:1?CCBID=1.2.3.4:9618#5>"),
            Err(ErrorKind::BrokerOnly)
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "<?[a-z0-9:.\\[\\]-]{0,12}:?[0-9]{0,6}\\??[ -~é]{0,40}>?") {
            let _ = read(&text);
        }
    }
}
