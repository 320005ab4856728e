//! Planted bugs of the whole cluster: each breaks a rule of a NameNode's shell, of its standby, of a failover controller, of a
//! DataNode, or of a client that writes, and the simulator must find it.

use crate::writing::WritingMutant;

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterMutant {
    /// The reply to a change leaves before a quorum has the change.
    ReplyBeforeSynced,
    /// A read leaves although what it shows is in flight.
    ReadInFlight,
    /// A refusal leaves although what it shows is in flight.
    RefusalInFlight,
    /// Replies leave without the read lease.
    LeaseNotChecked,
    /// Replies that waited leave without a look at the read lease.
    LeaseNotCheckedAtRelease,
    /// The clock of the lease stands still while the process does.
    LeaseClockStands,
    /// A NameNode becomes active before the last edits of the recovered journal are applied.
    ActiveBeforeLastEdits,
    /// A NameNode becomes active without recovering the journal.
    NotRecovered,
    /// A standby does not remember the answers to calls whose edits it applies.
    RetryCacheNotReplayed,
    /// Answers to calls whose edits were lost are remembered.
    LostAnswersRemembered,
    /// A standby applies edits that are not known to be committed.
    TailUncommitted,
    /// The namespace is kept although some changes reached no quorum.
    NamespaceKept,
    /// A standby answers reads.
    StandbyAnswers,
    /// Replies of a life that ends are sent instead of given up.
    GateSendsAtEnd,
    /// A reply that comes too late for its life is sent.
    ReplyOfEarlierLife,
    /// An image is published although its last edits are not proven.
    ImageUnproven,
    /// The image of a standby is named by what was applied when it was saved, not when it was frozen.
    ImageNamedLate,
    /// Edits are purged up to now, not up to the images that need them.
    PurgeBeyondImages,
    /// A standby whose next edits were purged does not notice it.
    PurgeNotNoticed,
    /// A standby follows the journal while it becomes active.
    TailsOn,
    /// A controller gives the lease back of a NameNode that is only silent.
    ReleaseOfSilent,
    /// The lease is given back before the role ends.
    LeaseGivenBackFirst,
    /// A demoted NameNode does not give its lease back, and goes on renewing it.
    ResignForgotten,
    /// A DataNode answers an hsync without a sync.
    SyncAnsweredUnsynced,
    /// A DataNode answers a new stamp before its names are on disk.
    NamesNotSynced,
    /// A DataNode overwrites the checksum of a promised chunk although the chunk's data was never synced.
    ChecksumBeforeData,
    /// A client names what it has sent to `updatePipeline`, not what was acknowledged.
    SentLengthLogged,
    /// A reader takes a DataNode that does not know what is visible for one that shows nothing.
    FirstAnswerCounts,
    /// A recovery does not know what a truncate has decided.
    TruncateForgotten,
    /// A NameNode takes every result of a recovery, and DataNodes that can't be reached count as without a replica.
    ResultsUnjudged,
    /// A NameNode that has just started drops a last block of which it has not heard.
    ReportsNotAwaited,
    /// The answer to a heartbeat leaves although what it shows is in flight.
    OrdersInFlight,
    /// An image of which only a part came from a peer is kept.
    TornUploadKept,
    /// An image gets its name before its bytes are synced.
    ImageNotSynced,
    /// Edits are deleted for an image that is not published yet.
    PurgeBeforeImage,
    /// A NameNode does not compare an image with its digest.
    Md5NotChecked,
    /// When the newest image is damaged, no older one is tried.
    OlderImageNotTried,
    /// An active takes a call that was passed on for one that its client has just sent.
    PassedOnUnjudged,
    /// A standby looks at the client's connection before it asks the active for its clock.
    ClientSeenBeforeClock,
    /// A standby passes calls on with an id of its own instead of the client's.
    PassedOnAsOwn,
    /// A new active serves the calls that it has kept whether or not their clients still wait.
    KeptCallsUnseen,
}

