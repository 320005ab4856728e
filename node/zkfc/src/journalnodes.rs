//! Long polls of the lease at every JournalNode, and giving a dead NameNode's lease back.

use hathi_conf::HostPort;
use hathi_failover::{ControllerEvent, LeaseAnswer};
use hathi_formats::qjournal::Envelope;
use hathi_journal::lease::LeaseProof;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::JournalNodes;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a JournalNode holds a question while its answer is unchanged.
const WATCH_MS: u32 = 1000;
/// Pause before an unreachable JournalNode is asked again. Who starts together with it need not wait long for it.
const RETRY: Duration = Duration::from_millis(30);

/// Time limit for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Time limit of a call.
const CALL_TIMEOUT: Duration = Duration::from_millis(WATCH_MS as u64 + 500);

/// The JournalNodes of a journal, and which of them are watched.
#[derive(Debug)]
pub(crate) struct WatchedJournalNodes {
    nodes: JournalNodes,
    /// Indices of the JournalNodes that are watched.
    watched: Mutex<BTreeSet<usize>>,
}

impl WatchedJournalNodes {
    pub(crate) fn new(addresses: Vec<HostPort>, journal_id: String, user: &str) -> Self {
        let envelope = Envelope {
            journal_id,
            name_service_id: None,
        };
        WatchedJournalNodes {
            nodes: JournalNodes::new(addresses, envelope, user).with_connect_timeout(CONNECT_TIMEOUT),
            watched: Mutex::default(),
        }
    }

    fn address(&self, index: usize) -> String {
        self.nodes
            .address(index)
            .map(|address| address.to_string())
            .unwrap_or_default()
    }

    /// Watches every member that is not watched yet. To be called after each [`ControllerEvent::JournalNodes`].
    pub(crate) fn watch_members(self: &Arc<Self>, events: &mpsc::UnboundedSender<ControllerEvent>) {
        let mut watched = self.watched.lock();
        for index in self.nodes.members() {
            if watched.insert(index) {
                tokio::spawn(self.clone().watch(index, events.clone()));
            }
        }
    }

    /// A JournalNode knows a membership.
    fn learn(&self, membership: &Membership, events: &mpsc::UnboundedSender<ControllerEvent>) {
        if self.nodes.learn(membership) {
            tracing::info!(
                journalnodes = membership.members.join(";"),
                "the JournalNodes were changed"
            );
            // A closed channel means that this controller ends.
            let _ = events.send(ControllerEvent::JournalNodes(self.nodes.members()));
        }
    }

    /// Watches one JournalNode while it is a member. Each answer, and each loss of contact, becomes an event.
    async fn watch(self: Arc<Self>, index: usize, events: mpsc::UnboundedSender<ControllerEvent>) {
        let lost = ControllerEvent::Lease {
            journalnode: index,
            view: None,
        };
        let mut complained = false;
        while self.nodes.is_member(index) {
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
        self.watched.lock().remove(&index);
        // It may be a member again by now.
        let _ = events.send(ControllerEvent::JournalNodes(self.nodes.members()));
    }

    async fn watch_connection(
        &self,
        index: usize,
        events: &mpsc::UnboundedSender<ControllerEvent>,
    ) -> Result<(), CallError> {
        let client = self.nodes.connect(index).await?;
        let mut known = None;
        while self.nodes.is_member(index) {
            let request = Request::WatchLease {
                known_counter: known,
                wait_ms: WATCH_MS,
            };
            let Answer::LeaseState(state) = client.send(&request, CALL_TIMEOUT).await? else {
                return Err(CallError::Broken("not the answer to watchLease".to_owned()));
            };
            known = Some(state.change_counter);
            if let Some(membership) = &state.membership {
                self.learn(membership, events);
            }
            let view = LeaseAnswer::of(&state);
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
        let mut calls = JoinSet::new();
        for index in self.nodes.all() {
            calls.spawn(self.clone().release_at(index, holder.into(), proof));
        }
        let mut released = 0;
        while released < self.nodes.majority()
            && let Some(answer) = calls.join_next().await
        {
            released += usize::from(matches!(answer, Ok(Some(index)) if self.nodes.is_member(index)));
        }
        calls.detach_all();
    }

    async fn release_at(self: Arc<Self>, index: usize, holder: Arc<str>, proof: LeaseProof) -> Option<usize> {
        let request = Request::ReleaseLease {
            holder,
            proof,
            up_to: None,
        };
        let released = async {
            let client = self.nodes.connect(index).await?;
            client.send(&request, CALL_TIMEOUT).await
        };
        match released.await {
            Ok(_) => Some(index),
            Err(error) => {
                tracing::warn!(journalnode = self.address(index), %error, "can't give the lease back");
                None
            }
        }
    }
}
