//! Entry points for fuzzing: what admins, HTCondor and clients write, with what must hold for any input.
//!
//! Each function panics when its law is broken, and else does nothing.

pub use crate::api::fuzzing::{http_request, order};
pub use crate::config::fuzzing::configuration;
pub use crate::schedd::condor::fuzzing::{collector_answer, credd_answer};
