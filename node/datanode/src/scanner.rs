//! Reads all finalized replicas again from time to time, so that rot is found before the data is needed
//! (`BlockScanner`, `VolumeScanner`).

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hathi_blockpool::Replica;
use hathi_formats::ids::BlockId;

use crate::node::DataNode;
use crate::pool::Pool;
use crate::throttle::Throttle;
use crate::verify::{ReplicaCheck, read_again};

/// Interval at which the thread checks whether the DataNode ends.
const NAP: Duration = Duration::from_millis(500);

/// Starts the scanner's thread. A period of zero switches it off.
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
                    // A replica that looks bad may have changed during the slow read.
                    if read_again(&pool, &replica, Some(&throttle)) != ReplicaCheck::Good {
                        node.on_suspect(&pool, replica.block());
                    }
                }
                // There is at most one round in each period.
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
