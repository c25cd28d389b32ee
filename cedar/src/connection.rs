//! Connections to a daemon: its addresses in turn, and the hand-over by a shared port.
//!
//! What always holds: no address takes the time of the others, and small messages are sent at once
//! (`TCP_NODELAY`; without it a push takes 84 ms longer).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Step, is_local};
use crate::wire::Stream;

/// Command by which a shared port hands a connection over to the daemon with an id.
const SHARED_PORT_CONNECT: i64 = 75;
/// Our name in the shared port's log.
const NAME: &str = "htcondor-cedar";

/// Time after which the next address is tried beside one that does not answer (RFC 8305 has this value).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// Longest time that an operation may take: more than anybody waits for.
const LONGEST: Duration = Duration::from_hours(24);

/// Deadline of an operation that begins now.
pub(crate) fn until(within: Duration) -> Instant {
    Instant::now() + within.min(LONGEST)
}

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

fn late() -> Error {
    Error::new(ErrorKind::TimedOut, Step::Connect, "no connection in time")
}

/// The addresses of a daemon's name, as `look_up` finds them, and those that are known (`addrs`). A look-up that
/// hangs leaves these half of the time.
async fn places<Found: Iterator<Item = SocketAddr>>(
    known: &[SocketAddr],
    look_up: impl Future<Output = io::Result<Found>>,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Error> {
    let now = Instant::now();
    let until = match known {
        [] => deadline,
        _ => now + deadline.saturating_duration_since(now) / 2,
    };
    match timeout_at(until, look_up).await {
        Ok(Ok(found)) => Ok(found.chain(known.iter().copied()).collect()),
        _ if !known.is_empty() => Ok(known.to_vec()),
        Ok(Err(error)) => Err(Error::io(ErrorKind::Unreachable, Step::Connect, error)),
        Err(_) => Err(late()),
    }
}

async fn to_any(address: &Address, deadline: Instant) -> Result<TcpStream, Error> {
    let look_up = lookup_host((address.host(), address.port()));
    let places = places(address.others(), look_up, deadline).await?;
    let mut places = places.into_iter();
    let mut under_way = JoinSet::new();
    let mut failures: Vec<(SocketAddr, io::Error)> = Vec::new();
    let mut next = Instant::now();
    loop {
        // At once where its time has come: a timer is late by a millisecond, twice what a command takes.
        if Instant::now() >= next
            && let Some(place) = places.next()
        {
            under_way.spawn(async move { (place, TcpStream::connect(place).await) });
            next = Instant::now() + NEXT_ADDRESS;
        }
        if under_way.is_empty() {
            return Err(unreachable(failures));
        }
        tokio::select! {
            Some(ended) = under_way.join_next() => match ended {
                Ok((_, Ok(connection))) => return Ok(connection),
                Ok((place, Err(error))) => {
                    failures.push((place, error));
                    next = Instant::now();
                }
                // It was aborted, with the whole runtime.
                Err(_) => {}
            },
            () = sleep_until(next), if places.len() > 0 => {}
            () = sleep_until(deadline) => return Err(late()),
        }
    }
}

/// Failure of all addresses, each with its reason.
fn unreachable(mut failures: Vec<(SocketAddr, io::Error)>) -> Error {
    match failures.pop() {
        None => Error::new(ErrorKind::Unreachable, Step::Connect, "it has no address"),
        Some((_, error)) if failures.is_empty() => {
            Error::io(ErrorKind::Unreachable, Step::Connect, error)
        }
        Some(last) => {
            failures.push(last);
            // One that answers speaks for the daemon. Without IPv6 its addresses fail here at any time.
            let kind = if failures.iter().all(|(_, error)| is_local(error)) {
                ErrorKind::Local
            } else {
                ErrorKind::Unreachable
            };
            let each = failures
                .iter()
                .map(|(place, error)| format!("{place}: {error}"));
            let each = each.collect::<Vec<_>>().join(", ");
            Error::new(kind, Step::Connect, &each)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::vec::IntoIter;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_up_that_hangs_leaves_time_to_the_addresses_that_are_known() {
        let [named, known] = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], 9618)));
        let (begun, within) = (Instant::now(), Duration::from_secs(10));
        let hangs = || pending::<io::Result<IntoIter<SocketAddr>>>();
        let found = places(&[known], hangs(), begun + within).await.unwrap();
        assert_eq!((found, begun.elapsed()), (vec![known], within / 2));
        let error = places(&[], hangs(), begun + within).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), within);
        let both = places(&[known], ready(Ok(vec![named].into_iter())), begun).await;
        assert_eq!(both.unwrap(), [named, known]);
    }

    #[test]
    fn what_this_host_cannot_do_is_no_failure_of_the_daemon() {
        let failure = |errno| io::Error::from_raw_os_error(errno);
        for (errno, is_local) in [
            (1, true),
            (11, true),
            (12, true),
            (23, true),
            (24, true),
            (99, true),
            (105, true),
            // A firewall's on the way, no answer, refused.
            (13, false),
            (113, false),
            (111, false),
        ] {
            for kind in [ErrorKind::Unreachable, ErrorKind::HungUp] {
                let error = Error::io(kind, Step::Connect, failure(errno));
                let expected = if is_local { ErrorKind::Local } else { kind };
                assert_eq!(error.kind(), expected, "{error}");
                assert!(error.may_pass());
            }
        }
        let of = |errnos: &[i32]| {
            let place = SocketAddr::from(([127, 0, 0, 1], 1));
            let failures = errnos.iter().map(|errno| (place, failure(*errno)));
            unreachable(failures.collect()).kind()
        };
        assert_eq!(of(&[24]), ErrorKind::Local);
        assert_eq!(of(&[24, 99]), ErrorKind::Local);
        // This host has no IPv6, and nobody listens at the other address.
        assert_eq!(of(&[99, 111]), ErrorKind::Unreachable);
        assert_eq!(of(&[]), ErrorKind::Unreachable);
    }
}
