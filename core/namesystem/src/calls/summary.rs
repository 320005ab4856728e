//! `getContentSummary`, and `getQuotaUsage` of what has no quota: walks over a whole subtree.
//!
//! A small subtree is counted at once. For a larger one the caller of the verb goes on with a [`SummaryWork`], slice by
//! slice, and gives the lock away in between, as Hadoop does after `dfs.content-summary.limit` inodes.

use super::{caller, reading};
use crate::context::{CallContext, Deferred, Reply};
use crate::{Generation, Namesystem, OperationCategory};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{
    ContentSummaryProto, GetContentSummaryRequestProto, GetContentSummaryResponseProto, GetQuotaUsageRequestProto,
    GetQuotaUsageResponseProto, QuotaUsageProto, StorageTypeProto, StorageTypeQuotaInfoProto,
    StorageTypeQuotaInfosProto,
};
use hathi_namespace::{Caller, InodeKind, SummaryWalk};
use std::sync::Arc;

/// Inodes that are counted with the call itself: a quarter of a millisecond.
pub const SUMMARY_SLICE_INODES: usize = 2000;

/// What is asked of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// Of a file or of a directory.
    Summary {
        is_file: bool,
    },
    Usage,
}

/// A walk under way. Call [`SummaryWork::step`] under the read lock until it answers, and let the lock go in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryWork {
    walk: SummaryWalk,
    root: Option<InodeId>,
    answer: Answer,
    generation: Generation,
    user: Arc<str>,
    groups: Arc<[String]>,
    superuser: bool,
}

impl SummaryWork {
    fn begin(ns: &Namesystem, ctx: &CallContext, path: &str, usage: bool) -> Result<SummaryWork, RemoteException> {
        let iip = ns.namespace.resolve(path)?;
        let walk = ns.namespace.content_summary(&caller(ctx), &iip, path)?;
        let is_file = iip
            .last()
            .and_then(|id| ns.namespace.status(id))
            .is_some_and(|status| status.kind == InodeKind::File);
        Ok(SummaryWork {
            walk,
            root: iip.last(),
            answer: if usage {
                Answer::Usage
            } else {
                Answer::Summary { is_file }
            },
            generation: ns.life().generation(),
            user: ctx.user.clone(),
            groups: ctx.groups.clone(),
            superuser: ctx.superuser,
        })
    }

    /// Counts at most `max` inodes; answers the reply when all are counted.
    pub fn step(&mut self, ns: &Namesystem, max: usize) -> Option<Reply> {
        if let Err(refused) = ns.check_operation(OperationCategory::Read) {
            return Some(Reply::refuse(refused));
        }
        if ns.life().generation() != self.generation {
            let message = "the namespace was loaded anew while it was counted";
            return Some(Reply::refuse(RemoteException::new(exceptions::RETRIABLE, message)));
        }
        let caller = Caller {
            user: &self.user,
            groups: &self.groups,
            superuser: self.superuser,
        };
        match ns.namespace.content_summary_step(&caller, &mut self.walk, max) {
            Ok(false) => None,
            Ok(true) => Some(self.reply(ns).after(ns.shown_everything())),
            Err(refused) => Some(Reply::refuse(refused).after(ns.shown_everything())),
        }
    }

    fn reply(&self, ns: &Namesystem) -> Reply {
        let summary = &self.walk.summary;
        let type_quota_infos = self
            .root
            .and_then(|root| type_quota_infos(ns, root, &summary.types_consumed));
        match self.answer {
            Answer::Summary { is_file } => Reply::message(&GetContentSummaryResponseProto {
                summary: ContentSummaryProto {
                    length: summary.length,
                    file_count: summary.file_count,
                    directory_count: summary.directory_count,
                    quota: summary.ns_quota as u64,
                    space_consumed: summary.space_consumed,
                    space_quota: summary.ds_quota as u64,
                    snapshot_length: Some(0),
                    snapshot_file_count: Some(0),
                    snapshot_directory_count: Some(0),
                    snapshot_space_consumed: Some(0),
                    erasure_coding_policy: Some(if is_file { "Replicated" } else { "" }.to_owned()),
                    type_quota_infos,
                },
            }),
            Answer::Usage => Reply::message(&GetQuotaUsageResponseProto {
                usage: QuotaUsageProto {
                    file_and_directory_count: summary.file_count + summary.directory_count,
                    quota: summary.ns_quota as u64,
                    space_consumed: summary.space_consumed,
                    space_quota: summary.ds_quota as u64,
                    type_quota_infos,
                },
            }),
        }
    }

    /// Answers at once what is small.
    fn start(mut self, ns: &Namesystem) -> Reply {
        self.step(ns, SUMMARY_SLICE_INODES)
            .unwrap_or_else(|| Reply::defer(Deferred::Summary(Box::new(self))))
    }
}

/// Quotas and bytes by storage type, of all types that may have a quota, when there is anything to tell
/// (`PBHelperClient.convert`).
fn type_quota_infos(ns: &Namesystem, dir: InodeId, consumed: &[i64; 6]) -> Option<StorageTypeQuotaInfosProto> {
    let quotas = ns.namespace.type_quotas(dir);
    if quotas.is_empty() && consumed.iter().all(|bytes| *bytes <= 0) {
        return None;
    }
    let infos = (0_i32..).zip(consumed).filter_map(|(ordinal, consumed)| {
        let r#type = hathi_namespace::storage_type_number(ordinal)?;
        // Memory has none.
        let is_counted = r#type != StorageTypeProto::RamDisk as i32;
        let quota = quotas
            .iter()
            .find(|(known, _)| *known == ordinal)
            .map_or(-1, |(_, quota)| *quota);
        is_counted.then(|| StorageTypeQuotaInfoProto {
            r#type: Some(r#type),
            quota: quota as u64,
            consumed: (*consumed).max(0) as u64,
        })
    });
    Some(StorageTypeQuotaInfosProto {
        type_quota_info: infos.collect(),
    })
}

/// `getContentSummary`
pub(super) fn get_content_summary(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, request: GetContentSummaryRequestProto| {
            Ok(SummaryWork::begin(ns, ctx, &request.path, false)?.start(ns))
        },
    )
}

/// `getQuotaUsage`
pub(super) fn get_quota_usage(ns: &Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    reading(
        ns,
        ctx,
        &body,
        OperationCategory::Read,
        |ns, ctx, request: GetQuotaUsageRequestProto| {
            let iip = ns.namespace.resolve(&request.path)?;
            let Some(usage) = ns.namespace.quota_usage(&caller(ctx), &iip, &request.path)? else {
                return Ok(SummaryWork::begin(ns, ctx, &request.path, true)?.start(ns));
            };
            let usage = QuotaUsageProto {
                file_and_directory_count: usage.file_and_directory_count,
                quota: usage.ns_quota as u64,
                space_consumed: usage.space_consumed,
                space_quota: usage.ds_quota as u64,
                type_quota_infos: iip
                    .last()
                    .and_then(|id| type_quota_infos(ns, id, &usage.types_consumed)),
            };
            Ok(Reply::message(&GetQuotaUsageResponseProto { usage }).after(ns.shown_everything()))
        },
    )
}
