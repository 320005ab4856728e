//! A limit on bytes per second, shared by several threads (`DataTransferThrottler`).

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How far the bytes may be ahead of the rate, so that short pauses of one thread do not lower it.
const SLACK: Duration = Duration::from_millis(500);

/// The limit.
#[derive(Debug)]
pub struct Throttle {
    // The time at which the bytes taken so far fit the rate, and the rate.
    state: Mutex<(Instant, u64)>,
}

impl Throttle {
    /// A limit in bytes per second.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle {
            state: Mutex::new((Instant::now(), bytes_per_second.max(1))),
        }
    }

    /// Bytes per second.
    #[must_use]
    pub fn bandwidth(&self) -> u64 {
        self.state.lock().1
    }

    /// Changes the limit.
    pub fn set_bandwidth(&self, bytes_per_second: u64) {
        self.state.lock().1 = bytes_per_second.max(1);
    }

    /// Counts bytes. Sleeps when they are ahead of the rate.
    pub fn take(&self, bytes: u64) {
        let now = Instant::now();
        let wait = {
            let mut state = self.state.lock();
            let paid = state.0.max(now.checked_sub(SLACK).unwrap_or(now));
            state.0 = paid + Duration::from_secs_f64(bytes as f64 / state.1 as f64);
            state.0.saturating_duration_since(now)
        };
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}
