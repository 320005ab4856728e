//! The clocks of whoever holds or grants a lease.
//!
//! `std::time::Instant` (`CLOCK_MONOTONIC`) stands still while a machine is suspended: a holder that wakes up would
//! believe in its lease for as long as it slept. These clocks go on.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The wall clock is read from what the kernel keeps for each tick, which is up to 10 ms old. What differs by less is no
/// jump.
const JUMP_US: i64 = 20_000;
/// Smaller differences are noted, so that slow corrections of the wall clock never add up to a jump.
const NOTED_US: i64 = 5_000;
/// What a jump counts beyond the difference that was seen. Both readings of the wall clock may be a tick old, and what was
/// noted may be off by [`NOTED_US`]; the other side of the lease counts to the millisecond.
const UNSEEN_US: i64 = 2 * JUMP_US;
/// The most that one jump counts: longer than any lease, and too short for a writer to give its quorum up (20 s) when
/// somebody sets the wall clock right.
const COUNTED_MAX_US: i64 = 10_000_000;

fn read_us(id: ClockId) -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
    tv_sec.saturating_mul(1_000_000).saturating_add(tv_nsec / 1000)
}

/// Microseconds of `CLOCK_BOOTTIME` since its start. Read without a system call.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    base_us: i64,
}

impl BootClock {
    /// Begins at 0.
    #[must_use]
    pub fn start() -> Self {
        BootClock {
            base_us: read_us(ClockId::Boottime),
        }
    }

    /// Since the start.
    #[must_use]
    pub fn us(self) -> u64 {
        u64::try_from(read_us(ClockId::Boottime) - self.base_us).unwrap_or(0)
    }
}

/// A [`BootClock`] for a holder of leases: it also goes forward when the wall clock does without it.
///
/// A virtual machine that its host stops sees every clock stand still. What tells is that its wall clock is set right
/// afterwards. Going forward too far costs the holder its lease until the next renewal, and nothing else.
#[derive(Clone, Debug)]
pub struct HolderClock {
    boot: BootClock,
    jumps: Arc<Jumps>,
}

impl HolderClock {
    /// Begins at 0.
    #[must_use]
    pub fn start() -> Self {
        let boot = BootClock::start();
        let ahead = read_us(ClockId::RealtimeCoarse);
        HolderClock {
            boot,
            jumps: Arc::new(Jumps {
                ahead_us: AtomicI64::new(ahead),
                counted_us: AtomicU64::new(0),
            }),
        }
    }

    /// Since the start, jumps included. Never goes back.
    #[must_use]
    pub fn us(&self) -> u64 {
        let boot = self.boot.us();
        let wall = read_us(ClockId::RealtimeCoarse);
        boot + self
            .jumps
            .counted(wall.saturating_sub(i64::try_from(boot).unwrap_or(i64::MAX)))
    }
}

#[derive(Debug)]
struct Jumps {
    /// How far the wall clock was ahead of the other when that was noted last.
    ahead_us: AtomicI64,
    /// All jumps.
    counted_us: AtomicU64,
}

impl Jumps {
    /// All jumps, now that the wall clock is so far ahead.
    fn counted(&self, ahead_us: i64) -> u64 {
        let step = ahead_us.saturating_sub(self.ahead_us.load(Ordering::Relaxed));
        if step > JUMP_US {
            // Before it is noted: whoever comes between counts it a second time, which does no harm.
            let counted = u64::try_from(step.min(COUNTED_MAX_US) + UNSEEN_US).unwrap_or(0);
            self.counted_us.fetch_add(counted, Ordering::AcqRel);
            self.ahead_us.store(ahead_us, Ordering::Release);
            if step > COUNTED_MAX_US / 10 {
                tracing::warn!(
                    step_ms = step / 1000,
                    "the wall clock went forward: the machine may have been stopped, so no lease from before counts"
                );
            }
        } else if step.abs() > NOTED_US {
            self.ahead_us.store(ahead_us, Ordering::Release);
        }
        self.counted_us.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safety_09_it_is_the_clock_that_goes_on_in_suspend() {
        let before = read_us(ClockId::Boottime);
        let clock = BootClock { base_us: 0 };
        let shown = i64::try_from(clock.us()).unwrap();
        assert!(before <= shown && shown <= read_us(ClockId::Boottime));
    }

    #[test]
    fn safety_09_a_wall_clock_that_went_forward_counts_against_the_holder() {
        let jumps = Jumps {
            ahead_us: AtomicI64::new(1_000),
            counted_us: AtomicU64::new(0),
        };
        // The tick's age, and a slow correction.
        for ahead in [-3_000, 4_000, 12_000, 20_000, 28_000, 36_000, 30_000] {
            assert_eq!(jumps.counted(ahead), 0, "{ahead}");
        }
        // What the clock was when it stopped is known to a tick and to what is not noted.
        assert_eq!(jumps.counted(530_000), 540_000);
        assert_eq!(jumps.counted(531_000), 540_000, "once");
        // Set back, and forward again by an hour.
        assert_eq!(jumps.counted(-3_600_000_000), 540_000);
        assert_eq!(jumps.counted(0), 10_580_000);
    }

    #[test]
    fn a_holders_clock_goes_on_by_itself() {
        let clock = HolderClock::start();
        let first = clock.us();
        assert!(first < 60_000_000);
        assert!(clock.us() >= first);
    }
}
