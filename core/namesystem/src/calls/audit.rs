//! The line of the audit log about a call (`FSNamesystem.logAuditEvent`).
//!
//! It is made after the call, from the request and the reply, and only when the log is on. So handlers pay nothing for
//! it.

use super::{caching_audit, wire};
use crate::Namesystem;
use crate::context::{CallContext, Reply};
use bytes::Bytes;
use hathi_formats::editlog::fs_action_symbol;
use hathi_formats::erasure_coding::whole;
use hathi_formats::exceptions;
use hathi_formats::proto::hdfs::{
    AddErasureCodingPoliciesResponseProto, ConcatRequestProto, CreateSnapshotRequestProto, CreateSnapshotResponseProto,
    CreateSymlinkRequestProto, DeleteSnapshotRequestProto, GetSnapshotDiffReportRequestProto, ReencryptActionProto,
    ReencryptEncryptionZoneRequestProto, Rename2RequestProto, RenameRequestProto, RenameSnapshotRequestProto,
    RollingUpgradeActionProto, RollingUpgradeRequestProto, SafeModeActionProto, SetSafeModeRequestProto,
};
use hathi_formats::protocols::ClientMethod as M;
use hathi_namespace::snapshot_path;
use prost::Message;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// False when access was denied.
    pub allowed: bool,
    /// Name of the caller.
    pub user: Arc<str>,
    /// Address of the caller.
    pub ip: Option<IpAddr>,
    /// Hadoop's name of the command.
    pub command: Cow<'static, str>,
    /// The path of the call, if it has one.
    pub src: Option<String>,
    /// The other path of a rename.
    pub dst: Option<String>,
    /// `owner:group:rwxr-xr-x` of the changed inode.
    pub permission: Option<String>,
}

/// What the line of a method contains.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// No path.
    Plain,
    /// A path.
    Path,
    /// A path, with its owner and mode after the call.
    PathAndStatus,
}

#[derive(Clone, PartialEq, Message)]
struct FirstString {
    #[prost(string, optional, tag = "1")]
    value: Option<String>,
}

