//! The `Host` header of requests to `listen.address`.
//!
//! Always true: requests for other names than those of this host are refused. Otherwise a web page could read the answers
//! in a browser on this host: the name of its site would resolve to the loopback address (DNS rebinding).

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::bodies::ApiError;

/// Names that stand for a loopback address.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "localhost.localdomain", "ip6-localhost"];
pub(super) const WRONG_HOST: &str = "this service answers requests for loopback names and addresses only, \
     such as localhost and 127.0.0.1; a proxy in front of it has to send `Host: localhost`";

/// Refuses requests for other hosts than this one.
pub(super) async fn require_loopback(request: Request, next: Next) -> Response {
    if is_for_this_host(&request) {
        next.run(request).await
    } else {
        ApiError::new(StatusCode::MISDIRECTED_REQUEST, WRONG_HOST).into_response()
    }
}

/// Returns true when each host that a request names is this one. Browsers always name one; simple programs need not.
fn is_for_this_host(request: &Request) -> bool {
    let headers = request.headers().get_all(header::HOST).iter();
    let mut named = headers.map(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let target = request.uri().authority();
    named.all(|host| host.is_some_and(|host| is_loopback(&host))) && target.is_none_or(is_loopback)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => LOOPBACK_NAMES
            .iter()
            .any(|name| host.eq_ignore_ascii_case(name)),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn is_answered(uri: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(header::HOST, host.as_bytes());
        }
        is_for_this_host(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn requests_for_loopback_names_and_addresses_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:9118",
            "localhost.localdomain",
            "127.0.0.1:9118",
            "127.0.0.2",
            "[::1]:9118",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(is_answered("/", &[host]), "{host}");
        }
        assert!(is_answered("/", &[]), "a simple program");
    }

    #[test]
    fn requests_for_other_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1:9118",
            "0.0.0.0",
            "[2001:db8::1]",
            "127.0.0.1.evil.example",
            "a b",
            "\u{e4}",
            "",
        ] {
            assert!(!is_answered("/", &[host]), "{host}");
        }
        assert!(!is_answered("/", &["localhost", "evil.example"]));
        assert!(!is_answered("http://evil.example/", &["localhost"]));
    }
}
