//! Hadoop's RPC protocols and their methods: one table, from which everything else about them follows.
//!
//! A call's header names its protocol and method by strings. The server looks them up once, and from there on a call
//! has a [`Method`]. Each method has the fingerprint (`ProtocolSignature.getFingerprint`) that Java clients look for
//! when they probe for optional methods. Those of `ClientProtocol` have Hadoop's annotation, too.

use std::fmt;

/// An RPC protocol. There is one value of each, and equal ids are equal protocols.
#[derive(Debug)]
pub struct Protocol {
    /// Which one it is.
    pub id: ProtocolId,
    /// The name in `RequestHeaderProto.declaringClassProtocolName`.
    pub name: &'static str,
    /// The Java `*PB` interface, which `ProtocolMetaInfoPB` calls name.
    pub pb_interface: &'static str,
    /// 1 for all of Hadoop's.
    pub version: u64,
    /// Method names and their fingerprints, sorted by name.
    pub methods: &'static [(&'static str, i32)],
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Protocol) -> bool {
        self.id == other.id
    }
}

impl Eq for Protocol {}

/// Hadoop's annotation of a method of `ClientProtocol` (`org.apache.hadoop.io.retry`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// A repeated call runs again, without harm.
    Idempotent,
    /// A repeated call does not run again. The caller gets the first answer from the retry cache.
    AtMostOnce,
}

impl Method {
    /// The method with this name of the protocol with this name.
    #[must_use]
    pub fn of(protocol: &str, method: &str) -> Option<Method> {
        let protocol = ALL.iter().find(|known| known.name == protocol)?;
        let index = protocol.methods.iter().position(|(name, _)| *name == method)?;
        Method::at(protocol.id, index)
    }

