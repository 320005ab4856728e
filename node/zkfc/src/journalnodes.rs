//! Long polls of the lease at every JournalNode, and giving a dead NameNode's lease back.

use hathi_failover::{Event, LeaseView};
use hathi_formats::proto::{ext, qjournal};
use hathi_net::ipc::protocols::JOURNAL_EXTENSION_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a JournalNode holds a question whose answer has not changed.
const WATCH_MS: u32 = 1000;
/// Pause before an unreachable JournalNode is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// The JournalNodes of a journal, as `host:port`.
#[derive(Debug)]
pub(crate) struct JournalNodes {
    pub(crate) addresses: Vec<String>,
    pub(crate) journal_id: String,
    pub(crate) user: String,
}

impl JournalNodes {
    fn jid(&self) -> qjournal::JournalIdProto {
        qjournal::JournalIdProto {
            identifier: self.journal_id.clone(),
        }
    }

    async fn connect(&self, index: usize) -> Result<RpcClient, RpcError> {
        let address = self.addresses.get(index).cloned().unwrap_or_default();
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = Duration::from_millis(500);
        options.call_timeout = Duration::from_millis(u64::from(WATCH_MS) + 500);
        crate::local::connect(&address, &JOURNAL_EXTENSION_PROTOCOL, options).await
    }

    /// Watches one JournalNode for ever; each answer, and each loss of it, becomes an event.
    pub(crate) async fn watch(self: Arc<Self>, index: usize, events: mpsc::UnboundedSender<Event>) {
        let lost = Event::Lease {
            journalnode: index,
            view: None,
        };
        let mut complained = false;
        loop {
            if let Err(error) = self.watch_connection(index, &events).await
                && !complained
            {
                tracing::warn!(journalnode = self.addresses.get(index), %error, "can't watch the lease");
                complained = true;
            } else {
                complained = false;
            }
            if events.send(lost.clone()).is_err() {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn watch_connection(&self, index: usize, events: &mpsc::UnboundedSender<Event>) -> Result<(), RpcError> {
        let client = self.connect(index).await?;
        let mut known = None;
        loop {
            let request = ext::WatchLeaseRequestProto {
                jid: self.jid(),
                known_counter: known,
                wait_ms: Some(WATCH_MS),
            };
            let answer: ext::WatchLeaseResponseProto = client.call("watchLease", &request).await?;
            known = Some(answer.state.change_counter);
            let view = LeaseView {
                promised_epoch: answer.state.promised_epoch,
                running: answer.state.remaining_ms > 0,
                holder: answer.state.holder,
                highest_txid: answer.state.highest_tx_id,
            };
            let event = Event::Lease {
                journalnode: index,
                view: Some(view),
            };
            if events.send(event).is_err() {
                return Ok(());
            }
        }
    }

    /// Tells every JournalNode that this holder is gone; one that can't be told lets the lease run out.
    pub(crate) fn release(self: &Arc<Self>, holder: &str) {
        for index in 0..self.addresses.len() {
            let this = self.clone();
            let request = ext::ReleaseLeaseRequestProto {
                jid: self.jid(),
                holder: holder.to_owned(),
            };
            tokio::spawn(async move {
                let result: Result<ext::ReleaseLeaseResponseProto, RpcError> = async {
                    let client = this.connect(index).await?;
                    client.call("releaseLease", &request).await
                }
                .await;
                if let Err(error) = result {
                    tracing::warn!(journalnode = this.addresses.get(index), %error, "can't give the lease back");
                }
            });
        }
    }
}
