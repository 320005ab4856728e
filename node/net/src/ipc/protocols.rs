//! Hadoop's RPC protocols. Each has the name on the wire, the `*PB` interface that `ProtocolMetaInfoPB` calls name, and
//! its methods. Each method has the fingerprint (`ProtocolSignature.getFingerprint`) that Java clients look for when
//! they probe for optional methods.

use super::Protocol;

/// `org.apache.hadoop.ha.HAServiceProtocol`
pub static HA_SERVICE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.ha.HAServiceProtocol",
    pb_interface: "org.apache.hadoop.ha.protocolPB.HAServiceProtocolPB",
    version: 1,
    methods: &[
        ("getProtocolSignature", -1603691201),
        ("getProtocolVersion", -156921003),
        ("getServiceStatus", -918354359),
        ("monitorHealth", -1295545748),
        ("transitionToActive", 2126039952),
        ("transitionToObserver", -1338601408),
        ("transitionToStandby", 1809003753),
    ],
};

/// `org.apache.hadoop.ha.ZKFCProtocol`
pub static ZKFC_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.ha.ZKFCProtocol",
    pb_interface: "org.apache.hadoop.ha.protocolPB.ZKFCProtocolPB",
    version: 1,
    methods: &[
        ("cedeActive", -1949906179),
        ("getProtocolSignature", -1603691201),
        ("getProtocolVersion", -156921003),
        ("gracefulFailover", -198950825),
    ],
};

/// `org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol`
pub static CLIENT_DATANODE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.protocol.ClientDatanodeProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.ClientDatanodeProtocolPB",
    version: 1,
    methods: &[
        ("cancelDiskBalancerPlan", -1924012688),
        ("deleteBlockPool", -520778728),
        ("evictWriters", 1265440589),
        ("getBalancerBandwidth", -239928313),
        ("getBlockLocalPathInfo", -1563828771),
        ("getDatanodeInfo", 1495692938),
        ("getDiskBalancerSetting", 110567217),
        ("getReconfigurationStatus", -2038635131),
        ("getReplicaVisibleLength", 713751120),
        ("getVolumeReport", 783428710),
        ("listReconfigurableProperties", 1309384831),
        ("queryDiskBalancerPlan", -1411884422),
        ("refreshNamenodes", -644042671),
        ("shutdownDatanode", 301159772),
        ("startReconfiguration", 312638043),
        ("submitDiskBalancerPlan", 789479062),
        ("triggerBlockReport", -1699270285),
    ],
};

