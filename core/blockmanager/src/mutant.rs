//! Planted bugs, one broken rule each, which the simulator must find: who proves the prover?
//!
//! Outside of tests and the `mutants` feature [`Mutation::is`] is constant false and costs nothing.

/// A rule that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The order to delete a corrupt replica ends its mark.
    OrderEndsMark,
    /// A mark ends when the replica leaves the map, for whatever reason.
    DeathEndsMark,
    /// Orders are not judged again when they leave.
    OrdersLeaveUnjudged,
    /// A lifeline counts as a heartbeat.
    LifelineVouches,
    /// Storages are sure at once after a failover.
    TrustStaleStorages,
    /// Every result of a block recovery is taken.
    ResultsUnjudged,
    /// Nobody is waited for before a block counts as held by nobody.
    ReportsNotAwaited,
    /// A leaving node is done although it has the only pipeline of an open file.
    OpenBlocksMayGo,
}

/// Which rule is broken, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mutation {
    #[cfg(any(test, feature = "mutants"))]
    mutant: Option<Mutant>,
}

impl Mutation {
    /// Breaks a rule.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn planted(mutant: Option<Mutant>) -> Mutation {
        Mutation { mutant }
    }

    /// Whether this rule is broken.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn is(self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether this rule is broken: never.
    #[cfg(not(any(test, feature = "mutants")))]
    pub(crate) fn is(self, _mutant: Mutant) -> bool {
        false
    }
}
