//! Reads all finalized replicas again from time to time, so that what a disk has spoilt is known before it is needed
//! (`BlockScanner`, `VolumeScanner`).

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hathi_blockpool::{NoticeKind, Replica, ReplicaState};
use hathi_formats::datatransfer::META_HEADER_BYTES;
use hathi_formats::ids::BlockId;

use crate::files::read_meta_header;
use crate::node::DataNode;
use crate::pool::Pool;
use crate::throttle::Throttle;
use crate::volume::is_disk_error;

/// Read at once.
const READ_BYTES: usize = 1 << 20;
/// The thread looks this often whether the DataNode ends.
const NAP: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every chunk matches its checksum.
    Good,
    /// Deleted, appended to or under recovery meanwhile: nothing to say.
    Changed,
    /// The files are gone.
    Missing,
    /// A chunk does not match, or cannot be read.
    Bad(String),
}

/// Starts the scanner's thread; a period of zero switches it off.
pub fn start(node: &Arc<DataNode>, period: Duration, bytes_per_second: u64) -> io::Result<()> {
    if period.is_zero() || bytes_per_second == 0 {
        return Ok(());
    }
    let node = Arc::downgrade(node);
    std::thread::Builder::new().name("scanner".to_owned()).spawn(move || {
        let throttle = Throttle::new(bytes_per_second);
        let mut round_began = Instant::now();
        let mut cursor: Option<(String, BlockId)> = None;
        loop {
            let Some(node) = node.upgrade().filter(|node| !node.is_stopping()) else {
                return;
            };
            match next(&node, cursor.as_ref()) {
                Some((pool, replica)) => {
                    cursor = Some((pool.id().to_owned(), replica.block_id));
                    let verdict = verify(&pool, &replica, &throttle);
                    act(&node, &pool, &replica, &verdict);
                }
                // One round at most in each period.
                None if round_began.elapsed() >= period => {
                    round_began = Instant::now();
                    cursor = None;
                }
                None => {
                    drop(node);
                    std::thread::sleep(NAP);
                }
            }
        }
    })?;
    Ok(())
}

/// The replica after the cursor, pool by pool.
fn next(node: &DataNode, cursor: Option<&(String, BlockId)>) -> Option<(Arc<Pool>, Replica)> {
    let mut pools = node.dataset.pools();
    pools.sort_by(|a, b| a.id().cmp(b.id()));
    for pool in pools {
        let after = match cursor {
            Some((done, _)) if pool.id() < done.as_str() => continue,
            Some((done, id)) if pool.id() == done => *id,
            _ => BlockId(i64::MIN),
        };
        if let Some(replica) = pool.next_finalized(after) {
            return Some((pool, replica));
        }
    }
    None
}

/// Compares a finalized replica's chunks with their checksums.
#[must_use]
pub fn verify(pool: &Pool, replica: &Replica, throttle: &Throttle) -> Verdict {
    let unchanged = || {
        pool.get(replica.block_id).is_some_and(|now| {
            now.state == ReplicaState::Finalized && now.block() == replica.block() && now.volume == replica.volume
        })
    };
    let verdict = match compare(pool, replica, throttle) {
        Ok(None) => Verdict::Good,
        Ok(Some(problem)) => Verdict::Bad(problem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Verdict::Missing,
        Err(error) => Verdict::Bad(error.to_string()),
    };
    if verdict == Verdict::Good || unchanged() {
        verdict
    } else {
        Verdict::Changed
    }
}

fn compare(pool: &Pool, replica: &Replica, throttle: &Throttle) -> io::Result<Option<String>> {
    let files = pool
        .files(replica)
        .ok_or_else(|| io::Error::other("the volume is gone"))?;
    let data = std::fs::File::open(&files.data)?;
    let meta = std::fs::File::open(&files.meta)?;
    let header = read_meta_header(&meta)?;
    let chunk = header.checksum.bytes_per_checksum() as usize;
    let step = (READ_BYTES / chunk).max(1) * chunk;
    let mut bytes = vec![0; step.min(replica.num_bytes as usize)];
    let mut sums = Vec::new();
    let mut position = 0;
    while position < replica.num_bytes {
        let len = step.min((replica.num_bytes - position) as usize);
        let part = bytes.get_mut(..len).unwrap_or_default();
        data.read_exact_at(part, position)?;
        sums.resize(header.checksum.checksum_len(len), 0);
        meta.read_exact_at(&mut sums, header.checksum_offset(position))?;
        if let Err(mismatch) = header.checksum.verify(part, &sums) {
            return Ok(Some(format!("from {position} on: {mismatch}")));
        }
        position += len as u64;
        throttle.take(len as u64);
    }
    throttle.take(META_HEADER_BYTES as u64);
    Ok(None)
}

fn act(node: &DataNode, pool: &Pool, replica: &Replica, verdict: &Verdict) {
    match verdict {
        Verdict::Good | Verdict::Changed => {}
        Verdict::Missing => {
            tracing::warn!(block = %replica.block_id, "the files of a replica are gone");
            if pool.forget(replica)
                && let Some(volume) = node.dataset.volume(replica.volume)
            {
                let kind = NoticeKind::Deleted;
                node.notify(pool.id(), replica.block(), kind, &volume.storage_id, "");
            }
        }
        Verdict::Bad(problem) => {
            tracing::warn!(block = %replica.block_id, %problem, "replica is bad");
            node.report_bad_block(pool.id(), replica);
            if let Some(volume) = node.dataset.volume(replica.volume)
                && let Err(error) = volume.probe()
                && is_disk_error(&error)
            {
                node.on_disk_error(replica.volume, &error);
            }
        }
    }
}