/// `org.apache.hadoop.hdfs.protocol.ClientProtocol`
pub static CLIENT_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.protocol.ClientProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.ClientNamenodeProtocolPB",
    version: 1,
    methods: &[
        ("abandonBlock", -864938034),
        ("addBlock", 639488530),
        ("addCacheDirective", -1640338024),
        ("addCachePool", 1258576537),
        ("addErasureCodingPolicies", 1183818172),
        ("allowSnapshot", 647166989),
        ("append", 206500032),
        ("cancelDelegationToken", -1948114995),
        ("checkAccess", -1293750614),
        ("complete", 50422949),
        ("concat", -1784977046),
        ("create", 1452449954),
        ("createEncryptionZone", 960224859),
        ("createSnapshot", 670428566),
        ("createSymlink", 1968730789),
        ("delete", 1879653019),
        ("deleteSnapshot", 333052855),
        ("disableErasureCodingPolicy", -272728641),
        ("disallowSnapshot", 2066121159),
        ("enableErasureCodingPolicy", 2031739196),
        ("finalizeUpgrade", -782977848),
        ("fsync", -1626204359),
        ("getAclStatus", -1126442224),
        ("getAdditionalDatanode", 1603779025),
        ("getBatchedListing", 1247737049),
        ("getBlockLocations", -1224778305),
        ("getContentSummary", 1328618843),
        ("getCurrentEditLogTxid", -1757294544),
        ("getDataEncryptionKey", 1597781314),
        ("getDatanodeReport", -1382169648),
        ("getDatanodeStorageReport", -1880349399),
        ("getDelegationToken", -1123459663),
        ("getECTopologyResultForPolicies", 1746434211),
        ("getEZForPath", -821793805),
        ("getEditsFromTxid", 518820898),
        ("getEnclosingRoot", 1070128238),
        ("getErasureCodingCodecs", -511687164),
        ("getErasureCodingPolicies", 470019759),
        ("getErasureCodingPolicy", 1548131077),
        ("getFileInfo", 1765082430),
        ("getFileLinkInfo", 631488140),
        ("getFsECBlockGroupStats", -298891118),
        ("getFsReplicatedBlockStats", 944655054),
        ("getFsStats", -1031957959),
        ("getHAServiceState", -1599075101),
        ("getLinkTarget", 845458201),
        ("getListing", 1066418348),
        ("getLocatedFileInfo", 1875956804),
        ("getPreferredBlockSize", 567399963),
        ("getQuotaUsage", 1637322679),
        ("getServerDefaults", 328007955),
        ("getSlowDatanodeReport", -2051273777),
        ("getSnapshotDiffReport", 906032075),
        ("getSnapshotDiffReportListing", -1122228691),
        ("getSnapshotListing", 2096378128),
        ("getSnapshottableDirListing", -1361181925),
        ("getStoragePolicies", -1776498895),
        ("getStoragePolicy", -25281233),
        ("getXAttrs", 1080908282),
        ("isFileClosed", -516608984),
        ("listCacheDirectives", 821266902),
        ("listCachePools", 391997827),
        ("listCorruptFileBlocks", 1727949417),
        ("listEncryptionZones", 865099584),
        ("listOpenFiles", -1523770969),
        ("listReencryptionStatus", -1207379196),
        ("listXAttrs", -882303102),
        ("metaSave", 733364824),
        ("mkdirs", -1469630886),
        ("modifyAclEntries", 1207207998),
        ("modifyCacheDirective", -1691992321),
        ("modifyCachePool", -20961438),
        ("msync", -1068990282),
        ("recoverLease", -1916268140),
        ("reencryptEncryptionZone", -1321131271),
        ("refreshNodes", 2061104596),
        ("removeAcl", -445325676),
        ("removeAclEntries", 962592316),
        ("removeCacheDirective", 1553738285),
        ("removeCachePool", -19310004),
        ("removeDefaultAcl", -718733203),
        ("removeErasureCodingPolicy", 1429419675),
        ("removeXAttr", -1923910441),
        ("rename", 171230076),
        ("rename2", 450291506),
        ("renameSnapshot", 1691705560),
        ("renewDelegationToken", 1491728406),
        ("renewLease", 1732602985),
        ("reportBadBlocks", 596005519),
        ("restoreFailedStorage", -314002330),
        ("rollEdits", 221092554),
        ("rollingUpgrade", 172461295),
        ("satisfyStoragePolicy", -890857200),
        ("saveNamespace", -1797209336),
        ("setAcl", -238352378),
        ("setBalancerBandwidth", 239245157),
        ("setErasureCodingPolicy", 836145145),
        ("setOwner", 1160802253),
        ("setPermission", 454822825),
        ("setQuota", -1328269068),
        ("setReplication", 863604720),
        ("setSafeMode", 1278540132),
        ("setStoragePolicy", -1764555013),
        ("setTimes", 803023546),
        ("setXAttr", -732722367),
        ("truncate", 1998586468),
        ("unsetErasureCodingPolicy", -1730329570),
        ("unsetStoragePolicy", -962252390),
        ("updateBlockForPipeline", -263354273),
        ("updatePipeline", 358452923),
        ("upgradeStatus", 1543851096),
    ],
};

/// `org.apache.hadoop.hdfs.protocol.ReconfigurationProtocol`
pub static RECONFIGURATION_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.protocol.ReconfigurationProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.ReconfigurationProtocolPB",
    version: 1,
    methods: &[
        ("getReconfigurationStatus", -2038635131),
        ("listReconfigurableProperties", 1309384831),
        ("startReconfiguration", 312638043),
    ],
};