    /// The protocol that it belongs to.
    #[must_use]
    pub fn protocol(self) -> &'static Protocol {
        self.protocol_id().protocol()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! retry {
    () => {
        None
    };
    ($retry:ident) => {
        Some(Retry::$retry)
    };
}

macro_rules! protocols {
    ($(
        $(#[$doc:meta])*
        $constant:ident: $id:ident($methods:ident), $name:literal, $pb_interface:literal {
            $($variant:ident = $method:literal $fingerprint:literal $($retry:ident)?,)+
        }
    )+) => {
        /// A protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProtocolId {
            $($(#[$doc])* $id,)+
        }

        impl ProtocolId {
            /// What is known of it.
            #[must_use]
            pub const fn protocol(self) -> &'static Protocol {
                match self {
                    $(ProtocolId::$id => &$constant,)+
                }
            }
        }

        /// A method of a protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Method {
            $($(#[$doc])* $id($methods),)+
        }

        impl Method {
            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Method::$id(method) => method.name(),)+
                }
            }

            /// The protocol that it belongs to.
            #[must_use]
            pub const fn protocol_id(self) -> ProtocolId {
                match self {
                    $(Method::$id(_) => ProtocolId::$id,)+
                }
            }

            /// The method at this place of [`Protocol::methods`].
            #[must_use]
            pub fn at(protocol: ProtocolId, index: usize) -> Option<Method> {
                match protocol {
                    $(ProtocolId::$id => $methods::ALL.get(index).copied().map(Method::$id),)+
                }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            pub enum $methods {
                $(#[doc = $method] $variant,)+
            }

            impl $methods {
                /// All methods, sorted by name.
                pub const ALL: &'static [$methods] = &[$($methods::$variant,)+];

                /// The name on the wire.
                #[must_use]
                pub const fn name(self) -> &'static str {
                    match self {
                        $($methods::$variant => $method,)+
                    }
                }

                /// Hadoop's annotation, if this table has it.
                #[must_use]
                pub const fn retry(self) -> Option<Retry> {
                    match self {
                        $($methods::$variant => retry!($($retry)?),)+
                    }
                }
            }

            impl From<$methods> for Method {
                fn from(method: $methods) -> Method {
                    Method::$id(method)
                }
            }

            $(#[$doc])*
            pub static $constant: Protocol = Protocol {
                id: ProtocolId::$id,
                name: $name,
                pb_interface: $pb_interface,
                version: 1,
                methods: &[$(($method, $fingerprint),)+],
            };
        )+

        /// Every protocol of this module.
        pub static ALL: &[&Protocol] = &[$(&$constant,)+];
    };
}

protocols! {
    /// `org.apache.hadoop.ha.HAServiceProtocol`
    HA_SERVICE_PROTOCOL: HaService(HaServiceMethod), "org.apache.hadoop.ha.HAServiceProtocol", "org.apache.hadoop.ha.protocolPB.HAServiceProtocolPB" {
        GetProtocolSignature = "getProtocolSignature" -1603691201,
        GetProtocolVersion = "getProtocolVersion" -156921003,
        GetServiceStatus = "getServiceStatus" -918354359,
        MonitorHealth = "monitorHealth" -1295545748,
        TransitionToActive = "transitionToActive" 2126039952,
        TransitionToObserver = "transitionToObserver" -1338601408,
        TransitionToStandby = "transitionToStandby" 1809003753,
    }
    /// `org.apache.hadoop.ha.ZKFCProtocol`
    ZKFC_PROTOCOL: Zkfc(ZkfcMethod), "org.apache.hadoop.ha.ZKFCProtocol", "org.apache.hadoop.ha.protocolPB.ZKFCProtocolPB" {
        CedeActive = "cedeActive" -1949906179,
        GetProtocolSignature = "getProtocolSignature" -1603691201,
        GetProtocolVersion = "getProtocolVersion" -156921003,
        GracefulFailover = "gracefulFailover" -198950825,
    }
    /// `org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol`
    CLIENT_DATANODE_PROTOCOL: ClientDatanode(ClientDatanodeMethod), "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol", "org.apache.hadoop.hdfs.protocolPB.ClientDatanodeProtocolPB" {
        CancelDiskBalancerPlan = "cancelDiskBalancerPlan" -1924012688,
        DeleteBlockPool = "deleteBlockPool" -520778728,
        EvictWriters = "evictWriters" 1265440589,
        GetBalancerBandwidth = "getBalancerBandwidth" -239928313,
        GetBlockLocalPathInfo = "getBlockLocalPathInfo" -1563828771,
        GetDatanodeInfo = "getDatanodeInfo" 1495692938,
        GetDiskBalancerSetting = "getDiskBalancerSetting" 110567217,
        GetReconfigurationStatus = "getReconfigurationStatus" -2038635131,
        GetReplicaVisibleLength = "getReplicaVisibleLength" 713751120,
        GetVolumeReport = "getVolumeReport" 783428710,
        ListReconfigurableProperties = "listReconfigurableProperties" 1309384831,
        QueryDiskBalancerPlan = "queryDiskBalancerPlan" -1411884422,
        RefreshNamenodes = "refreshNamenodes" -644042671,
        ShutdownDatanode = "shutdownDatanode" 301159772,
        StartReconfiguration = "startReconfiguration" 312638043,
        SubmitDiskBalancerPlan = "submitDiskBalancerPlan" 789479062,
        TriggerBlockReport = "triggerBlockReport" -1699270285,
    }
    /// `org.apache.hadoop.hdfs.protocol.ClientProtocol`
    CLIENT_PROTOCOL: Client(ClientMethod), "org.apache.hadoop.hdfs.protocol.ClientProtocol", "org.apache.hadoop.hdfs.protocolPB.ClientNamenodeProtocolPB" {
        AbandonBlock = "abandonBlock" -864938034 Idempotent,
        AddBlock = "addBlock" 639488530 Idempotent,
        AddCacheDirective = "addCacheDirective" -1640338024 AtMostOnce,
        AddCachePool = "addCachePool" 1258576537 AtMostOnce,
        AddErasureCodingPolicies = "addErasureCodingPolicies" 1183818172 AtMostOnce,
        AllowSnapshot = "allowSnapshot" 647166989 Idempotent,
        Append = "append" 206500032 AtMostOnce,
        CancelDelegationToken = "cancelDelegationToken" -1948114995 Idempotent,
        CheckAccess = "checkAccess" -1293750614 Idempotent,
        Complete = "complete" 50422949 Idempotent,
        Concat = "concat" -1784977046 AtMostOnce,
        Create = "create" 1452449954 AtMostOnce,
        CreateEncryptionZone = "createEncryptionZone" 960224859 AtMostOnce,
        CreateSnapshot = "createSnapshot" 670428566 AtMostOnce,
        CreateSymlink = "createSymlink" 1968730789 AtMostOnce,
        Delete = "delete" 1879653019 AtMostOnce,
        DeleteSnapshot = "deleteSnapshot" 333052855 AtMostOnce,
        DisableErasureCodingPolicy = "disableErasureCodingPolicy" -272728641 AtMostOnce,
        DisallowSnapshot = "disallowSnapshot" 2066121159 Idempotent,
        EnableErasureCodingPolicy = "enableErasureCodingPolicy" 2031739196 AtMostOnce,
        FinalizeUpgrade = "finalizeUpgrade" -782977848 Idempotent,
        Fsync = "fsync" -1626204359 Idempotent,
        GetAclStatus = "getAclStatus" -1126442224 Idempotent,
        GetAdditionalDatanode = "getAdditionalDatanode" 1603779025 Idempotent,
        GetBatchedListing = "getBatchedListing" 1247737049 Idempotent,
        GetBlockLocations = "getBlockLocations" -1224778305 Idempotent,
        GetContentSummary = "getContentSummary" 1328618843 Idempotent,
        GetCurrentEditLogTxid = "getCurrentEditLogTxid" -1757294544 Idempotent,
        GetDataEncryptionKey = "getDataEncryptionKey" 1597781314 Idempotent,
        GetDatanodeReport = "getDatanodeReport" -1382169648 Idempotent,
        GetDatanodeStorageReport = "getDatanodeStorageReport" -1880349399 Idempotent,
        GetDelegationToken = "getDelegationToken" -1123459663 Idempotent,
        GetEcTopologyResultForPolicies = "getECTopologyResultForPolicies" 1746434211 Idempotent,
        GetEzForPath = "getEZForPath" -821793805 Idempotent,
        GetEditsFromTxid = "getEditsFromTxid" 518820898 Idempotent,
        GetEnclosingRoot = "getEnclosingRoot" 1070128238 Idempotent,
        GetErasureCodingCodecs = "getErasureCodingCodecs" -511687164 Idempotent,
        GetErasureCodingPolicies = "getErasureCodingPolicies" 470019759 Idempotent,
        GetErasureCodingPolicy = "getErasureCodingPolicy" 1548131077 Idempotent,
        GetFileInfo = "getFileInfo" 1765082430 Idempotent,
        GetFileLinkInfo = "getFileLinkInfo" 631488140 Idempotent,
        GetFsEcBlockGroupStats = "getFsECBlockGroupStats" -298891118 Idempotent,
        GetFsReplicatedBlockStats = "getFsReplicatedBlockStats" 944655054 Idempotent,
        GetFsStats = "getFsStats" -1031957959 Idempotent,
        GetHaServiceState = "getHAServiceState" -1599075101 Idempotent,
        GetLinkTarget = "getLinkTarget" 845458201 Idempotent,
        GetListing = "getListing" 1066418348 Idempotent,
        GetLocatedFileInfo = "getLocatedFileInfo" 1875956804 Idempotent,
        GetPreferredBlockSize = "getPreferredBlockSize" 567399963 Idempotent,
        GetQuotaUsage = "getQuotaUsage" 1637322679 Idempotent,
        GetServerDefaults = "getServerDefaults" 328007955 Idempotent,
        GetSlowDatanodeReport = "getSlowDatanodeReport" -2051273777 Idempotent,
        GetSnapshotDiffReport = "getSnapshotDiffReport" 906032075 Idempotent,
        GetSnapshotDiffReportListing = "getSnapshotDiffReportListing" -1122228691 Idempotent,
        GetSnapshotListing = "getSnapshotListing" 2096378128 Idempotent,
        GetSnapshottableDirListing = "getSnapshottableDirListing" -1361181925 Idempotent,
        GetStoragePolicies = "getStoragePolicies" -1776498895 Idempotent,
        GetStoragePolicy = "getStoragePolicy" -25281233 Idempotent,
        GetXAttrs = "getXAttrs" 1080908282 Idempotent,
        IsFileClosed = "isFileClosed" -516608984 Idempotent,
        ListCacheDirectives = "listCacheDirectives" 821266902 Idempotent,
        ListCachePools = "listCachePools" 391997827 Idempotent,
        ListCorruptFileBlocks = "listCorruptFileBlocks" 1727949417 Idempotent,
        ListEncryptionZones = "listEncryptionZones" 865099584 Idempotent,
        ListOpenFiles = "listOpenFiles" -1523770969 Idempotent,
        ListReencryptionStatus = "listReencryptionStatus" -1207379196 Idempotent,
        ListXAttrs = "listXAttrs" -882303102 Idempotent,
        MetaSave = "metaSave" 733364824 Idempotent,
        Mkdirs = "mkdirs" -1469630886 Idempotent,
        ModifyAclEntries = "modifyAclEntries" 1207207998 Idempotent,
        ModifyCacheDirective = "modifyCacheDirective" -1691992321 AtMostOnce,
        ModifyCachePool = "modifyCachePool" -20961438 AtMostOnce,
        Msync = "msync" -1068990282 Idempotent,
        RecoverLease = "recoverLease" -1916268140 Idempotent,
        ReencryptEncryptionZone = "reencryptEncryptionZone" -1321131271 AtMostOnce,
        RefreshNodes = "refreshNodes" 2061104596 Idempotent,
        RemoveAcl = "removeAcl" -445325676 Idempotent,
        RemoveAclEntries = "removeAclEntries" 962592316 Idempotent,
        RemoveCacheDirective = "removeCacheDirective" 1553738285 AtMostOnce,
        RemoveCachePool = "removeCachePool" -19310004 AtMostOnce,
        RemoveDefaultAcl = "removeDefaultAcl" -718733203 Idempotent,
        RemoveErasureCodingPolicy = "removeErasureCodingPolicy" 1429419675 AtMostOnce,
        RemoveXAttr = "removeXAttr" -1923910441 AtMostOnce,
        Rename = "rename" 171230076 AtMostOnce,
        Rename2 = "rename2" 450291506 AtMostOnce,
        RenameSnapshot = "renameSnapshot" 1691705560 AtMostOnce,
        RenewDelegationToken = "renewDelegationToken" 1491728406 Idempotent,
        RenewLease = "renewLease" 1732602985 Idempotent,
        ReportBadBlocks = "reportBadBlocks" 596005519 Idempotent,
        RestoreFailedStorage = "restoreFailedStorage" -314002330 Idempotent,
        RollEdits = "rollEdits" 221092554 Idempotent,
        RollingUpgrade = "rollingUpgrade" 172461295 Idempotent,
        SatisfyStoragePolicy = "satisfyStoragePolicy" -890857200 AtMostOnce,
        SaveNamespace = "saveNamespace" -1797209336 AtMostOnce,
        SetAcl = "setAcl" -238352378 Idempotent,
        SetBalancerBandwidth = "setBalancerBandwidth" 239245157 Idempotent,
        SetErasureCodingPolicy = "setErasureCodingPolicy" 836145145 AtMostOnce,
        SetOwner = "setOwner" 1160802253 Idempotent,
        SetPermission = "setPermission" 454822825 Idempotent,
        SetQuota = "setQuota" -1328269068 Idempotent,
        SetReplication = "setReplication" 863604720 Idempotent,
        SetSafeMode = "setSafeMode" 1278540132 Idempotent,
        SetStoragePolicy = "setStoragePolicy" -1764555013 Idempotent,
        SetTimes = "setTimes" 803023546 Idempotent,
        SetXAttr = "setXAttr" -732722367 AtMostOnce,
        Truncate = "truncate" 1998586468 Idempotent,
        UnsetErasureCodingPolicy = "unsetErasureCodingPolicy" -1730329570 AtMostOnce,
        UnsetStoragePolicy = "unsetStoragePolicy" -962252390 Idempotent,
        UpdateBlockForPipeline = "updateBlockForPipeline" -263354273 Idempotent,
        UpdatePipeline = "updatePipeline" 358452923 AtMostOnce,
        UpgradeStatus = "upgradeStatus" 1543851096 Idempotent,
    }
    /// `org.apache.hadoop.hdfs.protocol.ReconfigurationProtocol`
    RECONFIGURATION_PROTOCOL: Reconfiguration(ReconfigurationMethod), "org.apache.hadoop.hdfs.protocol.ReconfigurationProtocol", "org.apache.hadoop.hdfs.protocolPB.ReconfigurationProtocolPB" {
        GetReconfigurationStatus = "getReconfigurationStatus" -2038635131,
        ListReconfigurableProperties = "listReconfigurableProperties" 1309384831,
        StartReconfiguration = "startReconfiguration" 312638043,
    }
    /// `org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol`
    INTER_QJOURNAL_PROTOCOL: InterQJournal(InterQJournalMethod), "org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol", "org.apache.hadoop.hdfs.qjournal.protocolPB.InterQJournalProtocolPB" {
        GetEditLogManifestFromJournal = "getEditLogManifestFromJournal" 688894652,
        GetStorageInfo = "getStorageInfo" 1163830272,
    }
    /// `org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol`
    QJOURNAL_PROTOCOL: QJournal(QJournalMethod), "org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol", "org.apache.hadoop.hdfs.qjournal.protocolPB.QJournalProtocolPB" {
        AcceptRecovery = "acceptRecovery" -1592689815,
        CanRollBack = "canRollBack" 331730898,
        DiscardSegments = "discardSegments" 2142127384,
        DoFinalize = "doFinalize" -508033859,
        DoPreUpgrade = "doPreUpgrade" 611185050,
        DoRollback = "doRollback" 1348623727,
        DoUpgrade = "doUpgrade" -1891782615,
        FinalizeLogSegment = "finalizeLogSegment" 129440377,
        Format = "format" -1894477513,
        GetEditLogManifest = "getEditLogManifest" -168202941,
        GetJournalCTime = "getJournalCTime" -593190673,
        GetJournalState = "getJournalState" 264558310,
        GetJournaledEdits = "getJournaledEdits" -1470964463,
        Heartbeat = "heartbeat" 2084962090,
        IsFormatted = "isFormatted" -923130772,
        Journal = "journal" 1649263783,
        NewEpoch = "newEpoch" -877234499,
        PrepareRecovery = "prepareRecovery" 1525987562,
        PurgeLogs = "purgeLogs" -1252279372,
        StartLogSegment = "startLogSegment" -1895008151,
    }
    /// `org.apache.hadoop.hdfs.server.protocol.DatanodeLifelineProtocol`
    DATANODE_LIFELINE_PROTOCOL: DatanodeLifeline(DatanodeLifelineMethod), "org.apache.hadoop.hdfs.server.protocol.DatanodeLifelineProtocol", "org.apache.hadoop.hdfs.protocolPB.DatanodeLifelineProtocolPB" {
        SendLifeline = "sendLifeline" -1731890424,
    }
    /// `org.apache.hadoop.hdfs.server.protocol.DatanodeProtocol`
    DATANODE_PROTOCOL: Datanode(DatanodeMethod), "org.apache.hadoop.hdfs.server.protocol.DatanodeProtocol", "org.apache.hadoop.hdfs.protocolPB.DatanodeProtocolPB" {
        BlockReceivedAndDeleted = "blockReceivedAndDeleted" -1487503706,
        BlockReport = "blockReport" 1014715161,
        CacheReport = "cacheReport" -391410208,
        CommitBlockSynchronization = "commitBlockSynchronization" -1392998144,
        ErrorReport = "errorReport" -1436778582,
        RegisterDatanode = "registerDatanode" -634778385,
        ReportBadBlocks = "reportBadBlocks" -2102008089,
        SendHeartbeat = "sendHeartbeat" 381979554,
        VersionRequest = "versionRequest" 47554577,
    }
    /// `org.apache.hadoop.hdfs.server.protocol.InterDatanodeProtocol`
    INTER_DATANODE_PROTOCOL: InterDatanode(InterDatanodeMethod), "org.apache.hadoop.hdfs.server.protocol.InterDatanodeProtocol", "org.apache.hadoop.hdfs.protocolPB.InterDatanodeProtocolPB" {
        InitReplicaRecovery = "initReplicaRecovery" -139587803,
        UpdateReplicaUnderRecovery = "updateReplicaUnderRecovery" 887061972,
    }
    /// `org.apache.hadoop.hdfs.server.protocol.NamenodeProtocol`
    NAMENODE_PROTOCOL: Namenode(NamenodeMethod), "org.apache.hadoop.hdfs.server.protocol.NamenodeProtocol", "org.apache.hadoop.hdfs.protocolPB.NamenodeProtocolPB" {
        EndCheckpoint = "endCheckpoint" 1352839485,
        ErrorReport = "errorReport" 285648534,
        GetBlockKeys = "getBlockKeys" -1236213171,
        GetBlocks = "getBlocks" -492382026,
        GetEditLogManifest = "getEditLogManifest" -585933083,
        GetMostRecentCheckpointTxId = "getMostRecentCheckpointTxId" -768088139,
        GetMostRecentNameNodeFileTxId = "getMostRecentNameNodeFileTxId" 511953590,
        GetNextSpsPath = "getNextSPSPath" 963880712,
        GetTransactionId = "getTransactionId" -2109390379,
        IsRollingUpgrade = "isRollingUpgrade" -1449035173,
        IsUpgradeFinalized = "isUpgradeFinalized" 84526918,
        RegisterSubordinateNamenode = "registerSubordinateNamenode" -1079899932,
        RollEditLog = "rollEditLog" 898111647,
        StartCheckpoint = "startCheckpoint" 884199104,
        VersionRequest = "versionRequest" 47554577,
    }
    /// `org.apache.hadoop.ipc.GenericRefreshProtocol`
    GENERIC_REFRESH_PROTOCOL: GenericRefresh(GenericRefreshMethod), "org.apache.hadoop.ipc.GenericRefreshProtocol", "org.apache.hadoop.ipc.protocolPB.GenericRefreshProtocolPB" {
        Refresh = "refresh" 744829649,
    }
    /// `org.apache.hadoop.ipc.ProtocolMetaInfoPB`
    PROTOCOL_META_INFO_PB: ProtocolMetaInfo(ProtocolMetaInfoMethod), "org.apache.hadoop.ipc.ProtocolMetaInfoPB", "org.apache.hadoop.ipc.ProtocolMetaInfoPB" {
        GetProtocolSignature = "getProtocolSignature" 1444443140,
        GetProtocolVersions = "getProtocolVersions" -1395228035,
    }
    /// `org.apache.hadoop.ipc.RefreshCallQueueProtocol`
    REFRESH_CALL_QUEUE_PROTOCOL: RefreshCallQueue(RefreshCallQueueMethod), "org.apache.hadoop.ipc.RefreshCallQueueProtocol", "org.apache.hadoop.ipc.protocolPB.RefreshCallQueueProtocolPB" {
        RefreshCallQueue = "refreshCallQueue" 1149622002,
    }
    /// `org.apache.hadoop.security.RefreshUserMappingsProtocol`
    REFRESH_USER_MAPPINGS_PROTOCOL: RefreshUserMappings(RefreshUserMappingsMethod), "org.apache.hadoop.security.RefreshUserMappingsProtocol", "org.apache.hadoop.security.protocolPB.RefreshUserMappingsProtocolPB" {
        RefreshSuperUserGroupsConfiguration = "refreshSuperUserGroupsConfiguration" -462934097,
        RefreshUserToGroupsMappings = "refreshUserToGroupsMappings" -255740852,
    }
    /// `org.apache.hadoop.security.authorize.RefreshAuthorizationPolicyProtocol`
    REFRESH_AUTHORIZATION_POLICY_PROTOCOL: RefreshAuthorizationPolicy(RefreshAuthorizationPolicyMethod), "org.apache.hadoop.security.authorize.RefreshAuthorizationPolicyProtocol", "org.apache.hadoop.security.protocolPB.RefreshAuthorizationPolicyProtocolPB" {
        RefreshServiceAcl = "refreshServiceAcl" -1881352054,
    }
    /// `org.apache.hadoop.tools.GetUserMappingsProtocol`
    GET_USER_MAPPINGS_PROTOCOL: GetUserMappings(GetUserMappingsMethod), "org.apache.hadoop.tools.GetUserMappingsProtocol", "org.apache.hadoop.tools.protocolPB.GetUserMappingsProtocolPB" {
        GetGroupsForUser = "getGroupsForUser" 1592211296,
    }
    /// Hathi's own calls between NameNodes, their supervisors (the failover controllers) and JournalNodes.
    JOURNAL_EXTENSION_PROTOCOL: JournalExtension(JournalExtensionMethod), "hathi.JournalExtensionProtocol", "hathi.JournalExtensionProtocol" {
        JoinJournal = "joinJournal" 0,
        ReleaseLease = "releaseLease" 0,
        ResumeSegment = "resumeSegment" 0,
        SetMembership = "setMembership" 0,
        WatchLease = "watchLease" 0,
    }
    /// Hathi's own calls from a NameNode's supervisor, its failover controller, to the NameNode.
    SUPERVISOR_PROTOCOL: Supervisor(SupervisorMethod), "hathi.SupervisorProtocol", "hathi.SupervisorProtocol" {
        ChangeJournalNodes = "changeJournalNodes" 0,
        ConfirmPassRequest = "confirmPassRequest" 0,
        GetDigestMarks = "getDigestMarks" 0,
        GetInstance = "getInstance" 0,
        RequestPass = "requestPass" 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_names_and_no_other() {
        for protocol in ALL {
            assert_eq!(protocol.id.protocol(), *protocol);
            for (index, (name, _)) in protocol.methods.iter().enumerate() {
                let method = Method::at(protocol.id, index).unwrap();
                assert_eq!((method.name(), method.protocol()), (*name, *protocol));
                assert_eq!(Method::of(protocol.name, name), Some(method));
            }
            let names: Vec<&str> = protocol.methods.iter().map(|(name, _)| *name).collect();
            assert!(names.is_sorted(), "{}: {names:?}", protocol.name);
            assert_eq!(Method::at(protocol.id, names.len()), None);
        }
        assert_eq!(Method::of(CLIENT_PROTOCOL.name, "sendHeartbeat"), None);
        assert_eq!(Method::of("nobody", "create"), None);
    }

    #[test]
    fn methods_have_the_annotations_of_client_protocol() {
        let with = |retry| {
            ClientMethod::ALL
                .iter()
                .filter(move |method| method.retry() == Some(retry))
        };
        assert_eq!(with(Retry::AtMostOnce).count(), 29);
        assert_eq!(with(Retry::Idempotent).count(), 82);
        assert_eq!(ClientMethod::Create.retry(), Some(Retry::AtMostOnce));
        assert_eq!(ClientMethod::Complete.retry(), Some(Retry::Idempotent));
    }
}
