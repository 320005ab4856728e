//! What a JournalNode does about damage. It reads its finalized segments from time to time, so that a damaged one is
//! replaced by a peer's copy before anybody needs it. When its own directory can't be trusted about the promised epoch,
//! it asks its peers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::segments::{SegmentName, Segments, damage};
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::RemoteJournalNode;
use hathi_storage::OsDisk;

use crate::journal::Journal;
use crate::peer::{ask, connect};

/// Pause between two segments, so that the reads do not slow down other work.
const PAUSE: Duration = Duration::from_millis(20);

/// When each finalized segment was last read.
#[derive(Debug, Default)]
pub struct Scrubber {
    read: BTreeMap<(TxId, TxId), Instant>,
}

impl Scrubber {
    /// Reads the finalized segments that were not read for `period`, and puts the damaged ones aside. Returns how many.
    pub async fn scrub(&mut self, journal: &Arc<Journal>, period: Duration) -> usize {
        let current = journal.root().join("current");
        let segments = Segments::new(OsDisk, current);
        let Ok(names) = segments.list() else {
            return 0;
        };
        let finalized: Vec<_> = names.iter().filter_map(|name| Some((name.start, name.end?))).collect();
        self.read.retain(|name, _| finalized.contains(name));
        let mut found = 0;
        for (start, end) in finalized {
            if self.read.get(&(start, end)).is_some_and(|read| read.elapsed() < period) {
                continue;
            }
            let path = segments.path(&SegmentName::finalized(start, end));
            let reader = segments.clone();
            let scanned = tokio::task::spawn_blocking(move || reader.scan_file(&path, start)).await;
            // The segment may have been purged meanwhile.
            let Ok(Ok(scan)) = scanned else {
                continue;
            };
            self.read.insert((start, end), Instant::now());
            if let Some(damage) = damage(&scan, end) {
                tracing::error!(journal = journal.id(), %start, %end, damage, "a finalized segment is damaged");
                match journal.quarantine(start, end).await {
                    Ok(put_aside) => found += usize::from(put_aside),
                    Err(error) => tracing::warn!(journal = journal.id(), %error, "cannot put it aside"),
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        found
    }
}

/// Asks so many peers for their promises that one of them has promised whatever this JournalNode has promised. Returns
/// whether the promise is known now.
pub async fn recover_promise(
    journal: &Journal,
    known: Option<&Membership>,
    others: &[RemoteJournalNode],
    members: usize,
) -> Result<bool, String> {
    let needed = members / 2 + 1;
    let mut promise = Epoch(0);
    let mut answers = 0;
    for peer in others {
        let asked = async {
            let client = connect(peer).await?;
            ask(&client, &Request::GetJournalState).await
        };
        match asked.await {
            Ok(Answer::JournalState {
                promised_epoch,
                membership,
                ..
            }) => {
                if membership.is_some_and(|theirs| theirs.is_newer_than(known)) {
                    // The peers of an old membership may not be those that know.
                    return Err(
                        "the set of JournalNodes was changed since: this directory has to be emptied".to_owned(),
                    );
                }
                promise = promise.max(promised_epoch);
                answers += 1;
            }
            Ok(_) => return Err("a peer answered something else".to_owned()),
            Err(reason) => tracing::debug!(journal = journal.id(), reason, "a peer does not answer"),
        }
    }
    if answers < needed {
        return Ok(false);
    }
    tracing::warn!(
        journal = journal.id(),
        promise = promise.0,
        "took the peers' promise over; waiting for a writer before voting"
    );
    let taken = journal.recover_promise(promise).await;
    taken.map(|()| true).map_err(|exception| exception.to_string())
}