/// `org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol`
pub static INTER_QJOURNAL_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.qjournal.protocol.InterQJournalProtocol",
    pb_interface: "org.apache.hadoop.hdfs.qjournal.protocolPB.InterQJournalProtocolPB",
    version: 1,
    methods: &[
        ("getEditLogManifestFromJournal", 688894652),
        ("getStorageInfo", 1163830272),
    ],
};

/// `org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol`
pub static QJOURNAL_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.qjournal.protocol.QJournalProtocol",
    pb_interface: "org.apache.hadoop.hdfs.qjournal.protocolPB.QJournalProtocolPB",
    version: 1,
    methods: &[
        ("acceptRecovery", -1592689815),
        ("canRollBack", 331730898),
        ("discardSegments", 2142127384),
        ("doFinalize", -508033859),
        ("doPreUpgrade", 611185050),
        ("doRollback", 1348623727),
        ("doUpgrade", -1891782615),
        ("finalizeLogSegment", 129440377),
        ("format", -1894477513),
        ("getEditLogManifest", -168202941),
        ("getJournalCTime", -593190673),
        ("getJournalState", 264558310),
        ("getJournaledEdits", -1470964463),
        ("heartbeat", 2084962090),
        ("isFormatted", -923130772),
        ("journal", 1649263783),
        ("newEpoch", -877234499),
        ("prepareRecovery", 1525987562),
        ("purgeLogs", -1252279372),
        ("startLogSegment", -1895008151),
    ],
};

/// `org.apache.hadoop.hdfs.server.protocol.DatanodeLifelineProtocol`
pub static DATANODE_LIFELINE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.server.protocol.DatanodeLifelineProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.DatanodeLifelineProtocolPB",
    version: 1,
    methods: &[("sendLifeline", -1731890424)],
};

/// `org.apache.hadoop.hdfs.server.protocol.DatanodeProtocol`
pub static DATANODE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.server.protocol.DatanodeProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.DatanodeProtocolPB",
    version: 1,
    methods: &[
        ("blockReceivedAndDeleted", -1487503706),
        ("blockReport", 1014715161),
        ("cacheReport", -391410208),
        ("commitBlockSynchronization", -1392998144),
        ("errorReport", -1436778582),
        ("registerDatanode", -634778385),
        ("reportBadBlocks", -2102008089),
        ("sendHeartbeat", 381979554),
        ("versionRequest", 47554577),
    ],
};

/// `org.apache.hadoop.hdfs.server.protocol.InterDatanodeProtocol`
pub static INTER_DATANODE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.server.protocol.InterDatanodeProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.InterDatanodeProtocolPB",
    version: 1,
    methods: &[
        ("initReplicaRecovery", -139587803),
        ("updateReplicaUnderRecovery", 887061972),
    ],
};

/// `org.apache.hadoop.hdfs.server.protocol.NamenodeProtocol`
pub static NAMENODE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.hdfs.server.protocol.NamenodeProtocol",
    pb_interface: "org.apache.hadoop.hdfs.protocolPB.NamenodeProtocolPB",
    version: 1,
    methods: &[
        ("endCheckpoint", 1352839485),
        ("errorReport", 285648534),
        ("getBlockKeys", -1236213171),
        ("getBlocks", -492382026),
        ("getEditLogManifest", -585933083),
        ("getMostRecentCheckpointTxId", -768088139),
        ("getMostRecentNameNodeFileTxId", 511953590),
        ("getNextSPSPath", 963880712),
        ("getTransactionId", -2109390379),
        ("isRollingUpgrade", -1449035173),
        ("isUpgradeFinalized", 84526918),
        ("registerSubordinateNamenode", -1079899932),
        ("rollEditLog", 898111647),
        ("startCheckpoint", 884199104),
        ("versionRequest", 47554577),
    ],
};

/// `org.apache.hadoop.ipc.GenericRefreshProtocol`
pub static GENERIC_REFRESH_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.ipc.GenericRefreshProtocol",
    pb_interface: "org.apache.hadoop.ipc.protocolPB.GenericRefreshProtocolPB",
    version: 1,
    methods: &[("refresh", 744829649)],
};

