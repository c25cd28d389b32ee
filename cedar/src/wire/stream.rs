//! Messages over a byte stream, in the clear and then encrypted.
//!
//! Owns the digests of all that was sent and received in the clear, which the first encrypted
//! packet of each direction authenticates. What always holds: a message is sent as one packet by one
//! write, and nothing waits beyond the stream's deadline.

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::{Decoder, Encoder, Form};
use crate::crypto::{Opener, Sealer, SessionKey};
use crate::packet::{Fault, HEADER, Header, LONGEST_PACKET, header};

/// Longest message of a daemon, unless more is asked for.
const LONGEST_MESSAGE: usize = 1 << 20;

/// A connection that carries messages.
pub(crate) struct Stream<T> {
    io: BufReader<T>,
    deadline: Instant,
    longest: usize,
    sent: Transcript,
    received: Transcript,
    keys: Option<(Sealer, Opener)>,
}

/// Digest of what one direction has carried in the clear.
#[derive(Clone, Default)]
struct Transcript(Option<Context>);

impl Transcript {
    fn add(&mut self, bytes: &[u8]) {
        self.0
            .get_or_insert_with(|| Context::new(&SHA256))
            .update(bytes);
    }

    /// SHA-256; zeros when nothing was carried.
    fn digest(&self) -> Vec<u8> {
        self.0.as_ref().map_or_else(
            || vec![0; SHA256_OUTPUT_LEN],
            |begun| begun.clone().finish().as_ref().to_vec(),
        )
    }
}

/// A message that was received. Its memory is zeroed when dropped.
pub(crate) struct Message {
    form: Form,
    body: Zeroizing<Vec<u8>>,
}

impl Message {
    /// Reader from the beginning.
    pub(crate) fn decoder(&self) -> Decoder<'_> {
        Decoder::new(self.form, &self.body)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream<T> {
    /// A stream over a connection, for use until `deadline`.
    pub(crate) fn new(io: T, deadline: Instant) -> Self {
        Self {
            io: BufReader::with_capacity(8 << 10, io),
            deadline,
            longest: LONGEST_MESSAGE,
            sent: Transcript::default(),
            received: Transcript::default(),
            keys: None,
        }
    }

    /// Takes messages of up to `longest` bytes, what encryption adds to each packet included.
    pub(crate) fn with_longest_message(self, longest: usize) -> Self {
        Self { longest, ..self }
    }

    /// From now on all packets are encrypted with this key, in both directions.
    pub(crate) fn encrypt(&mut self, key: &SessionKey) -> Result<(), Fault> {
        let (sent, received) = (self.sent.digest(), self.received.digest());
        // The other side's view is the reverse.
        let opener = Opener::new(key, [received.clone(), sent.clone()]);
        let sealer = Sealer::new(key, [sent, received])?;
        self.keys = Some((sealer, opener));
        Ok(())
    }

    /// A message in the form of this moment.
    pub(crate) fn encoder(&self) -> Encoder {
        Encoder::new(self.form())
    }

    /// Form of the strings in messages at this moment.
    pub(crate) fn form(&self) -> Form {
        match self.keys {
            None => Form::Plain,
            Some(_) => Form::Encrypted,
        }
    }

    /// Sets another deadline for what follows.
    pub(crate) fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Forgets what was said: a shared port hands the connection over.
    #[cfg(test)]
    pub(crate) fn begin_anew(&mut self) {
        self.sent = Transcript::default();
        self.received = Transcript::default();
    }

    /// Sends a message that the other side does not get: the shared port's.
    pub(crate) async fn send_aside(&mut self, message: &Encoder) -> Result<(), Fault> {
        let packet = plain_packet(message.body())?;
        self.write(&packet).await
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &Encoder) -> Result<(), Fault> {
        let packet = if let Some((sealer, _)) = &mut self.keys {
            sealer.seal(true, message.body())?
        } else {
            let packet = plain_packet(message.body())?;
            self.sent.add(&packet);
            packet
        };
        self.write(&packet).await
    }

    async fn write(&mut self, packet: &[u8]) -> Result<(), Fault> {
        let all = async {
            self.io.write_all(packet).await?;
            self.io.flush().await
        };
        timeout_at(self.deadline, all)
            .await
            .map_err(|_| Fault::TimedOut)??;
        Ok(())
    }

    /// Receives a message.
    pub(crate) async fn receive(&mut self) -> Result<Message, Fault> {
        let deadline = self.deadline;
        timeout_at(deadline, self.next())
            .await
            .map_err(|_| Fault::TimedOut)?
    }

    async fn next(&mut self) -> Result<Message, Fault> {
        let mut body = Zeroizing::new(Vec::new());
        // Bytes of packets, not of text: an encrypted packet may have no text, and it takes time all the same.
        let mut carried = 0_usize;
        loop {
            let mut header = [0; HEADER];
            self.io.read_exact(&mut header).await?;
            let packet = self.packet(header, carried).await?;
            carried = carried.saturating_add(packet.len());
            let form = if let Some((_, opener)) = &mut self.keys {
                body.extend_from_slice(&opener.open(header, packet)?);
                Form::Encrypted
            } else {
                self.received.add(&header);
                self.received.add(&packet);
                body.extend_from_slice(&packet);
                Form::Plain
            };
            let [last, ..] = header;
            match last {
                0 => {}
                1 => return Ok(Message { form, body }),
                _ => return Err(Fault::Malformed("a packet with an unknown flag")),
            }
        }
    }

    /// The body of a packet, in memory that grows with what comes.
    async fn packet(&mut self, header: Header, before: usize) -> Result<Vec<u8>, Fault> {
        let [_, a, b, c, d] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes == 0 {
            return Err(Fault::Malformed("an empty packet"));
        }
        if bytes > LONGEST_PACKET {
            return Err(Fault::TooLarge("a packet of more than 1 MiB"));
        }
        if before.saturating_add(bytes) > self.longest {
            return Err(Fault::TooLarge("a message longer than its bound"));
        }
        let mut body = Vec::with_capacity(bytes.min(8 << 10));
        let mut rest = (&mut self.io).take(u64::from(length));
        rest.read_to_end(&mut body).await?;
        if body.len() < bytes {
            return Err(Fault::Closed);
        }
        Ok(body)
    }
}

fn plain_packet(body: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut packet = Vec::with_capacity(HEADER.saturating_add(body.len()));
    packet.extend_from_slice(&header(true, body.len())?);
    packet.extend_from_slice(body);
    Ok(packet)
}
