//! The NameNode's periodic work. It is done in short slices under the write lock.

use crate::log::LogCommand;
use crate::peer_addresses::PeerAddresses;
use crate::shared_log::SharedLog;
use crate::state::NameNode;
use crate::storage::NameDirs;
use crate::tail::Tail;
use hathi_conf::HostPort;
use hathi_formats::exceptions;
use hathi_formats::proto::namenode::{RollEditLogRequestProto, RollEditLogResponseProto};
use hathi_journal::survey::{LeaseAnswer, QuorumLease, quorum_lease};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_journalclient::Readers;
use hathi_nameserver::monitors::{Monitors, TICK_MS, Work, has_namespace};
use hathi_nameserver::standby_calls::LeaseView;
use hathi_namesystem::{Namesystem, Role, monitor};
use hathi_net::ipc::{ClientOptions, connect_to, protocols};
use parking_lot::{Mutex, RwLockWriteGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pause between two looks at what is due.
const TICK: Duration = Duration::from_millis(TICK_MS);
/// Number of inodes that are freed under one hold of the lock, in about a millisecond.
pub(crate) const RECLAIM_INODES: usize = 500;
/// Number of blocks that are processed under one hold of the lock, in about a millisecond.
const SLICE_BLOCKS: usize = 1000;
/// Pause between two holds of the lock. A call takes the lock several times, so calls would only crawl if long work took it
/// again at once.
const SLICE_PAUSE: Duration = Duration::from_millis(1);
/// Longest time in ms after which a JournalNode answers a watcher.
const WATCH_MS: u32 = 2000;
/// Pause before a JournalNode that does not answer is asked again.
const WATCH_RETRY: Duration = Duration::from_millis(200);
/// Pause before a JournalNode that knows no leases is asked again. It may have been replaced.
const WATCH_JAVA_RETRY: Duration = Duration::from_secs(30);

/// State that background tasks share.
pub struct Shared {
    /// The NameNode.
    pub nn: Arc<NameNode>,
    /// Its directories.
    pub dirs: Arc<NameDirs>,
    /// The edit log task.
    pub log: mpsc::UnboundedSender<LogCommand>,
    /// The JournalNodes, for reading.
    pub readers: Arc<Readers>,
    /// Addresses of the NameNodes whose images are accepted.
    pub peer_addresses: PeerAddresses,
    /// Held during a change of the JournalNodes.
    pub changing_members: tokio::sync::Mutex<()>,
    /// The last known lease state of each JournalNode, by its index.
    pub leases: Mutex<BTreeMap<usize, hathi_journal::messages::LeaseState>>,
}

/// Long work that goes on with its next slice.
#[derive(Default)]
pub(crate) struct Unfinished {
    pub(crate) reclaim: bool,
    heartbeats: bool,
    redundancy: bool,
}

impl Unfinished {
    /// Does one slice of each. Calls are served between two slices.
    pub(crate) fn work(&mut self, nn: &NameNode) {
        if self.reclaim {
            self.reclaim = slice(nn, |ns| ns.reclaim(RECLAIM_INODES));
        }
        if self.heartbeats {
            self.heartbeats = slice(nn, |ns| ns.blockmanager.heartbeat_check(nn.clock.now(), SLICE_BLOCKS));
        }
        if self.redundancy {
            self.redundancy = nn.role() == Role::Active
                && slice(nn, |ns| monitor::check_redundancy(ns, nn.clock.now(), SLICE_BLOCKS));
        }
    }

    fn is_any(&self) -> bool {
        self.reclaim || self.heartbeats || self.redundancy
    }
}

/// Whoever waits for the lock gets it after the slice. Returns what the slice returns: whether there is more to do.
fn slice(nn: &NameNode, work: impl FnOnce(&mut Namesystem) -> bool) -> bool {
    let mut ns = nn.ns.write();
    let more = work(&mut ns);
    RwLockWriteGuard::unlock_fair(ns);
    more
}

/// Runs the monitors.
pub async fn monitors(shared: Arc<Shared>) {
    let nn = &shared.nn;
    let mut unfinished = Unfinished::default();
    let mut monitors = Monitors::new(nn.settings.autoroll_check.as_millis() as u64);
    loop {
        tokio::time::sleep(if unfinished.is_any() { SLICE_PAUSE } else { TICK }).await;
        let role = nn.role();
        for work in monitors.due(role, nn.clock.ms()) {
            begin(work, nn, &mut unfinished);
        }
        if !has_namespace(role) {
            unfinished = Unfinished::default();
            continue;
        }
        // Looked at under the read lock first, because mostly there is nothing to do.
        unfinished.reclaim = unfinished.reclaim || nn.ns.read().reclaim_pending();
        unfinished.work(nn);
    }
}

/// Does short work at once, and begins long work.
fn begin(work: Work, nn: &NameNode, unfinished: &mut Unfinished) {
    let now_ms = nn.clock.ms();
    match work {
        Work::ReviewCalls => {
            nn.standby_calls.review();
            nn.unreported.expire(now_ms);
        }
        Work::CheckHeartbeats => unfinished.heartbeats = true,
        Work::CheckRedundancy => unfinished.redundancy = true,
        Work::NoteEdits => {
            let applied = nn.ns.read().edit_log.applied();
            nn.edits_retention.lock().note(applied, now_ms);
        }
        Work::CheckLeases => {
            monitor::check_leases(&mut nn.ns.write(), nn.clock.now());
            nn.replies.wake_log();
        }
        Work::CheckSegment => {
            let mut ns = nn.ns.write();
            if ns.edit_log.segment_txns() > nn.settings.autoroll_txns && ns.edit_log.roll(nn.clock.wall_ms()).is_ok() {
                drop(ns);
                tracing::info!("rolled the edit log by its size");
                nn.replies.wake_log();
            }
        }
    }
}

/// A standby that sees only finalized segments, or can prove only those, regularly asks the active to end its segment
/// (`EditLogTailer.triggerActiveLogRoll`). That is the case with Java JournalNodes without in-progress tailing, and
/// with a shared directory.
pub async fn trigger_rolls(shared: Arc<Shared>, tail: Arc<SharedLog>) {
    let nn = &shared.nn;
    let Some(period) = nn.settings.log_roll_period else {
        return;
    };
    loop {
        tokio::time::sleep(period).await;
        if nn.role() != Role::Standby || tail.knows_epochs() {
            continue;
        }
        for peer in &nn.settings.peers {
            match roll(&nn.settings.user, &peer.rpc).await {
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

/// Watches the read lease at every JournalNode, so that a standby knows whether another NameNode is active. Also learns
/// changes of the membership, and keeps them for the next start.
pub async fn watch_leases(shared: Arc<Shared>, tail: Arc<Tail>) {
    let mut watchers: BTreeMap<usize, JoinHandle<()>> = BTreeMap::new();
    let mut kept = shared.readers.nodes.membership();
    loop {
        watchers.retain(|_, watcher| !watcher.is_finished());
        for index in shared.readers.nodes.members() {
            watchers
                .entry(index)
                .or_insert_with(|| tokio::spawn(watch(shared.clone(), tail.clone(), index)));
        }
        let known = shared.readers.nodes.membership();
        if known != kept
            && let Some(membership) = &known
        {
            tracing::info!(members = membership.members.join(";"), "the JournalNodes were changed");
            match shared.dirs.keep_membership(membership) {
                Ok(()) => kept = known,
                Err(error) => tracing::warn!(error = format!("{error:#}"), "can't keep who the JournalNodes are"),
            }
        }
        tokio::time::sleep(WATCH_RETRY).await;
    }
}

/// Watches one JournalNode. Ends when it is no member any more.
async fn watch(shared: Arc<Shared>, tail: Arc<Tail>, index: usize) {
    let mut known_counter = None;
    while shared.readers.nodes.members().contains(&index) {
        let request = Request::WatchLease {
            known_counter,
            wait_ms: WATCH_MS,
        };
        let timeout = Duration::from_millis(u64::from(WATCH_MS)) + Duration::from_secs(1);
        let pause = match shared.readers.call(index, &request, timeout).await {
            Ok(Answer::LeaseState(state)) => {
                tail.learn(index, true);
                known_counter = Some(state.change_counter);
                if let Some(membership) = &state.membership {
                    shared.readers.nodes.learn(membership);
                }
                shared.leases.lock().insert(index, state);
                Duration::ZERO
            }
            Err(CallError::Remote(exception))
                if exception.is(exceptions::RPC_NO_SUCH_PROTOCOL) || exception.is(exceptions::RPC_NO_SUCH_METHOD) =>
            {
                tail.learn(index, false);
                known_counter = None;
                shared.leases.lock().remove(&index);
                WATCH_JAVA_RETRY
            }
            _ => {
                known_counter = None;
                shared.leases.lock().remove(&index);
                WATCH_RETRY
            }
        };
        let view = view(&shared);
        shared.nn.standby_calls.set_view(view);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    shared.leases.lock().remove(&index);
}

fn view(shared: &Shared) -> LeaseView {
    let leases = shared.leases.lock();
    let members = shared.readers.nodes.members();
    let answers: Vec<LeaseAnswer> = members
        .iter()
        .filter_map(|index| leases.get(index))
        .map(LeaseAnswer::of)
        .collect();
    match quorum_lease(members.len(), answers.iter()) {
        QuorumLease::Free => LeaseView::Free,
        QuorumLease::Held { holder, .. } if holder != shared.nn.holder() => LeaseView::HeldByOther(holder.into()),
        QuorumLease::Held { .. } | QuorumLease::Written { .. } | QuorumLease::Unknown => LeaseView::Unknown,
    }
}
