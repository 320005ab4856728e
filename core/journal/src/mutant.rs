//! Planted bugs, one broken rule each, which the simulator must find: who proves the prover?
//!
//! Outside of tests and the `mutants` feature [`Mutation::is`] is constant false and costs nothing.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Acceptor: `newEpoch` with the promised epoch is granted again.
    AcceptEqualEpoch,
    /// Acceptor: calls of lower epochs than the promised one are served.
    AcceptOldEpoch,
    /// Acceptor: batches are acknowledged before they are synced.
    SkipJournalSync,
    /// Acceptor: the promise is not on disk when it is given.
    SkipPromiseSync,
    /// Acceptor: the accepted recovery is not on disk when it is answered.
    SkipAcceptRecord,
    /// Acceptor: a segment of the wanted length is taken for the wanted one, whoever wrote it.
    TrustEqualLength,
    /// Acceptor: `finalizeLogSegment` closes whatever has the right length.
    FinalizeAnyContent,
    /// Acceptor: a running lease of another does not stop `newEpoch`.
    IgnoreLease,
    /// Acceptor: leases granted before a restart are forgotten.
    ForgetLeaseAtRestart,
    /// Acceptor: after a restart the longest lease of the present configuration is waited out, not the promised one.
    WaitConfiguredLease,
    /// Acceptor: a lease of a later epoch is given back too.
    ReleaseAnyEpoch,
    /// Acceptor: a lease is given back to whoever knows its holder's name.
    ReleaseByAnybody,
    /// Acceptor: any call of a higher epoch than the promised one raises the promise.
    RaiseByAnyCall,
    /// Acceptor: one that lost its disk votes at once.
    AmnesiacVotes,
    /// Acceptor: after a failed sync what memory shows is taken for what the disk has.
    TrustMemory,
    /// Acceptor: readers who want committed edits get all there are.
    ServeUncommitted,
    /// Acceptor: readers who take what a majority has get what is written, synced or not.
    ServeUnsynced,
    /// Acceptor: readers who want committed edits get whatever copy is here.
    ServeStale,
    /// Acceptor: purging takes the segment in which the first transaction to keep is.
    PurgeStraddling,
    /// Acceptor: what the syncer fetched is not looked at.
    AdoptUnchecked,
    /// Writer: the longer log wins before the higher epoch.
    ChooseLongerFirst,
    /// Writer: one JournalNode less than a majority is enough to acknowledge.
    AckAtMinority,
    /// Writer: the lease counts from the answer instead of the request.
    LeaseFromAnswer,
    /// The simulated NameNode: its clock stands still while its machine is suspended (`CLOCK_MONOTONIC`).
    ClockStandsInSuspend,
    /// Writer: clocks are taken to run at the same rate.
    IgnoreDrift,
    /// Writer: one JournalNode is enough to hold the lease.
    LeaseFromOne,
    /// Writer: writing begins without recovering the last segment.
    SkipRecovery,
    /// Writer: a majority of promises is not waited for.
    EpochFromMinority,
    /// Writer: the highest promise counts, however absurd it is beside all others.
    TakeAbsurdPromise,
    /// Writer: a segment that only one JournalNode speaks of is the last one, even if nobody has it.
    BelieveLoneSegment,
    /// Writer: what one JournalNode alone says to be committed stops a recovery.
    TrustLoneCommitted,
    /// Writer: a JournalNode that has promised a higher epoch is left behind until there is another writer.
    LeaveBehind,
    /// Writer: elected anew in office, it does not look whether somebody else has written meanwhile.
    IgnoreRival,
    /// Writer: an epoch that was asked for before is asked for again.
    AskTwice,
    /// Writer: a JournalNode finalizes when it has everything, whether a majority has or not.
    FinalizeUncommitted,
    /// Writer: a change of the JournalNodes begins without writing the membership found in the own epoch.
    ForeignMembership,
    /// Writer: a change of the JournalNodes is done when the first of them keeps it.
    HastyMembership,
    /// Writer: a JournalNode counts before it has what is committed.
    CountUnsynced,
    /// Writer: whatever the JournalNodes know of changes, the configured ones count.
    IgnoreMembership,
}

/// Every planted bug.
pub const ALL_MUTANTS: [Mutant; 39] = [
    Mutant::AcceptEqualEpoch,
    Mutant::AcceptOldEpoch,
    Mutant::SkipJournalSync,
    Mutant::SkipPromiseSync,
    Mutant::SkipAcceptRecord,
    Mutant::TrustEqualLength,
    Mutant::FinalizeAnyContent,
    Mutant::IgnoreLease,
    Mutant::ForgetLeaseAtRestart,
    Mutant::WaitConfiguredLease,
    Mutant::ReleaseAnyEpoch,
    Mutant::ReleaseByAnybody,
    Mutant::RaiseByAnyCall,
    Mutant::AmnesiacVotes,
    Mutant::TrustMemory,
    Mutant::ServeUncommitted,
    Mutant::ServeUnsynced,
    Mutant::ServeStale,
    Mutant::PurgeStraddling,
    Mutant::AdoptUnchecked,
    Mutant::ChooseLongerFirst,
    Mutant::AckAtMinority,
    Mutant::LeaseFromAnswer,
    Mutant::ClockStandsInSuspend,
    Mutant::IgnoreDrift,
    Mutant::LeaseFromOne,
    Mutant::SkipRecovery,
    Mutant::EpochFromMinority,
    Mutant::TakeAbsurdPromise,
    Mutant::BelieveLoneSegment,
    Mutant::TrustLoneCommitted,
    Mutant::LeaveBehind,
    Mutant::IgnoreRival,
    Mutant::AskTwice,
    Mutant::FinalizeUncommitted,
    Mutant::ForeignMembership,
    Mutant::HastyMembership,
    Mutant::CountUnsynced,
    Mutant::IgnoreMembership,
];

/// Those that need a lying JournalNode, or strangers who send messages, to be found.
pub const LIAR_MUTANTS: [Mutant; 5] = [
    Mutant::ReleaseByAnybody,
    Mutant::RaiseByAnyCall,
    Mutant::TakeAbsurdPromise,
    Mutant::BelieveLoneSegment,
    Mutant::TrustLoneCommitted,
];

/// Those that need a change of the JournalNodes to be found.
pub const MEMBERSHIP_MUTANTS: [Mutant; 4] = [
    Mutant::ForeignMembership,
    Mutant::HastyMembership,
    Mutant::CountUnsynced,
    Mutant::IgnoreMembership,
];

/// Which rule is broken, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<Mutant>,
}

impl Mutation {
    /// Breaks a rule.
    #[cfg(any(test, feature = "mutants"))]
    #[must_use]
    pub fn planted(mutant: Option<Mutant>) -> Self {
        Mutation { mutant }
    }

    /// Whether this rule is broken.
    #[cfg(any(test, feature = "mutants"))]
    #[inline]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(any(test, feature = "mutants")))]
    #[inline]
    pub(crate) fn is(self, _mutant: Mutant) -> bool {
        false
    }
}