/// `org.apache.hadoop.ipc.ProtocolMetaInfoPB`
pub static PROTOCOL_META_INFO_PB: Protocol = Protocol {
    name: "org.apache.hadoop.ipc.ProtocolMetaInfoPB",
    pb_interface: "org.apache.hadoop.ipc.ProtocolMetaInfoPB",
    version: 1,
    methods: &[
        ("getProtocolSignature", 1444443140),
        ("getProtocolVersions", -1395228035),
    ],
};

/// `org.apache.hadoop.ipc.RefreshCallQueueProtocol`
pub static REFRESH_CALL_QUEUE_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.ipc.RefreshCallQueueProtocol",
    pb_interface: "org.apache.hadoop.ipc.protocolPB.RefreshCallQueueProtocolPB",
    version: 1,
    methods: &[("refreshCallQueue", 1149622002)],
};

/// `org.apache.hadoop.security.RefreshUserMappingsProtocol`
pub static REFRESH_USER_MAPPINGS_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.security.RefreshUserMappingsProtocol",
    pb_interface: "org.apache.hadoop.security.protocolPB.RefreshUserMappingsProtocolPB",
    version: 1,
    methods: &[
        ("refreshSuperUserGroupsConfiguration", -462934097),
        ("refreshUserToGroupsMappings", -255740852),
    ],
};

/// `org.apache.hadoop.security.authorize.RefreshAuthorizationPolicyProtocol`
pub static REFRESH_AUTHORIZATION_POLICY_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.security.authorize.RefreshAuthorizationPolicyProtocol",
    pb_interface: "org.apache.hadoop.security.protocolPB.RefreshAuthorizationPolicyProtocolPB",
    version: 1,
    methods: &[("refreshServiceAcl", -1881352054)],
};

/// `org.apache.hadoop.tools.GetUserMappingsProtocol`
pub static GET_USER_MAPPINGS_PROTOCOL: Protocol = Protocol {
    name: "org.apache.hadoop.tools.GetUserMappingsProtocol",
    pb_interface: "org.apache.hadoop.tools.protocolPB.GetUserMappingsProtocolPB",
    version: 1,
    methods: &[("getGroupsForUser", 1592211296)],
};

/// Hathi's own calls between NameNodes, their supervisors (the failover controllers) and JournalNodes.
pub static JOURNAL_EXTENSION_PROTOCOL: Protocol = Protocol {
    name: "hathi.JournalExtensionProtocol",
    pb_interface: "hathi.JournalExtensionProtocol",
    version: 1,
    methods: &[
        ("joinJournal", 0),
        ("releaseLease", 0),
        ("resumeSegment", 0),
        ("setMembership", 0),
        ("watchLease", 0),
    ],
};

/// Hathi's own calls from a NameNode's supervisor, its failover controller, to the NameNode.
pub static SUPERVISOR_PROTOCOL: Protocol = Protocol {
    name: "hathi.SupervisorProtocol",
    pb_interface: "hathi.SupervisorProtocol",
    version: 1,
    methods: &[
        ("changeJournalNodes", 0),
        ("confirmPassRequest", 0),
        ("getDigestMarks", 0),
        ("getInstance", 0),
        ("requestPass", 0),
    ],
};

/// Every protocol of this module.
pub static ALL: &[&Protocol] = &[
    &HA_SERVICE_PROTOCOL,
    &ZKFC_PROTOCOL,
    &CLIENT_DATANODE_PROTOCOL,
    &CLIENT_PROTOCOL,
    &RECONFIGURATION_PROTOCOL,
    &INTER_QJOURNAL_PROTOCOL,
    &QJOURNAL_PROTOCOL,
    &DATANODE_LIFELINE_PROTOCOL,
    &DATANODE_PROTOCOL,
    &INTER_DATANODE_PROTOCOL,
    &NAMENODE_PROTOCOL,
    &GENERIC_REFRESH_PROTOCOL,
    &PROTOCOL_META_INFO_PB,
    &REFRESH_CALL_QUEUE_PROTOCOL,
    &REFRESH_USER_MAPPINGS_PROTOCOL,
    &REFRESH_AUTHORIZATION_POLICY_PROTOCOL,
    &GET_USER_MAPPINGS_PROTOCOL,
    &JOURNAL_EXTENSION_PROTOCOL,
    &SUPERVISOR_PROTOCOL,
];
