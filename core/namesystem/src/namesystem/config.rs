//! Configuration of a namesystem.

use crate::keys::KeyOptions;
use crate::retry_cache::RetryCacheOptions;
use crate::satisfier::SatisfierConfig;
use crate::secrets::SecretsConfig;
use hathi_blockmanager::BlockManagerConfig;
use hathi_formats::ids::NamespaceInfo;

/// Configuration of centralized caching (`CacheManager`).
#[derive(Clone, Copy, Debug)]
pub struct CachingConfig {
    /// `dfs.namenode.caching.enabled`: without it pools and directives are kept, and nothing is cached.
    pub enabled: bool,
    /// `dfs.namenode.path.based.cache.refresh.interval.ms`: between two scans of all directives.
    pub rescan_ms: u64,
    /// `dfs.namenode.list.cache.pools.num.responses`: pools in one answer.
    pub pools_listed: usize,
    /// `dfs.namenode.list.cache.directives.num.responses`: directives in one answer.
    pub directives_listed: usize,
}

impl Default for CachingConfig {
    fn default() -> Self {
        CachingConfig {
            enabled: true,
            rescan_ms: 30_000,
            pools_listed: 100,
            directives_listed: 100,
        }
    }
}

/// Configuration of the handlers, parsed from `*-site.xml`.
#[derive(Clone, Debug)]
pub struct NamesystemConfig {
    /// `dfs.blocksize`, bytes.
    pub block_size: u64,
    /// `dfs.bytes-per-checksum`.
    pub bytes_per_checksum: u32,
    /// `dfs.client-write-packet-size`.
    pub write_packet_size: u32,
    /// `dfs.replication`.
    pub replication: u16,
    /// `dfs.namenode.replication.min`.
    pub replication_min: u16,
    /// `dfs.replication.max`.
    pub replication_max: u16,
    /// `io.file.buffer.size`.
    pub file_buffer_size: u32,
    /// `fs.trash.interval`, minutes.
    pub trash_interval_min: u64,
    /// `dfs.checksum.type`: 0 NULL, 1 CRC32, 2 CRC32C (`ChecksumTypeProto`).
    pub checksum_type: i32,
    /// `dfs.namenode.accesstime.precision`, ms; 0 is off.
    pub access_time_precision_ms: u64,
    /// `dfs.namenode.fs-limits.min-block-size`.
    pub min_block_size: u64,
    /// `dfs.namenode.fs-limits.max-blocks-per-file`.
    pub max_blocks_per_file: u64,
    /// `dfs.namenode.max.objects`: inodes and blocks that there may be; 0 is any number.
    pub max_objects: u64,
    /// `dfs.ls.limit`.
    pub ls_limit: usize,
    /// `dfs.namenode.list.openfiles.num.responses`: files in one answer of `listOpenFiles`.
    pub open_files_limit: usize,
    /// `dfs.batched.ls.limit`: paths of one `getBatchedListing`.
    pub batched_ls_limit: usize,
    /// `dfs.namenode.snapshotdiff.listing.limit`: entries of a page of differences between snapshots.
    pub snapshot_diff_limit: usize,
    /// Centralized caching.
    pub caching: CachingConfig,
    /// `dfs.permissions.enabled`.
    pub permissions_enabled: bool,
    /// `dfs.permissions.superusergroup`.
    pub superuser_group: String,
    /// The process user: the owner of a new root and always a superuser.
    pub superuser: String,
    /// `dfs.namenode.lease-hard-limit-sec`, ms.
    pub lease_hard_limit_ms: u64,
    /// `dfs.ha.allow.stale.reads`.
    pub allow_stale_reads: bool,
    /// `dfs.storage.policy.satisfier.*`.
    pub satisfier: SatisfierConfig,
    /// `dfs.namenode.delegation.*`.
    pub secrets: SecretsConfig,
    /// Whether this NameNode has peers (HA).
    pub ha_enabled: bool,
    /// `dfs.ha.automatic-failover.enabled`.
    pub automatic_failover: bool,
    /// `<nameservice>` or empty.
    pub nameservice_id: String,
    /// `<namenode id>` or empty.
    pub namenode_id: String,
    /// The client RPC address as `host:port`.
    pub rpc_address: String,
    /// Where keys of encryption zones come from.
    pub keys: KeyOptions,
}

impl Default for NamesystemConfig {
    fn default() -> Self {
        NamesystemConfig {
            block_size: 128 << 20,
            bytes_per_checksum: 512,
            write_packet_size: 64 << 10,
            replication: 3,
            replication_min: 1,
            replication_max: 512,
            file_buffer_size: 4096,
            trash_interval_min: 0,
            checksum_type: 2,
            access_time_precision_ms: 3_600_000,
            min_block_size: 1 << 20,
            max_blocks_per_file: 10_000,
            max_objects: 0,
            ls_limit: 1000,
            open_files_limit: 1000,
            batched_ls_limit: 100,
            snapshot_diff_limit: 1000,
            caching: CachingConfig::default(),
            permissions_enabled: true,
            superuser_group: "supergroup".to_owned(),
            superuser: String::new(),
            lease_hard_limit_ms: 1_200_000,
            allow_stale_reads: false,
            satisfier: SatisfierConfig::default(),
            secrets: SecretsConfig::default(),
            ha_enabled: true,
            automatic_failover: false,
            nameservice_id: String::new(),
            namenode_id: String::new(),
            rpc_address: String::new(),
            keys: KeyOptions::default(),
        }
    }
}

/// The parts of a namesystem besides its namespace.
#[derive(Clone, Debug)]
pub struct NamesystemParts {
    /// Typed configuration.
    pub config: NamesystemConfig,
    /// Configuration of the block manager.
    pub blockmanager: BlockManagerConfig,
    /// Configuration of the retry cache.
    pub retry_cache: RetryCacheOptions,
    /// Identity of the namespace.
    pub info: NamespaceInfo,
}