/// Every one of them.
pub const ALL_CLUSTER_MUTANTS: [ClusterMutant; 41] = [
    ClusterMutant::ReplyBeforeSynced,
    ClusterMutant::ReadInFlight,
    ClusterMutant::RefusalInFlight,
    ClusterMutant::LeaseNotChecked,
    ClusterMutant::LeaseNotCheckedAtRelease,
    ClusterMutant::LeaseClockStands,
    ClusterMutant::ActiveBeforeLastEdits,
    ClusterMutant::NotRecovered,
    ClusterMutant::RetryCacheNotReplayed,
    ClusterMutant::LostAnswersRemembered,
    ClusterMutant::TailUncommitted,
    ClusterMutant::NamespaceKept,
    ClusterMutant::StandbyAnswers,
    ClusterMutant::GateSendsAtEnd,
    ClusterMutant::ReplyOfEarlierLife,
    ClusterMutant::ImageUnproven,
    ClusterMutant::ImageNamedLate,
    ClusterMutant::PurgeBeyondImages,
    ClusterMutant::PurgeNotNoticed,
    ClusterMutant::TailsOn,
    ClusterMutant::ReleaseOfSilent,
    ClusterMutant::LeaseGivenBackFirst,
    ClusterMutant::ResignForgotten,
    ClusterMutant::SyncAnsweredUnsynced,
    ClusterMutant::NamesNotSynced,
    ClusterMutant::ChecksumBeforeData,
    ClusterMutant::SentLengthLogged,
    ClusterMutant::FirstAnswerCounts,
    ClusterMutant::TruncateForgotten,
    ClusterMutant::ResultsUnjudged,
    ClusterMutant::ReportsNotAwaited,
    ClusterMutant::OrdersInFlight,
    ClusterMutant::TornUploadKept,
    ClusterMutant::ImageNotSynced,
    ClusterMutant::PurgeBeforeImage,
    ClusterMutant::Md5NotChecked,
    ClusterMutant::OlderImageNotTried,
    ClusterMutant::PassedOnUnjudged,
    ClusterMutant::ClientSeenBeforeClock,
    ClusterMutant::PassedOnAsOwn,
    ClusterMutant::KeptCallsUnseen,
];

/// The bug that is planted, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted(pub Option<ClusterMutant>);

impl Planted {
    /// Whether it is this one.
    #[must_use]
    pub fn is(self, mutant: ClusterMutant) -> bool {
        self.0 == Some(mutant)
    }

    /// The bug of a DataNode or its clients that this is.
    pub(crate) fn of_writing(self) -> Option<WritingMutant> {
        match self.0? {
            ClusterMutant::SyncAnsweredUnsynced => Some(WritingMutant::SyncAnsweredUnsynced),
            ClusterMutant::NamesNotSynced => Some(WritingMutant::NamesNotSynced),
            ClusterMutant::ChecksumBeforeData => Some(WritingMutant::ChecksumBeforeData),
            ClusterMutant::SentLengthLogged => Some(WritingMutant::SentLengthLogged),
            ClusterMutant::FirstAnswerCounts => Some(WritingMutant::FirstAnswerCounts),
            ClusterMutant::TruncateForgotten => Some(WritingMutant::TruncateForgotten),
            // A NameNode that judges results refuses what comes of this.
            ClusterMutant::ResultsUnjudged => Some(WritingMutant::UnreachableIsAbsent),
            _ => None,
        }
    }

    /// The bug of a block manager that this is.
    #[must_use]
    pub fn of_blockmanager(self) -> Option<hathi_blockmanager::Mutant> {
        match self.0? {
            ClusterMutant::ResultsUnjudged => Some(hathi_blockmanager::Mutant::ResultsUnjudged),
            ClusterMutant::ReportsNotAwaited => Some(hathi_blockmanager::Mutant::ReportsNotAwaited),
            _ => None,
        }
    }
}
