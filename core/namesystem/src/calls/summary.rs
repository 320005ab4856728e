//! `getContentSummary`, and `getQuotaUsage` of directories without a quota: walks over a whole subtree.

use super::border::{Answer, OrDeferred, Outcome};
use super::caller;
use super::walks::{Walk, WalkWork, Walked};
use crate::Namesystem;
use crate::context::CallContext;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::proto::hdfs::{
    ContentSummaryProto, GetContentSummaryRequestProto, GetContentSummaryResponseProto, GetQuotaUsageRequestProto,
    GetQuotaUsageResponseProto, QuotaUsageProto, StorageTypeProto, StorageTypeQuotaInfoProto,
    StorageTypeQuotaInfosProto,
};
use hathi_namespace::{Caller, SummaryWalk};
use std::sync::Arc;

/// The wanted answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Summary {
        /// How a file is kept, or the policy of a directory.
        erasure_coding: String,
    },
    Usage,
}

/// A walk under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    walk: SummaryWalk,
    type_quotas: Vec<(i32, i64)>,
    wanted: Wanted,
    user: Arc<str>,
    groups: Arc<[String]>,
    superuser: bool,
}

impl Summary {
    fn begin(ns: &Namesystem, ctx: &CallContext, path: &str, usage: bool) -> Result<Walk, RemoteException> {
        let iip = ns.namespace().resolve(path)?;
        let walk = ns.namespace().content_summary(&caller(ctx), &iip, path)?;
        Ok(Walk::Summary(Box::new(Summary {
            walk,
            type_quotas: ns.namespace().type_quotas(&iip),
            wanted: if usage {
                Wanted::Usage
            } else {
                Wanted::Summary {
                    erasure_coding: ns.namespace().erasure_coding_text(&iip),
                }
            },
            user: ctx.user.clone(),
            groups: ctx.groups.clone(),
            superuser: ctx.superuser,
        })))
    }

    /// Counts at most `max` inodes. Returns the response when all are counted.
    pub(super) fn step(&mut self, ns: &Namesystem, max: usize) -> Result<Option<Walked>, RemoteException> {
        let caller = Caller {
            user: &self.user,
            groups: &self.groups,
            superuser: self.superuser,
        };
        let is_whole = ns.namespace().content_summary_step(&caller, &mut self.walk, max)?;
        Ok(is_whole.then(|| self.response()))
    }

    fn response(&self) -> Walked {
        let summary = &self.walk.summary;
        let type_quota_infos = type_quota_infos(&self.type_quotas, &summary.types_consumed);
        match &self.wanted {
            Wanted::Summary { erasure_coding } => Walked::Summary(GetContentSummaryResponseProto {
                summary: ContentSummaryProto {
                    length: summary.length,
                    file_count: summary.file_count,
                    directory_count: summary.directory_count,
                    quota: summary.ns_quota as u64,
                    space_consumed: summary.space_consumed,
                    space_quota: summary.ds_quota as u64,
                    snapshot_length: Some(summary.snapshot_length),
                    snapshot_file_count: Some(summary.snapshot_file_count),
                    snapshot_directory_count: Some(summary.snapshot_directory_count),
                    snapshot_space_consumed: Some(summary.snapshot_space_consumed),
                    erasure_coding_policy: Some(erasure_coding.clone()),
                    type_quota_infos,
                },
            }),
            Wanted::Usage => Walked::Usage(GetQuotaUsageResponseProto {
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
}

/// Quotas and bytes by storage type, for all types that may have a quota, when there is anything to tell
/// (`PBHelperClient.convert`).
fn type_quota_infos(quotas: &[(i32, i64)], consumed: &[i64; 6]) -> Option<StorageTypeQuotaInfosProto> {
    if quotas.is_empty() && consumed.iter().all(|bytes| *bytes <= 0) {
        return None;
    }
    let infos = (0_i32..).zip(consumed).filter_map(|(ordinal, consumed)| {
        let r#type = hathi_namespace::storage_type_number(ordinal)?;
        // RAM disks can't have a quota.
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
pub fn get_content_summary(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetContentSummaryRequestProto,
) -> Outcome<OrDeferred<Walked>> {
    WalkWork::start(ns, Summary::begin(ns, ctx, &request.path, false)?)
}

/// `getQuotaUsage`
pub fn get_quota_usage(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetQuotaUsageRequestProto,
) -> Outcome<OrDeferred<Walked>> {
    let iip = ns.namespace().resolve(&request.path)?;
    let Some(usage) = ns.namespace().quota_usage(&caller(ctx), &iip, &request.path)? else {
        return WalkWork::start(ns, Summary::begin(ns, ctx, &request.path, true)?);
    };
    let usage = QuotaUsageProto {
        file_and_directory_count: usage.file_and_directory_count,
        quota: usage.ns_quota as u64,
        space_consumed: usage.space_consumed,
        space_quota: usage.ds_quota as u64,
        type_quota_infos: type_quota_infos(&ns.namespace().type_quotas(&iip), &usage.types_consumed),
    };
    let usage = Walked::Usage(GetQuotaUsageResponseProto { usage });
    Ok(Answer::now(usage, ns.shown_everything()))
}
