//! What the local NameNode's answers say of its health (Hadoop: `HealthMonitor`), and when that counts.
//!
//! ```text
//!                    answers that it is well
//!   Initializing ────────────────────────────────────► Healthy
//!        ▲                                             │     ▲
//!        │ its process has ended                       │     │ well, for as long as it has to be
//!        │            answers that it is not well ─► Unhealthy
//!        └─ can't be reached, or silent for too long ─► NotResponding
//! ```
//!
//! Falling ill counts at once. So does getting well, the first time. A NameNode that falls ill again within
//! [`CALM_MS`] after it was well again has to stay well first, for [`SETTLE_MS`], and each time for twice as long, up to
//! [`SETTLE_MAX_MS`]. In that time one that does not go up and down wins the election; when there is none, nobody waits for
//! long. Hadoop has no such rule.
//!
//! Being silent is not being ill: who does not answer is asked on, until Hadoop's patience ends
//! (`ha.health-monitor.rpc-timeout.ms`) or until it is known that it has lost the role by its silence.
//!
//! Invariants:
//! - A NameNode that has never answered is `Initializing`, however long it takes.
//! - Nobody is kept from being `Healthy` for longer than [`SETTLE_MAX_MS`] while its answers say that it is well.
//! - `Failed` is for ever.

/// Who falls ill again within this time has to show that it stays well.
pub const CALM_MS: u64 = 60_000;
/// For how long it has to be well, the first time.
pub const SETTLE_MS: u64 = 200;
/// And at most: no cluster stays without an active for longer because of this.
pub const SETTLE_MAX_MS: u64 = 1000;

/// What is known of the local NameNode's health (`HealthMonitor.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// Nothing yet (`INITIALIZING`).
    Initializing,
    /// The NameNode can't be reached (`SERVICE_NOT_RESPONDING`).
    NotResponding,
    /// The NameNode is well (`SERVICE_HEALTHY`).
    Healthy,
    /// The NameNode says that it is not well (`SERVICE_UNHEALTHY`), or has not been well for long enough.
    Unhealthy,
    /// The health monitor has ended (`HEALTH_MONITOR_FAILED`).
    Failed,
}

impl HealthState {
    /// Hadoop's name, as in its log and its documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            HealthState::Initializing => "INITIALIZING",
            HealthState::NotResponding => "SERVICE_NOT_RESPONDING",
            HealthState::Healthy => "SERVICE_HEALTHY",
            HealthState::Unhealthy => "SERVICE_UNHEALTHY",
            HealthState::Failed => "HEALTH_MONITOR_FAILED",
        }
    }
}

/// Result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The NameNode says that it is well.
    Well,
    /// The NameNode says that it is not well.
    NotWell,
    /// The NameNode does not answer. As far as is known it lives.
    Silent,
    /// No process listens at its address.
    Unreachable,
}

/// The health of one NameNode. Times are monotonic, in milliseconds.
#[derive(Debug)]
pub struct HealthMonitor {
    silence_ms: u64,
    state: HealthState,
    silent_since_ms: Option<u64>,
    /// The NameNode counts as healthy from this time on, if it stays well.
    settles_at_ms: Option<u64>,
    /// When the NameNode last became well again.
    recovered_at_ms: Option<u64>,
    /// How many times in a row it fell ill soon after it was well again.
    relapses: u32,
}

impl HealthMonitor {
    /// The health of a NameNode that has not answered yet. It counts as not responding after a silence of `silence_ms`.
    #[must_use]
    pub fn new(silence_ms: u64) -> Self {
        HealthMonitor {
            silence_ms,
            state: HealthState::Initializing,
            silent_since_ms: None,
            settles_at_ms: None,
            recovered_at_ms: None,
            relapses: 0,
        }
    }

