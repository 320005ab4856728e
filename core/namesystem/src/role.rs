//! The role of a NameNode and which changes of it are legal (Hadoop's `HAState`, `HAContext`).
//!
//! ```text
//! Initializing ─► Standby ─► BecomingActive ─► Active ─► SteppingDown ─► Standby
//!                    ▲             │ failed                  ▲
//!                    └─────────────┘            lost quorum, fenced, asked
//! ```

use crate::life::Generation;
use hathi_formats::exceptions::{self, RemoteException};
pub use hathi_formats::ha::HaState;

/// The role of a NameNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The image or the edits are being loaded. Calls get RetriableException.
    Initializing,
    /// The NameNode follows the journal.
    Standby,
    /// The NameNode recovers the journal and applies the rest of it. Calls wait.
    BecomingActive,
    /// The NameNode serves.
    Active,
    /// The NameNode takes no more calls. It finishes its segment, or drops edits that it could not make durable.
    SteppingDown,
}

/// A role, and the life in which the NameNode has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The role.
    pub role: Role,
    /// The life.
    pub generation: Generation,
}

/// Number of bits of a [`Standing`] that hold the role.
const ROLE_BITS: u32 = 3;

impl Standing {
    /// Role and life in one word, so that both can be read at once without a lock.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        let role = match self.role {
            Role::Initializing => 0,
            Role::Standby => 1,
            Role::BecomingActive => 2,
            Role::Active => 3,
            Role::SteppingDown => 4,
        };
        let bits = self.generation.to_bits() << ROLE_BITS | role;
        debug_assert_eq!(
            Standing::from_bits(bits),
            self,
            "who reads it without a lock reads what it is"
        );
        bits
    }

    /// Reads what [`Standing::to_bits`] made.
    #[must_use]
    pub fn from_bits(bits: u64) -> Standing {
        Standing {
            role: match bits & ((1 << ROLE_BITS) - 1) {
                1 => Role::Standby,
                2 => Role::BecomingActive,
                3 => Role::Active,
                4 => Role::SteppingDown,
                _ => Role::Initializing,
            },
            generation: Generation::from_bits(bits >> ROLE_BITS),
        }
    }
}

/// Hadoop's `NameNode.OperationCategory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationCategory {
    /// Allowed in every state.
    Unchecked,
    /// Needs an active (or observer).
    Read,
    /// Needs the active.
    Write,
    /// Needs the active.
    Checkpoint,
    /// Needs the active.
    Journal,
}

impl OperationCategory {
    fn name(self) -> &'static str {
        match self {
            OperationCategory::Unchecked => "UNCHECKED",
            OperationCategory::Read => "READ",
            OperationCategory::Write => "WRITE",
            OperationCategory::Checkpoint => "CHECKPOINT",
            OperationCategory::Journal => "JOURNAL",
        }
    }
}

/// A change of role that is not allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{from:?} cannot become {to:?}")]
pub struct IllegalTransition {
    /// The present role.
    pub from: Role,
    /// The role that was asked for.
    pub to: Role,
}

impl Role {
    /// Hadoop's name of the role.
    #[must_use]
    pub fn ha_state(self) -> HaState {
        match self {
            Role::Initializing => HaState::Initializing,
            Role::Active => HaState::Active,
            Role::Standby | Role::BecomingActive | Role::SteppingDown => HaState::Standby,
        }
    }

    /// The role after a change, if the change is legal. Whatever the role is, the namespace may have to be loaded anew.
    pub(crate) fn changed_to(self, to: Role) -> Result<Role, IllegalTransition> {
        let legal = matches!(
            (self, to),
            (_, Role::Initializing)
                | (Role::Initializing, Role::Standby | Role::Active)
                | (Role::Standby, Role::BecomingActive)
                | (Role::BecomingActive, Role::Active | Role::Standby | Role::SteppingDown)
                | (Role::Active, Role::SteppingDown)
                | (Role::SteppingDown, Role::Standby)
        );
        match legal {
            true => Ok(to),
            false => Err(IllegalTransition { from: self, to }),
        }
    }

    /// Whether a call of this category may run now (`HAState.checkOperation`).
    pub fn check_operation(self, category: OperationCategory) -> Result<(), RemoteException> {
        match (self, category) {
            (_, OperationCategory::Unchecked) | (Role::Active, _) => Ok(()),
            (Role::Initializing, _) => Err(RemoteException::new(
                exceptions::RETRIABLE,
                "NameNode still not started",
            )),
            (Role::Standby | Role::BecomingActive | Role::SteppingDown, _) => Err(RemoteException::new(
                exceptions::STANDBY,
                format!(
                    "Operation category {} is not supported in state {}. Visit https://s.apache.org/sbnn-error",
                    category.name(),
                    self.ha_state().name()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_active_takes_writes() {
        for (role, allowed) in [
            (Role::Initializing, false),
            (Role::Standby, false),
            (Role::BecomingActive, false),
            (Role::Active, true),
            (Role::SteppingDown, false),
        ] {
            assert_eq!(
                role.check_operation(OperationCategory::Write).is_ok(),
                allowed,
                "{role:?}"
            );
            assert!(role.check_operation(OperationCategory::Unchecked).is_ok());
        }
        let refused = Role::Standby.check_operation(OperationCategory::Read).unwrap_err();
        assert!(refused.is(exceptions::STANDBY));
        let refused = Role::Initializing.check_operation(OperationCategory::Read).unwrap_err();
        assert!(refused.is(exceptions::RETRIABLE));
    }

    #[test]
    fn a_standby_becomes_active_only_by_recovery() {
        let mut role = Role::Standby;
        assert!(role.changed_to(Role::Active).is_err());
        for next in [Role::BecomingActive, Role::Active, Role::SteppingDown, Role::Standby] {
            role = role.changed_to(next).unwrap();
        }
        assert_eq!(role, Role::Standby);
    }
}
