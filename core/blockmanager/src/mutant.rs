//! Planted bugs. Each breaks one rule, and the simulator must find it: this proves that the simulator can find such a
//! bug.
//!
//! Outside of tests and without the `mutants` feature, `Mutation::is` is always false and costs nothing.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The mark of a corrupt replica ends with the order to delete it.
    OrderEndsMark,
    /// A mark ends when the replica leaves the map, whatever the reason.
    DeathEndsMark,
    /// Orders are not judged again when they leave.
    OrdersLeaveUnjudged,
    /// A lifeline counts as a heartbeat.
    LifelineVouches,
    /// The content of all storages counts as sure right after a failover.
    TrustStaleStorages,
    /// Every result of a block recovery is accepted.
    ResultsUnjudged,
    /// A block counts as held by nobody without waiting for any report.
    ReportsNotAwaited,
    /// A leaving node may go although it has the only pipeline of an open file.
    OpenBlocksMayGo,
}

/// The rule that is broken, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutation {
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<Mutant>,
}

impl Mutation {
    /// Breaks this rule.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn planted(mutant: Option<Mutant>) -> Mutation {
        Mutation { mutant }
    }

    /// Whether this rule is broken.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Always false here: no rule is broken.
    #[cfg(not(any(test, feature = "mutants")))]
    pub(crate) fn is(self, _mutant: Mutant) -> bool {
        false
    }
}
