//! Files of this host.
//!
//! Always true: [`read`] opens plain files only and never blocks on a FIFO or device. [`Pool`] runs system calls that a
//! file system may never answer: on few threads, with a deadline. [`Notices`] wake their subscribers after changes.

pub(crate) mod keytab;
mod notices;
mod plain;
mod pool;

pub(crate) use self::notices::Notices;
pub(crate) use self::plain::{FileStamp, ReadError, is_passing, open, other_kind, read, read_from};
#[cfg(test)]
pub(crate) use self::pool::DEADLINE;
pub(crate) use self::pool::{
    CONFIGURATION, DIRECTORIES, KEYTABS, NAMES, Pool, PoolError, THREADS, USERS,
};
