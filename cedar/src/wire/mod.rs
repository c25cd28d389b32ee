//! Messages and the encodings inside them.
//!
//! A message is the bodies of its packets joined. What always holds: a length that the other side
//! names is no reason to allocate; memory grows with what has come.

mod codec;
mod stream;

pub(crate) use codec::{Decoder, Encoder, Form};
pub(crate) use stream::{Message, Stream};

#[cfg(test)]
mod tests;
