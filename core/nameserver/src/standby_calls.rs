//! What becomes of a client's call at a NameNode that is not the active.
//!
//! Hadoop's has one answer, a StandbyException, which sends the client on to the next NameNode. The first one within a call
//! costs the client nothing, but each further one makes it sleep for half a second and more
//! (`RetryPolicies.FailoverOnNetworkExceptionRetry`), much longer than a failover takes. So here a call waits while nobody
//! is active, and is passed on once somebody is.

use hathi_namesystem::Role;
use std::sync::Arc;

/// Number of calls that may wait here or may be under way to the active. Above it clients get StandbyException.
pub const CALLS_MAX: usize = 4096;
/// How long a call is kept, in ms: longer than a failover takes, and shorter than a client's patience.
pub const KEEP_MS: u64 = 3000;

/// What a standby knows of the active's read lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseView {
    /// The JournalNodes know no leases, or too few of them agree, as for the moments of an election.
    Unknown,
    /// This NameNode, another one, holds it.
    HeldByOther(Arc<str>),
    /// Nobody holds it, so some NameNode is about to.
    Free,
    /// There is no other NameNode, so a client that calls while this one loads can't go elsewhere. Hadoop's NameNode
    /// does not listen before it has loaded, and its clients connect again and again. But they would not repeat a call
    /// that was answered.
    NoOther,
}

/// What is done with a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits here until it is looked at again.
    Wait,
    /// Ask the active about it. The active is named as the holder of the lease.
    Ask(Arc<str>),
    /// The client is sent to another NameNode.
    SendAway,
}

/// `refused_by` is the active that was last asked in vain: there will soon be another one, or else the client is no
/// better off elsewhere. `leases`: whether the JournalNodes are known to have leases.
#[must_use]
pub fn fate(role: Role, view: &LeaseView, leases: bool, refused_by: Option<&str>, waited_ms: u64) -> Fate {
    match (role, view) {
        // As long as the client has patience.
        (Role::Initializing, LeaseView::NoOther) => Fate::Wait,
        _ if waited_ms >= KEEP_MS => Fate::SendAway,
        (Role::BecomingActive | Role::SteppingDown, _) => Fate::Wait,
        (Role::Standby | Role::Initializing, LeaseView::Unknown) if leases => Fate::Wait,
        (Role::Active, _) | (_, LeaseView::Unknown | LeaseView::NoOther) => Fate::SendAway,
        (Role::Standby | Role::Initializing, LeaseView::Free) => Fate::Wait,
        (Role::Standby | Role::Initializing, LeaseView::HeldByOther(holder)) if refused_by == Some(holder) => {
            Fate::Wait
        }
        (Role::Standby | Role::Initializing, LeaseView::HeldByOther(holder)) => Fate::Ask(holder.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str) -> LeaseView {
        LeaseView::HeldByOther(holder.into())
    }

    #[test]
    fn the_active_is_asked_once() {
        let ask = |holder: &str| Fate::Ask(holder.into());
        assert_eq!(fate(Role::Standby, &held("nn1@a"), true, None, 0), ask("nn1@a"));
        assert_eq!(
            fate(Role::Standby, &held("nn2@b"), true, Some("nn1@a"), 0),
            ask("nn2@b")
        );
        // The holder is dead, and that will soon be known.
        assert_eq!(fate(Role::Standby, &held("nn1@a"), true, Some("nn1@a"), 0), Fate::Wait);
        assert_eq!(
            fate(Role::Standby, &LeaseView::Free, true, Some("nn1@a"), 0),
            Fate::Wait
        );
    }

    #[test]
    fn nothing_is_kept_for_ever_or_in_vain() {
        for view in [LeaseView::Free, held("nn1@a")] {
            assert_eq!(fate(Role::Standby, &view, true, Some("nn1@a"), KEEP_MS), Fate::SendAway);
        }
        // JournalNodes without leases never tell more. Others are between two leases.
        assert_eq!(fate(Role::Standby, &LeaseView::Unknown, false, None, 0), Fate::SendAway);
        assert_eq!(fate(Role::Standby, &LeaseView::Unknown, true, None, 0), Fate::Wait);
        assert_eq!(
            fate(Role::Standby, &LeaseView::Unknown, true, None, KEEP_MS),
            Fate::SendAway
        );
        assert_eq!(fate(Role::Active, &LeaseView::Free, true, None, 0), Fate::SendAway);
        assert_eq!(fate(Role::Active, &LeaseView::NoOther, true, None, 0), Fate::SendAway);
        // The only NameNode loads, however long it takes.
        assert_eq!(
            fate(Role::Initializing, &LeaseView::NoOther, true, None, KEEP_MS),
            Fate::Wait
        );
        assert_eq!(fate(Role::BecomingActive, &held("nn1@a"), true, None, 0), Fate::Wait);
    }
}