/// The line of a call of `ClientProtocol`. `None` for methods without a line, and for failures other than a denial,
/// which Hadoop does not log either.
#[must_use]
pub fn audit(ns: &Namesystem, ctx: &CallContext, method: M, body: &Bytes, reply: &Reply) -> Option<AuditRecord> {
    let allowed = match &reply.result {
        Ok(_) => true,
        Err(refused) if refused.is(exceptions::ACCESS_CONTROL) => false,
        Err(_) => return None,
    };
    let (command, shape) = command_of(method)?;
    if !allowed && leaves_no_line_when_denied(method) {
        return None;
    }
    let mut record = AuditRecord {
        allowed,
        user: ctx.user.clone(),
        ip: ctx.client_ip,
        command: command.into(),
        src: None,
        dst: None,
        permission: None,
    };
    let mut changed = None;
    match method {
        M::Rename => {
            let request = RenameRequestProto::decode(&body[..]).ok()?;
            changed = Some(request.dst.clone());
            (record.src, record.dst) = (Some(request.src), Some(request.dst));
        }
        M::Rename2 => {
            let request = Rename2RequestProto::decode(&body[..]).ok()?;
            let mut options = Vec::new();
            options.extend(request.overwrite_dest.then_some("OVERWRITE"));
            options.extend(request.move_to_trash().then_some("TO_TRASH"));
            if options.is_empty() {
                options.push("NONE");
            }
            record.command = format!("rename (options=[{}])", options.join(", ")).into();
            changed = Some(request.dst.clone());
            (record.src, record.dst) = (Some(request.src), Some(request.dst));
        }
        M::ReencryptEncryptionZone => {
            let request = ReencryptEncryptionZoneRequestProto::decode(&body[..]).ok()?;
            if allowed {
                record.command = match request.action() {
                    ReencryptActionProto::StartReencrypt => "STARTreencryption".into(),
                    ReencryptActionProto::CancelReencrypt => "CANCELreencryption".into(),
                };
            }
            record.src = Some(request.zone);
        }
        M::SetSafeMode => {
            // A call that only asks leaves no line (`FSNamesystem.setSafeMode`).
            record.command = match SetSafeModeRequestProto::decode(&body[..]).ok()?.action() {
                SafeModeActionProto::SafemodeEnter => "safemode_enter".into(),
                SafeModeActionProto::SafemodeLeave => "safemode_leave".into(),
                SafeModeActionProto::SafemodeForceExit => "safemode_force_exit".into(),
                SafeModeActionProto::SafemodeGet => return None,
            };
        }
        M::RollingUpgrade => {
            record.command = match RollingUpgradeRequestProto::decode(&body[..]).ok()?.action() {
                RollingUpgradeActionProto::Query => "queryRollingUpgrade".into(),
                RollingUpgradeActionProto::Start => "startRollingUpgrade".into(),
                RollingUpgradeActionProto::Finalize => "finalizeRollingUpgrade".into(),
            };
        }
        M::Concat => {
            let request = wire::decode::<ConcatRequestProto>(body).ok()?;
            changed = Some(request.trg.clone());
            record.src = Some(format!("[{}]", request.srcs.join(", ")));
            record.dst = Some(request.trg);
        }
        M::CreateSymlink => {
            let request = CreateSymlinkRequestProto::decode(&body[..]).ok()?;
            changed = Some(request.link.clone());
            (record.src, record.dst) = (Some(request.link), Some(request.target));
        }
        M::CreateSnapshot => {
            record.src = Some(wire::decode::<CreateSnapshotRequestProto>(body).ok()?.snapshot_root);
            let answer = reply.result.as_ref().ok();
            let answer = answer.and_then(|answer| CreateSnapshotResponseProto::decode(&answer[..]).ok());
            record.dst = answer.map(|answer| answer.snapshot_path);
        }
        M::DeleteSnapshot => {
            let request = wire::decode::<DeleteSnapshotRequestProto>(body).ok()?;
            record.src = Some(snapshot_path(&request.snapshot_root, &request.snapshot_name));
        }
        M::RenameSnapshot => {
            let request = wire::decode::<RenameSnapshotRequestProto>(body).ok()?;
            record.src = Some(snapshot_path(&request.snapshot_root, &request.snapshot_old_name));
            record.dst = Some(snapshot_path(&request.snapshot_root, &request.snapshot_new_name));
        }
        M::GetSnapshotDiffReport | M::GetSnapshotDiffReportListing => {
            // Both requests begin with the same three fields.
            let request = GetSnapshotDiffReportRequestProto::decode(&body[..]).ok()?;
            let path = |name: &str| match name {
                "" => request.snapshot_root.clone(),
                name => snapshot_path(&request.snapshot_root, name),
            };
            (record.src, record.dst) = (Some(path(&request.from_snapshot)), Some(path(&request.to_snapshot)));
        }
        M::AddErasureCodingPolicies => {
            let answer = reply.result.as_ref().ok()?;
            let answer = AddErasureCodingPoliciesResponseProto::decode(&answer[..]).ok()?;
            let added = answer.responses.iter().filter(|response| response.succeed);
            let names: Vec<_> = added.map(|added| whole(&added.policy).name().to_owned()).collect();
            record.src = Some(format!("[{}]", names.join(", ")));
        }
        M::AddCacheDirective
        | M::ModifyCacheDirective
        | M::RemoveCacheDirective
        | M::ListCacheDirectives
        | M::AddCachePool
        | M::ModifyCachePool
        | M::RemoveCachePool => {
            let places = caching_audit::places(ns, method, body, reply);
            (record.src, record.dst) = (places.src, places.dst);
        }
        _ if shape != Shape::Plain => {
            record.src = FirstString::decode(&body[..]).ok()?.value;
            changed.clone_from(&record.src);
        }
        _ => {}
    }
    if allowed && shape == Shape::PathAndStatus {
        record.permission = changed.and_then(|path| permission(ns, &path));
    }
    Some(record)
}

/// Calls of which Hadoop logs no denial.
fn leaves_no_line_when_denied(method: M) -> bool {
    matches!(
        method,
        M::UnsetErasureCodingPolicy
            | M::AddErasureCodingPolicies
            | M::RemoveErasureCodingPolicy
            | M::EnableErasureCodingPolicy
            | M::DisableErasureCodingPolicy
            | M::GetEcTopologyResultForPolicies
    )
}

fn permission(ns: &Namesystem, path: &str) -> Option<String> {
    let inode = ns.namespace().resolve(path).ok()?.last()?;
    let status = ns.namespace().status(inode)?;
    let bits = |shift: u16| fs_action_symbol((status.mode >> shift & 7) as u8);
    let mut mode = [bits(6), bits(3), bits(0)].concat();
    if status.mode & 0o1000 != 0 {
        let last = mode.pop();
        mode.push(if last == Some('x') { 't' } else { 'T' });
    }
    Some(format!("{}:{}:{mode}", status.owner, status.group))
}

