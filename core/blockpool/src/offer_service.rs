//! Which of the NameNodes of a nameservice a DataNode obeys (`BPOfferService`).
//!
//! A NameNode that claims to be active is believed only when the transaction id in its claim is above every claim
//! believed before, so that one which was replaced and does not know it yet gives no orders. The mark is kept for the
//! life of the process and only rises.

/// The place of a NameNode in the nameservice's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActorId(pub usize);

/// What a NameNode says it is (`HAServiceState` in heartbeats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaState {
    /// Claims to be active.
    Active,
    /// A standby.
    Standby,
    /// An observer.
    Observer,
}

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
#[derive(Clone, Debug)]
pub struct OfferService {
    active: Option<ActorId>,
    last_claim: i64,
}

impl Default for OfferService {
    fn default() -> Self {
        OfferService {
            active: None,
            last_claim: -1,
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
            self.active = Some(actor);
            return Claim::Accepted { from: None };
        }
        Claim::Unchanged
    }

    /// A heartbeat's answer (`updateActorStatesFromHeartbeat`). `txid` is signed as on the wire, where -12345 is none.
    pub fn on_heartbeat(&mut self, actor: ActorId, state: HaState, txid: i64) -> Claim {
        let obeyed = self.active == Some(actor);
        let claim = match (state == HaState::Active, obeyed) {
            (true, false) if txid <= self.last_claim => {
                return Claim::Refused {
                    last_claim: self.last_claim,
                };
            }
            (true, false) => Claim::Accepted {
                from: self.active.replace(actor),
            },
            (false, true) => {
                self.active = None;
                Claim::Relinquished
            }
            (true, true) | (false, false) => Claim::Unchanged,
        };
        if self.active == Some(actor) {
            self.last_claim = self.last_claim.max(txid);
        }
        claim
    }

    /// An actor stopped for good.
    pub fn on_stopped(&mut self, actor: ActorId) {
        if self.active == Some(actor) {
            self.active = None;
        }
    }

    /// Whether this NameNode's commands count. Others may only ask for registration.
    #[must_use]
    pub fn obeys(&self, actor: ActorId) -> bool {
        self.active == Some(actor)
    }
}

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
        assert!(service.obeys(B) && !service.obeys(A));
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
        assert!(service.obeys(A));
        service.on_stopped(A);
        assert_eq!(service.on_handshake(B, Some(HaState::Standby)), Claim::Unchanged);
        assert_eq!(service.active(), None);
    }
}
