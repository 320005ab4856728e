//! What is wrong with this NameNode while it does not serve. [`StandbyHealth`] decides what follows from it.

use crate::clock::Clock;
use hathi_namesystem::standby_health::{Aspect, StandbyHealth};
use hathi_namesystem::tailer::TailError;
use parking_lot::{Mutex, MutexGuard};

/// See the module.
pub struct Health {
    clock: Clock,
    state: Mutex<StandbyHealth>,
}

impl Health {
    /// Nothing is wrong.
    #[must_use]
    pub fn new(clock: Clock) -> Health {
        Health {
            clock,
            state: Mutex::default(),
        }
    }

    /// What is known now. Whoever needs the namesystem's lock has it already.
    pub fn lock(&self) -> MutexGuard<'_, StandbyHealth> {
        self.state.lock()
    }

    /// Notes a problem that makes this NameNode unhealthy, and logs it when it is new.
    pub fn failed(&self, aspect: Aspect, error: &anyhow::Error) {
        let what = cause(error);
        if self.lock().failed(aspect, what.clone(), self.clock.ms()) {
            tracing::error!(aspect = aspect.name(), problem = what, "this NameNode is not healthy");
        }
    }

    /// Notes that an aspect works again.
    pub fn well(&self, aspect: Aspect) {
        self.lock().well(aspect);
    }
}

/// The part of an error's message that is the same when the same happens again. The other causes in the chain name places.
pub fn cause(error: &anyhow::Error) -> String {
    let cause = error.downcast_ref::<TailError>();
    cause.map_or_else(|| format!("{error:#}"), ToString::to_string)
}
