//! The NameNode's periodic work. It is done in short slices under the write lock.

use crate::clock::Clock;
use crate::replies::Replies;
use crate::settings::Settings;
use crate::shared_log::SharedLog;
use crate::standby_calls::StandbyCalls;
use crate::unreported::Unreported;
use hathi_conf::HostPort;
use hathi_formats::proto::namenode::{RollEditLogRequestProto, RollEditLogResponseProto};
use hathi_nameserver::following::needs_rolls;
use hathi_nameserver::monitors::{Monitors, TICK_MS, Work, has_namespace};
use hathi_namesystem::check_caching;
use hathi_namesystem::checkpoint::EditsRetention;
use hathi_namesystem::snapshot_upkeep::{
    collect_snapshot, has_snapshot_to_collect, make_trash_roots, needs_trash_roots,
};
use hathi_namesystem::{Namesystem, Role, monitor};
use hathi_net::ipc::{ClientOptions, connect_to, protocols};
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use std::sync::Arc;
use std::time::Duration;

/// Pause between two looks at what is due.
const TICK: Duration = Duration::from_millis(TICK_MS);
/// Number of inodes that are freed under one hold of the lock, in about a millisecond.
pub(crate) const RECLAIM_INODES: usize = 500;
/// Number of blocks that are processed under one hold of the lock, in about a millisecond.
const SLICE_BLOCKS: usize = 1000;
/// Pause between two holds of the lock. A call takes the lock several times, so calls would only crawl if long work took it
/// again at once.
const SLICE_PAUSE: Duration = Duration::from_millis(1);

/// What the monitors work on.
pub struct MonitorParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    pub(crate) unreported: Arc<Unreported>,
    pub(crate) retention: Arc<Mutex<EditsRetention>>,
}

/// Long work that goes on with its next slice.
#[derive(Default)]
pub(crate) struct Unfinished {
    pub(crate) reclaim: bool,
    heartbeats: bool,
    redundancy: bool,
    caching: bool,
}

impl Unfinished {
    /// Does one slice of each. Calls are served between two slices.
    pub(crate) fn work(&mut self, parts: &MonitorParts) {
        if self.reclaim {
            self.reclaim = slice(parts, |ns| ns.reclaim(RECLAIM_INODES));
        }
        if self.heartbeats {
            self.heartbeats = slice(parts, |ns| ns.heartbeat_check(parts.clock.now(), SLICE_BLOCKS));
        }
        if self.caching {
            self.caching = slice(parts, |ns| check_caching(ns, parts.clock.now(), SLICE_BLOCKS));
        }
        if self.redundancy {
            self.redundancy = parts.replies.role() == Role::Active
                && slice(parts, |ns| {
                    monitor::check_redundancy(ns, parts.clock.now(), SLICE_BLOCKS)
                });
        }
    }

    fn is_any(&self) -> bool {
        self.reclaim || self.heartbeats || self.redundancy || self.caching
    }
}

/// Whoever waits for the lock gets it after the slice. Returns what the slice returns: whether there is more to do.
fn slice(parts: &MonitorParts, work: impl FnOnce(&mut Namesystem) -> bool) -> bool {
    let mut ns = parts.ns.write();
    let more = work(&mut ns);
    RwLockWriteGuard::unlock_fair(ns);
    more
}

/// Runs the monitors.
pub async fn monitors(parts: MonitorParts) {
    let mut unfinished = Unfinished::default();
    let mut monitors = Monitors::new(
        parts.settings.autoroll_check.as_millis() as u64,
        parts.settings.snapshot_gc.as_millis() as u64,
    );
    loop {
        tokio::time::sleep(if unfinished.is_any() { SLICE_PAUSE } else { TICK }).await;
        let role = parts.replies.role();
        for work in monitors.due(role, parts.clock.ms()) {
            begin(work, &parts, &mut unfinished);
        }
        if !has_namespace(role) {
            unfinished = Unfinished::default();
            continue;
        }
        // Looked at under the read lock first, because mostly there is nothing to do.
        unfinished.reclaim = unfinished.reclaim || parts.ns.read().reclaim_pending();
        unfinished.work(&parts);
    }
}

