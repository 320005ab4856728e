//! How long the writer of a shared directory may answer reads, and how often it looks whether the directory is still its
//! own. There are no JournalNodes to grant a lease: whoever claims the directory waits for as long as the lease of the
//! claim before it answers anything.
//!
//! Invariant: the lease runs from before the look that found the claim, and ends earlier than whoever claims the
//! directory next answers, although the clocks of two machines may differ in speed by a percent.

/// How often the claim is looked at when there are no leases, ms.
const CHECK_EVERY_MS: u64 = 1000;
/// Parts of a lease after which it is renewed.
const RENEWALS_PER_LEASE: u64 = 4;
/// Part of each ms of a lease, in µs, that is counted on.
const COUNTED_US: u64 = 990;

/// When the claim was last seen to be this NameNode's.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryClaim {
    /// 0: there are no leases, because nobody else can claim the directory.
    lease_ms: u32,
    looked_us: u64,
}

impl DirectoryClaim {
    /// With leases of this length. 0 is none.
    #[must_use]
    pub fn new(lease_ms: u32) -> DirectoryClaim {
        DirectoryClaim { lease_ms, looked_us: 0 }
    }

    /// Time in µs from one look to the next.
    #[must_use]
    pub fn renewal_us(&self) -> u64 {
        match self.lease_ms {
            0 => CHECK_EVERY_MS * 1000,
            lease_ms => u64::from(lease_ms) * 1000 / RENEWALS_PER_LEASE,
        }
    }

    /// Whether it is time to look again.
    #[must_use]
    pub fn is_due(&self, now_us: u64) -> bool {
        now_us >= self.looked_us.saturating_add(self.renewal_us())
    }

    /// A look that began at this time has found that the directory is still ours. Returns the end of the read lease;
    /// `u64::MAX` without leases.
    pub fn seen(&mut self, began_us: u64) -> u64 {
        debug_assert!(began_us >= self.looked_us, "the clock does not go back");
        self.looked_us = began_us;
        let until_us = match self.lease_ms {
            0 => u64::MAX,
            lease_ms => began_us.saturating_add(COUNTED_US * u64::from(lease_ms)),
        };
        debug_assert!(
            self.lease_ms == 0 || until_us >= began_us.saturating_add(self.renewal_us()),
            "the lease ends after the next look"
        );
        until_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_ends_before_the_next_writer_answers_by_a_clock_that_is_a_percent_faster() {
        let mut claim = DirectoryClaim::new(1000);
        let until_us = claim.seen(5_000_000);
        let waited_us = 1_000_000;
        assert!(until_us <= 5_000_000 + waited_us * 99 / 100);
        assert!(until_us > 5_000_000 + claim.renewal_us(), "it is renewed in time");
    }

    #[test]
    fn the_claim_is_looked_at_several_times_in_each_lease_and_each_second_without() {
        for (lease_ms, renewal_us) in [(1000, 250_000), (0, 1_000_000)] {
            let mut claim = DirectoryClaim::new(lease_ms);
            claim.seen(7);
            assert!(!claim.is_due(7 + renewal_us - 1));
            assert!(claim.is_due(7 + renewal_us));
        }
    }

    #[test]
    fn who_is_alone_holds_its_lease_for_ever() {
        assert_eq!(DirectoryClaim::new(0).seen(7), u64::MAX);
    }
}
