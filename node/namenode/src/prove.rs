//! Proves that a standby's replayed edits are those of the JournalNodes ([`hathi_namesystem::history`]). It asks them
//! for their epochs, and where these prove nothing, reads the replayed edits once more.

use crate::tail::{Tail, millis};
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::{Answer, Request};
use hathi_journalclient::Readers;
use hathi_nameserver::reading::{CALL_TIMEOUT_MS, MEMORY_TIMEOUT_MS, candidates, committed_edits};
use hathi_namesystem::history::{Compared, Comparison, JournalState, Source, Stretch};
use hathi_namesystem::tailer::TailError;
use std::sync::Arc;

impl Tail {
    /// Proves everything that can be proven now. Nothing may be applied meanwhile.
    pub async fn prove(&self) -> anyhow::Result<()> {
        let states = journal_states(&self.readers).await;
        let majority = self.readers.nodes.majority();
        let stretches = {
            let mut ns = self.nn.ns.write();
            let (applied, life) = (ns.edit_log.applied(), ns.life().clone());
            let stretches = ns.history.judge(&states, majority, applied, &life);
            stretches.map_err(TailError::from)?
        };
        self.compare_all(&stretches).await?;
        Ok(())
    }

    /// Whether this NameNode may serve, as the writer of `epoch`. The recovery left a journal that ends with `last`.
    pub async fn prove_before_active(&self, epoch: u64, last: Option<TxId>) -> anyhow::Result<()> {
        let stretches = {
            let ns = self.nn.ns.read();
            let applied = ns.edit_log.applied();
            let stretches = ns.history.before_active(Epoch(epoch), last, applied);
            stretches.map_err(TailError::from)?
        };
        if !self.compare_all(&stretches).await? {
            anyhow::bail!("what was applied can't be compared with the journal");
        }
        Ok(())
    }

    /// Whether the journal holds all of these stretches.
    async fn compare_all(&self, stretches: &[Stretch]) -> anyhow::Result<bool> {
        for stretch in stretches {
            let compared = self.compare(stretch).await?;
            let mut ns = self.nn.ns.write();
            let life = ns.life().clone();
            let noted = ns.history.on_compared(stretch, compared, &life);
            noted.map_err(TailError::from)?;
            if compared != Compared::Same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn compare(&self, stretch: &Stretch) -> anyhow::Result<Compared> {
        let mut comparison = Comparison::new(*stretch);
        // Mostly these are the edits of about a second, in the memory of a JournalNode that knows what is committed.
        while !comparison.is_whole() {
            let before = comparison.next();
            for (_, answer) in self
                .readers
                .call_all(&committed_edits(before, 0), millis(MEMORY_TIMEOUT_MS))
                .await
            {
                if let Ok(Answer::JournaledEdits {
                    edit_log: Some(edits),
                    committed: Some(committed),
                    ..
                }) = answer
                {
                    comparison.read(&edits, committed)?;
                }
            }
            if comparison.next() == before {
                return self.compare_files(stretch).await;
            }
        }
        Ok(comparison.outcome(false))
    }

    async fn compare_files(&self, stretch: &Stretch) -> anyhow::Result<Compared> {
        let manifests = self.manifests(stretch.first, true).await?;
        let mut compared = Compared::NotYet;
        for candidate in candidates(&manifests, stretch.first) {
            let Ok(edits) = self.download(&candidate).await else {
                continue;
            };
            let mut comparison = Comparison::new(*stretch);
            if comparison.read(&edits, candidate.limit).is_err() {
                // The edits are damaged. Another JournalNode's may be whole.
                continue;
            }
            compared = comparison.outcome(candidate.source() == Source::Finalized);
            if compared != Compared::NotYet {
                break;
            }
        }
        Ok(compared)
    }
}

/// The states of our JournalNodes' journals. Hadoop's tell nothing.
async fn journal_states(readers: &Arc<Readers>) -> Vec<JournalState> {
    let request = Request::WatchLease {
        known_counter: None,
        wait_ms: 0,
    };
    let answers = readers.call_all(&request, millis(CALL_TIMEOUT_MS)).await;
    let state = |answer| match answer {
        Ok(Answer::LeaseState(state)) => Some(JournalState {
            promised: state.promised_epoch,
            writer: state.writer_epoch,
            highest: state.highest,
        }),
        _ => None,
    };
    answers.into_iter().filter_map(|(_, answer)| state(answer)).collect()
}
