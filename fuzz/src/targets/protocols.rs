//! The request messages of every method of every protocol that a daemon serves, decoded as in a call.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hathi_formats::proto::{common, datanode, ext, hdfs, namenode, qjournal};
use hathi_net::ipc::{ClientId, Method, Protocol, RpcCall, UserInfo, protocols};
use prost::Message;

use super::MESSAGES;
use crate::Target;

pub fn targets() -> Vec<Target> {
    vec![Target {
        name: "request_messages",
        samples,
        run,
        memory: MESSAGES,
    }]
}

/// Decodes a call's body as this message. A decoded message encodes to bytes that decode to the same message.
type Decode = fn(&RpcCall);

fn decode<M: Message + Default + PartialEq>(call: &RpcCall) {
    if let Ok(message) = call.decode::<M>() {
        let again = M::decode(&message.encode_to_vec()[..]).expect("what was encoded decodes");
        // A NaN in any field is not equal to itself, so the bytes are compared as well.
        assert!(again == message || again.encode_to_vec() == message.encode_to_vec());
    }
}

macro_rules! requests {
    ($($protocol:ident: $($method:literal => $($message:ident)::+),+;)+) => {
        /// The methods of a protocol, with their request messages.
        #[must_use]
        pub fn requests_of(protocol: &Protocol) -> &'static [(&'static str, Decode)] {
            $(if protocol.name == protocols::$protocol.name {
                return &[$(($method, decode::<$($message)::+>)),+];
            })+
            &[]
        }
    };
}

