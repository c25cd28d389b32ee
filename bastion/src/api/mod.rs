//! Status, metrics and orders by HTTP: on the control socket, and on `listen.address` for reading.
//!
//! | module | content |
//! |---|---|
//! | `routes` | the paths of both servers, and the answers of those that only read |
//! | `orders` | the paths of orders, on the socket only |
//! | [`bodies`] | JSON bodies of requests and answers, errors |
//! | `server` | the server: connections, sizes and times are bounded |
//! | `socket`, `access` | the socket in the file system; the users that may use it |
//! | `hosts` | names for which `listen.address` answers |
//! | [`metrics`] | the metrics, as text |
//! | `schema` | the schema of the bodies, for programs |
//! | `client` | the client of the socket, for commands |
//! | `systemd` | status line and keep-alive for systemd |
//!
//! Always true: `listen.address` changes nothing and is on loopback; the socket answers only users that may give orders;
//! no answer contains a secret; a client that is slow, disconnects or sends invalid requests affects neither the service nor
//! an order that was received.

pub(crate) mod access;
pub mod bodies;
pub(crate) mod client;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod hosts;
pub mod metrics;
pub(crate) mod orders;
pub(crate) mod routes;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod socket;
pub(crate) mod systemd;
