//! Number types that must not be confused with each other, and small values made of them.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A transaction id of the edit log. Valid ids start at 1; 0 is "before the first".
    /// Hadoop's wire value for "none" (-12345) is an `Option` here.
    TxId(u64)
);
number!(
    /// An epoch of the quorum journal (Paxos: ballot). 0 is "never promised".
    Epoch(u64)
);
number!(
    /// An inode id. The root is [`InodeId::ROOT`]; ids up to 16384 are reserved.
    InodeId(u64)
);
number!(
    /// A block id: positive and sequential, or negative for a striped block group.
    BlockId(i64)
);
number!(
    /// A generation stamp (Hadoop's genstamp V2). The first one handed out is 1001.
    GenerationStamp(u64)
);
number!(
    /// A layout version: negative, smaller is newer.
    LayoutVersion(i32)
);

/// Hadoop's `HdfsServerConstants.INVALID_TXID` as it travels in `uint64` fields.
pub const INVALID_TXID_WIRE: u64 = -12345_i64 as u64;

impl TxId {
    /// The following transaction id. The highest number is followed by itself: ids from outside are Java's `long`s, so
    /// no valid id comes after it.
    #[must_use]
    pub const fn next(self) -> TxId {
        TxId(self.0.saturating_add(1))
    }

    /// From a wire value, where Hadoop writes -12345 for "none".
    #[must_use]
    pub fn from_wire(value: u64) -> Option<TxId> {
        (value <= i64::MAX as u64).then_some(TxId(value))
    }

    /// To a wire value, with Hadoop's -12345 for "none".
    #[must_use]
    pub fn to_wire(value: Option<TxId>) -> u64 {
        value.map_or(INVALID_TXID_WIRE, |txid| txid.0)
    }
}

impl InodeId {
    /// The root directory (`INodeId.ROOT_INODE_ID`).
    pub const ROOT: InodeId = InodeId(16385);
}

impl GenerationStamp {
    /// The last reserved stamp (`HdfsConstants`: stamps start after 1000).
    pub const LAST_RESERVED: GenerationStamp = GenerationStamp(1000);
}

impl BlockId {
    /// The last reserved block id (2^30); the first one handed out follows it.
    pub const LAST_RESERVED: BlockId = BlockId(1 << 30);
}

impl LayoutVersion {
    /// Layout version that Hadoop 3.4 and 3.5 write for the NameNode and the edit log.
    pub const NAMENODE_CURRENT: LayoutVersion = LayoutVersion(-67);
    /// NameNode layouts whose images and edits are read: since Hadoop 2.6 (`BLOCK_STORAGE_POLICY`). What came later are ops,
    /// fields and sections more. Newer layouts have lower numbers.
    pub const NAMENODE_READ: std::ops::RangeInclusive<LayoutVersion> = LayoutVersion(-67)..=LayoutVersion(-60);
    /// Layout version that Hadoop 3.4 and 3.5 write for a DataNode and its block pools.
    pub const DATANODE_CURRENT: LayoutVersion = LayoutVersion(-57);
}

/// The version of Hadoop that our daemons are compatible with, in registrations and `NamespaceInfo`. DataNodes and
/// NameNodes compare it with their minimum; others show it.
pub const SOFTWARE_VERSION: &str = "3.5.0";

/// A block, as the namespace and the DataNodes know it (`org.apache.hadoop.hdfs.protocol.Block`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The id.
    pub id: BlockId,
    /// Length in bytes.
    pub num_bytes: u64,
    /// The generation stamp.
    pub generation_stamp: GenerationStamp,
}

/// Cluster and namespace of a storage directory or a daemon (`StorageInfo`, `NamespaceInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Layout version of the NameNode.
    pub layout_version: LayoutVersion,
    /// Random positive number made at format.
    pub namespace_id: u32,
    /// `CID-<uuid>`.
    pub cluster_id: String,
    /// Creation or upgrade time in ms; 0 for a new format.
    pub ctime: i64,
    /// `BP-<random>-<ip>-<ms>`.
    pub block_pool_id: String,
}

impl NamespaceInfo {
    /// `layoutVersion:namespaceID:cTime:clusterID`, as `/imagetransfer` and `/getJournal` name a storage
    /// (`StorageInfo.toColonSeparatedString`).
    #[must_use]
    pub fn to_colon_separated(&self) -> String {
        format!(
            "{}:{}:{}:{}",
            self.layout_version, self.namespace_id, self.ctime, self.cluster_id
        )
    }
}

/// The 16 bytes that name a client for the life of its process (`ClientId`), or nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClientId(Option<[u8; 16]>);

impl ClientId {
    /// No id. Calls without one take no part in the retry cache.
    pub const EMPTY: ClientId = ClientId(None);

    /// From the wire: 16 bytes or none. `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<ClientId> {
        if bytes.is_empty() {
            return Some(ClientId(None));
        }
        <[u8; 16]>::try_from(bytes).ok().map(|id| ClientId(Some(id)))
    }

    /// The bytes, empty when there is no id.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |id| id.as_slice())
    }

    /// The bytes if there are any.
    #[must_use]
    pub fn bytes(&self) -> Option<[u8; 16]> {
        self.0
    }
}

impl From<[u8; 16]> for ClientId {
    fn from(id: [u8; 16]) -> Self {
        ClientId(Some(id))
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(id) => fmt::Display::fmt(&Uuid(&id), f),
            None => f.write_str("-"),
        }
    }
}

/// A client id as a UUID (`ClientId.toString`).
pub(crate) struct Uuid<'a>(pub(crate) &'a [u8; 16]);

impl fmt::Display for Uuid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}
