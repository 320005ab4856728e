//! Watches the read lease at every JournalNode: the shell around [`hathi_nameserver::lease_watch`].

use crate::clock::Clock;
use crate::observed::Observed;
use crate::standby_calls::StandbyCalls;
use crate::storage::NameDirs;
use crate::tail::{Tail, millis};
use hathi_journalclient::Readers;
use hathi_nameserver::lease_watch::{LeaseWatch, RETRY_MS};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// See the module.
pub struct LeaseWatchers {
    pub(crate) readers: Arc<Readers>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) dirs: Arc<NameDirs>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    pub(crate) clock: Clock,
    pub(crate) observed: Arc<Observed>,
    /// What the JournalNodes have last said.
    pub(crate) leases: Arc<Mutex<LeaseWatch>>,
}

impl LeaseWatchers {
    /// Watches, and keeps changes of the membership for the next start, until the process ends.
    pub async fn run(self: Arc<Self>) {
        let mut watchers: BTreeMap<usize, JoinHandle<()>> = BTreeMap::new();
        let mut kept = self.readers.nodes.membership();
        loop {
            watchers.retain(|_, watcher| !watcher.is_finished());
            for index in self.readers.nodes.members() {
                watchers
                    .entry(index)
                    .or_insert_with(|| tokio::spawn(self.clone().watch(index)));
            }
            let known = self.readers.nodes.membership();
            if known != kept
                && let Some(membership) = &known
            {
                tracing::info!(members = membership.members.join(";"), "the JournalNodes were changed");
                match self.dirs.keep_membership(membership) {
                    Ok(()) => kept = known,
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "can't keep who the JournalNodes are"),
                }
            }
            tokio::time::sleep(Duration::from_millis(RETRY_MS)).await;
        }
    }

    /// Watches one JournalNode. Ends when it is no member any more.
    async fn watch(self: Arc<Self>, index: usize) {
        let nodes = &self.readers.nodes;
        while nodes.members().contains(&index) {
            let (request, silent_ms) = self.leases.lock().question(index);
            let answer = self.readers.call(index, &request, millis(silent_ms)).await;
            let next = self.leases.lock().on_answer(index, answer);
            if let Some(knows_extensions) = next.knows_extensions {
                self.tail.learn(index, knows_extensions);
            }
            if let Some(membership) = &next.membership {
                nodes.learn(membership);
            }
            let (lease, view) = {
                let (leases, members) = (self.leases.lock(), nodes.members());
                (leases.lease(&members), leases.view(&members))
            };
            self.observed.handovers.lock().note(&lease, self.clock.wall_ms());
            self.standby_calls.set_view(view);
            if next.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(next.pause_ms)).await;
            }
        }
        self.leases.lock().forget(index);
    }
}
