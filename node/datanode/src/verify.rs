//! Checks a replica against its checksums before it is reported as bad.
//!
//! A short read or a missing file while a replica is sent does not prove that it is bad. It may have been opened for
//! append, truncated or deleted meanwhile. A NameNode that receives a wrong report deletes a good replica. So a
//! suspected replica is read again under its lock, which keeps all of these changes out.

use std::io;

use hathi_blockpool::chunks::{read_exact_at, read_header};
use hathi_blockpool::recovery::participant::end_is_bad;
use hathi_blockpool::{NoticeKind, Replica, ReplicaState};
use hathi_formats::datatransfer::META_HEADER_BYTES;
use hathi_formats::ids::{Block, BlockId};
use hathi_storage::{Disk, OsDisk};

use crate::dataset::Dataset;
use crate::node::DataNode;
use crate::pool::Pool;
use crate::throttle::Throttle;
use crate::volume::is_disk_error;

/// Bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Result of a check.
#[derive(Debug, PartialEq, Eq)]
pub enum ReplicaCheck {
    /// Every chunk matches its checksum.
    Good,
    /// A chunk does not match, or can't be read.
    Bad(String),
    /// There is no such replica, or its files are gone.
    Gone,
    /// It has a different stamp by now, or is being written or recovered, so nothing is known.
    Changed,
}

impl Dataset {
    /// Reads a complete replica again, data and meta file, while its lock is held.
    #[must_use]
    pub fn verify_replica(&self, pool: &Pool, block: Block) -> ReplicaCheck {
        let _replica = pool.lock_replica(block.id);
        match pool.get(block.id) {
            None => ReplicaCheck::Gone,
            Some(replica)
                if replica.state != ReplicaState::Finalized || replica.generation_stamp != block.generation_stamp =>
            {
                ReplicaCheck::Changed
            }
            Some(replica) => read_again(pool, &replica, None),
        }
    }
}

/// Compares the chunks of a complete replica with their checksums. Each chunk is compared as it is when it is read.
#[must_use]
pub fn read_again(pool: &Pool, replica: &Replica, throttle: Option<&Throttle>) -> ReplicaCheck {
    match compare(pool, replica, throttle) {
        Ok(None) => ReplicaCheck::Good,
        Ok(Some(problem)) => ReplicaCheck::Bad(problem),
        Err(error) if error.kind() == io::ErrorKind::NotFound => ReplicaCheck::Gone,
        Err(error) => ReplicaCheck::Bad(error.to_string()),
    }
}

fn compare(pool: &Pool, replica: &Replica, throttle: Option<&Throttle>) -> io::Result<Option<String>> {
    let take = |bytes: usize| {
        if let Some(throttle) = throttle {
            throttle.take(bytes as u64);
        }
    };
    let files = pool
        .files(replica)
        .ok_or_else(|| io::Error::other("the volume is gone"))?;
    let data = OsDisk.open_read(&files.data)?;
    let meta = OsDisk.open_read(&files.meta)?;
    let header = read_header(&meta)?;
    let chunk = header.checksum.bytes_per_checksum() as usize;
    let step = (READ_BYTES / chunk).max(1) * chunk;
    let mut bytes = vec![0; step.min(replica.num_bytes as usize)];
    let mut sums = Vec::new();
    let mut position = 0;
    while position < replica.num_bytes {
        let len = step.min((replica.num_bytes - position) as usize);
        let part = bytes.get_mut(..len).unwrap_or_default();
        read_exact_at(&data, position, part)?;
        sums.resize(header.checksum.checksum_len(len), 0);
        read_exact_at(&meta, header.checksum_offset(position), &mut sums)?;
        if let Err(mismatch) = header.checksum.verify(part, &sums) {
            return Ok(Some(format!("from {position} on: {mismatch}")));
        }
        position += len as u64;
        take(len);
    }
    take(META_HEADER_BYTES);
    Ok(None)
}

impl DataNode {
    /// Checks a replica after a failed read, and reports it to the NameNodes if it is bad or gone. Blocks meanwhile.
    pub fn on_suspect(&self, pool: &Pool, block: Block) -> ReplicaCheck {
        let verified = self.dataset.verify_replica(pool, block);
        let Some(replica) = pool.get(block.id) else {
            return verified;
        };
        match &verified {
            ReplicaCheck::Good | ReplicaCheck::Changed => {}
            ReplicaCheck::Gone => {
                tracing::warn!(block = %block.id, "the files of a replica are gone");
                if pool.forget(&replica)
                    && let Some(volume) = self.dataset.volume(replica.volume)
                {
                    let kind = NoticeKind::Deleted;
                    self.notify(pool.id(), replica.block(), kind, &volume.storage_id, "");
                }
            }
            ReplicaCheck::Bad(problem) => {
                tracing::warn!(block = %block.id, %problem, "replica is bad");
                self.report_bad_block(pool.id(), &replica);
                if let Some(volume) = self.dataset.volume(replica.volume)
                    && let Err(error) = volume.probe()
                    && is_disk_error(&error)
                {
                    self.on_disk_error(replica.volume, &error);
                }
            }
        }
        verified
    }

    /// A block recovery has given a replica another stamp, or made a shorter copy of it, which has another id. If the replica is bad, the NameNodes know that of its old stamp
    /// at most, and would count the new one as good. So one that was known to be bad, or whose end looks bad, is read
    /// again. Blocks meanwhile.
    pub fn on_recovered(&self, pool: &Pool, before: BlockId, recovered: &Replica) {
        let Some(service) = self.service_of(pool.id()) else {
            return;
        };
        let is_suspect = service.is_known_bad(before)
            || pool
                .files(recovered)
                .is_some_and(|files| end_is_bad(&OsDisk, &files, recovered));
        let is_good = is_suspect && self.on_suspect(pool, recovered.block()) == ReplicaCheck::Good;
        if is_good && before == recovered.block_id {
            service.is_bad_no_more(recovered.block_id);
        }
    }
}
