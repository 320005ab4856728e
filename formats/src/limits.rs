//! Limits for the strings and lists of a call. They are kept in memory, in edits and in images for years, and every
//! NameNode, Hadoop's too, has to read them back. So a string or list that is too long is refused before anything is
//! changed. Where Hadoop has a limit, it is Hadoop's. The others are far beyond what Hadoop's clients send.

use crate::exceptions::{self, RemoteException};

/// Longest name of a client (the holder of leases), in bytes. Hadoop's clients send `DFSClient_` with a task's id and
/// two numbers. Hadoop's only limit is that of its edit log, which cuts off longer names.
pub const CLIENT_NAME_MAX_BYTES: usize = 1024;
/// Longest user or group, in bytes. No system has longer ones (Linux 32, Active Directory 256). Hadoop has no limit.
pub const USER_MAX_BYTES: usize = 1024;
/// Most entries of an ACL in a call. An inode has at most 32 of each scope (`AclTransformation.MAX_ENTRIES`). Hadoop
/// counts them only after the merge.
pub const ACL_ENTRIES_MAX: usize = 64;
/// Most source files of one `concat`: by default a file may have this many blocks. Hadoop has no limit.
pub const CONCAT_SOURCES_MAX: usize = 10_000;
/// Most DataNodes that a client may name as targets of a block. One is taken for each replica, of which there are at
/// most 512 by default. Hadoop has no limit.
pub const FAVORED_NODES_MAX: usize = 1000;
/// Most DataNodes that a client may exclude as targets of a block: more than a large cluster has. Hadoop has no limit.
pub const EXCLUDED_NODES_MAX: usize = 10_000;
/// Refuses a text that is too long.
///
/// # Errors
/// `HadoopIllegalArgumentException`, which clients don't repeat.
pub fn check_text(what: &str, text: &str, max_bytes: usize) -> Result<(), RemoteException> {
    check_count(what, text.len(), max_bytes)
}

/// Refuses a list with too many elements, or too many bytes.
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
