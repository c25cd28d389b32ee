//! A body that is far too large, made as it is sent: JSON with one very long access token.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame};

const HEAD: &[u8] = b"{\"request_id\":\"\",\"data\":{\"access_token\":\"";
const TAIL: &[u8] = b"\"}}\n";
static LETTERS: [u8; 65_536] = [b'A'; 65_536];

/// The body: about as many bytes as asked for.
pub struct Filler {
    head: bool,
    left: u64,
    tail: bool,
}

impl Filler {
    /// A body with `bytes` letters in it.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        Self {
            head: true,
            left: bytes,
            tail: true,
        }
    }

    fn next(&mut self) -> Option<&'static [u8]> {
        if std::mem::take(&mut self.head) {
            return Some(HEAD);
        }
        if self.left > 0 {
            let length = usize::try_from(self.left).unwrap_or(usize::MAX);
            let chunk = LETTERS.get(..length).unwrap_or(&LETTERS);
            let sent = u64::try_from(chunk.len()).unwrap_or(self.left);
            self.left = self.left.saturating_sub(sent);
            return Some(chunk);
        }
        std::mem::take(&mut self.tail).then_some(TAIL)
    }
}

impl Body for Filler {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self
            .next()
            .map(|chunk| Ok(Frame::data(Bytes::from_static(chunk))));
        Poll::Ready(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_json_of_the_size_asked_for() {
        let mut filler = Filler::new(100_000);
        let mut whole = Vec::new();
        while let Some(chunk) = filler.next() {
            whole.extend_from_slice(chunk);
        }
        let value: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let token = value["data"]["access_token"].as_str().unwrap();
        assert_eq!(token.len(), 100_000);
    }
}
