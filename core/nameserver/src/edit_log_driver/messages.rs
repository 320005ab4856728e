//! What the driver of the edit log and its shell tell each other.

use super::shipping::Synced;
use hathi_formats::ids::{Epoch, NamespaceInfo, TxId};
use hathi_journal::writer::CallId;
use hathi_journal::{Membership, Micros, Request};
use hathi_namesystem::edit_log::LogItem;

/// The journal that a NameNode wants to write to.
#[derive(Clone, Debug)]
pub struct JournalToRecover {
    /// Identity of the namespace.
    pub info: NamespaceInfo,
    /// `host:port` of the JournalNodes of the configuration.
    pub members: Vec<String>,
    /// The newest membership that is known here; `None` if the JournalNodes were never changed.
    pub membership: Option<Membership>,
}

/// State of the journal after a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Epoch of this NameNode.
    pub epoch: Epoch,
    /// The last transaction, if there is one.
    pub last: Option<TxId>,
}

/// Why this NameNode is not the writer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Another NameNode holds the read lease.
    #[error("another NameNode holds the read lease")]
    LeaseHeld,
    /// An edit failed to apply, so this NameNode's namespace is the state of no log.
    #[error("an edit failed to apply")]
    Broken,
    /// A higher epoch was promised, or no quorum answers.
    #[error("{0}")]
    Lost(String),
}

/// A call to a JournalNode. Its answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalCall {
    /// Number of the attempt to be the writer. A writer that resigned gets no answers, and the next one numbers its calls
    /// anew.
    pub attempt: u64,
    /// Index of the JournalNode in [`QuorumLog::addresses`](super::QuorumLog::addresses).
    pub journalnode: usize,
    /// Number of the call.
    pub call: CallId,
    /// When it was sent, if it carries edits, in microseconds.
    pub batch_sent: Option<Micros>,
}

/// What the shell has to do, in this order. `W` stands for somebody who waits.
#[derive(Debug, PartialEq, Eq)]
pub enum LogAction<W> {
    /// Send a request. What [`hathi_journal::WriterAction::Send`] asks of a connection holds here.
    Send {
        /// What the answer has to name.
        call: JournalCall,
        /// The request.
        request: Request,
        /// Time limit in microseconds.
        timeout: Micros,
    },
    /// Give this to the copies of the edits that nobody waits for (`dfs.namenode.edits.dir`).
    Copy(LogItem),
    /// The open segment of these copies is not continued.
    AbandonCopies,
    /// Delete segments of these copies that end before this transaction.
    PurgeCopies(TxId),
    /// Send this on each open connection. It gives the read lease back. Nobody waits for the answers, and Hadoop's
    /// JournalNodes do not know the call.
    ReleaseLease(Request),
    /// This NameNode is the writer, and the journal is recovered.
    Recovered(Recovered),
    /// The recovery has ended, and this NameNode is not the writer.
    NotRecovered(LogError),
    /// This NameNode is not the writer any more.
    Lost(LogError),
    /// What this one waited for has come.
    Reached(W),
    /// A quorum has these transactions. Replies that waited for them may leave.
    Synced(Synced),
    /// Begin a new segment, so that a JournalNode that can't be caught up in the open one takes part again.
    RollEditLog,
    /// The JournalNodes are these.
    Learn(Membership),
    /// The change of the membership that was asked for is made.
    MembershipChanged(Membership),
    /// This JournalNode is left out of the recovery, because what it says can't be true.
    Distrust {
        /// Its `host:port`.
        address: String,
        /// What it said.
        why: String,
    },
    /// Something that an operator may want to know.
    Tell(LogNews),
}

/// What an operator may want to know of the edit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogNews {
    /// The JournalNodes know no read leases, so reads may be stale for a moment after a failover, as with Hadoop.
    NoLeases,
    /// A majority has opened the segment that begins with this transaction.
    SegmentStarted(TxId),
    /// A majority has finalized this segment.
    SegmentFinalized(TxId, TxId),
    /// The writer in office was elected anew in this epoch.
    Reelected(Epoch),
}
