//! What waits for a storage policy satisfier (`StoragePolicySatisfyManager`).

use hathi_formats::ids::InodeId;
use std::collections::VecDeque;

/// `dfs.storage.policy.satisfier.*`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SatisfierConfig {
    /// Whether `mode` is `external`; otherwise it is `none`.
    pub external: bool,
    /// `max.outstanding.paths`
    pub paths_max: usize,
}

impl Default for SatisfierConfig {
    fn default() -> Self {
        SatisfierConfig {
            external: false,
            paths_max: 10_000,
        }
    }
}

/// The inodes that no satisfier has taken yet (`StoragePolicySatisfyManager`). It may be lost with the role: a new active
/// finds all marks in its namespace, those included that a satisfier is at.
#[derive(Debug, Default)]
pub(crate) struct Unsatisfied(pub(crate) VecDeque<InodeId>);

impl Unsatisfied {
    /// Of a new active.
    pub(crate) fn of(marked: Vec<InodeId>) -> Unsatisfied {
        Unsatisfied(marked.into())
    }
}