/// Does short work at once, and begins long work.
fn begin(work: Work, parts: &MonitorParts, unfinished: &mut Unfinished) {
    let now_ms = parts.clock.ms();
    match work {
        Work::ReviewCalls => {
            parts.standby_calls.review();
            parts.unreported.expire(now_ms);
        }
        Work::CheckHeartbeats => unfinished.heartbeats = true,
        Work::CheckRedundancy => unfinished.redundancy = true,
        Work::CheckCaching => unfinished.caching = true,
        Work::NoteEdits => {
            let applied = parts.ns.read().edit_log().applied();
            parts.retention.lock().note(applied, now_ms);
        }
        Work::CheckLeases => {
            monitor::check_leases(&mut parts.ns.write(), parts.clock.now());
            parts.replies.wake_log();
        }
        Work::KeepSecrets => keep_secrets(parts),
        Work::MakeTrashRoots => {
            let is_due = needs_trash_roots(&parts.ns.read());
            if is_due {
                let made = make_trash_roots(&mut parts.ns.write(), parts.clock.now());
                for path in made {
                    tracing::info!(path, "made the trash root of a snapshottable directory");
                }
                parts.replies.wake_log();
            }
        }
        Work::CollectSnapshots => {
            let is_due = has_snapshot_to_collect(&parts.ns.read());
            if is_due && let Some(path) = collect_snapshot(&mut parts.ns.write(), parts.clock.now()) {
                tracing::info!(path, "deleted a snapshot that was marked as deleted");
                parts.replies.wake_log();
            }
        }
        Work::CheckSegment => {
            let mut ns = parts.ns.write();
            if ns.edit_log().segment_txns() > parts.settings.autoroll_txns
                && ns.roll_edit_log(parts.clock.wall_ms()).is_ok()
            {
                drop(ns);
                tracing::info!("rolled the edit log by its size");
                parts.replies.wake_log();
            }
        }
    }
}

/// Makes a master key when one is due, and removes tokens that have expired. Mostly there is nothing to do, which the read
/// lock shows.
fn keep_secrets(parts: &MonitorParts) {
    let (wall_ms, mono_ms) = (parts.clock.wall_ms(), parts.clock.ms());
    let (needs_key, needs_scan) = {
        let ns = parts.ns.read();
        (ns.needs_master_key(mono_ms), ns.needs_token_scan(mono_ms))
    };
    if !needs_key && !needs_scan {
        return;
    }
    // Both parts of each are from the system's source of chance, but for the few bits of a UUID's version.
    let key = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4()]
        .map(uuid::Uuid::into_bytes)
        .concat();
    let mut ns = parts.ns.write();
    let made = match key.try_into() {
        Ok(key) if needs_key => ns.update_master_key(key, wall_ms, mono_ms),
        _ => Ok(()),
    };
    let removed = match needs_scan {
        true => ns.remove_expired_tokens(wall_ms, mono_ms),
        false => Ok(()),
    };
    if let Err(error) = made.and(removed) {
        tracing::warn!(%error, "delegation tokens");
    }
    drop(ns);
    parts.replies.wake_log();
}

/// A standby that sees only finalized segments, or can prove only those, regularly asks the active to end its segment
/// (`EditLogTailer.triggerActiveLogRoll`). That is the case with Java JournalNodes without in-progress tailing, and
/// with a shared directory.
pub async fn trigger_rolls(settings: Arc<Settings>, replies: Arc<Replies>, tail: Arc<SharedLog>) {
    let Some(period) = settings.log_roll_period else {
        return;
    };
    loop {
        tokio::time::sleep(period).await;
        if !needs_rolls(replies.role(), tail.knows_epochs()) {
            continue;
        }
        for peer in &settings.peers {
            match roll(&settings.user, &peer.rpc).await {
                Ok(()) => break,
                Err(error) => tracing::debug!(peer = peer.namenode_id, error = format!("{error:#}"), "no roll"),
            }
        }
    }
}

async fn roll(user: &str, address: &HostPort) -> anyhow::Result<()> {
    let mut options = ClientOptions::new(user);
    options.connect_timeout = Duration::from_secs(5);
    options.call_timeout = Duration::from_secs(20);
    let client = connect_to(&address.to_string(), &protocols::NAMENODE_PROTOCOL, &options).await?;
    let _: RollEditLogResponseProto = client.call("rollEditLog", &RollEditLogRequestProto {}).await?;
    Ok(())
}
