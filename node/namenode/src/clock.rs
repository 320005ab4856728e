//! The clocks of a NameNode process.

use hathi_net::clock::HolderClock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The process's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    lease: HolderClock,
    base: Instant,
}

impl Clock {
    /// Starts at 1 s, so that 0 can mean "never".
    #[must_use]
    pub fn start() -> Self {
        Clock {
            lease: HolderClock::start(),
            base: Instant::now(),
        }
    }

    /// Microseconds for the read lease and its renewal. They go on while the machine is suspended or stopped. Reading
    /// them also looks for a jump of the clock, so they may be compared with the end of a lease.
    #[must_use]
    pub fn us(&self) -> u64 {
        1_000_000 + self.lease.us()
    }

    /// Milliseconds for everything else, for example to judge the silence of DataNodes and clients
    /// (`Time.monotonicNow`). They stand still while the machine is suspended, because nobody was silent to it then.
    #[must_use]
    pub fn ms(&self) -> u64 {
        1_000 + self.base.elapsed().as_millis() as u64
    }

    /// Wall clock milliseconds since 1970.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }

    /// Both times, for the block manager.
    #[must_use]
    pub fn now(&self) -> hathi_blockmanager::Now {
        hathi_blockmanager::Now {
            monotonic_ms: self.ms(),
            wall_ms: self.wall_ms(),
        }
    }
}