fn command_of(method: M) -> Option<(&'static str, Shape)> {
    use Shape::{Path, PathAndStatus, Plain};
    Some(match method {
        M::GetBlockLocations => ("open", Path),
        M::GetFileInfo | M::GetFileLinkInfo | M::GetLocatedFileInfo => ("getfileinfo", Path),
        M::GetListing => ("listStatus", Path),
        M::GetContentSummary => ("contentSummary", Path),
        M::GetQuotaUsage => ("quotaUsage", Path),
        M::IsFileClosed => ("isFileClosed", Path),
        M::CheckAccess => ("checkAccess", Path),
        M::GetAclStatus => ("getAclStatus", Path),
        M::GetXAttrs => ("getXAttrs", Path),
        M::ListXAttrs => ("listXAttrs", Path),
        M::GetStoragePolicy => ("getStoragePolicy", Path),
        M::GetErasureCodingPolicy => ("getErasureCodingPolicy", Path),
        M::GetErasureCodingPolicies => ("getErasureCodingPolicies", Plain),
        M::GetErasureCodingCodecs => ("getErasureCodingCodecs", Plain),
        M::GetEcTopologyResultForPolicies => ("getECTopologyResultForPolicies", Plain),
        M::SetErasureCodingPolicy => ("setErasureCodingPolicy", PathAndStatus),
        M::UnsetErasureCodingPolicy => ("unsetErasureCodingPolicy", PathAndStatus),
        // The name of the policy stands in the place of a path.
        M::RemoveErasureCodingPolicy => ("removeErasureCodingPolicy", Path),
        M::EnableErasureCodingPolicy => ("enableErasureCodingPolicy", Path),
        M::DisableErasureCodingPolicy => ("disableErasureCodingPolicy", Path),
        M::AddErasureCodingPolicies => ("addErasureCodingPolicies", Plain),
        M::GetEzForPath => ("getEZForPath", Path),
        M::CreateEncryptionZone => ("createEncryptionZone", PathAndStatus),
        M::ListEncryptionZones => ("listEncryptionZones", Plain),
        M::ListReencryptionStatus => ("listReencryptionStatus", Plain),
        M::ReencryptEncryptionZone => ("reencryptEncryptionZone", Plain),
        M::Create => ("create", PathAndStatus),
        M::Append => ("append", Path),
        M::Truncate => ("truncate", PathAndStatus),
        M::Mkdirs => ("mkdirs", PathAndStatus),
        M::Delete => ("delete", Path),
        M::Rename | M::Rename2 => ("rename", PathAndStatus),
        M::Concat => ("concat", PathAndStatus),
        M::CreateSymlink => ("createSymlink", PathAndStatus),
        M::SetPermission => ("setPermission", PathAndStatus),
        M::SetOwner => ("setOwner", PathAndStatus),
        M::SetTimes => ("setTimes", PathAndStatus),
        M::SetReplication => ("setReplication", Path),
        M::SetStoragePolicy => ("setStoragePolicy", PathAndStatus),
        M::UnsetStoragePolicy => ("unsetStoragePolicy", PathAndStatus),
        M::SetQuota => ("setQuota", Path),
        M::ModifyAclEntries => ("modifyAclEntries", PathAndStatus),
        M::RemoveAclEntries => ("removeAclEntries", PathAndStatus),
        M::RemoveDefaultAcl => ("removeDefaultAcl", PathAndStatus),
        M::RemoveAcl => ("removeAcl", PathAndStatus),
        M::SetAcl => ("setAcl", PathAndStatus),
        M::SetXAttr => ("setXAttr", PathAndStatus),
        M::RemoveXAttr => ("removeXAttr", PathAndStatus),
        M::AllowSnapshot => ("allowSnapshot", Path),
        M::DisallowSnapshot => ("disallowSnapshot", Path),
        M::CreateSnapshot => ("createSnapshot", Path),
        M::RenameSnapshot => ("renameSnapshot", Path),
        M::DeleteSnapshot => ("deleteSnapshot", Path),
        M::GetSnapshottableDirListing => ("listSnapshottableDirectory", Plain),
        M::GetSnapshotListing => ("ListSnapshot", Path),
        M::GetSnapshotDiffReport | M::GetSnapshotDiffReportListing => ("computeSnapshotDiff", Path),
        M::AddCacheDirective => ("addCacheDirective", Plain),
        M::ModifyCacheDirective => ("modifyCacheDirective", Plain),
        M::RemoveCacheDirective => ("removeCacheDirective", Plain),
        M::ListCacheDirectives => ("listCacheDirectives", Plain),
        M::AddCachePool => ("addCachePool", Plain),
        M::ModifyCachePool => ("modifyCachePool", Plain),
        M::RemoveCachePool => ("removeCachePool", Plain),
        M::ListCachePools => ("listCachePools", Plain),
        M::ListCorruptFileBlocks => ("listCorruptFileBlocks", Path),
        M::GetDatanodeReport => ("datanodeReport", Plain),
        M::GetDatanodeStorageReport => ("getDatanodeStorageReport", Plain),
        M::SaveNamespace => ("saveNamespace", Plain),
        M::RefreshNodes => ("refreshNodes", Plain),
        M::FinalizeUpgrade => ("finalizeUpgrade", Plain),
        M::MetaSave => ("metaSave", Plain),
        M::ListOpenFiles => ("listOpenFiles", Plain),
        M::ReportBadBlocks => ("reportBadBlocks", Plain),
        M::SetBalancerBandwidth => ("setBalancerBandwidth", Plain),
        M::SetSafeMode => ("setSafeMode", Plain),
        M::RollingUpgrade => ("rollingUpgrade", Plain),
        _ => return None,
    })
}
