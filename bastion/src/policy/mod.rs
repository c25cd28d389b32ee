//! Pure decisions: when to renew, back off, adopt, accept a token. Time is passed in.

pub mod jobs;
pub mod plan;
pub mod verify;
