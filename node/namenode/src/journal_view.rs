//! The JournalNodes as this NameNode sees them, for those that show it.

use crate::state::Shared;
use hathi_journal::messages::LeaseState;
use std::collections::BTreeMap;

/// The last lease state of each JournalNode that answers, by its index.
#[must_use]
pub fn lease_states(shared: &Shared) -> BTreeMap<usize, LeaseState> {
    shared.leases.lock().states().clone()
}
