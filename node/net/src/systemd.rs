//! What a daemon tells systemd (`sd_notify(3)`). Without systemd nothing is sent.

use sd_notify::NotifyState;

/// Tells that this daemon listens, so that units which come after it are started. `status` stands in
/// `systemctl status`.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that this daemon has begun to stop.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Keeps systemd's watchdog (`WatchdogSec=`) from killing this process, as long as the runtime that polls this future
/// turns. It ends at once if no watchdog is set.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut turns = tokio::time::interval(limit / 3);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
