//! The socket by which people on this host ask the running service and tell it what to do.
//!
//! | module | what it is to the reader |
//! |---|---|
//! | [`protocol`] | what is said: one JSON object a line |
//! | [`socket`] | where it is said: made, with its mode, and removed at the end |
//! | [`peer`] | who may: decided by the peer's credentials |
//! | [`server`] | one connection: hello, one request, progress, one answer |
//! | [`service`] | requests carried out by the reconciler |
//! | [`client`] | the other side |
//!
//! What holds: a client that is slow, goes away or talks nonsense harms neither the service nor an
//! order that was begun.

pub mod client;
pub mod peer;
pub mod protocol;
pub mod server;
pub mod service;
pub mod socket;
