//! Proves that a standby's replayed edits are those of the JournalNodes: the shell around [`hathi_nameserver::proving`].

use crate::tail::{Tail, millis};
use hathi_formats::ids::{Epoch, TxId};
use hathi_nameserver::proving::{Got, Order, Proving, Purpose};
use hathi_nameserver::reading::ReadError;

impl Tail {
    /// Proves everything that can be proven now. Nothing may be applied meanwhile.
    pub async fn prove(&self) -> anyhow::Result<()> {
        self.carry_out(Purpose::Standby).await
    }

    /// Whether this NameNode may serve, as the writer of `epoch`. The recovery left a journal that ends with `last`.
    pub async fn prove_before_active(&self, epoch: u64, last: Option<TxId>) -> anyhow::Result<()> {
        self.carry_out(Purpose::BeforeActive(Epoch(epoch), last)).await
    }

    async fn carry_out(&self, purpose: Purpose) -> anyhow::Result<()> {
        let mut proving = Proving::new(purpose, self.readers.nodes.members().len());
        loop {
            let order = proving.order(&mut self.replay.ns.write());
            match order {
                Order::AskAll { request, timeout_ms } => {
                    let answers = self.readers.call_all(&request, millis(timeout_ms)).await;
                    proving.hear(Got::Answers(answers));
                }
                Order::Fetch(candidate) => {
                    let fetched = self.download(&candidate).await;
                    proving.hear(Got::Fetched(fetched.map_err(|error| format!("{error:#}"))));
                }
                Order::Done => {
                    self.replay.images.look_again();
                    return Ok(());
                }
                Order::Failed(ReadError::Edits(error)) => return Err(error.into()),
                Order::Failed(error @ ReadError::Unavailable(_)) => return Err(error.into()),
            }
        }
    }
}
