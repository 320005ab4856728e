//! When a NameNode is sent heartbeats and full reports (`BPServiceActor.Scheduler`). All times are milliseconds of one
//! monotonic clock.

/// The schedule of one NameNode.
#[derive(Clone, Debug)]
pub struct Schedule {
    heartbeat_interval_ms: u64,
    report_interval_ms: u64,
    next_heartbeat_ms: u64,
    next_report_ms: u64,
    report_forced: bool,
    lease_id: u64,
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
        }
    }

    /// After a registration a heartbeat is due at once, and a full report after `delay_ms`. An earlier report lease
    /// does not count.
    pub fn on_registered(&mut self, now_ms: u64, delay_ms: u64) {
        self.next_heartbeat_ms = now_ms;
        self.next_report_ms = now_ms.saturating_add(delay_ms);
        self.lease_id = 0;
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

    /// A heartbeat's answer granted a lease (0: none).
    pub fn on_lease(&mut self, lease_id: u64) {
        if lease_id != 0 {
            self.lease_id = lease_id;
        }
    }

    /// The NameNode did not accept the lease.
    pub fn drop_lease(&mut self) {
        self.lease_id = 0;
    }

    /// Brings the next full report forward. A NameNode that has just become active trusts no earlier report, and delays
    /// deletions until each DataNode has sent a full report. Hadoop's DataNodes leave it waiting for up to
    /// `dfs.blockreport.intervalMsec`.
    pub fn report_within(&mut self, now_ms: u64, delay_ms: u64) {
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

    /// A full report was sent. `spread` in 0..1 is random, so that DataNodes started together do not report together:
    /// the first interval is shortened by it.
    pub fn on_report_sent(&mut self, now_ms: u64, first: bool, spread: f64) {
        self.report_forced = false;
        self.lease_id = 0;
        let interval = self.report_interval_ms;
        let in_ms = if first {
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
        schedule.on_lease(77);
        assert!(!schedule.wants_lease(4000));
        assert_eq!(schedule.report_to_send(), Some(77));
        schedule.on_report_sent(4000, true, 0.0);
        assert_eq!(schedule.report_to_send(), None);
        assert!(!schedule.wants_lease(103_999) && schedule.wants_lease(104_000));
        schedule.force_report();
        assert_eq!(schedule.report_to_send(), Some(0));
    }

    #[test]
    fn a_report_is_brought_forward_but_never_put_off() {
        let mut schedule = Schedule::new(0, 100, 100_000);
        schedule.on_report_sent(0, false, 0.0);
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
        schedule.on_lease(5);
        schedule.on_registered(50, 0);
        assert_eq!(schedule.report_to_send(), None);
        assert!(schedule.wants_lease(50));
    }
}
