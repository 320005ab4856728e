//! The methods of `ClientProtocol`: the handler of each, and the HA states in which it is served.

use super::border::{self, Served, row};
use super::{
    admin, attributes, blocks, caching, delete, erasure_coding, locations, policies, read, rolling_upgrade, satisfier,
    snapshots, summary, tokens, unsupported, wire, write, zones,
};
use crate::OperationCategory::{self, Journal, Read, Unchecked, Write};
use crate::context::MethodHandler;
use hathi_formats::proto::common::{
    CancelDelegationTokenRequestProto, GetDelegationTokenRequestProto, RenewDelegationTokenRequestProto,
};
use hathi_formats::proto::hdfs::{
    AbandonBlockRequestProto, AddBlockRequestProto, AddCacheDirectiveRequestProto, AddCachePoolRequestProto,
    AddErasureCodingPoliciesRequestProto, AllowSnapshotRequestProto, AppendRequestProto, CheckAccessRequestProto,
    CompleteRequestProto, ConcatRequestProto, CreateEncryptionZoneRequestProto, CreateSnapshotRequestProto,
    CreateSymlinkRequestProto, DeleteRequestProto, DeleteSnapshotRequestProto, DisableErasureCodingPolicyRequestProto,
    DisallowSnapshotRequestProto, EnableErasureCodingPolicyRequestProto, FinalizeUpgradeRequestProto,
    FsyncRequestProto, GetAclStatusRequestProto, GetAdditionalDatanodeRequestProto, GetBatchedListingRequestProto,
    GetContentSummaryRequestProto, GetCurrentEditLogTxidRequestProto, GetDataEncryptionKeyRequestProto,
    GetDatanodeReportRequestProto, GetDatanodeStorageReportRequestProto, GetEcTopologyResultForPoliciesRequestProto,
    GetEditsFromTxidRequestProto, GetEnclosingRootRequestProto, GetErasureCodingCodecsRequestProto,
    GetErasureCodingPoliciesRequestProto, GetErasureCodingPolicyRequestProto, GetEzForPathRequestProto,
    GetFileLinkInfoRequestProto, GetFsEcBlockGroupStatsRequestProto, GetFsReplicatedBlockStatsRequestProto,
    GetFsStatusRequestProto, GetLinkTargetRequestProto, GetListingRequestProto, GetLocatedFileInfoRequestProto,
    GetPreferredBlockSizeRequestProto, GetQuotaUsageRequestProto, GetServerDefaultsRequestProto,
    GetSlowDatanodeReportRequestProto, GetSnapshotDiffReportListingRequestProto, GetSnapshotDiffReportRequestProto,
    GetSnapshotListingRequestProto, GetSnapshottableDirListingRequestProto, GetStoragePoliciesRequestProto,
    GetStoragePolicyRequestProto, GetXAttrsRequestProto, HaServiceStateRequestProto, IsFileClosedRequestProto,
    ListCacheDirectivesRequestProto, ListCachePoolsRequestProto, ListCorruptFileBlocksRequestProto,
    ListEncryptionZonesRequestProto, ListOpenFilesRequestProto, ListReencryptionStatusRequestProto,
    ListXAttrsRequestProto, MetaSaveRequestProto, ModifyAclEntriesRequestProto, ModifyCacheDirectiveRequestProto,
    ModifyCachePoolRequestProto, MsyncRequestProto, RecoverLeaseRequestProto, ReencryptEncryptionZoneRequestProto,
    RefreshNodesRequestProto, RemoveAclEntriesRequestProto, RemoveAclRequestProto, RemoveCacheDirectiveRequestProto,
    RemoveCachePoolRequestProto, RemoveDefaultAclRequestProto, RemoveErasureCodingPolicyRequestProto,
    RemoveXAttrRequestProto, Rename2RequestProto, RenameRequestProto, RenameSnapshotRequestProto,
    RenewLeaseRequestProto, ReportBadBlocksRequestProto, RestoreFailedStorageRequestProto, RollEditsRequestProto,
    RollingUpgradeRequestProto, SatisfyStoragePolicyRequestProto, SaveNamespaceRequestProto, SetAclRequestProto,
    SetBalancerBandwidthRequestProto, SetErasureCodingPolicyRequestProto, SetOwnerRequestProto,
    SetPermissionRequestProto, SetQuotaRequestProto, SetReplicationRequestProto, SetSafeModeRequestProto,
    SetStoragePolicyRequestProto, SetTimesRequestProto, SetXAttrRequestProto, TruncateRequestProto,
    UnsetErasureCodingPolicyRequestProto, UnsetStoragePolicyRequestProto, UpdateBlockForPipelineRequestProto,
    UpdatePipelineRequestProto, UpgradeStatusRequestProto,
};
use hathi_formats::protocols::ClientMethod;

