//! Client of HTCondor's wire protocol CEDAR.

#![forbid(unsafe_code)]

mod address;
mod classad;
mod crypto;
mod error;
mod packet;
mod text;
mod wire;

pub use address::Address;
pub use classad::{Ad, Value};
pub use error::{Error, ErrorKind, Refusal, Step};
