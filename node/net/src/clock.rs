//! The clocks of holders and grantors of leases.
//!
//! `std::time::Instant` (`CLOCK_MONOTONIC`) stands still while a machine is suspended. A holder that wakes up would
//! believe in its lease for as long as it slept. The clocks here go on.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Difference from which a jump is assumed, in microseconds. The wall clock is read from a copy that the kernel updates
/// with each tick, so it is up to 10 ms old.
const JUMP_US: i64 = 20_000;
/// Differences below [`JUMP_US`] and above this are noted, so that slow corrections of the wall clock never add up to a
/// jump.
const NOTED_US: i64 = 5_000;
/// Microseconds that a jump counts beyond the observed difference. Both readings of the wall clock may be a tick old,
/// and the noted difference may be off by [`NOTED_US`]. The other side of the lease counts in milliseconds.
const UNSEEN_US: i64 = 2 * JUMP_US;
/// Most microseconds that one jump counts. It is longer than any lease. It is too short to make a writer give up its
/// quorum (20 s) when an operator corrects the wall clock.
const COUNTED_MAX_US: i64 = 10_000_000;

fn read_us(id: ClockId) -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
    tv_sec.saturating_mul(1_000_000).saturating_add(tv_nsec / 1000)
}

/// Microseconds of `CLOCK_BOOTTIME` since this clock was started. Reading it takes no system call.
#[derive(Clone, Copy, Debug)]
pub struct BootClock {
    base_us: i64,
}

impl BootClock {
    /// A clock that begins at 0.
    #[must_use]
    pub fn start() -> Self {
        BootClock {
            base_us: read_us(ClockId::Boottime),
        }
    }

    /// Microseconds since the start.
    #[must_use]
    pub fn us(self) -> u64 {
        u64::try_from(read_us(ClockId::Boottime) - self.base_us).unwrap_or(0)
    }
}

/// A [`BootClock`] for a holder of leases. It also goes forward when the wall clock jumps ahead of it.
///
/// A virtual machine that its host stops sees every clock stand still. The only sign of it is that the wall clock is
/// corrected afterwards. If this clock goes forward too far, the holder loses its lease until the next renewal, and
/// nothing else happens.
#[derive(Clone, Debug)]
pub struct HolderClock {
    boot: BootClock,
    jumps: Arc<Jumps>,
}

impl HolderClock {
    /// A clock that begins at 0.
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

    /// Microseconds since the start, with all jumps. It never goes back.
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
    /// How far the wall clock was ahead of the boot clock when that was last noted.
    ahead_us: AtomicI64,
    /// Sum of all jumps.
    counted_us: AtomicU64,
}

impl Jumps {
    /// Sum of all jumps in microseconds, given how far the wall clock is ahead now.
    fn counted(&self, ahead_us: i64) -> u64 {
        let step = ahead_us.saturating_sub(self.ahead_us.load(Ordering::Relaxed));
        if step > JUMP_US {
            // This comes before the new difference is noted. A thread between the two steps counts the jump twice,
            // which does no harm.
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
        // The differences come from the age of the tick, and from a slow correction.
        for ahead in [-3_000, 4_000, 12_000, 20_000, 28_000, 36_000, 30_000] {
            assert_eq!(jumps.counted(ahead), 0, "{ahead}");
        }
        // The time at which the clock stopped is known up to a tick and up to a difference that is not noted.
        assert_eq!(jumps.counted(530_000), 540_000);
        assert_eq!(jumps.counted(531_000), 540_000, "once");
        // The wall clock is set back, and forward again by an hour.
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