/// The HA states in which a method is served. `setSafeMode` and `rollingUpgrade` decide by their argument.
#[cfg(test)]
pub(super) fn category(method: ClientMethod) -> OperationCategory {
    row(method).0
}

/// The handler of a method.
pub(super) fn handler(method: ClientMethod) -> MethodHandler {
    row(method).1
}

fn row(method: ClientMethod) -> (OperationCategory, MethodHandler) {
    use ClientMethod as M;
    match method {
        M::GetBlockLocations => (
            Read,
            MethodHandler::ReadThenWrite(
                |ns, ctx, body| {
                    border::read_first(ns, Served::In(Read), || {
                        let request = wire::GetBlockLocationsView::decode(body)?;
                        locations::get_block_locations_read(ns, ctx, request)
                    })
                },
                |ns, ctx, body| {
                    border::call(ns, Served::In(Read), |ns| {
                        let request = wire::GetBlockLocationsView::decode(&body)?;
                        locations::get_block_locations_write(ns, ctx, request)
                    })
                },
            ),
        ),
        M::GetServerDefaults => row!(read Read, GetServerDefaultsRequestProto => admin::get_server_defaults),
        M::Create => row!(once with wire::CreateView::decode => write::create),
        M::Append => row!(once AppendRequestProto => write::append),
        M::SetReplication => row!(write Write, SetReplicationRequestProto => attributes::set_replication),
        M::SetStoragePolicy => row!(write Write, SetStoragePolicyRequestProto => policies::set_storage_policy),
        M::UnsetStoragePolicy => row!(write Write, UnsetStoragePolicyRequestProto => policies::unset_storage_policy),
        M::GetStoragePolicy => row!(read Read, GetStoragePolicyRequestProto => policies::get_storage_policy),
        M::GetStoragePolicies => row!(read Read, GetStoragePoliciesRequestProto => policies::get_storage_policies),
        M::SetPermission => row!(write Write, SetPermissionRequestProto => attributes::set_permission),
        M::SetOwner => row!(write Write, SetOwnerRequestProto => attributes::set_owner),
        M::AbandonBlock => row!(write Write, AbandonBlockRequestProto => blocks::abandon_block),
        M::AddBlock => row!(write Write, AddBlockRequestProto => blocks::add_block),
        M::GetAdditionalDatanode => {
            row!(write Write, GetAdditionalDatanodeRequestProto => blocks::get_additional_datanode)
        }
        M::Complete => row!(write Write, CompleteRequestProto => blocks::complete),
        M::ReportBadBlocks => row!(write Write, ReportBadBlocksRequestProto => blocks::report_bad_blocks),
        M::Concat => row!(once ConcatRequestProto => write::concat),
        M::Truncate => row!(write Write, TruncateRequestProto => write::truncate),
        M::Rename => row!(once RenameRequestProto => write::rename),
        M::Rename2 => row!(once Rename2RequestProto => write::rename2),
        M::Delete => row!(once DeleteRequestProto => delete::delete),
        M::Mkdirs => row!(write Write with wire::MkdirsView::decode => write::mkdirs),
        M::GetListing => row!(read Read, GetListingRequestProto => read::get_listing),
        M::GetBatchedListing => row!(read Read, GetBatchedListingRequestProto => read::get_batched_listing),
        M::RenewLease => row!(write Write, RenewLeaseRequestProto => blocks::renew_lease),
        M::RecoverLease => row!(write Write, RecoverLeaseRequestProto => blocks::recover_lease),
        M::GetFsStats => row!(read Read, GetFsStatusRequestProto => admin::get_fs_stats),
        M::GetFsReplicatedBlockStats => {
            row!(read Read, GetFsReplicatedBlockStatsRequestProto => admin::get_fs_replicated_block_stats)
        }
        M::GetFsEcBlockGroupStats => {
            row!(read Read, GetFsEcBlockGroupStatsRequestProto => admin::get_fs_ec_block_group_stats)
        }
        M::GetDatanodeReport => row!(read Unchecked, GetDatanodeReportRequestProto => admin::get_datanode_report),
        M::GetDatanodeStorageReport => {
            row!(read Unchecked, GetDatanodeStorageReportRequestProto => admin::get_datanode_storage_report)
        }
        M::GetPreferredBlockSize => {
            row!(read Read, GetPreferredBlockSizeRequestProto => read::get_preferred_block_size)
        }
        M::SetSafeMode => row!(write Unchecked, SetSafeModeRequestProto => admin::set_safe_mode),
        M::SaveNamespace => row!(read Unchecked, SaveNamespaceRequestProto => admin::save_namespace),
        M::RollEdits => row!(write Journal by_handler, RollEditsRequestProto => admin::roll_edits),
        M::RestoreFailedStorage => {
            row!(read Unchecked, RestoreFailedStorageRequestProto => admin::restore_failed_storage)
        }
        M::RefreshNodes => row!(read Unchecked, RefreshNodesRequestProto => admin::refresh_nodes),
        M::FinalizeUpgrade => row!(read Unchecked, FinalizeUpgradeRequestProto => admin::finalize_upgrade),
        M::UpgradeStatus => row!(read Unchecked, UpgradeStatusRequestProto => admin::upgrade_status),
        M::RollingUpgrade => {
            row!(write Read by_handler, RollingUpgradeRequestProto => rolling_upgrade::rolling_upgrade)
        }
        M::ListCorruptFileBlocks => {
            row!(read Read, ListCorruptFileBlocksRequestProto => admin::list_corrupt_file_blocks)
        }
        M::MetaSave => row!(read Read, MetaSaveRequestProto => admin::meta_save),
        M::GetFileInfo => row!(read Read with wire::decode_path => read::get_file_info),
        M::GetLocatedFileInfo => row!(read Read, GetLocatedFileInfoRequestProto => read::get_located_file_info),
        M::AddCacheDirective => row!(once AddCacheDirectiveRequestProto => caching::add_cache_directive),
        M::ModifyCacheDirective => row!(once ModifyCacheDirectiveRequestProto => caching::modify_cache_directive),
        M::RemoveCacheDirective => row!(once RemoveCacheDirectiveRequestProto => caching::remove_cache_directive),
        M::ListCacheDirectives => row!(read Read, ListCacheDirectivesRequestProto => caching::list_cache_directives),
        M::AddCachePool => row!(once AddCachePoolRequestProto => caching::add_cache_pool),
        M::ModifyCachePool => row!(once ModifyCachePoolRequestProto => caching::modify_cache_pool),
        M::RemoveCachePool => row!(once RemoveCachePoolRequestProto => caching::remove_cache_pool),
        M::ListCachePools => row!(read Read, ListCachePoolsRequestProto => caching::list_cache_pools),
        M::GetFileLinkInfo => row!(read Read, GetFileLinkInfoRequestProto => read::get_file_link_info),
        M::GetContentSummary => row!(read Read, GetContentSummaryRequestProto => summary::get_content_summary),
        M::SetQuota => row!(write Write, SetQuotaRequestProto => attributes::set_quota),
        M::Fsync => row!(write Write, FsyncRequestProto => blocks::fsync),
        M::SetTimes => row!(write Write, SetTimesRequestProto => attributes::set_times),
        M::CreateSymlink => row!(once CreateSymlinkRequestProto => write::create_symlink),
        M::GetLinkTarget => row!(read Read, GetLinkTargetRequestProto => read::get_link_target),
        M::UpdateBlockForPipeline => {
            row!(write Write, UpdateBlockForPipelineRequestProto => blocks::update_block_for_pipeline)
        }
        M::UpdatePipeline => row!(once UpdatePipelineRequestProto => blocks::update_pipeline),
        M::GetDelegationToken => row!(write Write, GetDelegationTokenRequestProto => tokens::get_delegation_token),
        M::RenewDelegationToken => {
            row!(write Write, RenewDelegationTokenRequestProto => tokens::renew_delegation_token)
        }
        M::CancelDelegationToken => {
            row!(write Write, CancelDelegationTokenRequestProto => tokens::cancel_delegation_token)
        }
        M::SetBalancerBandwidth => row!(write Write, SetBalancerBandwidthRequestProto => admin::set_balancer_bandwidth),
        M::GetDataEncryptionKey => {
            row!(read Unchecked, GetDataEncryptionKeyRequestProto => unsupported::get_data_encryption_key)
        }
        M::CreateSnapshot => row!(once CreateSnapshotRequestProto => snapshots::create_snapshot),
        M::RenameSnapshot => row!(once RenameSnapshotRequestProto => snapshots::rename_snapshot),
        M::AllowSnapshot => row!(write Write, AllowSnapshotRequestProto => snapshots::allow_snapshot),
        M::DisallowSnapshot => row!(write Write, DisallowSnapshotRequestProto => snapshots::disallow_snapshot),
        M::GetSnapshottableDirListing => {
            row!(read Read, GetSnapshottableDirListingRequestProto => snapshots::snapshottable_dirs)
        }
        M::GetSnapshotListing => row!(read Read, GetSnapshotListingRequestProto => snapshots::snapshots),
        M::DeleteSnapshot => row!(once DeleteSnapshotRequestProto => snapshots::delete_snapshot),
        M::GetSnapshotDiffReport => {
            row!(read Read, GetSnapshotDiffReportRequestProto => snapshots::snapshot_diff_report)
        }
        M::GetSnapshotDiffReportListing => {
            row!(read Read, GetSnapshotDiffReportListingRequestProto => snapshots::snapshot_diff_listing)
        }
        M::IsFileClosed => row!(read Read, IsFileClosedRequestProto => read::is_file_closed),
        M::ModifyAclEntries => row!(write Write, ModifyAclEntriesRequestProto => attributes::modify_acl_entries),
        M::RemoveAclEntries => row!(write Write, RemoveAclEntriesRequestProto => attributes::remove_acl_entries),
        M::RemoveDefaultAcl => row!(write Write, RemoveDefaultAclRequestProto => attributes::remove_default_acl),
        M::RemoveAcl => row!(write Write, RemoveAclRequestProto => attributes::remove_acl),
        M::SetAcl => row!(write Write, SetAclRequestProto => attributes::set_acl),
        M::GetAclStatus => row!(read Read, GetAclStatusRequestProto => attributes::get_acl_status),
        M::SetXAttr => row!(once SetXAttrRequestProto => attributes::set_xattr),
        M::GetXAttrs => row!(read Read, GetXAttrsRequestProto => attributes::get_xattrs),
        M::ListXAttrs => row!(read Read, ListXAttrsRequestProto => attributes::list_xattrs),
        M::RemoveXAttr => row!(once RemoveXAttrRequestProto => attributes::remove_xattr),
        M::CheckAccess => row!(read Read, CheckAccessRequestProto => read::check_access),
        M::CreateEncryptionZone => {
            row!(once CreateEncryptionZoneRequestProto => zones::create_encryption_zone)
        }
        M::ListEncryptionZones => {
            row!(read Read, ListEncryptionZonesRequestProto => zones::list_encryption_zones)
        }
        M::ReencryptEncryptionZone => {
            row!(once ReencryptEncryptionZoneRequestProto => zones::reencrypt_encryption_zone)
        }
        M::ListReencryptionStatus => {
            row!(read Read, ListReencryptionStatusRequestProto => zones::list_reencryption_status)
        }
        M::GetEzForPath => row!(read Read, GetEzForPathRequestProto => zones::get_ez_for_path),
        M::SetErasureCodingPolicy => row!(once SetErasureCodingPolicyRequestProto => erasure_coding::set_policy),
        M::UnsetErasureCodingPolicy => row!(once UnsetErasureCodingPolicyRequestProto => erasure_coding::unset_policy),
        M::GetEcTopologyResultForPolicies => {
            row!(read Unchecked, GetEcTopologyResultForPoliciesRequestProto => erasure_coding::get_topology_result)
        }
        M::GetCurrentEditLogTxid => {
            row!(read Read, GetCurrentEditLogTxidRequestProto => admin::get_current_edit_log_txid)
        }
        M::GetEditsFromTxid => row!(read Read, GetEditsFromTxidRequestProto => read::get_edits_from_txid),
        M::GetErasureCodingPolicies => {
            row!(read Read, GetErasureCodingPoliciesRequestProto => erasure_coding::get_policies)
        }
        M::AddErasureCodingPolicies => row!(once AddErasureCodingPoliciesRequestProto => erasure_coding::add_policies),
        M::RemoveErasureCodingPolicy => {
            row!(once RemoveErasureCodingPolicyRequestProto => erasure_coding::remove_policy)
        }
        M::EnableErasureCodingPolicy => {
            row!(once EnableErasureCodingPolicyRequestProto => erasure_coding::enable_policy)
        }
        M::DisableErasureCodingPolicy => {
            row!(once DisableErasureCodingPolicyRequestProto => erasure_coding::disable_policy)
        }
        M::GetErasureCodingPolicy => row!(read Read, GetErasureCodingPolicyRequestProto => erasure_coding::get_policy),
        M::GetErasureCodingCodecs => row!(read Read, GetErasureCodingCodecsRequestProto => erasure_coding::get_codecs),
        M::GetQuotaUsage => row!(read Read, GetQuotaUsageRequestProto => summary::get_quota_usage),
        M::ListOpenFiles => row!(read Read by_handler, ListOpenFilesRequestProto => admin::list_open_files),
        M::Msync => row!(read Write, MsyncRequestProto => admin::msync),
        M::SatisfyStoragePolicy => row!(once SatisfyStoragePolicyRequestProto => satisfier::satisfy_storage_policy),
        M::GetHaServiceState => row!(read Unchecked, HaServiceStateRequestProto => admin::get_ha_service_state),
        M::GetSlowDatanodeReport => {
            row!(read Unchecked, GetSlowDatanodeReportRequestProto => admin::get_slow_datanode_report)
        }
        M::GetEnclosingRoot => row!(read Read, GetEnclosingRootRequestProto => zones::get_enclosing_root),
    }
}
