//! Orders to make internal blocks that wait for a thread, and what was done.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64;

use hathi_formats::proto::hdfs::BlockEcReconstructionInfoProto;
use parking_lot::Mutex;

use crate::config::ReconstructionConf;
use crate::throttle::Throttle;

/// Most orders that wait. A NameNode gives as many as this DataNode has transfers free, and orders again what is not done.
const WAITING_MAX: usize = 1000;
/// Counters of Hadoop's `DataNodeMetrics` whose names begin with `Ec`.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReconstructionMetrics {
    pub tasks: AtomicU64,
    pub failed_tasks: AtomicU64,
    pub bytes_read: AtomicU64,
    pub remote_bytes_read: AtomicU64,
    pub bytes_written: AtomicU64,
    pub decoding_nanos: AtomicU64,
}

/// As many orders wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The orders. The threads that carry them out end when none waits.
#[derive(Debug)]
pub struct Reconstructions {
    state: Mutex<State>,
    reads: Option<Throttle>,
    writes: Option<Throttle>,
    /// What was done.
    pub metrics: ReconstructionMetrics,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<BlockEcReconstructionInfoProto>,
    threads: usize,
}

impl Reconstructions {
    /// None yet.
    #[must_use]
    pub fn new(conf: &ReconstructionConf) -> Reconstructions {
        let limit = |bandwidth: u64| (bandwidth > 0).then(|| Throttle::new(bandwidth));
        Reconstructions {
            state: Mutex::default(),
            reads: limit(conf.read_bandwidth),
            writes: limit(conf.write_bandwidth),
            metrics: ReconstructionMetrics::default(),
        }
    }

    /// The limit for bytes from sources.
    #[must_use]
    pub fn reads(&self) -> Option<&Throttle> {
        self.reads.as_ref()
    }

    /// The limit for bytes to targets.
    #[must_use]
    pub fn writes(&self) -> Option<&Throttle> {
        self.writes.as_ref()
    }

    /// Takes an order. True when the caller is to start a thread for it, of which there are at most `threads_max`.
    ///
    /// # Errors
    /// When too many wait.
    pub fn push(&self, order: BlockEcReconstructionInfoProto, threads_max: usize) -> Result<bool, TooMany> {
        let mut state = self.state.lock();
        if state.waiting.len() >= WAITING_MAX {
            return Err(TooMany);
        }
        state.waiting.push_back(order);
        let needs_thread = state.threads < threads_max;
        state.threads += usize::from(needs_thread);
        Ok(needs_thread)
    }

    /// The next order for a thread. When there is none the thread ends.
    pub fn take_next(&self) -> Option<BlockEcReconstructionInfoProto> {
        let mut state = self.state.lock();
        let next = state.waiting.pop_front();
        if next.is_none() {
            state.threads -= 1;
        }
        next
    }

    /// A thread did not start.
    pub fn thread_ended(&self) {
        self.state.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::{Configuration, Environment};

    #[test]
    fn there_are_as_many_threads_as_are_needed_and_allowed() {
        let conf = ReconstructionConf::of(&Configuration::new(Environment::default())).unwrap();
        let orders = Reconstructions::new(&conf);
        assert!(orders.reads().is_none() && orders.writes().is_none());
        let order = BlockEcReconstructionInfoProto::default;
        assert_eq!(orders.push(order(), 2), Ok(true));
        assert_eq!(orders.push(order(), 2), Ok(true));
        assert_eq!(orders.push(order(), 2), Ok(false));
        let done = std::iter::from_fn(|| orders.take_next()).count();
        assert_eq!(done, 3);
        assert_eq!(orders.push(order(), 2), Ok(true), "one has ended");
        assert_eq!(orders.push(order(), 2), Ok(false));
        for _ in 2..WAITING_MAX {
            orders.push(order(), 2).unwrap();
        }
        assert_eq!(orders.push(order(), 2), Err(TooMany));
    }
}
