//! What a JournalNode refuses, sorted by what the caller must do, and how each refusal is called in Java.

use std::io;

use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Epoch, TxId};
use hathi_storage::StorageError;

/// Why a JournalNode did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The caller was replaced by a writer with a higher epoch; it must stop writing.
    #[error("IPC's epoch {epoch} is less than the last promised epoch {promised} ; journal id: {journal}")]
    Fenced {
        /// The caller's.
        epoch: Epoch,
        /// What was promised.
        promised: Epoch,
        /// Which journal.
        journal: String,
    },
    /// The caller's epoch was not promised to it here: only `newEpoch` gets a promise.
    #[error(
        "epoch {epoch} was not promised to this caller, the last promised epoch is {promised} ; journal id: {journal}"
    )]
    NotPromised {
        /// The caller's.
        epoch: Epoch,
        /// What was promised, perhaps to somebody else.
        promised: Epoch,
        /// Which journal.
        journal: String,
    },
    /// `newEpoch` with an epoch that is not higher than the promise.
    #[error("Proposed epoch {epoch} <= last promise {promised} ; journal id: {journal}")]
    EpochTooLow {
        /// The caller's.
        epoch: Epoch,
        /// What was promised.
        promised: Epoch,
        /// Which journal.
        journal: String,
    },
    /// The caller never opened a segment here, or somebody else did since.
    #[error("IPC's epoch {epoch} is not the current writer epoch  {writer} ; journal id: {journal}")]
    NotTheWriter {
        /// The caller's.
        epoch: Epoch,
        /// Who last opened a segment.
        writer: Epoch,
        /// Which journal.
        journal: String,
    },
    /// Somebody else's read lease runs; try again when it ended.
    #[error(
        "the read lease of {holder} in epoch {promised} runs for another {remaining_ms} ms ; journal id: {journal}"
    )]
    LeaseHeld {
        /// Whose; `unknown` after a restart of the JournalNode.
        holder: String,
        /// In which epoch it was granted.
        promised: Epoch,
        /// Until it ends.
        remaining_ms: u64,
        /// Which journal.
        journal: String,
    },
    /// This JournalNode lost its disk and may not vote before a writer has caught it up.
    #[error(
        "this JournalNode waits for a writer before it takes part in recovery again, because {why} ; journal id: {journal}"
    )]
    Joining {
        /// Why.
        why: String,
        /// Which journal.
        journal: String,
    },
    /// This JournalNode does not know what it has promised, and waits until its peers tell.
    #[error("this JournalNode does not know what it has promised, because {why} ; journal id: {journal}")]
    PromiseLost {
        /// Why.
        why: String,
        /// Which journal.
        journal: String,
    },
    /// The caller's idea of this journal is not this journal's; it must start over with a new segment.
    #[error("{what} ; journal id: {journal}")]
    OutOfSync {
        /// What differs.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// The journal has no storage yet.
    #[error("Journal {path} not formatted ; journal id: {journal}")]
    NotFormatted {
        /// Where it would be.
        path: String,
        /// Which journal.
        journal: String,
    },
    /// The request contradicts what is known (`IllegalArgumentException`).
    #[error("{what} ; journal id: {journal}")]
    IllegalArgument {
        /// What is wrong.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// The journal is in no state for the request (`IllegalStateException`).
    #[error("{what} ; journal id: {journal}")]
    IllegalState {
        /// What is wrong.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// The request would lose what is committed (`AssertionError`).
    #[error("{what} ; journal id: {journal}")]
    Assertion {
        /// What is wrong.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// Edits were asked for that are further than one ahead.
    #[error("Highest txn ID available in the journal is {highest}, but requested txns starting at {since}.")]
    NewerTxId {
        /// The last one here.
        highest: TxId,
        /// The first one asked for.
        since: TxId,
    },
    /// Edits were asked for that are not in memory any more.
    #[error("Oldest txn ID available in the cache is {oldest:?}, but requested txns starting at {since}.")]
    CacheMiss {
        /// The oldest one in memory.
        oldest: Option<TxId>,
        /// The first one asked for.
        since: TxId,
    },
    /// The records of a batch are no intact frames with the transactions it claims.
    #[error("the batch from txid {first} is damaged: {what} ; journal id: {journal}")]
    DamagedBatch {
        /// First transaction claimed.
        first: TxId,
        /// What is wrong.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// The disk failed earlier; nothing is acknowledged any more until the JournalNode was restarted.
    #[error("the journal is failed since an earlier disk error: {what} ; journal id: {journal}")]
    Failed {
        /// The first error.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// Whatever else is an `IOException` in Java.
    #[error("{what} ; journal id: {journal}")]
    Refused {
        /// Why.
        what: String,
        /// Which journal.
        journal: String,
    },
    /// The disk said so.
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
    /// The Java class that travels.
    #[must_use]
    pub fn class(&self) -> &'static str {
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

/// Whether a `newEpoch` was refused because an epoch as high, or a higher one, was promised.
#[must_use]
pub fn is_outrun(exception: &RemoteException) -> bool {
    exception.is(exceptions::IO) && exception.message.contains("<= last promise")
}

/// Whether an exception of one of our JournalNodes says that the caller has to ask for its promise first.
#[must_use]
pub fn is_not_promised(exception: &RemoteException) -> bool {
    exception.is(exceptions::IO) && exception.message.contains("was not promised to this caller")
}

/// Whether an `acceptRecovery` failed because the copy that was chosen could not be had from its JournalNode.
#[must_use]
pub fn is_not_fetched(exception: &RemoteException) -> bool {
    let said = |what| exception.message.contains(what);
    exception.is(exceptions::IO) && (said("fetching segment") || said("what was fetched from"))
}

/// Whether an exception says that somebody else's read lease still runs.
#[must_use]
pub fn is_lease_held(exception: &RemoteException) -> bool {
    exception.is(exceptions::RETRIABLE) && exception.message.contains("read lease")
}
