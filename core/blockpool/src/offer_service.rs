//! Which of the NameNodes of a nameservice a DataNode obeys (`BPOfferService`), and until when its orders count.
//!
//! A NameNode that claims to be active is believed only if the transaction id in its claim is above every claim
//! believed before. So a NameNode that was replaced and does not know it yet gives no orders. The highest id is kept
//! for the life of the process.
//!
//! Every order belongs to the claim under which it came ([`ClaimId`]), and ends with it. A new active counts the
//! replicas in a full report, and orders deletions by that count. So once such a report is made, nothing may be deleted
//! that another NameNode ordered. Three rules ensure this:
//! - a deletion asks [`OfferService::holds`] for each block, under the lock under which the replica leaves the map; the
//!   full report is made under the same lock. So a replica is either gone before the report, or the report comes after
//!   the new claim, and then the old order is void;
//! - a claim ends when another is accepted, when its NameNode gives the role up, and when its NameNode asks for a new
//!   registration. The last one is for a NameNode that was restarted, or was active, standby and active again between two
//!   heartbeats: the state it tells does not show that it counts anew;
//! - a NameNode whose claim was refused gets no full report while another one is obeyed: it would count replicas that
//!   the other one may delete.
//!
//! Losing all of this (a restart) is safe: queued orders are lost with it.

use std::collections::BTreeSet;

pub use hathi_formats::ha::HaState;

/// An accepted claim. Numbers are not used twice while the DataNode runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(u64);

/// The place of a NameNode in the nameservice's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub usize);

/// What became of a heartbeat's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nothing changed.
    Unchanged,
    /// This NameNode is obeyed from now on.
    Accepted {
        /// Who was obeyed before.
        from: Option<ActorId>,
    },
    /// It claims to be active, but another one claimed so with a higher transaction id.
    Refused {
        /// The highest claim believed so far.
        last_claim: i64,
    },
    /// It was obeyed and says that it is active no more.
    Relinquished,
}

/// The nameservice as seen from a DataNode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferService {
    active: Option<ActorId>,
    last_claim: i64,
    /// Counts every beginning and every end of a claim.
    claim: ClaimId,
    /// NameNodes that claim to be active and are not believed.
    refused: BTreeSet<ActorId>,
}

impl Default for OfferService {
    fn default() -> Self {
        OfferService {
            active: None,
            last_claim: -1,
            claim: ClaimId(0),
            refused: BTreeSet::new(),
        }
    }
}

impl OfferService {
    /// Nobody is obeyed yet.
    #[must_use]
    pub fn new() -> OfferService {
        OfferService::default()
    }

    /// Who is obeyed.
    #[must_use]
    pub fn active(&self) -> Option<ActorId> {
        self.active
    }

    /// A handshake's answer: an active one is taken when none is known (`verifyAndSetNamespaceInfo`).
    pub fn on_handshake(&mut self, actor: ActorId, state: Option<HaState>) -> Claim {
        if state == Some(HaState::Active) && self.active.is_none() {
            self.begin(Some(actor));
            return Claim::Accepted { from: None };
        }
        Claim::Unchanged
    }

    /// A heartbeat's answer (`updateActorStatesFromHeartbeat`). `txid` is signed as on the wire, where -12345 is none.
    pub fn on_heartbeat(&mut self, actor: ActorId, state: HaState, txid: i64) -> Claim {
        let obeyed = self.active == Some(actor);
        self.refused.remove(&actor);
        let claim = match (state == HaState::Active, obeyed) {
            (true, false) if txid <= self.last_claim => {
                self.refused.insert(actor);
                return Claim::Refused {
                    last_claim: self.last_claim,
                };
            }
            (true, false) => Claim::Accepted {
                from: self.begin(Some(actor)),
            },
            (false, true) => {
                self.begin(None);
                Claim::Relinquished
            }
            (true, true) | (false, false) => Claim::Unchanged,
        };
        if self.active == Some(actor) {
            self.last_claim = self.last_claim.max(txid);
        }
        debug_assert_eq!(
            self.active == Some(actor),
            state == HaState::Active,
            "who claims to be active and is not refused is obeyed, and nobody else"
        );
        claim
    }

    /// The NameNode asked for a registration and got it. It may be a different process from the one that gave the last
    /// order, or may count anew for another reason.
    pub fn on_registered(&mut self, actor: ActorId) {
        if self.active == Some(actor) {
            self.begin(self.active);
        }
    }

    /// An actor stopped for good.
    pub fn on_stopped(&mut self, actor: ActorId) {
        self.refused.remove(&actor);
        if self.active == Some(actor) {
            self.begin(None);
        }
    }

    /// Ends the present claim and begins the next one. Returns the NameNode that was obeyed before.
    fn begin(&mut self, active: Option<ActorId>) -> Option<ActorId> {
        self.claim.0 = self.claim.0.saturating_add(1);
        std::mem::replace(&mut self.active, active)
    }

