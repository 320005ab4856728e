//! Reads of the shared journal and proofs of what was read: what `node/namenode/src/tail.rs` and `prove.rs` do.

use super::mutants::ClusterMutant;
use super::shell::{Out, Shell};
use super::tasks::oneshot;
use bytes::Bytes;
use hathi_formats::exceptions::{CACHE_MISS, RemoteException};
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::messages::Manifest;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Micros, Request};
use hathi_nameserver::reading::{
    self, Candidate, Got, Order, Progress, Purpose, ReadError, Reading, candidates, committed_edits, of_majority,
};
use hathi_namesystem::history::{Compared, Comparison, JournalState, Source, Stretch};
use hathi_namesystem::tailer::{Edits, TailError};

const CALL_TIMEOUT: Micros = 1_000_000;

type Read<T> = Result<T, ReadError>;

/// Reads for this purpose.
pub async fn read(shell: &Shell, purpose: Purpose) -> Read<Progress> {
    let members = (0..shell.settings().journalnodes).collect();
    let mut reading = Reading::new(purpose, members);
    let mut got = Got::Nothing;
    let mut fetched = None;
    loop {
        let order = shell.with(|process| {
            let applied = process.ns.edit_log.applied();
            reading.on(got, applied, &mut process.sources)
        });
        got = match order {
            Order::Ask { .. } if shell.is(ClusterMutant::TailUncommitted) => {
                let missed = RemoteException::new(CACHE_MISS, "not in memory");
                Got::Answer(Err(CallError::Remote(missed)))
            }
            Order::Ask {
                journalnode,
                request,
                timeout_ms,
            } => Got::Answer(shell.call(journalnode, &request, u64::from(timeout_ms) * 1_000).await),
            Order::AskAll { request, timeout_ms } => {
                Got::Answers(shell.call_all(&request, u64::from(timeout_ms) * 1_000).await)
            }
            Order::Fetch(candidate) => {
                let file = download(shell, &candidate).await;
                fetched = file.clone().filter(|_| candidate.segment.in_progress);
                Got::Fetched(file.ok_or_else(|| "a segment can't be fetched".to_owned()))
            }
            Order::Apply(edits) => {
                shell.mark(match fetched {
                    Some(_) => "tailed from an open segment",
                    None => "tailed",
                });
                let edits = match fetched.take() {
                    Some(file) if shell.is(ClusterMutant::TailUncommitted) => {
                        Edits::new(file, TxId(u64::MAX), Source::Open)?
                    }
                    _ => edits,
                };
                Got::Applied(apply(shell, edits).await)
            }
            Order::Done(progress) => return Ok(progress),
            Order::Failed(ReadError::Edits(TailError::Purged { .. })) if shell.is(ClusterMutant::PurgeNotNoticed) => {
                return Ok(Progress::Nothing);
            }
            Order::Failed(error) => {
                if matches!(error, ReadError::Edits(TailError::Purged { .. })) {
                    shell.mark("next edits were purged");
                }
                return Err(error);
            }
        };
    }
}

/// The segments that a majority of the JournalNodes names.
async fn manifests(shell: &Shell, since: TxId, in_progress: bool) -> Read<Vec<(usize, Manifest)>> {
    let answers = shell
        .call_all(&reading::manifest(since, in_progress), CALL_TIMEOUT)
        .await;
    of_majority(answers, shell.settings().journalnodes / 2 + 1).map_err(ReadError::Unavailable)
}

async fn download(shell: &Shell, candidate: &Candidate) -> Option<Bytes> {
    let (done, file) = oneshot();
    shell.ask_world(Out::Download {
        jn: candidate.journalnode,
        start: candidate.segment.start,
        in_progress: candidate.segment.in_progress,
        done,
    });
    shell.within(2 * CALL_TIMEOUT, file).await??
}

