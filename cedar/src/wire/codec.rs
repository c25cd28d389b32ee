//! Integers, strings and raw bytes inside a message.
//!
//! An integer of any width is 8 bytes big-endian, signed. A string is its bytes and a NUL; in an
//! encrypted message its length (the NUL counted) precedes it as an integer. The decoder borrows:
//! it never panics and allocates nothing, whatever it is given.

use zeroize::Zeroizing;

use crate::packet::Fault;

/// Form of a message's strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Before a key is in use.
    Plain,
    /// With a key in use: strings have a length.
    Encrypted,
}

/// A message that is being made. Its memory is zeroed when dropped.
pub(crate) struct Encoder {
    form: Form,
    bytes: Zeroizing<Vec<u8>>,
}

impl Encoder {
    /// An empty message.
    pub(crate) fn new(form: Form) -> Self {
        Self::with_room(form, 512)
    }

    /// An empty message with room for so many bytes. One that gets a secret needs room for all of it:
    /// growth would leave a copy in memory.
    pub(crate) fn with_room(form: Form, bytes: usize) -> Self {
        let bytes = Zeroizing::new(Vec::with_capacity(bytes));
        Self { form, bytes }
    }

    /// Adds an integer.
    pub(crate) fn integer(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Adds a length.
    pub(crate) fn length(&mut self, value: usize) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Adds a string. One with a NUL in it has no form on the wire.
    pub(crate) fn string(&mut self, text: &str) -> Result<(), Fault> {
        if text.contains('\0') {
            return Err(Fault::NotSent("a text with a NUL character cannot be sent"));
        }
        if self.form == Form::Encrypted {
            self.length(text.len().saturating_add(1));
        }
        self.raw(text.as_bytes());
        self.raw(&[0]);
        Ok(())
    }

    /// Adds bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The message's body.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reader of a whole message.
#[derive(Clone, Debug)]
pub(crate) struct Decoder<'a> {
    form: Form,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads a message's body from its beginning.
    pub(crate) fn new(form: Form, body: &'a [u8]) -> Self {
        Self { form, rest: body }
    }

    /// The next integer.
    pub(crate) fn integer(&mut self) -> Result<i64, Fault> {
        let (first, rest) = self
            .rest
            .split_first_chunk::<8>()
            .ok_or(Fault::Malformed("a message ends within an integer"))?;
        self.rest = rest;
        Ok(i64::from_be_bytes(*first))
    }

    /// The next integer as the length of something in this message.
    pub(crate) fn length(&mut self) -> Result<usize, Fault> {
        usize::try_from(self.integer()?)
            .ok()
            .filter(|length| *length <= self.rest.len())
            .ok_or(Fault::Malformed("a length is larger than its message"))
    }

    /// The next bytes, in this number.
    pub(crate) fn raw(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (first, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(Fault::Malformed("a message is too short"))?;
        self.rest = rest;
        Ok(first)
    }

    /// The next string, without its NUL. Nothing says that it is UTF-8.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Fault> {
        const UNENDED: Fault = Fault::Malformed("a text in a message has no end");
        if self.form == Form::Encrypted {
            let length = self.length()?;
            let text = self.raw(length)?;
            let text = text.strip_suffix(&[0]).ok_or(UNENDED)?;
            if text.contains(&0) {
                return Err(Fault::Malformed("a text in a message has two ends"));
            }
            return Ok(text);
        }
        let end = self.rest.iter().position(|byte| *byte == 0);
        let text = self.raw(end.ok_or(UNENDED)?)?;
        self.raw(1)?;
        Ok(text)
    }

    /// True at the message's end.
    #[cfg(test)]
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}
