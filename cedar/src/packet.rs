//! Packets: their header, their bounds, and what can go wrong with them.
//!
//! A packet is one byte (1 = last of its message), the length of its body as four bytes big-endian,
//! and the body: 1 byte to 1 MiB.

use std::io;

/// Bytes before a packet's body.
pub(crate) const HEADER: usize = 5;
/// Longest body of a packet that HTCondor takes: 1 MiB.
pub(crate) const LONGEST_PACKET: usize = 1 << 20;

/// Header of a packet.
pub(crate) type Header = [u8; HEADER];

/// Header of a packet whose body has this length.
pub(crate) fn header(last: bool, length: usize) -> Result<Header, Fault> {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if length == 0 || usize::try_from(length).unwrap_or(usize::MAX) > LONGEST_PACKET {
        return Err(Fault::NotSent("a message is empty or longer than 1 MiB"));
    }
    let [a, b, c, d] = length.to_be_bytes();
    Ok([u8::from(last), a, b, c, d])
}

/// Failure to send or receive a message.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The other side closed the connection, at any place in a message.
    Closed,
    /// The deadline passed.
    TimedOut,
    /// Reading or writing failed.
    Io(io::Error),
    /// A packet or message is longer than its bound.
    TooLarge(&'static str),
    /// Bytes that do not fit the protocol, or that the key does not open.
    Malformed(&'static str),
    /// A message of ours that cannot be sent.
    NotSent(&'static str),
    /// The system has no random numbers.
    NoRandom,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}