requests! {
    HA_SERVICE_PROTOCOL:
        "getServiceStatus" => common::GetServiceStatusRequestProto,
        "monitorHealth" => common::MonitorHealthRequestProto,
        "transitionToActive" => common::TransitionToActiveRequestProto,
        "transitionToObserver" => common::TransitionToObserverRequestProto,
        "transitionToStandby" => common::TransitionToStandbyRequestProto;
    ZKFC_PROTOCOL:
        "cedeActive" => common::CedeActiveRequestProto,
        "gracefulFailover" => common::GracefulFailoverRequestProto;
    CLIENT_DATANODE_PROTOCOL:
        "cancelDiskBalancerPlan" => hdfs::CancelPlanRequestProto,
        "deleteBlockPool" => hdfs::DeleteBlockPoolRequestProto,
        "evictWriters" => hdfs::EvictWritersRequestProto,
        "getBalancerBandwidth" => hdfs::GetBalancerBandwidthRequestProto,
        "getBlockLocalPathInfo" => hdfs::GetBlockLocalPathInfoRequestProto,
        "getDatanodeInfo" => hdfs::GetDatanodeInfoRequestProto,
        "getDiskBalancerSetting" => hdfs::DiskBalancerSettingRequestProto,
        "getReconfigurationStatus" => hdfs::GetReconfigurationStatusRequestProto,
        "getReplicaVisibleLength" => hdfs::GetReplicaVisibleLengthRequestProto,
        "getVolumeReport" => hdfs::GetVolumeReportRequestProto,
        "listReconfigurableProperties" => hdfs::ListReconfigurablePropertiesRequestProto,
        "queryDiskBalancerPlan" => hdfs::QueryPlanStatusRequestProto,
        "refreshNamenodes" => hdfs::RefreshNamenodesRequestProto,
        "shutdownDatanode" => hdfs::ShutdownDatanodeRequestProto,
        "startReconfiguration" => hdfs::StartReconfigurationRequestProto,
        "submitDiskBalancerPlan" => hdfs::SubmitDiskBalancerPlanRequestProto,
        "triggerBlockReport" => hdfs::TriggerBlockReportRequestProto;
    CLIENT_PROTOCOL:
        "abandonBlock" => hdfs::AbandonBlockRequestProto,
        "addBlock" => hdfs::AddBlockRequestProto,
        "addCacheDirective" => hdfs::AddCacheDirectiveRequestProto,
        "addCachePool" => hdfs::AddCachePoolRequestProto,
        "addErasureCodingPolicies" => hdfs::AddErasureCodingPoliciesRequestProto,
        "allowSnapshot" => hdfs::AllowSnapshotRequestProto,
        "append" => hdfs::AppendRequestProto,
        "cancelDelegationToken" => common::CancelDelegationTokenRequestProto,
        "checkAccess" => hdfs::CheckAccessRequestProto,
        "complete" => hdfs::CompleteRequestProto,
        "concat" => hdfs::ConcatRequestProto,
        "create" => hdfs::CreateRequestProto,
        "createEncryptionZone" => hdfs::CreateEncryptionZoneRequestProto,
        "createSnapshot" => hdfs::CreateSnapshotRequestProto,
        "createSymlink" => hdfs::CreateSymlinkRequestProto,
        "delete" => hdfs::DeleteRequestProto,
        "deleteSnapshot" => hdfs::DeleteSnapshotRequestProto,
        "disableErasureCodingPolicy" => hdfs::DisableErasureCodingPolicyRequestProto,
        "disallowSnapshot" => hdfs::DisallowSnapshotRequestProto,
        "enableErasureCodingPolicy" => hdfs::EnableErasureCodingPolicyRequestProto,
        "finalizeUpgrade" => hdfs::FinalizeUpgradeRequestProto,
        "fsync" => hdfs::FsyncRequestProto,
        "getAclStatus" => hdfs::GetAclStatusRequestProto,
        "getAdditionalDatanode" => hdfs::GetAdditionalDatanodeRequestProto,
        "getBatchedListing" => hdfs::GetBatchedListingRequestProto,
        "getBlockLocations" => hdfs::GetBlockLocationsRequestProto,
        "getContentSummary" => hdfs::GetContentSummaryRequestProto,
        "getCurrentEditLogTxid" => hdfs::GetCurrentEditLogTxidRequestProto,
        "getDataEncryptionKey" => hdfs::GetDataEncryptionKeyRequestProto,
        "getDatanodeReport" => hdfs::GetDatanodeReportRequestProto,
        "getDatanodeStorageReport" => hdfs::GetDatanodeStorageReportRequestProto,
        "getDelegationToken" => common::GetDelegationTokenRequestProto,
        "getECTopologyResultForPolicies" => hdfs::GetEcTopologyResultForPoliciesRequestProto,
        "getEZForPath" => hdfs::GetEzForPathRequestProto,
        "getEditsFromTxid" => hdfs::GetEditsFromTxidRequestProto,
        "getEnclosingRoot" => hdfs::GetEnclosingRootRequestProto,
        "getErasureCodingCodecs" => hdfs::GetErasureCodingCodecsRequestProto,
        "getErasureCodingPolicies" => hdfs::GetErasureCodingPoliciesRequestProto,
        "getErasureCodingPolicy" => hdfs::GetErasureCodingPolicyRequestProto,
        "getFileInfo" => hdfs::GetFileInfoRequestProto,
        "getFileLinkInfo" => hdfs::GetFileLinkInfoRequestProto,
        "getFsECBlockGroupStats" => hdfs::GetFsEcBlockGroupStatsRequestProto,
        "getFsReplicatedBlockStats" => hdfs::GetFsReplicatedBlockStatsRequestProto,
        "getFsStats" => hdfs::GetFsStatusRequestProto,
        "getHAServiceState" => hdfs::HaServiceStateRequestProto,
        "getLinkTarget" => hdfs::GetLinkTargetRequestProto,
        "getListing" => hdfs::GetListingRequestProto,
        "getLocatedFileInfo" => hdfs::GetLocatedFileInfoRequestProto,
        "getPreferredBlockSize" => hdfs::GetPreferredBlockSizeRequestProto,
        "getQuotaUsage" => hdfs::GetQuotaUsageRequestProto,
        "getServerDefaults" => hdfs::GetServerDefaultsRequestProto,
        "getSlowDatanodeReport" => hdfs::GetSlowDatanodeReportRequestProto,
        "getSnapshotDiffReport" => hdfs::GetSnapshotDiffReportRequestProto,
        "getSnapshotDiffReportListing" => hdfs::GetSnapshotDiffReportListingRequestProto,
        "getSnapshotListing" => hdfs::GetSnapshotListingRequestProto,
        "getSnapshottableDirListing" => hdfs::GetSnapshottableDirListingRequestProto,
        "getStoragePolicies" => hdfs::GetStoragePoliciesRequestProto,
        "getStoragePolicy" => hdfs::GetStoragePolicyRequestProto,
        "getXAttrs" => hdfs::GetXAttrsRequestProto,
        "isFileClosed" => hdfs::IsFileClosedRequestProto,
        "listCacheDirectives" => hdfs::ListCacheDirectivesRequestProto,
        "listCachePools" => hdfs::ListCachePoolsRequestProto,
        "listCorruptFileBlocks" => hdfs::ListCorruptFileBlocksRequestProto,
        "listEncryptionZones" => hdfs::ListEncryptionZonesRequestProto,
        "listOpenFiles" => hdfs::ListOpenFilesRequestProto,
        "listReencryptionStatus" => hdfs::ListReencryptionStatusRequestProto,
        "listXAttrs" => hdfs::ListXAttrsRequestProto,
        "metaSave" => hdfs::MetaSaveRequestProto,
        "mkdirs" => hdfs::MkdirsRequestProto,
        "modifyAclEntries" => hdfs::ModifyAclEntriesRequestProto,
        "modifyCacheDirective" => hdfs::ModifyCacheDirectiveRequestProto,
        "modifyCachePool" => hdfs::ModifyCachePoolRequestProto,
        "msync" => hdfs::MsyncRequestProto,
        "recoverLease" => hdfs::RecoverLeaseRequestProto,
        "reencryptEncryptionZone" => hdfs::ReencryptEncryptionZoneRequestProto,
        "refreshNodes" => hdfs::RefreshNodesRequestProto,
        "removeAcl" => hdfs::RemoveAclRequestProto,
        "removeAclEntries" => hdfs::RemoveAclEntriesRequestProto,
        "removeCacheDirective" => hdfs::RemoveCacheDirectiveRequestProto,
        "removeCachePool" => hdfs::RemoveCachePoolRequestProto,
        "removeDefaultAcl" => hdfs::RemoveDefaultAclRequestProto,
        "removeErasureCodingPolicy" => hdfs::RemoveErasureCodingPolicyRequestProto,
        "removeXAttr" => hdfs::RemoveXAttrRequestProto,
        "rename" => hdfs::RenameRequestProto,
        "rename2" => hdfs::Rename2RequestProto,
        "renameSnapshot" => hdfs::RenameSnapshotRequestProto,
        "renewDelegationToken" => common::RenewDelegationTokenRequestProto,
        "renewLease" => hdfs::RenewLeaseRequestProto,
        "reportBadBlocks" => hdfs::ReportBadBlocksRequestProto,
        "restoreFailedStorage" => hdfs::RestoreFailedStorageRequestProto,
        "rollEdits" => hdfs::RollEditsRequestProto,
        "rollingUpgrade" => hdfs::RollingUpgradeRequestProto,
        "satisfyStoragePolicy" => hdfs::SatisfyStoragePolicyRequestProto,
        "saveNamespace" => hdfs::SaveNamespaceRequestProto,
        "setAcl" => hdfs::SetAclRequestProto,
        "setBalancerBandwidth" => hdfs::SetBalancerBandwidthRequestProto,
        "setErasureCodingPolicy" => hdfs::SetErasureCodingPolicyRequestProto,
        "setOwner" => hdfs::SetOwnerRequestProto,
        "setPermission" => hdfs::SetPermissionRequestProto,
        "setQuota" => hdfs::SetQuotaRequestProto,
        "setReplication" => hdfs::SetReplicationRequestProto,
        "setSafeMode" => hdfs::SetSafeModeRequestProto,
        "setStoragePolicy" => hdfs::SetStoragePolicyRequestProto,
        "setTimes" => hdfs::SetTimesRequestProto,
        "setXAttr" => hdfs::SetXAttrRequestProto,
        "truncate" => hdfs::TruncateRequestProto,
        "unsetErasureCodingPolicy" => hdfs::UnsetErasureCodingPolicyRequestProto,
        "unsetStoragePolicy" => hdfs::UnsetStoragePolicyRequestProto,
        "updateBlockForPipeline" => hdfs::UpdateBlockForPipelineRequestProto,
        "updatePipeline" => hdfs::UpdatePipelineRequestProto,
        "upgradeStatus" => hdfs::UpgradeStatusRequestProto;
    RECONFIGURATION_PROTOCOL:
        "getReconfigurationStatus" => hdfs::GetReconfigurationStatusRequestProto,
        "listReconfigurableProperties" => hdfs::ListReconfigurablePropertiesRequestProto,
        "startReconfiguration" => hdfs::StartReconfigurationRequestProto;
    INTER_QJOURNAL_PROTOCOL:
        "getEditLogManifestFromJournal" => qjournal::GetEditLogManifestRequestProto,
        "getStorageInfo" => qjournal::GetStorageInfoRequestProto;
    QJOURNAL_PROTOCOL:
        "acceptRecovery" => qjournal::AcceptRecoveryRequestProto,
        "canRollBack" => qjournal::CanRollBackRequestProto,
        "discardSegments" => qjournal::DiscardSegmentsRequestProto,
        "doFinalize" => qjournal::DoFinalizeRequestProto,
        "doPreUpgrade" => qjournal::DoPreUpgradeRequestProto,
        "doRollback" => qjournal::DoRollbackRequestProto,
        "doUpgrade" => qjournal::DoUpgradeRequestProto,
        "finalizeLogSegment" => qjournal::FinalizeLogSegmentRequestProto,
        "format" => qjournal::FormatRequestProto,
        "getEditLogManifest" => qjournal::GetEditLogManifestRequestProto,
        "getJournalCTime" => qjournal::GetJournalCTimeRequestProto,
        "getJournalState" => qjournal::GetJournalStateRequestProto,
        "getJournaledEdits" => qjournal::GetJournaledEditsRequestProto,
        "heartbeat" => qjournal::HeartbeatRequestProto,
        "isFormatted" => qjournal::IsFormattedRequestProto,
        "journal" => qjournal::JournalRequestProto,
        "newEpoch" => qjournal::NewEpochRequestProto,
        "prepareRecovery" => qjournal::PrepareRecoveryRequestProto,
        "purgeLogs" => qjournal::PurgeLogsRequestProto,
        "startLogSegment" => qjournal::StartLogSegmentRequestProto;
    DATANODE_LIFELINE_PROTOCOL:
        "sendLifeline" => datanode::HeartbeatRequestProto;
    DATANODE_PROTOCOL:
        "blockReceivedAndDeleted" => datanode::BlockReceivedAndDeletedRequestProto,
        "blockReport" => datanode::BlockReportRequestProto,
        "cacheReport" => datanode::CacheReportRequestProto,
        "commitBlockSynchronization" => datanode::CommitBlockSynchronizationRequestProto,
        "errorReport" => datanode::ErrorReportRequestProto,
        "registerDatanode" => datanode::RegisterDatanodeRequestProto,
        "reportBadBlocks" => datanode::ReportBadBlocksRequestProto,
        "sendHeartbeat" => datanode::HeartbeatRequestProto,
        "versionRequest" => hdfs::VersionRequestProto;
    INTER_DATANODE_PROTOCOL:
        "initReplicaRecovery" => hdfs::InitReplicaRecoveryRequestProto,
        "updateReplicaUnderRecovery" => hdfs::UpdateReplicaUnderRecoveryRequestProto;
    NAMENODE_PROTOCOL:
        "endCheckpoint" => namenode::EndCheckpointRequestProto,
        "errorReport" => namenode::ErrorReportRequestProto,
        "getBlockKeys" => namenode::GetBlockKeysRequestProto,
        "getBlocks" => namenode::GetBlocksRequestProto,
        "getEditLogManifest" => namenode::GetEditLogManifestRequestProto,
        "getMostRecentCheckpointTxId" => namenode::GetMostRecentCheckpointTxIdRequestProto,
        "getMostRecentNameNodeFileTxId" => namenode::GetMostRecentNameNodeFileTxIdRequestProto,
        "getNextSPSPath" => namenode::GetNextSpsPathRequestProto,
        "getTransactionId" => namenode::GetTransactionIdRequestProto,
        "isRollingUpgrade" => namenode::IsRollingUpgradeRequestProto,
        "isUpgradeFinalized" => namenode::IsUpgradeFinalizedRequestProto,
        "registerSubordinateNamenode" => namenode::RegisterRequestProto,
        "rollEditLog" => namenode::RollEditLogRequestProto,
        "startCheckpoint" => namenode::StartCheckpointRequestProto,
        "versionRequest" => hdfs::VersionRequestProto;
    GENERIC_REFRESH_PROTOCOL:
        "refresh" => common::GenericRefreshRequestProto;
    PROTOCOL_META_INFO_PB:
        "getProtocolSignature" => common::GetProtocolSignatureRequestProto,
        "getProtocolVersions" => common::GetProtocolVersionsRequestProto;
    REFRESH_CALL_QUEUE_PROTOCOL:
        "refreshCallQueue" => common::RefreshCallQueueRequestProto;
    REFRESH_USER_MAPPINGS_PROTOCOL:
        "refreshSuperUserGroupsConfiguration" => common::RefreshSuperUserGroupsConfigurationRequestProto,
        "refreshUserToGroupsMappings" => common::RefreshUserToGroupsMappingsRequestProto;
    REFRESH_AUTHORIZATION_POLICY_PROTOCOL:
        "refreshServiceAcl" => common::RefreshServiceAclRequestProto;
    GET_USER_MAPPINGS_PROTOCOL:
        "getGroupsForUser" => common::GetGroupsForUserRequestProto;
    JOURNAL_EXTENSION_PROTOCOL:
        "joinJournal" => ext::JoinJournalRequestProto,
        "releaseLease" => ext::ReleaseLeaseRequestProto,
        "resumeSegment" => ext::ResumeSegmentRequestProto,
        "setMembership" => ext::SetMembershipRequestProto,
        "watchLease" => ext::WatchLeaseRequestProto;
    SUPERVISOR_PROTOCOL:
        "changeJournalNodes" => ext::ChangeJournalNodesRequestProto,
        "confirmPassRequest" => ext::ConfirmPassRequestRequestProto,
        "getDigestMarks" => ext::GetDigestMarksRequestProto,
        "getInstance" => ext::GetInstanceRequestProto,
        "requestPass" => ext::RequestPassRequestProto;
}

