//! Planted bugs. Each breaks one rule, and the simulator must find it: this proves that the simulator can find such a
//! bug.
//!
//! Outside of tests and without the `mutants` feature, [`Mutation::is`] is always false and costs nothing.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// Acceptor: `newEpoch` succeeds for the promised epoch, too.
    AcceptEqualEpoch,
    /// Acceptor: calls of an epoch lower than the promised one are served.
    AcceptOldEpoch,
    /// Acceptor: batches are acknowledged before they are synced.
    SkipJournalSync,
    /// Acceptor: a promise is answered before it is on disk.
    SkipPromiseSync,
    /// Acceptor: an accepted recovery is answered before it is on disk.
    SkipAcceptRecord,
    /// Acceptor: a segment with the right length is taken for the right one, whoever wrote it.
    TrustEqualLength,
    /// Acceptor: `finalizeLogSegment` finalizes any copy that has the right length.
    FinalizeAnyContent,
    /// Acceptor: `newEpoch` succeeds although another NameNode's lease runs.
    IgnoreLease,
    /// Acceptor: leases granted before a restart are forgotten.
    ForgetLeaseAtRestart,
    /// Acceptor: after a restart it waits for the longest lease of the present configuration instead of the promised
    /// one.
    WaitConfiguredLease,
    /// Acceptor: a lease of a later epoch than the named one is given back.
    ReleaseAnyEpoch,
    /// Acceptor: any caller that knows the holder's name can give the lease back.
    ReleaseByAnybody,
    /// Acceptor: any call of a higher epoch than the promised one raises the promise.
    RaiseByAnyCall,
    /// Acceptor: a JournalNode that lost its disk votes at once.
    AmnesiacVotes,
    /// Acceptor: after a failed sync, what memory shows is taken for durable.
    TrustMemory,
    /// Acceptor: readers that want committed edits get all edits.
    ServeUncommitted,
    /// Acceptor: readers of a majority's edits get edits that are written and not synced.
    ServeUnsynced,
    /// Acceptor: readers that want committed edits get any copy.
    ServeStale,
    /// Acceptor: a purge deletes the segment that holds the first transaction to keep.
    PurgeStraddling,
    /// Acceptor: a segment that the syncer fetched is not checked.
    AdoptUnchecked,
    /// Writer: a recovery chooses the longer copy before the one of the higher epoch.
    ChooseLongerFirst,
    /// Writer: a transaction counts as synced with one acknowledgement less than a majority.
    AckAtMinority,
    /// Writer: the lease is counted from the answer instead of from the request.
    LeaseFromAnswer,
    /// The simulated NameNode: its clock stands still while its machine is suspended (`CLOCK_MONOTONIC`).
    ClockStandsInSuspend,
    /// Writer: the clocks of all machines are assumed to have the same rate.
    IgnoreDrift,
    /// Writer: a lease of one JournalNode is enough.
    LeaseFromOne,
    /// Writer: it writes without recovering the last segment.
    SkipRecovery,
    /// Writer: it goes on before a majority has promised.
    EpochFromMinority,
    /// Writer: it follows the highest promise, however far that is above all others.
    TakeAbsurdPromise,
    /// Writer: it recovers a segment that only one JournalNode names, even if nobody has it.
    BelieveLoneSegment,
    /// Writer: a JournalNode that alone claims more committed transactions stops a recovery.
    TrustLoneCommitted,
    /// Writer: a JournalNode that has promised a higher epoch is left behind until there is another writer.
    LeaveBehind,
    /// Writer: after a re-election it does not check whether another NameNode has written meanwhile.
    IgnoreRival,
    /// Writer: it asks for an epoch that it has asked for before.
    AskTwice,
    /// Writer: a JournalNode finalizes a segment that is not yet on a majority.
    FinalizeUncommitted,
    /// Writer: it changes the membership without writing the one that it found in its own epoch first.
    ForeignMembership,
    /// Writer: a change of membership is done when the first JournalNode keeps it.
    HastyMembership,
    /// Writer: a new JournalNode votes before it has the committed transactions.
    CountUnsynced,
    /// Writer: it follows the configured JournalNodes, although the membership was changed.
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

/// Mutants that are found only with a lying JournalNode, or with messages from strangers.
pub const LIAR_MUTANTS: [Mutant; 5] = [
    Mutant::ReleaseByAnybody,
    Mutant::RaiseByAnyCall,
    Mutant::TakeAbsurdPromise,
    Mutant::BelieveLoneSegment,
    Mutant::TrustLoneCommitted,
];

/// Mutants that are found only when the membership changes.
pub const MEMBERSHIP_MUTANTS: [Mutant; 4] = [
    Mutant::ForeignMembership,
    Mutant::HastyMembership,
    Mutant::CountUnsynced,
    Mutant::IgnoreMembership,
];

/// The rule that is broken, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutation {
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<Mutant>,
}

impl Mutation {
    /// Breaks this rule.
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

    /// Always false here: no rule is broken.
    #[cfg(not(any(test, feature = "mutants")))]
    #[inline]
    pub(crate) fn is(self, _mutant: Mutant) -> bool {
        false
    }
}
