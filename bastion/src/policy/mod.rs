//! Pure decisions: renewal, back-off, adoption of tokens after a start, checks of access tokens.
//!
//! Always true: no effects; time is passed in.

pub mod jobs;
pub mod plan;
pub mod verify;