/// Applies edits in slices. Between two slices others get the lock.
async fn apply(shell: &Shell, mut edits: Edits) -> Result<Progress, TailError> {
    let applied = |shell: &Shell| shell.look(|process| process.ns.edit_log.applied());
    let before = applied(shell);
    let now_ms = shell.ms();
    loop {
        let more = shell.with(|process| {
            let more = edits.apply(&mut process.ns, shell.settings().knobs.txns_per_lock, now_ms);
            if shell.is(ClusterMutant::RetryCacheNotReplayed) {
                process.ns.retry_cache.clear();
            }
            more
        });
        match more {
            Ok(true) => shell.sleep_up_to(200).await,
            Ok(false) => break,
            Err(error) => {
                if !matches!(error, TailError::Frame(_)) || applied(shell) == before {
                    return Err(error);
                }
                break;
            }
        }
    }
    Ok(match applied(shell) > before {
        true => Progress::Some,
        false => Progress::Nothing,
    })
}

/// Proves everything that can be proven now. Nothing may be applied meanwhile.
pub async fn prove(shell: &Shell) -> Read<()> {
    let request = Request::WatchLease {
        known_counter: None,
        wait_ms: 0,
    };
    let answers = shell.call_all(&request, CALL_TIMEOUT).await;
    let states: Vec<_> = answers
        .into_iter()
        .filter_map(|(_, answer)| match answer {
            Ok(Answer::LeaseState(state)) => Some(JournalState {
                promised: state.promised_epoch,
                writer: state.writer_epoch,
                highest: state.highest,
            }),
            _ => None,
        })
        .collect();
    let majority = shell.settings().journalnodes / 2 + 1;
    let stretches = shell.with(|process| {
        let ns = &mut process.ns;
        let (applied, life) = (ns.edit_log.applied(), ns.life().clone());
        ns.history.judge(&states, majority, applied, &life)
    });
    compare_all(shell, &stretches.map_err(TailError::from)?).await?;
    Ok(())
}

/// Whether this NameNode may serve, as the writer of `epoch`. The recovery left a journal that ends with `last`.
pub async fn prove_before_active(shell: &Shell, epoch: Epoch, last: Option<TxId>) -> Read<()> {
    let stretches = shell.look(|process| {
        let applied = process.ns.edit_log.applied();
        process.ns.history.before_active(epoch, last, applied)
    });
    if !compare_all(shell, &stretches.map_err(TailError::from)?).await? {
        let what = "what was applied can't be compared with the journal".to_owned();
        return Err(ReadError::Unavailable(what));
    }
    Ok(())
}

async fn compare_all(shell: &Shell, stretches: &[Stretch]) -> Read<bool> {
    for stretch in stretches {
        shell.mark("compared what was applied");
        let compared = compare(shell, stretch).await?;
        let noted = shell.with(|process| {
            let life = process.ns.life().clone();
            process.ns.history.on_compared(stretch, compared, &life)
        });
        noted.map_err(TailError::from)?;
        if compared != Compared::Same {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn compare(shell: &Shell, stretch: &Stretch) -> Read<Compared> {
    let mut comparison = Comparison::new(*stretch);
    while !comparison.is_whole() {
        let before = comparison.next();
        for (_, answer) in shell.call_all(&committed_edits(before, 0), CALL_TIMEOUT).await {
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
            return compare_files(shell, stretch).await;
        }
    }
    Ok(comparison.outcome(false))
}

async fn compare_files(shell: &Shell, stretch: &Stretch) -> Read<Compared> {
    let manifests = manifests(shell, stretch.first, true).await?;
    let mut compared = Compared::NotYet;
    for candidate in candidates(&manifests, stretch.first) {
        let Some(edits) = download(shell, &candidate).await else {
            continue;
        };
        let mut comparison = Comparison::new(*stretch);
        if comparison.read(&edits, candidate.limit).is_err() {
            continue;
        }
        compared = comparison.outcome(candidate.source() == Source::Finalized);
        if compared != Compared::NotYet {
            break;
        }
    }
    Ok(compared)
}
