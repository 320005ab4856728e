//! Reads of the shared journal and proofs of what was read: what `node/namenode/src/tail.rs` and `prove.rs` do.

use super::mutants::ClusterMutant;
use super::shell::{Out, Shell};
use super::tasks::oneshot;
use bytes::Bytes;
use hathi_formats::exceptions::{CACHE_MISS, RemoteException};
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::writer::CallError;
use hathi_journal::{Micros, Request};
use hathi_nameserver::proving::{self, Proving};
use hathi_nameserver::reading::{Candidate, Got, Order, Progress, Purpose, ReadError, Reading};
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::retry_cache::RetryCache;
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
            let applied = process.ns.edit_log().applied();
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
                        Edits::new(file, TxId(u64::MAX), EditsSource::Open)?
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
    let applied = |shell: &Shell| shell.look(|process| process.ns.edit_log().applied());
    let before = applied(shell);
    let now_ms = shell.ms();
    loop {
        let more = shell.with(|process| {
            let more = edits.apply(&mut process.ns, shell.settings().knobs.txns_per_lock, now_ms);
            if shell.is(ClusterMutant::RetryCacheNotReplayed) {
                drop(process.ns.replace_retry_cache(RetryCache::default()));
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
    carry_out(shell, proving::Purpose::Standby).await
}

/// Whether this NameNode may serve, as the writer of `epoch`. The recovery left a journal that ends with `last`.
pub async fn prove_before_active(shell: &Shell, epoch: Epoch, last: Option<TxId>) -> Read<()> {
    carry_out(shell, proving::Purpose::BeforeActive(epoch, last)).await
}

async fn carry_out(shell: &Shell, purpose: proving::Purpose) -> Read<()> {
    let mut proving = Proving::new(purpose, shell.settings().journalnodes);
    loop {
        let order = shell.with(|process| proving.order(&mut process.ns));
        match order {
            proving::Order::AskAll { request, .. } => {
                if matches!(request, Request::GetJournaledEdits { .. }) {
                    shell.mark("compared what was applied");
                }
                let answers = shell.call_all(&request, CALL_TIMEOUT).await;
                proving.hear(proving::Got::Answers(answers));
            }
            proving::Order::Fetch(candidate) => {
                let file = download(shell, &candidate).await;
                proving.hear(proving::Got::Fetched(
                    file.ok_or_else(|| "a segment can't be fetched".to_owned()),
                ));
            }
            proving::Order::Done => return Ok(()),
            proving::Order::Failed(error) => return Err(error),
        }
    }
}
