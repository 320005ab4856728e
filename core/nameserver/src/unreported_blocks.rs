//! Which `complete` calls wait for the report of their last block, for how long, and when they are served again.
//!
//! A DataNode tells the writer and the NameNodes of a finished block at the same moment, and sometimes the writer is
//! faster. After "not yet" Hadoop's client sleeps before it asks again
//! (`dfs.client.block.write.locateFollowingBlock.initial.delay.ms`, 400 ms), although the report arrives a moment later.
//! So the call waits for the report of its block for a while.
//!
//! Invariants: at most [`CALLS_MAX`] calls wait; each is handed back exactly once, by a report of its block or by the end
//! of its time, and no call waits longer than [`WAIT_MS`] in all, however often it is served again.

use hathi_formats::ids::BlockId;

/// How long a call waits, in ms. It is less than the client's sleep, so nobody loses by waiting.
pub const WAIT_MS: u64 = 300;
/// Number of calls that may wait.
pub const CALLS_MAX: usize = 1024;

/// A call that waits, or has waited. `C` is the call and the way to answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<C> {
    /// The call.
    pub call: C,
    /// When it is answered with "not yet", in ms of the NameNode's monotonic clock. It keeps this time when it is served
    /// again.
    pub until_ms: u64,
    block: BlockId,
}

/// The calls that wait for reports.
#[derive(Clone, Debug)]
pub struct UnreportedBlocks<C> {
    waiting: Vec<Waiting<C>>,
}

impl<C> Default for UnreportedBlocks<C> {
    fn default() -> Self {
        UnreportedBlocks { waiting: Vec::new() }
    }
}

impl<C> UnreportedBlocks<C> {
    /// Keeps a call whose answer is "not yet", because this block is not reported. `until_ms` is the end of its time if
    /// it has waited before. Gives the call back when it may not wait (any longer), and then its answer leaves.
    pub fn keep(&mut self, call: C, block: BlockId, until_ms: Option<u64>, now_ms: u64) -> Result<(), C> {
        let until_ms = until_ms.unwrap_or(now_ms.saturating_add(WAIT_MS));
        if now_ms >= until_ms || self.waiting.len() >= CALLS_MAX {
            return Err(call);
        }
        debug_assert!(until_ms - now_ms <= WAIT_MS, "no call waits longer in all");
        self.waiting.push(Waiting { call, until_ms, block });
        debug_assert!(
            self.waiting.len() <= CALLS_MAX,
            "the number of waiting calls is limited"
        );
        Ok(())
    }

    /// Replicas of these blocks were reported. Takes the calls that waited for one of them. They are to be served again.
    pub fn reported(&mut self, blocks: &[BlockId]) -> Vec<Waiting<C>> {
        self.take(|waiting| blocks.contains(&waiting.block))
    }

    /// Takes the calls that have waited long enough. Their answer is "not yet".
    pub fn expired(&mut self, now_ms: u64) -> Vec<Waiting<C>> {
        self.take(|waiting| now_ms >= waiting.until_ms)
    }

    fn take(&mut self, wanted: impl Fn(&Waiting<C>) -> bool) -> Vec<Waiting<C>> {
        let before = self.waiting.len();
        let taken: Vec<_> = self.waiting.extract_if(.., |waiting| wanted(waiting)).collect();
        debug_assert_eq!(taken.len() + self.waiting.len(), before, "no call is lost or doubled");
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(taken: Vec<Waiting<&'static str>>) -> Vec<&'static str> {
        taken.into_iter().map(|waiting| waiting.call).collect()
    }

    #[test]
    fn a_report_hands_back_the_calls_that_wait_for_its_blocks_once() {
        let mut unreported = UnreportedBlocks::default();
        for (call, block) in [("a", 1), ("b", 2), ("a again", 1), ("c", 3)] {
            assert_eq!(unreported.keep(call, BlockId(block), None, 1000), Ok(()));
        }
        assert_eq!(
            calls(unreported.reported(&[BlockId(7), BlockId(3), BlockId(1)])),
            ["a", "a again", "c"]
        );
        assert_eq!(calls(unreported.reported(&[BlockId(1)])), [""; 0]);
        assert_eq!(calls(unreported.reported(&[])), [""; 0]);
        assert_eq!(calls(unreported.expired(u64::MAX)), ["b"]);
    }

    #[test]
    fn a_call_waits_so_long_in_all_however_often_it_is_served() {
        let mut unreported = UnreportedBlocks::default();
        unreported.keep("a", BlockId(1), None, 1000).unwrap();
        assert_eq!(calls(unreported.expired(1000 + WAIT_MS - 1)), [""; 0]);
        // Another replica than the missing one was reported.
        let [again] = unreported.reported(&[BlockId(1)]).try_into().unwrap();
        assert_eq!(again.until_ms, 1000 + WAIT_MS);
        let later = again.until_ms - 1;
        unreported
            .keep(again.call, BlockId(1), Some(again.until_ms), later)
            .unwrap();
        assert_eq!(calls(unreported.expired(again.until_ms)), ["a"]);
        let late = unreported.keep("a", BlockId(1), Some(again.until_ms), again.until_ms);
        assert_eq!(late, Err("a"), "its time is over");
        assert_eq!(calls(unreported.expired(u64::MAX)), [""; 0]);
    }

    #[test]
    fn the_number_of_waiting_calls_is_limited() {
        let mut unreported = UnreportedBlocks::default();
        for _ in 0..CALLS_MAX {
            assert_eq!(unreported.keep((), BlockId(1), None, 0), Ok(()));
        }
        assert_eq!(unreported.keep((), BlockId(2), None, 0), Err(()));
        assert_eq!(unreported.reported(&[BlockId(1)]).len(), CALLS_MAX);
        assert_eq!(unreported.keep((), BlockId(2), None, 0), Ok(()), "there is room again");
    }
}