/// Methods that every server answers itself, and that have no message of ours.
const OF_EVERY_SERVER: [&str; 2] = ["getProtocolSignature", "getProtocolVersion"];

/// Methods without a row here. There must be none.
#[must_use]
pub fn unserved() -> Vec<String> {
    let mut missing = Vec::new();
    for protocol in protocols::ALL {
        let known = requests_of(protocol);
        for (method, _) in protocol.methods {
            let is_known = known.iter().any(|(name, _)| name == method) || OF_EVERY_SERVER.contains(method);
            if !is_known {
                missing.push(format!("{}.{method}", protocol.name));
            }
        }
    }
    missing
}

fn all() -> &'static [(&'static Protocol, &'static str, Decode)] {
    static ALL: std::sync::OnceLock<Vec<(&'static Protocol, &'static str, Decode)>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let of = |protocol: &&'static Protocol| {
            let protocol = *protocol;
            requests_of(protocol)
                .iter()
                .map(move |(method, decode)| (protocol, *method, *decode))
        };
        protocols::ALL.iter().flat_map(of).collect()
    })
}

/// Fields of the types that requests have, under numbers that most requests have. A decoder knows which fields its
/// message has, so every message is tried with the bytes of all.
fn samples() -> Vec<Vec<u8>> {
    let inner: &[u8] = &[0x0A, 2, b'/', b'a', 0x10, 1, 0x18, 0xE9, 7, 0x20, 10];
    let mut nested = Vec::new();
    for field in 1..=12_u8 {
        nested.push(field << 3 | 2);
        nested.push(inner.len() as u8);
        nested.extend_from_slice(inner);
    }
    let mut numbers = Vec::new();
    for field in 1..=12_u8 {
        numbers.extend([field << 3, field]);
    }
    let mut samples = Vec::new();
    for (number, _) in (0_u8..=u8::MAX).zip(all()) {
        samples.push([&[number], inner].concat());
    }
    samples.extend([
        [&[0], &nested[..]].concat(),
        [&[0], &numbers[..]].concat(),
        [&[0], &nested[..], &numbers[..]].concat(),
    ]);
    samples
}

/// Number of the method, and the body.
fn run(input: &[u8]) {
    let Some((number, body)) = input.split_first() else {
        return;
    };
    let all = all();
    // A byte is not enough for about two hundred methods, so one bit of the body selects the half.
    let index = usize::from(*number) + usize::from(body.first().copied().unwrap_or_default() & 1) * 128;
    let (protocol, method, decode) = all[index % all.len()];
    decode(&RpcCall {
        method: Method::of(protocol.name, method).expect("it is in the table"),
        body: Bytes::copy_from_slice(body),
        client_id: ClientId::EMPTY,
        call_id: 0,
        retry_count: 0,
        user: Arc::new(UserInfo::default()),
        peer: SocketAddr::from(([127, 0, 0, 1], 1)),
        caller_context: None,
        state_id: None,
        transport: RpcCall::RPC,
    });
}