    /// The state of health by the rules of this module.
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.state
    }

    /// Whether the passing of time may change the state.
    #[must_use]
    pub fn needs_ticks(&self) -> bool {
        self.silent_since_ms.is_some() || self.settles_at_ms.is_some()
    }

    /// Takes the result of a probe.
    pub fn probed(&mut self, probe: Probe, now_ms: u64) {
        if probe != Probe::Silent {
            self.silent_since_ms = None;
        }
        if probe != Probe::Well {
            self.settles_at_ms = None;
        }
        match probe {
            Probe::Well => self.well(now_ms),
            Probe::NotWell => self.fall_ill(HealthState::Unhealthy, now_ms),
            Probe::Silent => self.silent_since_ms = self.silent_since_ms.or(Some(now_ms)),
            Probe::Unreachable if self.state == HealthState::Initializing => {}
            Probe::Unreachable => self.fall_ill(HealthState::NotResponding, now_ms),
        }
    }

    /// Time has passed. `lost_role`: it is known that the NameNode has lost the role that it had, or may have had.
    pub fn pass(&mut self, lost_role: bool, now_ms: u64) {
        if let Some(since_ms) = self.silent_since_ms
            && self.state != HealthState::Initializing
            && (lost_role || now_ms.saturating_sub(since_ms) >= self.silence_ms)
        {
            self.fall_ill(HealthState::NotResponding, now_ms);
        }
        if self.settles_at_ms.is_some_and(|at_ms| now_ms >= at_ms) {
            self.settles_at_ms = None;
            self.recovered_at_ms = Some(now_ms);
            self.set(HealthState::Healthy);
        }
    }

    /// The process has ended. The next process has no history of illness.
    pub fn process_ended(&mut self) {
        let failed = self.state == HealthState::Failed;
        *self = HealthMonitor::new(self.silence_ms);
        if failed {
            self.state = HealthState::Failed;
        }
    }

    /// The health monitor has ended.
    pub fn failed(&mut self) {
        self.state = HealthState::Failed;
    }

    fn set(&mut self, state: HealthState) {
        if self.state != HealthState::Failed {
            self.state = state;
        }
    }

    fn well(&mut self, now_ms: u64) {
        match self.state {
            HealthState::Healthy | HealthState::Failed => {}
            HealthState::Initializing => self.state = HealthState::Healthy,
            HealthState::Unhealthy | HealthState::NotResponding => {
                let settle_ms = self.settle_ms();
                self.settles_at_ms.get_or_insert(now_ms.saturating_add(settle_ms));
                self.pass(false, now_ms);
            }
        }
    }

    fn settle_ms(&self) -> u64 {
        match self.relapses.checked_sub(1) {
            None => 0,
            Some(doubled) => SETTLE_MS.saturating_mul(1 << doubled.min(16)).min(SETTLE_MAX_MS),
        }
    }

    fn fall_ill(&mut self, state: HealthState, now_ms: u64) {
        if self.state == HealthState::Healthy {
            let soon = |recovered_ms| now_ms.saturating_sub(recovered_ms) < CALM_MS;
            self.relapses = match self.recovered_at_ms.is_some_and(soon) {
                true => self.relapses.saturating_add(1),
                false => 0,
            };
        }
        self.set(state);
    }
}

#[cfg(test)]
mod tests {
    use super::HealthState::{Failed, Healthy, Initializing, NotResponding, Unhealthy};
    use super::*;

    const SILENCE_MS: u64 = 45_000;

    fn probed(monitor: &mut HealthMonitor, probe: Probe, now_ms: u64) -> HealthState {
        monitor.probed(probe, now_ms);
        monitor.pass(false, now_ms);
        monitor.state()
    }

