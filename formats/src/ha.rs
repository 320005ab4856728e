//! What NameNodes tell of their role.

/// Hadoop's four public states, `HAServiceStateProto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HaState {
    /// INITIALIZING 0
    Initializing,
    /// ACTIVE 1
    Active,
    /// STANDBY 2
    Standby,
    /// OBSERVER 3
    Observer,
}

impl HaState {
    /// The number in `HAServiceStateProto`.
    #[must_use]
    pub fn to_wire(self) -> i32 {
        match self {
            HaState::Initializing => 0,
            HaState::Active => 1,
            HaState::Standby => 2,
            HaState::Observer => 3,
        }
    }

    /// Hadoop's lower-case name, as `haadmin` and `/jmx` show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HaState::Initializing => "initializing",
            HaState::Active => "active",
            HaState::Standby => "standby",
            HaState::Observer => "observer",
        }
    }
}
