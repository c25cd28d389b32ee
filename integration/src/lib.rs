//! What the end-to-end tests and the demonstration are made of: the real parts (a Kerberos key
//! distribution centre, an HTCondor pool) and the means to start, watch and stop them.
//!
//! What always holds: everything runs inside `integration/setup/sandbox`, so that nothing is
//! left on the machine, however a run ends.

pub mod address;
pub mod bench;
pub mod ca;
pub mod chain;
pub mod chaos;
pub mod conformance;
pub mod demo;
pub mod dev;
pub mod differential;
pub mod ended;
mod guard;
pub mod here;
pub mod hostile;
pub mod kdc;
pub mod keycloak;
pub mod load;
pub mod onboarding;
pub mod openbao;
pub mod pool;
pub mod process;
pub mod relay;
pub mod sandbox;
pub mod tracer;
pub mod wait;
