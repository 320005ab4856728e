//! Refusals of a JournalNode, sorted by what the caller must do, and the Java class of each.

use std::io;

use hathi_formats::exceptions::{self, ExceptionClass, RemoteException};
use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::StorageError;

/// Why a JournalNode did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The caller was replaced by a writer with a higher epoch; it must stop writing.
    #[error("IPC's epoch {epoch} is less than the last promised epoch {promised} ; journal id: {journal}")]
    Fenced {
        /// Epoch of the caller.
        epoch: Epoch,
        /// Promised epoch.
        promised: Epoch,
        /// Journal id.
        journal: String,
    },
    /// This JournalNode did not promise the caller's epoch to it. Only `newEpoch` gets a promise.
    #[error(
        "epoch {epoch} was not promised to this caller, the last promised epoch is {promised} ; journal id: {journal}"
    )]
    NotPromised {
        /// Epoch of the caller.
        epoch: Epoch,
        /// Promised epoch, perhaps of somebody else.
        promised: Epoch,
        /// Journal id.
        journal: String,
    },
    /// `newEpoch` with an epoch that is not higher than the promised one.
    #[error("Proposed epoch {epoch} <= last promise {promised} ; journal id: {journal}")]
    EpochTooLow {
        /// Epoch of the caller.
        epoch: Epoch,
        /// Promised epoch.
        promised: Epoch,
        /// Journal id.
        journal: String,
    },
    /// The caller never opened a segment here, or another writer opened one later.
    #[error("IPC's epoch {epoch} is not the current writer epoch  {writer} ; journal id: {journal}")]
    NotTheWriter {
        /// Epoch of the caller.
        epoch: Epoch,
        /// Epoch of the writer that opened a segment last.
        writer: Epoch,
        /// Journal id.
        journal: String,
    },
    /// Another NameNode's read lease runs. The caller may try again when it has ended.
    #[error(
        "the read lease of {holder} in epoch {promised} runs for another {remaining_ms} ms ; journal id: {journal}"
    )]
    LeaseHeld {
        /// Holder of the lease; `unknown` after a restart of the JournalNode.
        holder: String,
        /// Epoch in which the lease was granted.
        promised: Epoch,
        /// Milliseconds until the lease ends.
        remaining_ms: u64,
        /// Journal id.
        journal: String,
    },
    /// This JournalNode lost its disk, and does not vote before a writer has caught it up.
    #[error(
        "this JournalNode waits for a writer before it takes part in recovery again, because {why} ; journal id: {journal}"
    )]
    Joining {
        /// Why it does not vote.
        why: String,
        /// Journal id.
        journal: String,
    },
    /// This JournalNode does not know which epoch it has promised, and waits until its peers tell.
    #[error("this JournalNode does not know what it has promised, because {why} ; journal id: {journal}")]
    PromiseLost {
        /// Why it does not know.
        why: String,
        /// Journal id.
        journal: String,
    },
    /// The caller assumes another state of this journal. It must start over with a new segment.
    #[error("{what} ; journal id: {journal}")]
    OutOfSync {
        /// What differs.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The journal has no storage yet.
    #[error(
        "Journal {path} not formatted: hathi namenode -format makes a new namespace and its journal, \
         hathi namenode -initializeSharedEdits the journal of a namespace that is there ; journal id: {journal}"
    )]
    NotFormatted {
        /// Directory of the journal.
        path: String,
        /// Journal id.
        journal: String,
    },
    /// The request contradicts what is known (`IllegalArgumentException`).
    #[error("{what} ; journal id: {journal}")]
    IllegalArgument {
        /// What is wrong.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The request does not fit the state of the journal (`IllegalStateException`).
    #[error("{what} ; journal id: {journal}")]
    IllegalState {
        /// What is wrong.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The request would lose committed transactions (`AssertionError`).
    #[error("{what} ; journal id: {journal}")]
    Assertion {
        /// What is wrong.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The requested edits begin more than one transaction behind the last one here.
    #[error("Highest txn ID available in the journal is {highest}, but requested txns starting at {since}.")]
    NewerTxId {
        /// Last transaction here.
        highest: TxId,
        /// First transaction that was requested.
        since: TxId,
    },
    /// The requested edits are not in memory any more.
    #[error("Oldest txn ID available in the cache is {oldest:?}, but requested txns starting at {since}.")]
    CacheMiss {
        /// Oldest transaction in memory.
        oldest: Option<TxId>,
        /// First transaction that was requested.
        since: TxId,
    },
    /// The records of a batch are not the intact frames that it announces.
    #[error("the batch from txid {first} is damaged: {what} ; journal id: {journal}")]
    DamagedBatch {
        /// First announced transaction.
        first: TxId,
        /// What is wrong.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The disk failed earlier. The JournalNode acknowledges nothing until it is restarted.
    #[error("the journal is failed since an earlier disk error: {what} ; journal id: {journal}")]
    Failed {
        /// The first error.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// Any other refusal that is an `IOException` in Java.
    #[error("{what} ; journal id: {journal}")]
    Refused {
        /// Why.
        what: String,
        /// Journal id.
        journal: String,
    },
    /// The disk reported an error.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the disk said.
        source: io::Error,
    },
    /// The storage directory is not as it should be.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl JournalError {
    /// Java class of the exception that the caller gets.
    #[must_use]
    pub fn class(&self) -> ExceptionClass {
        match self {
            JournalError::Fenced { .. }
            | JournalError::NotPromised { .. }
            | JournalError::EpochTooLow { .. }
            | JournalError::NotTheWriter { .. }
            | JournalError::DamagedBatch { .. }
            | JournalError::Failed { .. }
            | JournalError::Refused { .. }
            | JournalError::Io { .. } => exceptions::IO,
            JournalError::LeaseHeld { .. } | JournalError::Joining { .. } | JournalError::PromiseLost { .. } => {
                exceptions::RETRIABLE
            }
            JournalError::OutOfSync { .. } => exceptions::JOURNAL_OUT_OF_SYNC,
            JournalError::NotFormatted { .. } => exceptions::JOURNAL_NOT_FORMATTED,
            JournalError::IllegalArgument { .. } => exceptions::ILLEGAL_ARGUMENT,
            JournalError::IllegalState { .. } => exceptions::ILLEGAL_STATE,
            JournalError::Assertion { .. } => exceptions::ASSERTION,
            JournalError::NewerTxId { .. } => exceptions::NEWER_TXID,
            JournalError::CacheMiss { .. } => exceptions::CACHE_MISS,
            JournalError::Storage(StorageError::Inconsistent { .. }) => exceptions::INCONSISTENT_FS_STATE,
            JournalError::Storage(_) => exceptions::IO,
        }
    }
}

impl From<&JournalError> for RemoteException {
    fn from(error: &JournalError) -> Self {
        RemoteException::new(error.class(), error.to_string())
    }
}

impl From<JournalError> for RemoteException {
    fn from(error: JournalError) -> Self {
        RemoteException::from(&error)
    }
}

/// Whether an exception of a JournalNode (ours or Java's) says that a higher epoch was promised.
#[must_use]
pub fn is_fenced(exception: &RemoteException) -> bool {
    exception.is(exceptions::IO) && exception.message.contains("is less than the last promised epoch")
}

/// Whether a `newEpoch` was refused because an equal or higher epoch was promised already.
#[must_use]
pub fn is_outrun(exception: &RemoteException) -> bool {
    exception.is(exceptions::IO) && exception.message.contains("<= last promise")
}

/// Whether one of our JournalNodes says that the caller has to ask for a promise first.
#[must_use]
pub fn is_not_promised(exception: &RemoteException) -> bool {
    exception.is(exceptions::IO) && exception.message.contains("was not promised to this caller")
}

/// Whether an `acceptRecovery` failed because the JournalNode could not fetch the chosen copy.
#[must_use]
pub fn is_not_fetched(exception: &RemoteException) -> bool {
    let said = |what| exception.message.contains(what);
    exception.is(exceptions::IO) && (said("fetching segment") || said("what was fetched from"))
}

/// Whether an exception says that another NameNode's read lease still runs.
#[must_use]
pub fn is_lease_held(exception: &RemoteException) -> bool {
    exception.is(exceptions::RETRIABLE) && exception.message.contains("read lease")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_without_storage_is_named_with_the_command_that_makes_it() {
        let error = JournalError::NotFormatted {
            path: "/data/ns".to_owned(),
            journal: "ns".to_owned(),
        };
        let told = error.to_string();
        assert!(
            told.starts_with("Journal /data/ns not formatted: hathi namenode -format ")
                && told.ends_with(" ; journal id: ns"),
            "{told}"
        );
    }
}
