//! When a NameNode is sent heartbeats and full reports (`BPServiceActor.Scheduler`). All times are milliseconds of one
//! monotonic clock.
//!
//! Invariants:
//! * a full report is sent with a lease of the NameNode, or because somebody asked for it;
//! * a lease is for one report, ends with a registration, and is not taken from a NameNode whose claim is refused;
//! * a NameNode that begins to be obeyed gets a full report soon: it trusts none from before.

use crate::offer_service::Claim;

/// The schedule of one NameNode.
#[derive(Clone, Debug)]
pub struct Schedule {
    heartbeat_interval_ms: u64,
    report_interval_ms: u64,
    next_heartbeat_ms: u64,
    next_report_ms: u64,
    report_forced: bool,
    lease_id: u64,
    /// The next report is the first one since a registration.
    is_first_report: bool,
}

impl Schedule {
    /// Everything is due at `now_ms`.
    #[must_use]
    pub fn new(now_ms: u64, heartbeat_interval_ms: u64, report_interval_ms: u64) -> Schedule {
        Schedule {
            heartbeat_interval_ms: heartbeat_interval_ms.max(1),
            report_interval_ms: report_interval_ms.max(1),
            next_heartbeat_ms: now_ms,
            next_report_ms: now_ms,
            report_forced: false,
            lease_id: 0,
            is_first_report: true,
        }
    }

    /// After a registration a heartbeat is due at once, and a full report after `delay_ms`. An earlier report lease
    /// does not count.
    pub fn on_registered(&mut self, now_ms: u64, delay_ms: u64) {
        self.next_heartbeat_ms = now_ms;
        self.next_report_ms = now_ms.saturating_add(delay_ms);
        self.lease_id = 0;
        self.is_first_report = true;
    }

