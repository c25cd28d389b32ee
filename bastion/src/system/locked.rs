//! Locks of what threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic of another thread leaves the content as it was.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
