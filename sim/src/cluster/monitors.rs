//! What a NameNode does by itself about DataNodes, blocks and leases: what `node/namenode/src/background.rs` does.

use super::shell::{Out, Shell};
use hathi_namesystem::{Role, monitor};

/// Mean pause between two rounds: shorter than in a real process, as all limits are.
const ROUND_US: u64 = 40_000;
/// After so many rounds the administrator leaves safe mode: blocks are missing that are lost.
const ROUNDS_IN_SAFE_MODE_MAX: u32 = 60;
/// Blocks, and inodes, under one hold of the lock.
const SLICE: usize = 100;

/// Runs the monitors, until the process ends.
pub async fn run(shell: Shell) {
    let mut rounds_in_safe_mode = 0;
    loop {
        shell.sleep_up_to(2 * ROUND_US).await;
        let now = shell.now();
        shell.with(|process| {
            let ns = &mut process.ns;
            if matches!(ns.role(), Role::Initializing | Role::SteppingDown) {
                return;
            }
            while ns.reclaim(SLICE) {}
            while ns.heartbeat_check(now, SLICE) {}
            rounds_in_safe_mode = match ns.role() == Role::Active && ns.blockmanager().in_startup_safe_mode() {
                true => rounds_in_safe_mode + 1,
                false => 0,
            };
            if rounds_in_safe_mode > ROUNDS_IN_SAFE_MODE_MAX {
                ns.leave_safe_mode(true, now);
            }
            if ns.role() == Role::Active {
                while monitor::check_redundancy(ns, now, SLICE) {}
                monitor::check_leases(ns, now);
            }
        });
        shell.ask_world(Out::WakeLog);
    }
}
