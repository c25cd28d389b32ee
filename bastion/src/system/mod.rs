//! This host: files, the log, the lock, descriptors; and bounded numbers and durations of operations.

pub(crate) mod files;
pub mod hardening;
pub(crate) mod keyed;
pub mod lock;
pub(crate) mod locked;
pub mod logs;
pub(crate) mod request_slots;
pub mod stages;
