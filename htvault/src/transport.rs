//! Bodies of answers, and failures to get one: which part failed, in plain words, and what it speaks of.

use std::error::Error as StdError;
use std::io;

use reqwest::Response;
use secrecy::zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, FailureScope};
use crate::tls::{TlsSettings, explain};

/// True for a failure that this process or host causes (descriptors, memory, threads, ports, a firewall of its own): it
/// says nothing of the other side, or of a name that was looked up.
///
/// ```
/// let no_descriptor = std::io::Error::from_raw_os_error(24);
/// assert!(htvault::is_of_this_host(&no_descriptor));
/// assert!(!htvault::is_of_this_host(&std::io::ErrorKind::ConnectionRefused.into()));
/// ```
#[must_use]
pub fn is_of_this_host(error: &io::Error) -> bool {
    // EPERM (a firewall's or a sandbox's of this host), EAGAIN, ENOMEM, ENFILE, EMFILE, EADDRNOTAVAIL, ENOBUFS of
    // Linux. Not EACCES: over IPv6 a router or the server's firewall answers so.
    matches!(error.raw_os_error(), Some(1 | 11 | 12 | 23 | 24 | 99 | 105))
        || matches!(
            error.kind(),
            io::ErrorKind::OutOfMemory | io::ErrorKind::ResourceBusy | io::ErrorKind::WouldBlock
        )
}

/// The error of a request that got no answer.
pub(crate) fn failure(request: &str, error: reqwest::Error, tls: &TlsSettings) -> Error {
    // The URL's query is no part of any message.
    let error = error.without_url();
    let io = find::<io::Error>(&error);
    let found = if let Some(fault) = find::<rustls::Error>(&error) {
        let (words, advice) = explain(fault);
        let words = format!("{words} (trusted: {})", tls.places());
        let error = Error::new(ErrorKind::Untrusted, request, &words);
        match advice {
            Some(advice) => error.advise(advice),
            None => error,
        }
    } else if io.is_some_and(is_of_this_host) {
        Error::new(ErrorKind::LocalResource, request, &deepest_words(&error))
    } else if error.is_timeout() && error.is_connect() {
        Error::new(ErrorKind::TimedOut, request, "no connection in time")
            .in_scope(FailureScope::Host)
    } else if error.is_timeout() {
        Error::new(ErrorKind::TimedOut, request, "no answer in time")
    } else if error.is_builder() {
        Error::new(ErrorKind::Configuration, request, &deepest_words(&error))
    } else if error.is_connect() {
        Error::new(ErrorKind::Unreachable, request, &connecting(&error, io))
    } else if is_no_http(&error, io) {
        let words = format!("the answer is no HTTP ({})", deepest_words(&error));
        Error::bad_answer(request, &words)
    } else {
        // The connection was made, and cut before the answer was complete.
        let words = match io {
            Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => {
                "the server closed the connection before its answer was complete".to_owned()
            }
            _ => deepest_words(&error),
        };
        Error::new(ErrorKind::Unreachable, request, &words).in_scope(FailureScope::Credential)
    };
    found.caused_by(error)
}

/// True for the failure of a request that no server has read: no connection was made, or the node that answered says
/// itself that it serves nobody. A front's answer says nothing of what it passed on before.
pub(crate) fn was_not_read(error: &Error) -> bool {
    if error.status().is_some() {
        return matches!(
            error.kind(),
            ErrorKind::Sealed | ErrorKind::Standby | ErrorKind::NoLeader
        );
    }
    let source = StdError::source(error).and_then(|source| source.downcast_ref());
    let was_sent = |source: &reqwest::Error| !source.is_connect() && !source.is_builder();
    let is_before = matches!(error.scope(), FailureScope::Host | FailureScope::Local);
    is_before && !source.is_some_and(was_sent)
}

/// Reads the body of an answer, which may hold a token; `None` when it is larger than `limit` bytes.
pub(crate) async fn body(
    response: &mut Response,
    limit: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, reqwest::Error> {
    let length = response.content_length().unwrap_or_default();
    let length = usize::try_from(length).unwrap_or(limit);
    let mut body = Zeroizing::new(Vec::with_capacity(length.min(limit)));
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// True for the failure to read an answer that did come: head, status or chunks of it are not those of HTTP, or endless.
fn is_no_http(error: &reqwest::Error, io: Option<&io::Error>) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput};
    find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
        || io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput))
}

/// Plain words for a connection that was not made.
fn connecting(error: &reqwest::Error, io: Option<&io::Error>) -> String {
    let words = deepest_words(error);
    let cut = io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof);
    if cut || words.contains("handshake eof") {
        return "the server closed the connection while TLS was being set up: it may speak no TLS \
                at this port, or share no TLS version or cipher with this program"
            .to_owned();
    }
    words
}

/// The words at the end of the chain of causes: the ones that name the true reason.
fn deepest_words(error: &reqwest::Error) -> String {
    let mut deepest: &dyn StdError = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// The first error of a type in the chain of causes, with what I/O errors wrap.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    // An I/O error hides what it wraps from `source`, and only passes on another one.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|inner| find::<E>(inner));
    let found = wrapped.or_else(|| error.downcast_ref());
    found.or_else(|| find::<E>(error.source()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_something_on_the_way_may_cause_is_not_of_this_host() {
        let is_local = |errno| is_of_this_host(&io::Error::from_raw_os_error(errno));
        assert!([1, 11, 12, 23, 24, 99, 105].into_iter().all(is_local));
        // EACCES, ECONNREFUSED, EHOSTUNREACH.
        assert!(![13, 111, 113].into_iter().any(is_local));
    }
}