    #[test]
    fn the_states_are_hadoops() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        assert_eq!(monitor.state().name(), "INITIALIZING");
        for (probe, name) in [
            (Probe::Unreachable, "INITIALIZING"),
            (Probe::Well, "SERVICE_HEALTHY"),
            (Probe::NotWell, "SERVICE_UNHEALTHY"),
            (Probe::Unreachable, "SERVICE_NOT_RESPONDING"),
            (Probe::Well, "SERVICE_HEALTHY"),
        ] {
            assert_eq!(probed(&mut monitor, probe, 0).name(), name);
        }
        monitor.failed();
        assert_eq!(monitor.state().name(), "HEALTH_MONITOR_FAILED");
        assert_eq!(probed(&mut monitor, Probe::Well, 1), Failed);
        monitor.process_ended();
        assert_eq!(monitor.state(), Failed);
    }

    #[test]
    fn who_has_never_answered_is_starting_however_long_it_takes() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        for hour in 0..5 {
            assert_eq!(probed(&mut monitor, Probe::Silent, hour * 3_600_000), Initializing);
            assert_eq!(probed(&mut monitor, Probe::Unreachable, hour * 3_600_000), Initializing);
        }
        assert_eq!(probed(&mut monitor, Probe::Well, 20_000_000), Healthy);
    }

    #[test]
    fn who_is_silent_is_not_given_up_before_hadoops_patience_ends() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        probed(&mut monitor, Probe::Well, 0);
        assert_eq!(probed(&mut monitor, Probe::Silent, 100), Healthy);
        assert_eq!(probed(&mut monitor, Probe::Silent, 45_099), Healthy);
        assert!(monitor.needs_ticks());
        monitor.pass(false, 45_100);
        assert_eq!(monitor.state(), NotResponding);
        assert_eq!(probed(&mut monitor, Probe::Well, 45_200), Healthy);
        probed(&mut monitor, Probe::Silent, 50_000);
        monitor.pass(true, 50_001);
        assert_eq!(monitor.state(), NotResponding, "it has lost the role by its silence");
        monitor.pass(false, 50_002);
        assert_eq!(monitor.state(), NotResponding, "and stays given up until it answers");
    }

    /// The NameNode falls ill now, and then says that it is well. Returns after how many ms it counts as well.
    fn recovers_after(monitor: &mut HealthMonitor, now_ms: u64) -> u64 {
        assert_eq!(probed(monitor, Probe::NotWell, now_ms), Unhealthy);
        (0..)
            .step_by(100)
            .find(|passed_ms| probed(monitor, Probe::Well, now_ms + passed_ms) == Healthy)
            .unwrap()
    }

    #[test]
    fn who_falls_ill_again_and_again_has_to_be_well_for_longer_each_time() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        probed(&mut monitor, Probe::Well, 0);
        let mut now_ms = 1000;
        for expected_ms in [0, 200, 400, 800, 1000, 1000, 1000] {
            assert_eq!(recovers_after(&mut monitor, now_ms), expected_ms);
            now_ms += expected_ms + CALM_MS - 1;
        }
        now_ms += 1;
        assert_eq!(recovers_after(&mut monitor, now_ms), 0, "it was well for long");
    }

    #[test]
    fn who_falls_ill_while_it_settles_begins_anew() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        probed(&mut monitor, Probe::Well, 0);
        recovers_after(&mut monitor, 10);
        probed(&mut monitor, Probe::NotWell, 20);
        assert_eq!(probed(&mut monitor, Probe::Well, 100), Unhealthy);
        assert_eq!(probed(&mut monitor, Probe::NotWell, 250), Unhealthy);
        assert_eq!(probed(&mut monitor, Probe::Well, 400), Unhealthy);
        assert_eq!(probed(&mut monitor, Probe::Well, 599), Unhealthy);
        monitor.pass(false, 600);
        assert_eq!(monitor.state(), Healthy, "without another probe");
        assert!(!monitor.needs_ticks());
    }

    #[test]
    fn another_process_begins_with_a_clean_sheet() {
        let mut monitor = HealthMonitor::new(SILENCE_MS);
        probed(&mut monitor, Probe::Well, 0);
        for now_ms in [10, 2000, 6000] {
            recovers_after(&mut monitor, now_ms);
        }
        monitor.process_ended();
        assert_eq!(monitor.state(), Initializing);
        assert_eq!(probed(&mut monitor, Probe::Well, 7000), Healthy);
        assert_eq!(recovers_after(&mut monitor, 7100), 0);
    }
}