    /// The claim under which an order of this NameNode comes now; `None` when its commands do not count. A NameNode that
    /// is not obeyed may only ask for registration.
    #[must_use]
    pub fn claim_of(&self, actor: ActorId) -> Option<ClaimId> {
        (self.active == Some(actor)).then_some(self.claim)
    }

    /// Whether orders of this claim still count. To be asked for each block that is deleted.
    #[must_use]
    pub fn holds(&self, claim: ClaimId) -> bool {
        self.active.is_some() && self.claim == claim
    }

    /// Whether this NameNode may be sent a full report.
    #[must_use]
    pub fn may_report_to(&self, actor: ActorId) -> bool {
        self.active.is_none_or(|active| active == actor) || !self.refused.contains(&actor)
    }
}

#[cfg(test)]
mod interleavings;

#[cfg(test)]
mod tests {
    use super::*;

    const A: ActorId = ActorId(0);
    const B: ActorId = ActorId(1);

    #[test]
    fn the_higher_claim_wins_and_stays() {
        let mut service = OfferService::new();
        assert_eq!(service.on_heartbeat(A, HaState::Standby, 100), Claim::Unchanged);
        assert_eq!(
            service.on_heartbeat(A, HaState::Active, 100),
            Claim::Accepted { from: None }
        );
        assert_eq!(
            service.on_heartbeat(B, HaState::Active, 100),
            Claim::Refused { last_claim: 100 },
            "an equal claim is not above"
        );
        assert_eq!(
            service.on_heartbeat(B, HaState::Active, 101),
            Claim::Accepted { from: Some(A) }
        );
        assert_eq!(
            service.on_heartbeat(A, HaState::Active, 101),
            Claim::Refused { last_claim: 101 },
            "the one that was replaced gives no orders"
        );
        assert!(service.claim_of(B).is_some() && service.claim_of(A).is_none());
        assert_eq!(service.on_heartbeat(B, HaState::Active, 150), Claim::Unchanged);
        assert_eq!(
            service.on_heartbeat(A, HaState::Active, 140),
            Claim::Refused { last_claim: 150 },
            "the standing active raises the mark with each heartbeat"
        );
        assert_eq!(service.on_heartbeat(B, HaState::Standby, 150), Claim::Relinquished);
        assert_eq!(
            service.on_heartbeat(A, HaState::Active, 150),
            Claim::Refused { last_claim: 150 },
            "the mark outlives the role"
        );
    }

    #[test]
    fn a_handshake_is_believed_only_while_nobody_is_obeyed() {
        let mut service = OfferService::new();
        assert_eq!(
            service.on_handshake(A, Some(HaState::Active)),
            Claim::Accepted { from: None }
        );
        assert_eq!(service.on_handshake(B, Some(HaState::Active)), Claim::Unchanged);
        assert!(service.claim_of(A).is_some());
        service.on_stopped(A);
        assert_eq!(service.on_handshake(B, Some(HaState::Standby)), Claim::Unchanged);
        assert_eq!(service.active(), None);
    }
    #[test]
    fn safety_05_an_order_ends_with_the_claim_under_which_it_came() {
        let mut service = OfferService::new();
        service.on_heartbeat(A, HaState::Active, 100);
        let first = service.claim_of(A).unwrap();
        service.on_heartbeat(A, HaState::Active, 101);
        assert!(service.holds(first) && service.claim_of(A) == Some(first));
        service.on_heartbeat(B, HaState::Active, 102);
        let second = service.claim_of(B).unwrap();
        assert!(!service.holds(first) && service.holds(second));
        // The same NameNode again is not the same claim again.
        service.on_heartbeat(A, HaState::Active, 103);
        assert!(!service.holds(first) && !service.holds(second));
        let third = service.claim_of(A).unwrap();
        service.on_registered(B);
        assert!(service.holds(third));
        service.on_registered(A);
        assert!(!service.holds(third) && service.claim_of(A).is_some());
        let fourth = service.claim_of(A).unwrap();
        service.on_heartbeat(A, HaState::Standby, 103);
        assert!(!service.holds(fourth) && service.claim_of(A).is_none());
    }

    #[test]
    fn safety_05_who_is_refused_is_told_nothing_while_another_one_may_delete() {
        let mut service = OfferService::new();
        service.on_heartbeat(A, HaState::Active, 100);
        assert!(service.may_report_to(A) && service.may_report_to(B));
        service.on_heartbeat(B, HaState::Active, 99);
        assert!(service.may_report_to(A) && !service.may_report_to(B));
        service.on_heartbeat(B, HaState::Standby, 99);
        assert!(service.may_report_to(B), "a standby counts on nothing");
        service.on_heartbeat(B, HaState::Active, 99);
        service.on_heartbeat(A, HaState::Standby, 100);
        assert!(service.may_report_to(B), "nobody may delete");
    }
}
