//! What the configuration says about the namespace.

use hathi_formats::fsimage::ImageCodec;

use crate::erasure_coding::PolicyConfig;

/// Limits and switches. [`NamespaceConfig::default`] is Hadoop's default for each key.
#[derive(Clone, Debug)]
pub struct NamespaceConfig {
    /// Diffs of a snapshot that is deleted that end with its op. More of them end in slices ([`crate::Namespace::reclaim`]).
    pub snapshot_diffs_at_once: usize,
    /// `dfs.namenode.fs-limits.max-component-length` in bytes; 0 = none.
    pub max_component_len_bytes: usize,
    /// `dfs.namenode.fs-limits.max-directory-items`.
    pub max_directory_items: usize,
    /// `dfs.namenode.fs-limits.max-blocks-per-file`.
    pub max_blocks_per_file: usize,
    /// `dfs.namenode.fs-limits.min-block-size` in bytes.
    pub min_block_size_bytes: u64,
    /// `dfs.namenode.replication.min`.
    pub min_replication: u16,
    /// `dfs.replication.max`.
    pub max_replication: u16,
    /// `dfs.permissions.enabled`.
    pub permissions_enabled: bool,
    /// `dfs.permissions.superusergroup`.
    pub supergroup: String,
    /// Owner of the root directory of a new namespace: the user of the process.
    pub fs_owner: String,
    /// `dfs.namenode.acls.enabled`.
    pub acls_enabled: bool,
    /// `dfs.namenode.posix.acl.inheritance.enabled`.
    pub posix_acl_inheritance: bool,
    /// `dfs.namenode.xattrs.enabled`.
    pub xattrs_enabled: bool,
    /// `dfs.namenode.fs-limits.max-xattrs-per-inode`.
    pub max_xattrs_per_inode: usize,
    /// `dfs.namenode.fs-limits.max-xattr-size` in bytes.
    pub max_xattr_size_bytes: usize,
    /// `hathi.namenode.symlinks.enabled`: symlinks are refused unless set, as unless `FileSystem.enableSymlinks` was called.
    pub symlinks_enabled: bool,
    /// `dfs.namenode.accesstime.precision` in ms; 0 = off.
    pub access_time_precision_ms: u64,
    /// `dfs.storage.policy.enabled`.
    pub storage_policy_enabled: bool,
    /// `dfs.permissions.allow.owner.set.quota`.
    pub owner_set_quota: bool,
    /// `fs.protected.directories`: non-empty ones cannot be deleted or renamed. Absolute, no trailing slash.
    pub protected_directories: Vec<String>,
    /// `dfs.protected.subdirectories.enable`: neither can what is not empty below them.
    pub protected_subdirectories: bool,
    /// `dfs.namenode.snapshot.max.limit`: most snapshots of a directory.
    pub max_snapshots_per_directory: usize,
    /// `dfs.namenode.snapshot.filesystem.limit`: most snapshots of all directories.
    pub max_snapshots: usize,
    /// `dfs.namenode.snapshotdiff.allow.snap-root-descendant`: whether the differences between snapshots can be asked of a
    /// directory below the snapshottable one.
    pub diff_of_descendants: bool,
    /// `dfs.namenode.snapshot.deletion.ordered`: only the oldest snapshot of a directory is deleted at once. This key and
    /// the next two say what ops do, as in Hadoop: all NameNodes need the same values.
    pub snapshot_deletion_ordered: bool,
    /// `dfs.namenode.snapshot.capture.openfiles`: a snapshot shows files that are being written as long as they are when
    /// it is taken, and not as long as at their next change.
    pub capture_open_files: bool,
    /// `dfs.namenode.snapshot.skip.capture.accesstime-only-change`: a change of the access time alone is not kept.
    pub skip_access_times: bool,
    /// `dfs.namenode.snapshot.trashroot.enabled`: snapshottable directories have a trash of their own.
    pub snapshot_trash_roots: bool,
    /// `HdfsConstants.LEASE_SOFTLIMIT_PERIOD` in ms (not a key).
    pub lease_soft_limit_ms: u64,
    /// `dfs.namenode.lease-hard-limit-sec` in ms.
    pub lease_hard_limit_ms: u64,
    /// Erasure coding policies.
    pub erasure_coding: PolicyConfig,
    /// How images are written.
    pub image: ImageOptions,
    /// Seed of the hash of names: give a random one where clients are not trusted. No reply depends on it.
    pub hash_seed: u64,
}

impl Default for NamespaceConfig {
    fn default() -> Self {
        NamespaceConfig {
            snapshot_diffs_at_once: 64,
            max_component_len_bytes: 255,
            max_directory_items: 1024 * 1024,
            max_blocks_per_file: 10_000,
            min_block_size_bytes: 1024 * 1024,
            min_replication: 1,
            max_replication: 512,
            permissions_enabled: true,
            supergroup: "supergroup".to_owned(),
            fs_owner: "hdfs".to_owned(),
            acls_enabled: true,
            posix_acl_inheritance: true,
            xattrs_enabled: true,
            max_xattrs_per_inode: 32,
            max_xattr_size_bytes: 16384,
            symlinks_enabled: false,
            access_time_precision_ms: 3_600_000,
            storage_policy_enabled: true,
            owner_set_quota: false,
            protected_directories: Vec::new(),
            protected_subdirectories: false,
            max_snapshots_per_directory: 65_536,
            max_snapshots: 65_536,
            diff_of_descendants: true,
            snapshot_deletion_ordered: false,
            capture_open_files: false,
            skip_access_times: false,
            snapshot_trash_roots: false,
            lease_soft_limit_ms: 60_000,
            lease_hard_limit_ms: 1_200_000,
            erasure_coding: PolicyConfig::default(),
            image: ImageOptions::default(),
            hash_seed: 0,
        }
    }
}

/// How images are written; all of them are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// `dfs.image.compression.codec`, if `dfs.image.compress` asks for it.
    pub codec: Option<ImageCodec>,
    /// `dfs.image.parallel.inode.threshold`: images of so many inodes are written in parts, which are read side by side.
    pub parts_from_inodes: usize,
    /// `dfs.image.parallel.target.sections`: in so many.
    pub parts: usize,
}

impl Default for ImageOptions {
    fn default() -> Self {
        ImageOptions {
            codec: None,
            parts_from_inodes: 1_000_000,
            parts: 12,
        }
    }
}
