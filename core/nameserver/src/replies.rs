//! When the reply to a call may leave.

use hathi_formats::ids::TxId;
use hathi_namesystem::{Role, Standing};

/// Where a reply was made, and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Role and life under the lock under which it was made.
    pub standing: Standing,
    /// The last transaction that it shows.
    pub after: Option<TxId>,
    /// Whether the call may have changed the namespace.
    pub changed: bool,
}

impl Made {
    /// Whether the reply may leave now. Otherwise it is parked, until what it shows is durable and the read lease is held.
    ///
    /// A standby shows nothing that may be lost. An active shows nothing that has no quorum. It shows nothing without the
    /// lease either, because another NameNode may have changed it meanwhile. `now` is the role and life at this moment.
    #[must_use]
    pub fn leaves_at_once(&self, now: impl FnOnce() -> Standing, is_lease_held: impl FnOnce() -> bool) -> bool {
        if self.after.is_some() {
            return false;
        }
        self.standing.role != Role::Active || self.standing == now() && is_lease_held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_namesystem::Life;

    fn standing(role: Role, life: &Life) -> Standing {
        Standing {
            role,
            generation: life.generation(),
        }
    }

    fn made(role: Role, life: &Life) -> Made {
        Made {
            standing: standing(role, life),
            after: None,
            changed: false,
        }
    }

    #[test]
    fn an_active_answers_at_once_only_with_the_lease_and_with_what_has_a_quorum() {
        let life = Life::first();
        let made = made(Role::Active, &life);
        assert!(made.leaves_at_once(|| made.standing, || true));
        assert!(
            !made.leaves_at_once(|| made.standing, || false),
            "another may be active"
        );
        let in_flight = Made {
            after: Some(TxId(7)),
            ..made
        };
        assert!(!in_flight.leaves_at_once(|| made.standing, || true), "no quorum has it");
    }

    #[test]
    fn a_reply_of_another_role_or_life_than_now_does_not_leave_at_once() {
        let life = Life::first();
        let made = made(Role::Active, &life);
        assert!(!made.leaves_at_once(|| standing(Role::SteppingDown, &life), || true));
        let next = life.next(TxId(3));
        assert!(!made.leaves_at_once(|| standing(Role::Active, &next), || true));
    }

    #[test]
    fn a_standby_refuses_at_once_with_or_without_a_lease() {
        let life = Life::first();
        let made = made(Role::Standby, &life);
        assert!(made.leaves_at_once(|| standing(Role::Active, &life), || false));
    }
}