    /// Whether a heartbeat is due.
    #[must_use]
    pub fn heartbeat_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_heartbeat_ms
    }

    /// Whether the heartbeat should ask for a report lease.
    #[must_use]
    pub fn wants_lease(&self, now_ms: u64) -> bool {
        self.lease_id == 0 && now_ms >= self.next_report_ms
    }

    /// A heartbeat is being sent.
    pub fn on_heartbeat_sent(&mut self, now_ms: u64) {
        // It is counted from the time at which this one was due, so that lateness does not add up. But it is never in
        // the past.
        let next_ms = self.next_heartbeat_ms.saturating_add(self.heartbeat_interval_ms);
        self.next_heartbeat_ms = next_ms.max(now_ms.saturating_add(1));
        debug_assert!(!self.heartbeat_due(now_ms), "a heartbeat is sent once");
    }

    /// Brings the next heartbeat forward (`scheduleHeartbeat`).
    pub fn heartbeat_now(&mut self, now_ms: u64) {
        self.next_heartbeat_ms = now_ms;
    }

    /// A heartbeat was answered. `claim` is what became of the claim in the answer, and `lease_id` the report lease that
    /// it grants (0: none). A NameNode that is obeyed from now on is due a full report within `delay_ms`. It trusts no
    /// earlier one, and delays deletions until each DataNode has sent one. Hadoop's DataNodes leave it waiting for up to
    /// `dfs.blockreport.intervalMsec`.
    pub fn on_heartbeat_answered(&mut self, now_ms: u64, claim: Claim, lease_id: u64, delay_ms: u64) {
        match claim {
            // It gets no report, so its lease would not be used.
            Claim::Refused { .. } => return,
            Claim::Accepted { .. } => self.report_within(now_ms, delay_ms),
            Claim::Unchanged | Claim::Relinquished => {}
        }
        if lease_id != 0 {
            self.lease_id = lease_id;
        }
    }

    /// The NameNode did not accept the lease.
    pub fn drop_lease(&mut self) {
        self.lease_id = 0;
    }

    /// Brings the next full report forward.
    fn report_within(&mut self, now_ms: u64, delay_ms: u64) {
        self.next_report_ms = self.next_report_ms.min(now_ms.saturating_add(delay_ms));
    }

    /// Asks for a full report without waiting for a lease (`triggerBlockReport`).
    pub fn force_report(&mut self) {
        self.report_forced = true;
    }

    /// Whether to send a full report now, and with which lease.
    #[must_use]
    pub fn report_to_send(&self) -> Option<u64> {
        (self.lease_id != 0 || self.report_forced).then_some(self.lease_id)
    }

    /// A full report was sent. `spread` in 0..1 is random: the interval after the first report since a registration is
    /// shortened by it, to a half at most. DataNodes that were started together, or have registered together because
    /// their NameNode was started, would report together for ever otherwise (`resetBlockReportTime`).
    pub fn on_report_sent(&mut self, now_ms: u64, spread: f64) {
        self.report_forced = false;
        self.lease_id = 0;
        let interval = self.report_interval_ms;
        let in_ms = if std::mem::take(&mut self.is_first_report) {
            (interval as f64 * (1.0 - spread.clamp(0.0, 1.0) / 2.0)) as u64
        } else {
            interval
        };
        self.next_report_ms = now_ms.saturating_add(in_ms);
        debug_assert_eq!(self.report_to_send(), None, "a lease is for one report");
    }

    /// Time in milliseconds until something is due.
    #[must_use]
    pub fn idle_ms(&self, now_ms: u64) -> u64 {
        self.next_heartbeat_ms.saturating_sub(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_asked_for_once_and_used_once() {
        let mut schedule = Schedule::new(1000, 3000, 100_000);
        assert!(schedule.heartbeat_due(1000) && schedule.wants_lease(1000));
        schedule.on_heartbeat_sent(1000);
        assert!(!schedule.heartbeat_due(3999) && schedule.heartbeat_due(4000));
        assert_eq!(schedule.idle_ms(1500), 2500);
        assert_eq!(schedule.report_to_send(), None);
        schedule.on_heartbeat_answered(1000, Claim::Unchanged, 77, 0);
        assert!(!schedule.wants_lease(4000));
        assert_eq!(schedule.report_to_send(), Some(77));
        schedule.on_report_sent(4000, 0.0);
        assert_eq!(schedule.report_to_send(), None);
        assert!(!schedule.wants_lease(103_999) && schedule.wants_lease(104_000));
        schedule.force_report();
        assert_eq!(schedule.report_to_send(), Some(0));
    }

    #[test]
    fn a_report_is_brought_forward_but_never_put_off() {
        let mut schedule = Schedule::new(0, 100, 100_000);
        schedule.on_report_sent(0, 0.0);
        assert!(!schedule.wants_lease(99_999));
        schedule.report_within(1000, 500);
        assert!(!schedule.wants_lease(1499) && schedule.wants_lease(1500));
        schedule.report_within(1000, 5000);
        assert!(schedule.wants_lease(1500));
    }

    #[test]
    fn lateness_does_not_add_up() {
        let mut schedule = Schedule::new(0, 100, 1000);
        schedule.on_heartbeat_sent(30);
        assert_eq!(schedule.idle_ms(30), 70);
        schedule.on_heartbeat_sent(1000);
        assert_eq!(schedule.idle_ms(1000), 1, "missed ones are not made up for");
    }

    #[test]
    fn registration_drops_the_lease() {
        let mut schedule = Schedule::new(0, 100, 1000);
        schedule.on_heartbeat_answered(0, Claim::Unchanged, 5, 0);
        schedule.on_registered(50, 0);
        assert_eq!(schedule.report_to_send(), None);
        assert!(schedule.wants_lease(50));
    }

    #[test]
    fn who_is_obeyed_from_now_on_gets_a_report_soon_and_who_is_refused_gives_no_lease() {
        let accepted = Claim::Accepted { from: None };
        let mut schedule = Schedule::new(0, 100, 100_000);
        schedule.on_report_sent(0, 0.0);
        for claim in [Claim::Unchanged, Claim::Relinquished, Claim::Refused { last_claim: 9 }] {
            schedule.on_heartbeat_answered(1000, claim, 0, 500);
            assert!(!schedule.wants_lease(99_999), "{claim:?}");
        }
        schedule.on_heartbeat_answered(1000, accepted, 0, 500);
        assert!(!schedule.wants_lease(1499) && schedule.wants_lease(1500));

        schedule.on_heartbeat_answered(1500, Claim::Refused { last_claim: 9 }, 7, 0);
        assert_eq!(schedule.report_to_send(), None);
        schedule.on_heartbeat_answered(1600, accepted, 8, 500);
        assert_eq!(schedule.report_to_send(), Some(8));
        // An answer without a lease takes none away.
        schedule.on_heartbeat_answered(1700, Claim::Unchanged, 0, 0);
        assert_eq!(schedule.report_to_send(), Some(8));
    }

    #[test]
    fn datanodes_that_registered_together_do_not_report_together_for_ever() {
        let mut schedule = Schedule::new(0, 100, 100_000);
        let next_is_due = |schedule: &mut Schedule, now_ms: u64, spread: f64, in_ms: u64| {
            schedule.on_report_sent(now_ms, spread);
            assert!(!schedule.wants_lease(now_ms + in_ms - 1), "not before {in_ms} ms");
            assert!(schedule.wants_lease(now_ms + in_ms), "after {in_ms} ms");
        };
        next_is_due(&mut schedule, 0, 0.5, 75_000);
        next_is_due(&mut schedule, 75_000, 0.5, 100_000);
        // The NameNode was started again.
        schedule.on_registered(90_000, 0);
        next_is_due(&mut schedule, 90_000, 1.0, 50_000);
        next_is_due(&mut schedule, 140_000, 1.0, 100_000);
    }
}
