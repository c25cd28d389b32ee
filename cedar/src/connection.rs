//! Connections to a daemon: its addresses in turn, and the hand-over by a shared port.
//!
//! What always holds: no address takes the time of the others, and small messages are sent at once
//! (`TCP_NODELAY`; without it a push takes 84 ms longer).

use std::net::SocketAddr;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Step};
use crate::wire::Stream;

/// Command by which a shared port hands a connection over to the daemon with an id.
const SHARED_PORT_CONNECT: i64 = 75;
/// Our name in the shared port's log.
const NAME: &str = "htcondor-cedar";

/// Connects, for use until `deadline`.
pub(crate) async fn connect(
    address: &Address,
    deadline: Instant,
) -> Result<Stream<TcpStream>, Error> {
    let connection = to_any(address, deadline).await?;
    connection
        .set_nodelay(true)
        .map_err(|error| Error::io(ErrorKind::Unreachable, Step::Connect, error))?;
    let mut stream = Stream::new(connection, deadline);
    if let Some(id) = address.shared_port_id() {
        let fault = |fault| Error::wire(Step::Connect, fault);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut message = stream.encoder();
        message.integer(SHARED_PORT_CONNECT);
        message.string(id).map_err(fault)?;
        message.string(NAME).map_err(fault)?;
        message.integer(i64::try_from(left.as_secs()).unwrap_or(i64::MAX).max(1));
        message.integer(0);
        stream.send_aside(&message).await.map_err(fault)?;
    }
    Ok(stream)
}

async fn to_any(address: &Address, deadline: Instant) -> Result<TcpStream, Error> {
    let late = || Error::new(ErrorKind::TimedOut, Step::Connect, "no connection in time");
    let found = timeout_at(deadline, lookup_host((address.host(), address.port())))
        .await
        .map_err(|_| late())?;
    let mut places: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(error) if address.others().is_empty() => {
            return Err(Error::io(ErrorKind::Unreachable, Step::Connect, error));
        }
        Err(_) => Vec::new(),
    };
    places.extend_from_slice(address.others());
    let mut left = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let mut last = late();
    for place in places {
        // Each takes its part of what is left.
        let now = Instant::now();
        let until = now + deadline.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        last = match timeout_at(until, TcpStream::connect(place)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => Error::io(ErrorKind::Unreachable, Step::Connect, error),
            Err(_) => late(),
        };
    }
    Err(last)
}
