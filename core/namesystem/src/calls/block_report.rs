//! A full block report, processed in slices so that nobody waits for a million blocks.

use super::border::{Answer, Served};
use super::datanode::refusal;
use crate::context::Reply;
use crate::{Generation, Namesystem, Role};
use hathi_blockmanager::{BlockReport, DatanodeIndex, Now, ReportProgress, finalize_command, register_command};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::proto::datanode::{
    BlockReportContextProto, BlockReportRequestProto, BlockReportResponseProto, StorageBlockReportProto,
};
use std::collections::VecDeque;

/// The storages of a report message that are still to be processed. Call [`BlockReportWork::step`] under the write lock
/// until it returns a reply, and release the lock between two calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReportWork {
    datanode: DatanodeIndex,
    generation: Generation,
    by_active: bool,
    waiting: VecDeque<StorageBlockReportProto>,
    current: Option<BlockReport>,
    context: Option<BlockReportContextProto>,
}

impl BlockReportWork {
    pub(super) fn new(ns: &Namesystem, datanode: DatanodeIndex, request: BlockReportRequestProto) -> BlockReportWork {
        BlockReportWork {
            datanode,
            generation: ns.life().generation(),
            by_active: ns.role() == Role::Active,
            waiting: request.reports.into(),
            current: None,
            context: request.context,
        }
    }

    /// Number of replicas that the message names.
    pub(super) fn replicas(&self) -> u64 {
        self.waiting
            .iter()
            .map(|report| report.number_of_blocks.unwrap_or(report.blocks.len() as u64 / 3))
            .fold(0, u64::saturating_add)
    }

    /// Bytes of the lists of replicas while the report waits: as they were sent or, from old DataNodes, as numbers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let of_lists = |report: &StorageBlockReportProto| {
            let buffers: usize = report
                .blocks_buffers
                .iter()
                .map(|buffer| buffer.len() + size_of_val(buffer))
                .sum();
            buffers + size_of_val(&*report.blocks)
        };
        self.waiting.iter().map(of_lists).sum()
    }

    /// Processes at most `max` replicas. Returns the reply when all are done.
    pub fn step(&mut self, ns: &mut Namesystem, max: usize, now: Now) -> Option<Reply> {
        let before = ns.edit_log().applied();
        let outcome = self.go_on(ns, max, now).transpose()?;
        Some(Served::InEveryRole.reply(ns, before, outcome))
    }

    /// [`BlockReportWork::step`], typed.
    pub(super) fn go_on(
        &mut self,
        ns: &mut Namesystem,
        max: usize,
        now: Now,
    ) -> Result<Option<Answer<BlockReportResponseProto>>, RemoteException> {
        ns.check_not_broken()?;
        // The role has changed, or the namespace was loaded anew. The node registers again and sends another report.
        let gone = ns.blockmanager().datanode(self.datanode).is_none_or(|node| !node.alive);
        let other_role = (ns.role() == Role::Active) != self.by_active;
        if gone || other_role || ns.life().generation() != self.generation {
            let cmd = Some(register_command());
            return Ok(Some(Answer::new(BlockReportResponseProto { cmd }, None)));
        }
        if let Some(current) = &mut self.current {
            match ns.blockmanager_mut().report_slice(current, max, now) {
                Ok(ReportProgress::More) => return Ok(None),
                Ok(ReportProgress::Done) => self.current = None,
                Err(error) => return Err(refusal(&error)),
            }
        }
        while self.current.is_none() {
            let Some(next) = self.waiting.pop_front() else {
                return Ok(Some(self.finish(ns, now)));
            };
            self.current = ns
                .blockmanager_mut()
                .begin_report(self.datanode, next)
                .map_err(|error| refusal(&error))?;
        }
        Ok(None)
    }

    fn finish(&self, ns: &mut Namesystem, now: Now) -> Answer<BlockReportResponseProto> {
        debug_assert!(
            self.waiting.is_empty() && self.current.is_none(),
            "a report that was answered is not sent again: all of it counts"
        );
        let last = self
            .context
            .as_ref()
            .is_none_or(|context| context.cur_rpc.saturating_add(1) >= context.total_rpcs);
        if last {
            ns.blockmanager_mut().end_report_lease(self.datanode);
        }
        // The node deletes what it keeps for a rollback. Only the active says so, and only to a node whose reports are
        // complete.
        let finalize = ns.role() == Role::Active
            && ns.is_upgrade_finalized()
            && !ns.blockmanager().has_stale_storages(self.datanode);
        let cmd = finalize.then(|| finalize_command(&ns.info.block_pool_id));
        // A file may have waited for this report.
        let begun = crate::monitor::resume_recoveries(ns, now);
        Answer::new(BlockReportResponseProto { cmd }, begun)
    }
}
