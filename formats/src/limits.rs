//! How long what comes from outside may be. What a call brings is kept in memory, in edits and in images for years, and
//! every NameNode, Hadoop's too, has to read it back; so each string and list has a limit, and is refused before anything
//! is changed. Where Hadoop has a limit it is Hadoop's; the others are far beyond what its clients send.

use crate::exceptions::{self, RemoteException};

/// A client's name, the holder of leases, in bytes. Hadoop's clients send `DFSClient_` with a task's id and two numbers.
/// Hadoop has no limit but that of its edit log, which cuts off what is longer.
pub const CLIENT_NAME_MAX_BYTES: usize = 1024;
/// A user or a group, in bytes. No system has longer ones (Linux 32, Active Directory 256); Hadoop has no limit.
pub const USER_MAX_BYTES: usize = 1024;
/// Entries of an ACL in a call. An inode has at most 32 of each scope (`AclTransformation.MAX_ENTRIES`); Hadoop counts them
/// when it has merged them.
pub const ACL_ENTRIES_MAX: usize = 64;
/// Files of one `concat`. As many as a file may have blocks by default; Hadoop has no limit.
pub const CONCAT_SOURCES_MAX: usize = 10_000;
/// DataNodes that a client wants a block on. Of them as many are taken as there are replicas, at most 512 by default;
/// Hadoop has no limit.
pub const FAVORED_NODES_MAX: usize = 1000;
/// DataNodes that a client does not want a block on: more than a large cluster has. Hadoop has no limit.
pub const EXCLUDED_NODES_MAX: usize = 10_000;
/// Refuses a text that is too long.
///
/// # Errors
/// `HadoopIllegalArgumentException`, which clients don't repeat.
pub fn check_text(what: &str, text: &str, max_bytes: usize) -> Result<(), RemoteException> {
    check_count(what, text.len(), max_bytes)
}

/// Refuses a list, or bytes, of which there are too many.
///
/// # Errors
/// As [`check_text`].
pub fn check_count(what: &str, len: usize, max: usize) -> Result<(), RemoteException> {
    if len <= max {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::HADOOP_ILLEGAL_ARGUMENT,
        format!("{what} is too long: {len}, and at most {max} can be"),
    ))
}
