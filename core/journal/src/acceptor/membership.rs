//! Which JournalNodes the journal has, once an operator has changed that: `setMembership`, `joinJournal` (Hathi's own).

use hathi_formats::ids::NamespaceInfo;
use hathi_storage::Disk;

use super::{Acceptor, JournalResult, MAX_EPOCH_JUMP, MEMBERSHIP};
use crate::errors::JournalError;
use crate::membership::Membership;
use crate::messages::{Answer, Micros, RequestInfo};

impl<D: Disk> Acceptor<D> {
    /// The newest membership given to this JournalNode. `None` when it knows of no change.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.journal.as_ref().and_then(|journal| journal.membership.as_ref())
    }

    /// Reads the membership from disk. A damaged one is an error: without it this JournalNode could help a writer into
    /// office that only removed JournalNodes know.
    pub(super) fn read_membership(&self) -> JournalResult<Option<Membership>> {
        let path = self.storage.current().join(MEMBERSHIP);
        let data = self.storage.disk().read_small(&path);
        let data = data.map_err(|source| JournalError::Io {
            what: format!("reading {}", path.display()),
            source,
        })?;
        let Some(data) = data else {
            return Ok(None);
        };
        match Membership::parse(&String::from_utf8_lossy(&data)) {
            Some(membership) => Ok(Some(membership)),
            None => Err(self.refused(format!("{} is damaged", path.display()))),
        }
    }

    /// Keeps a membership, durably.
    pub(super) fn keep_membership(&mut self, membership: &Membership) -> JournalResult<()> {
        let path = self.storage.current().join(MEMBERSHIP);
        let written = self.storage.disk().write_small(&path, membership.to_text().as_bytes());
        self.disk_result("persisting the membership", written)?;
        self.formatted_mut()?.membership = Some(membership.clone());
        self.version += 1;
        Ok(())
    }

    /// The writer of the promised epoch says which JournalNodes belong to the journal.
    pub(super) fn set_membership(
        &mut self,
        info: &RequestInfo,
        membership: &Membership,
        now: Micros,
    ) -> JournalResult<Answer> {
        self.check_request(info, now)?;
        if membership.epoch != info.epoch || !membership.is_valid() {
            return Err(self.illegal_argument(format!("bad membership {membership:?} in epoch {}", info.epoch)));
        }
        let known = self.formatted()?.membership.clone();
        if known.as_ref() != Some(membership) {
            if !membership.is_newer_than(known.as_ref()) {
                return Err(self.illegal_argument(format!("membership {membership:?} is not newer than {known:?}")));
            }
            self.keep_membership(membership)?;
        }
        let lease_granted_ms = self.grant_if_current(info, now)?;
        Ok(Answer::Lease { lease_granted_ms })
    }

    /// A writer adds this JournalNode to the journal. An empty JournalNode has promised nobody anything, so it may
    /// begin with that writer's epoch. The mark `joining` says that it has no transactions yet.
    pub(super) fn join_journal(
        &mut self,
        info: &RequestInfo,
        ns_info: &NamespaceInfo,
        now: Micros,
    ) -> JournalResult<Answer> {
        if self.journal.is_none() {
            if ns_info.namespace_id == 0 {
                return Err(self.illegal_argument("can't format with uninitialized namespace info"));
            }
            if info.epoch.0 > MAX_EPOCH_JUMP {
                return Err(self.illegal_argument(format!("epoch {} is absurd", info.epoch)));
            }
            self.format_joining(ns_info, info.epoch, None, now)?;
        }
        let here = &self.formatted()?.info;
        if (here.namespace_id, &here.cluster_id) != (ns_info.namespace_id, &ns_info.cluster_id) {
            let here = here.to_colon_separated();
            return Err(self.refused(format!(
                "this JournalNode has a journal of another namespace ({here}) in {}",
                self.storage.root().display()
            )));
        }
        self.check_request(info, now)?;
        Ok(Answer::Done)
    }
}
