//! Long polls of the lease at every JournalNode, and giving a dead NameNode's lease back.

use hathi_failover::{ControllerEvent, LeaseAnswer};
use hathi_formats::proto::{ext, qjournal};
use hathi_formats::qjournal::lease_state_from_proto;
use hathi_journal::lease::LeaseProof;
use hathi_net::ipc::protocols::JOURNAL_EXTENSION_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, connect_to};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a JournalNode holds a question while its answer is unchanged.
const WATCH_MS: u32 = 1000;
/// Pause before an unreachable JournalNode is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// All present and former JournalNodes of the journal that are known here.
#[derive(Debug, Default)]
struct Known {
    /// `host:port` of each; it only grows.
    addresses: Vec<String>,
    /// Indices of the members.
    members: Vec<usize>,
    /// Epoch and version of the newest known membership.
    newest: Option<(u64, u64)>,
    /// Indices of the JournalNodes that are watched.
    watched: BTreeSet<usize>,
}

/// The JournalNodes of a journal.
#[derive(Debug)]
pub(crate) struct WatchedJournalNodes {
    known: Mutex<Known>,
    journal_id: String,
    user: String,
}

impl WatchedJournalNodes {
    pub(crate) fn new(addresses: Vec<String>, journal_id: String, user: String) -> Self {
        let known = Known {
            members: (0..addresses.len()).collect(),
            addresses,
            ..Known::default()
        };
        WatchedJournalNodes {
            known: Mutex::new(known),
            journal_id,
            user,
        }
    }

    fn address(&self, index: usize) -> String {
        self.known.lock().addresses.get(index).cloned().unwrap_or_default()
    }

    fn is_member(&self, index: usize) -> bool {
        self.known.lock().members.contains(&index)
    }

    /// Watches every member that is not watched yet. To be called after each [`ControllerEvent::JournalNodes`].
    pub(crate) fn watch_members(self: &Arc<Self>, events: &mpsc::UnboundedSender<ControllerEvent>) {
        let mut known = self.known.lock();
        for index in known.members.clone() {
            if known.watched.insert(index) {
                tokio::spawn(self.clone().watch(index, events.clone()));
            }
        }
    }

    /// A JournalNode knows a membership.
    fn learn(&self, membership: &qjournal::MembershipProto, events: &mpsc::UnboundedSender<ControllerEvent>) {
        let order = Some((membership.epoch, membership.version));
        let mut known = self.known.lock();
        if membership.members.is_empty() || known.newest >= order {
            return;
        }
        known.newest = order;
        let mut members = Vec::new();
        for address in &membership.members {
            let place = known.addresses.iter().position(|known| known == address);
            members.push(place.unwrap_or_else(|| {
                known.addresses.push(address.clone());
                known.addresses.len() - 1
            }));
        }
        known.members = members.clone();
        drop(known);
        tracing::info!(
            journalnodes = membership.members.join(";"),
            "the JournalNodes were changed"
        );
        // A closed channel means that this controller ends.
        let _ = events.send(ControllerEvent::JournalNodes(members));
    }

    fn jid(&self) -> qjournal::JournalIdProto {
        qjournal::JournalIdProto {
            identifier: self.journal_id.clone(),
        }
    }

    async fn connect(&self, index: usize) -> Result<RpcClient, RpcError> {
        let address = self.address(index);
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = Duration::from_millis(500);
        options.call_timeout = Duration::from_millis(u64::from(WATCH_MS) + 500);
        connect_to(&address, &JOURNAL_EXTENSION_PROTOCOL, &options).await
    }

    /// Watches one JournalNode while it is a member. Each answer, and each loss of contact, becomes an event.
    async fn watch(self: Arc<Self>, index: usize, events: mpsc::UnboundedSender<ControllerEvent>) {
        let lost = ControllerEvent::Lease {
            journalnode: index,
            view: None,
        };
        let mut complained = false;
        while self.is_member(index) {
            if let Err(error) = self.watch_connection(index, &events).await
                && !complained
            {
                tracing::warn!(journalnode = self.address(index), %error, "can't watch the lease");
                complained = true;
            } else {
                complained = false;
            }
            if events.send(lost.clone()).is_err() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
        let mut known = self.known.lock();
        known.watched.remove(&index);
        // It may be a member again by now.
        let _ = events.send(ControllerEvent::JournalNodes(known.members.clone()));
    }

    async fn watch_connection(
        &self,
        index: usize,
        events: &mpsc::UnboundedSender<ControllerEvent>,
    ) -> Result<(), RpcError> {
        let client = self.connect(index).await?;
        let mut known = None;
        while self.is_member(index) {
            let request = ext::WatchLeaseRequestProto {
                jid: self.jid(),
                known_counter: known,
                wait_ms: Some(WATCH_MS),
            };
            let answer: ext::WatchLeaseResponseProto = client.call("watchLease", &request).await?;
            known = Some(answer.state.change_counter);
            if let Some(membership) = &answer.state.membership {
                self.learn(membership, events);
            }
            let view = LeaseAnswer::of(&lease_state_from_proto(answer.state));
            let event = ControllerEvent::Lease {
                journalnode: index,
                view: Some(view),
            };
            if events.send(event).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells every JournalNode, former members included, that this holder is gone. At one that can't be told the lease
    /// runs out. Ends when a majority knows it, or all have answered.
    pub(crate) async fn release(self: &Arc<Self>, holder: &str, proof: LeaseProof) {
        let (all, members) = {
            let known = self.known.lock();
            (known.addresses.len(), known.members.clone())
        };
        let mut calls = JoinSet::new();
        for index in 0..all {
            calls.spawn(self.clone().release_at(index, holder.to_owned(), proof));
        }
        let mut released = 0;
        while released <= members.len() / 2
            && let Some(answer) = calls.join_next().await
        {
            released += usize::from(matches!(answer, Ok(Some(index)) if members.contains(&index)));
        }
        calls.detach_all();
    }

    async fn release_at(self: Arc<Self>, index: usize, holder: String, proof: LeaseProof) -> Option<usize> {
        let request = ext::ReleaseLeaseRequestProto {
            jid: self.jid(),
            holder,
            epoch: None,
            proof_high: Some((proof.0 >> 64) as u64),
            proof_low: Some(proof.0 as u64),
        };
        let result: Result<ext::ReleaseLeaseResponseProto, RpcError> = async {
            let client = self.connect(index).await?;
            client.call("releaseLease", &request).await
        }
        .await;
        match result {
            Ok(_) => Some(index),
            Err(error) => {
                tracing::warn!(journalnode = self.address(index), %error, "can't give the lease back");
                None
            }
        }
    }
}
