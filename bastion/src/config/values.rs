//! Types of single values, with the errors for other texts.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use htvault::ServerUrl;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::duration;

/// A duration.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^\s*(\d+\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)\s*)+$"))]
pub(crate) struct TypedDuration(pub(crate) Duration);

impl TryFrom<String> for TypedDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        duration::parse(&text).map(Self)
    }
}

/// A path from the root.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = "^/"))]
pub(crate) struct AbsolutePath(pub(crate) PathBuf);

impl TryFrom<String> for AbsolutePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if !path.is_absolute() {
            return Err("the path must begin with /".to_owned());
        }
        Ok(Self(path))
    }
}

/// Number of requests.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "NonZeroU32")]
pub(crate) struct RequestCount(pub(crate) u32);

impl TryFrom<String> for RequestCount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse::<NonZeroU32>() {
            Ok(count) => Ok(Self(count.get())),
            Err(_) => Err("expected a number of requests, at least 1".to_owned()),
        }
    }
}

/// Address of a Vault.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = "^[hH][tT][tT][pP][sS]://"))]
pub(crate) struct Server(pub(crate) ServerUrl);

impl TryFrom<String> for Server {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Before the text is in any message: it may contain a password.
        if text.contains('@') {
            return Err(
                "it must not contain a user or a password, write for example \
                        https://htvault.example.org:8200"
                    .to_owned(),
            );
        }
        let server = text
            .parse::<ServerUrl>()
            .map_err(|error| error.words().to_owned())?;
        if server.port() == 0 {
            return Err("port 0 is not a port to connect to, correct the address".to_owned());
        }
        Ok(Self(server))
    }
}

/// Loopback address and port: the status names accounts and their credentials, and is sent unencrypted.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String", extend("pattern" = r"^(127(\.\d{1,3}){3}|\[::1\]):\d{1,5}$"))]
pub(crate) struct Loopback(pub(crate) SocketAddr);

impl TryFrom<String> for Loopback {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        match text.parse::<SocketAddr>() {
            Err(_) => Err("expected an address with a port, for example 127.0.0.1:9118"),
            Ok(address) if address.port() == 0 => {
                Err("port 0 is not a port to connect to, write for example 127.0.0.1:9118")
            }
            Ok(address) if !address.ip().is_loopback() => Err(
                "only loopback addresses are allowed, since nothing is encrypted and clients are not authenticated: \
                 write 127.0.0.1:9118, and put a web server with TLS in front of it for others",
            ),
            Ok(address) => Ok(Self(address)),
        }
    }
}

/// An expression of `ClassAds`. It may have several lines; line ends and tabs count as blanks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct Expression(pub(crate) String);
