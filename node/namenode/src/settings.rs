//! What `*-site.xml` says, parsed once at start.

mod checkpoints;
pub mod keys;
pub mod reconfigured;
mod secrets;

use crate::topology::TopologyOptions;
use anyhow::Context;
use hathi_blockmanager::BlockManagerConfig;
use hathi_conf::{Configuration, HostPort, JournalUri, NameNodeIdentity, TimeUnit};
use hathi_journal::directory::MustHave;
use hathi_journal::writer::WriterTimeouts;
use hathi_nameserver::resources::ResourceOptions;
use hathi_namespace::config::ImageOptions;
use hathi_namesystem::checkpoint::CheckpointConfig;
use hathi_namesystem::retry_cache::RetryCacheOptions;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where a SecondaryNameNode's web server listens, if nothing else is configured.
const SECONDARY_HTTP_PORT: u16 = 9868;
/// Edits directories without which a NameNode does not go on.
const REQUIRED_EDITS: &str = "dfs.namenode.edits.dir.required";
/// An active is not asked for the end of its segment more often than that: each one is a file on every JournalNode.
const LOG_ROLL_MIN: Duration = Duration::from_secs(1);
/// All addresses of a machine.
pub const ANY_HOST: &str = "0.0.0.0";

/// Another NameNode of the nameservice.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its id.
    pub namenode_id: String,
    /// Its RPC (or service RPC) address.
    pub rpc: HostPort,
    /// Its web address.
    pub http: HostPort,
}

/// How many bytes of an image, or of edits, are sent in a second; 0: as many as go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageBandwidth {
    /// `dfs.image.transfer.bandwidthPerSec`
    pub transfer: u64,
    /// `dfs.image.transfer-bootstrap-standby.bandwidthPerSec`
    pub bootstrap: u64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This NameNode's view of the configuration.
    pub conf: Configuration,
    /// The process's user.
    pub user: String,
    /// `dfs.permissions.superusergroup`.
    pub superuser_group: String,
    /// `dfs.namenode.ip-proxy-users`: routers, which say for whom they call.
    pub ip_proxy_users: Vec<String>,
    /// The nameservice, or empty.
    pub nameservice_id: String,
    /// This NameNode's id in it, or empty.
    pub namenode_id: String,
    /// Where clients call.
    pub rpc: HostPort,
    /// Where to listen for them.
    pub rpc_bind: SocketAddr,
    /// Where other daemons call, if elsewhere.
    pub service_rpc: Option<HostPort>,
    /// Where DataNodes and controllers call, if elsewhere.
    pub service_rpc_bind: Option<SocketAddr>,
    /// Health checks and lifelines only.
    pub lifeline_rpc_bind: Option<SocketAddr>,
    /// Where peers reach the web server.
    pub http: HostPort,
    /// Where it listens.
    pub http_bind: SocketAddr,
    /// `dfs.namenode.name.dir`.
    pub name_dirs: Vec<PathBuf>,
    /// `dfs.namenode.edits.dir`.
    pub edits_dirs: Vec<PathBuf>,
    /// `dfs.namenode.edits.dir.required` and `.minimum`.
    pub edits_must_have: MustHave,
    /// `dfs.namenode.shared.edits.dir`.
    pub shared: Option<JournalUri>,
    /// The other NameNodes.
    pub peers: Vec<Peer>,
    /// `dfs.ha.automatic-failover.enabled`.
    pub automatic_failover: bool,
    /// ZooKeeper elects (`ha.zookeeper.quorum`), which knows nothing of leases.
    pub zookeeper_elects: bool,
    /// `dfs.ha.nn.not-become-active-in-safemode`.
    pub not_active_in_safe_mode: bool,
    /// `hathi.lease.ms`.
    pub lease_ms: u32,
    /// `dfs.namenode.checkpoint.*`.
    pub checkpoint: CheckpointConfig,
    /// `dfs.ha.standby.checkpoints`.
    pub standby_checkpoints: bool,
    /// `dfs.namenode.num.checkpoints.retained`.
    pub checkpoints_retained: usize,
    /// `dfs.namenode.num.extra.edits.retained`.
    pub extra_edits_retained: u64,
    /// `dfs.namenode.max.extra.edits.segments.retained`.
    pub extra_segments_retained: usize,
    /// `dfs.namenode.name.dir.restore`.
    pub restore_failed_storage: bool,
    /// `hathi.namenode.join`: with empty directories it gets its namespace from a peer by itself.
    pub joins: bool,
    /// `dfs.namenode.checkpoint.dir` and `.edits.dir`: where a SecondaryNameNode has its images and edits.
    pub checkpoint_dirs: (Vec<PathBuf>, Vec<PathBuf>),
    /// `dfs.namenode.secondary.http-address`.
    pub secondary_http: HostPort,
    /// `dfs.image.transfer.timeout`.
    pub image_timeout: Duration,
    /// `dfs.image.transfer*.bandwidthPerSec`.
    pub image_bandwidth: ImageBandwidth,
    /// `dfs.image.compress`, `.compression.codec` and `.parallel.*`.
    pub image: ImageOptions,
    /// `dfs.qjournal.*.timeout.ms`.
    pub timeouts: WriterTimeouts,
    /// `dfs.qjournal.queued-edits.limit.mb`, in bytes, for each JournalNode.
    pub queued_edits_bytes: usize,
    /// `hathi.namenode.unsynced.limit.mb`, in bytes: edits that no quorum has above which clients' changes are refused.
    pub unsynced_limit_bytes: usize,
    /// `dfs.namenode.edit.log.autoroll.*`: transactions of the open segment above which the active rolls.
    pub autoroll_txns: u64,
    /// How often it looks.
    pub autoroll_check: Duration,
    /// `dfs.namenode.snapshot.deletion.ordered.gc.period.ms`: how often a snapshot that was marked is deleted.
    pub snapshot_gc: Duration,
    /// `dfs.ha.log-roll.period`: a standby asks for a roll after so long; `None` never.
    pub log_roll_period: Option<Duration>,
    /// `dfs.ha.tail-edits.period`; used towards JournalNodes that cannot wait for edits.
    pub tail_period: Duration,
    /// `dfs.namenode.resource.*`
    pub resources: ResourceOptions,
    /// The key provider of encryption zones, and how it is used.
    pub keys: keys::KeySettings,
    /// `dfs.namenode.state.context.enabled`
    pub state_context: bool,
    /// `dfs.namenode.inotify.max.events.per.rpc`
    pub inotify_events_max: usize,
    /// Reactor threads of the RPC server: `hathi.namenode.rpc.reactors`.
    pub reactors: usize,
    /// `hathi.namenode.serving.limit.ms`: a reactor that stands still for so long costs the read lease.
    pub serving_limit: Duration,
    /// The NameNodes whose failover controllers have a web server, and its address (`hathi.zkfc.http-address`).
    pub controllers: Vec<(String, HostPort)>,
    /// `hathi.namenode.slow.call.ms`: from when on a call is slow; 0: none is.
    pub slow_call: Duration,
    /// `hathi.debug.hooks`: faults on demand, for tests.
    pub debug_hooks: bool,
    /// `dfs.hosts` and `dfs.hosts.exclude`.
    pub hosts_files: (Option<PathBuf>, Option<PathBuf>),
    /// `net.topology.*`
    pub topology: TopologyOptions,
}

impl Settings {
    /// Reads the configuration directory.
    pub fn load(dir: &Path) -> anyhow::Result<Settings> {
        let conf = Configuration::load(dir).with_context(|| format!("configuration in {}", dir.display()))?;
        let identity = conf.who_am_i(is_local)?;
        Self::from_conf(&conf, &identity)
    }

    /// Those of one of the NameNodes that are configured.
    ///
    /// # Errors
    /// When a value makes no sense, with its key, or a name can't be resolved.
    pub fn from_conf(all: &Configuration, identity: &NameNodeIdentity) -> anyhow::Result<Settings> {
        let conf = all.for_namenode(identity);
        let ns = identity.nameservice.as_deref();
        let nn = identity.namenode.as_deref();
        let ms = |key: &str, default: u64| -> anyhow::Result<u64> {
            Ok(conf
                .get_duration(key, Duration::from_millis(default), TimeUnit::Millis)?
                .as_millis() as u64)
        };
        let us = |key: &str, default: u64| -> anyhow::Result<u64> { Ok(ms(key, default)? * 1000) };
        let rpc = all.rpc_address(ns, nn)?;
        let http = all.http_address(ns, nn)?;
        let shared = all.shared_edits(ns, nn)?;
        let name_dirs = conf.name_dirs()?;
        let mut edits_dirs = conf.edits_dirs()?;
        if let Some(JournalUri::File(shared)) = &shared {
            anyhow::ensure!(
                !name_dirs.contains(shared),
                "{} is a name directory: the shared edits need one of their own",
                shared.display()
            );
            // Listed there too, as `FSNamesystem.getNamespaceEditsDirs` allows: it is written once.
            edits_dirs.retain(|dir| dir != shared);
        }
        let dirs = |key: &str| conf.get_list(key).iter().map(|dir| local_path(dir)).collect::<Vec<_>>();
        for dir in conf.get_list("dfs.namenode.edits.dir") {
            anyhow::ensure!(
                !dir.starts_with("qjournal:") || conf.get("dfs.namenode.shared.edits.dir").as_ref() == Some(&dir),
                "dfs.namenode.edits.dir = '{dir}': JournalNodes are named in dfs.namenode.shared.edits.dir"
            );
        }
        let required = dirs(REQUIRED_EDITS);
        for dir in conf.get_list(REQUIRED_EDITS) {
            let path = local_path(&dir);
            let is_shared = match &shared {
                Some(JournalUri::File(shared)) => *shared == path,
                Some(JournalUri::Quorum { .. }) => conf.get("dfs.namenode.shared.edits.dir").as_ref() == Some(&dir),
                None => false,
            };
            anyhow::ensure!(
                is_shared || edits_dirs.contains(&path),
                "{REQUIRED_EDITS} = '{dir}': is not in dfs.namenode.edits.dir"
            );
        }
        let resources = ResourceOptions {
            reserved_bytes: u64::try_from(conf.get_bytes("dfs.namenode.resource.du.reserved", 104_857_600)?)
                .unwrap_or(0),
            redundant: if edits_dirs.is_empty() {
                name_dirs.clone()
            } else {
                edits_dirs.clone()
            },
            required: dirs("dfs.namenode.resource.checked.volumes")
                .into_iter()
                .chain(edits_dirs.iter().filter(|dir| required.contains(dir)).cloned())
                .collect(),
            minimum: conf.get_usize("dfs.namenode.resource.checked.volumes.minimum", 1)?,
            check_interval_ms: ms("dfs.namenode.resource.check.interval", 5000)?.max(100),
        };
        let mut peers = Vec::new();
        if let Some(ns) = ns {
            for id in all.namenode_ids(ns) {
                if Some(id.as_str()) != nn {
                    peers.push(Peer {
                        rpc: all.service_or_rpc_address(Some(ns), Some(&id))?,
                        http: all.http_address(Some(ns), Some(&id))?,
                        namenode_id: id,
                    });
                }
            }
        }
        let is_single = shared.is_none() && peers.is_empty();
        let checkpoint = checkpoints::checkpoint(&conf)?;
        let autoroll = conf.get_f64("dfs.namenode.edit.log.autoroll.multiplier.threshold", 0.5)?;
        let log_roll_ms = conf.get_duration_ms("dfs.ha.log-roll.period", 120_000, TimeUnit::Seconds)?;
        Ok(Settings {
            user: process_user(),
            superuser_group: conf.get_or("dfs.permissions.superusergroup", "supergroup"),
            ip_proxy_users: conf.get_list("dfs.namenode.ip-proxy-users"),
            nameservice_id: identity.nameservice.clone().unwrap_or_default(),
            namenode_id: identity.namenode.clone().unwrap_or_default(),
            rpc_bind: bind_address(&conf, &rpc, "dfs.namenode.rpc-bind-host")?,
            service_rpc: all.service_rpc_address(ns, nn)?,
            service_rpc_bind: match all.service_rpc_address(ns, nn)? {
                Some(address) => Some(bind_address(&conf, &address, "dfs.namenode.servicerpc-bind-host")?),
                None => None,
            },
            lifeline_rpc_bind: match all.lifeline_rpc_address(ns, nn)? {
                Some(address) => Some(bind_address(&conf, &address, "dfs.namenode.lifeline.rpc-bind-host")?),
                None => None,
            },
            http_bind: {
                let raw = conf
                    .address("dfs.namenode.http-address", Some(9870))?
                    .unwrap_or_else(|| http.clone());
                bind_address(&conf, &raw, "dfs.namenode.http-bind-host")?
            },
            rpc,
            http,
            name_dirs,
            edits_must_have: MustHave {
                required: edits_dirs
                    .iter()
                    .filter(|dir| required.contains(dir))
                    .map(|dir| dir.join("current"))
                    .collect(),
                minimum: edits_minimum(&conf, edits_dirs.len(), is_single)?,
            },
            edits_dirs,
            automatic_failover: all.get_flag(&all.scoped_key("dfs.ha.automatic-failover.enabled", ns, None), false)?,
            zookeeper_elects: conf
                .get("ha.zookeeper.quorum")
                .is_some_and(|quorum| !quorum.trim().is_empty()),
            not_active_in_safe_mode: conf.get_flag("dfs.ha.nn.not-become-active-in-safemode", false)?,
            lease_ms: u32::try_from(ms("hathi.lease.ms", 1000)?)
                .ok()
                .filter(|lease_ms| *lease_ms > 0)
                .context("hathi.lease.ms: must be from 1 to 4294967295")?,
            checkpoint: checkpoint.clone(),
            standby_checkpoints: conf.get_flag("dfs.ha.standby.checkpoints", true)?,
            checkpoints_retained: conf.get_usize("dfs.namenode.num.checkpoints.retained", 2)?,
            extra_edits_retained: conf.get_u64("dfs.namenode.num.extra.edits.retained", 1_000_000)?,
            extra_segments_retained: conf.get_usize("dfs.namenode.max.extra.edits.segments.retained", 10_000)?,
            restore_failed_storage: conf.get_bool("dfs.namenode.name.dir.restore", false),
            joins: conf.get_bool("hathi.namenode.join", false) && !peers.is_empty() && shared.is_some(),
            checkpoint_dirs: (conf.checkpoint_dirs()?, conf.checkpoint_edits_dirs()?),
            shared,
            peers,
            secondary_http: conf
                .address("dfs.namenode.secondary.http-address", Some(SECONDARY_HTTP_PORT))?
                .unwrap_or_else(|| HostPort {
                    host: ANY_HOST.to_owned(),
                    port: SECONDARY_HTTP_PORT,
                }),
            image_timeout: checkpoints::image_timeout(&conf)?,
            image: checkpoints::image_options(&conf)?,
            image_bandwidth: checkpoints::image_bandwidth(&conf)?,
            timeouts: WriterTimeouts {
                start_segment: us("dfs.qjournal.start-segment.timeout.ms", 20_000)?,
                prepare_recovery: us("dfs.qjournal.prepare-recovery.timeout.ms", 120_000)?,
                accept_recovery: us("dfs.qjournal.accept-recovery.timeout.ms", 120_000)?,
                finalize_segment: us("dfs.qjournal.finalize-segment.timeout.ms", 120_000)?,
                get_journal_state: us("dfs.qjournal.get-journal-state.timeout.ms", 120_000)?,
                new_epoch: us("dfs.qjournal.new-epoch.timeout.ms", 120_000)?,
                write_txns: us("dfs.qjournal.write-txns.timeout.ms", 20_000)?,
                ..WriterTimeouts::default()
            },
            queued_edits_bytes: conf.get_usize("dfs.qjournal.queued-edits.limit.mb", 10)? << 20,
            unsynced_limit_bytes: conf.get_usize("hathi.namenode.unsynced.limit.mb", 64)? << 20,
            autoroll_txns: (checkpoint.txns as f64 * autoroll) as u64,
            autoroll_check: Duration::from_millis(ms("dfs.namenode.edit.log.autoroll.check.interval.ms", 300_000)?),
            snapshot_gc: Duration::from_millis(
                ms("dfs.namenode.snapshot.deletion.ordered.gc.period.ms", 300_000)?.max(1),
            ),
            log_roll_period: u64::try_from(log_roll_ms)
                .ok()
                .map(|ms| Duration::from_millis(ms).max(LOG_ROLL_MIN)),
            tail_period: conf.get_duration("dfs.ha.tail-edits.period", Duration::from_secs(60), TimeUnit::Seconds)?,
            resources,
            keys: keys::KeySettings::of(&conf)?,
            state_context: conf.get_bool("dfs.namenode.state.context.enabled", false),
            inotify_events_max: conf.get_usize("dfs.namenode.inotify.max.events.per.rpc", 1000)?,
            reactors: conf.get_usize("hathi.namenode.rpc.reactors", 1)?.max(1),
            serving_limit: Duration::from_millis(ms("hathi.namenode.serving.limit.ms", 2000)?.max(1)),
            slow_call: Duration::from_millis(ms("hathi.namenode.slow.call.ms", 1000)?),
            controllers: controllers(all, identity)?,
            debug_hooks: conf.get_bool("hathi.debug.hooks", false),
            topology: TopologyOptions::from_conf(&conf)?,
            hosts_files: (
                conf.get("dfs.hosts").map(PathBuf::from),
                conf.get("dfs.hosts.exclude").map(PathBuf::from),
            ),
            conf,
        })
    }

    /// Whether this is the only NameNode: its edits are in its own directories alone, it is the active from its start to its
    /// end, and nobody ever takes over from it.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.shared.is_none() && self.peers.is_empty()
    }

    /// Those of a SecondaryNameNode: the same, but for where the images and edits are.
    #[must_use]
    pub fn of_checkpoints(&self) -> Settings {
        let (name_dirs, edits_dirs) = self.checkpoint_dirs.clone();
        Settings {
            name_dirs,
            edits_dirs,
            ..self.clone()
        }
    }

    /// What the handlers need.
    pub fn namesystem(&self) -> anyhow::Result<hathi_namesystem::NamesystemConfig> {
        let conf = &self.conf;
        let checksum_type = match conf.get_or("dfs.checksum.type", "CRC32C").as_str() {
            "NULL" => 0,
            "CRC32" => 1,
            _ => 2,
        };
        Ok(hathi_namesystem::NamesystemConfig {
            block_size: u64::try_from(conf.get_bytes("dfs.blocksize", 128 << 20)?)?,
            bytes_per_checksum: conf.get_u32("dfs.bytes-per-checksum", 512)?,
            write_packet_size: conf.get_u32("dfs.client-write-packet-size", 64 << 10)?,
            replication: u16::try_from(conf.get_u32("dfs.replication", 3)?)?,
            replication_min: u16::try_from(conf.get_u32("dfs.namenode.replication.min", 1)?)?,
            replication_max: u16::try_from(conf.get_u32("dfs.replication.max", 512)?)?,
            file_buffer_size: conf.get_u32("io.file.buffer.size", 4096)?,
            trash_interval_min: conf.get_f64("fs.trash.interval", 0.0)? as u64,
            checksum_type,
            access_time_precision_ms: conf.get_u64("dfs.namenode.accesstime.precision", 3_600_000)?,
            min_block_size: u64::try_from(conf.get_bytes("dfs.namenode.fs-limits.min-block-size", 1 << 20)?)?,
            max_blocks_per_file: conf.get_u64("dfs.namenode.fs-limits.max-blocks-per-file", 10_000)?,
            max_objects: conf.get_u64("dfs.namenode.max.objects", 0)?,
            ls_limit: conf.get_usize("dfs.ls.limit", 1000)?,
            open_files_limit: conf
                .get_usize("dfs.namenode.list.openfiles.num.responses", 1000)?
                .max(1),
            batched_ls_limit: conf.get_usize("dfs.batched.ls.limit", 100)?,
            snapshot_diff_limit: conf.get_usize("dfs.namenode.snapshotdiff.listing.limit", 1000)?,
            caching: self.caching()?,
            permissions_enabled: conf.get_bool("dfs.permissions.enabled", true),
            superuser_group: self.superuser_group.clone(),
            superuser: self.user.clone(),
            lease_hard_limit_ms: conf
                .get_duration(
                    "dfs.namenode.lease-hard-limit-sec",
                    Duration::from_secs(1200),
                    TimeUnit::Seconds,
                )?
                .as_millis() as u64,
            allow_stale_reads: conf.get_flag("dfs.ha.allow.stale.reads", false)?,
            satisfier: self.satisfier()?,
            secrets: self.secrets()?,
            ha_enabled: !self.peers.is_empty() && self.shared.is_some(),
            automatic_failover: self.automatic_failover,
            nameservice_id: self.nameservice_id.clone(),
            namenode_id: self.namenode_id.clone(),
            rpc_address: self.rpc.to_string(),
            keys: keys::options(conf)?,
        })
    }

    /// Centralized caching.
    fn caching(&self) -> anyhow::Result<hathi_namesystem::CachingConfig> {
        let conf = &self.conf;
        let listed = |key| Ok::<_, anyhow::Error>(conf.get_usize(key, 100)?.max(1));
        Ok(hathi_namesystem::CachingConfig {
            enabled: conf.get_bool("dfs.namenode.caching.enabled", true),
            rescan_ms: conf.get_u64("dfs.namenode.path.based.cache.refresh.interval.ms", 30_000)?,
            pools_listed: listed("dfs.namenode.list.cache.pools.num.responses")?,
            directives_listed: listed("dfs.namenode.list.cache.directives.num.responses")?,
        })
    }

    fn erasure_coding(&self) -> anyhow::Result<hathi_namespace::PolicyConfig> {
        let conf = &self.conf;
        let default = hathi_namespace::PolicyConfig::default();
        let policies = hathi_namespace::PolicyConfig {
            default_policy: conf
                .get_or("dfs.namenode.ec.system.default.policy", &default.default_policy)
                .trim()
                .to_owned(),
            max_cell_size: conf.get_u32("dfs.namenode.ec.policies.max.cellsize", default.max_cell_size)?,
            user_defined_allowed: conf.get_bool(
                "dfs.namenode.ec.userdefined.policy.allowed",
                default.user_defined_allowed,
            ),
        };
        policies.check().map_err(anyhow::Error::msg)?;
        Ok(policies)
    }

    /// What the namespace needs.
    pub fn namespace(&self) -> anyhow::Result<hathi_namespace::NamespaceConfig> {
        let conf = &self.conf;
        let default = hathi_namespace::NamespaceConfig::default();
        let max_snapshots = conf.get_usize("dfs.namenode.snapshot.filesystem.limit", default.max_snapshots)?;
        let max_snapshots_per_directory =
            conf.get_usize("dfs.namenode.snapshot.max.limit", default.max_snapshots_per_directory)?;
        anyhow::ensure!(
            max_snapshots_per_directory <= max_snapshots,
            "dfs.namenode.snapshot.max.limit cannot be greater than dfs.namenode.snapshot.filesystem.limit"
        );
        Ok(hathi_namespace::NamespaceConfig {
            max_component_len_bytes: conf.get_usize(
                "dfs.namenode.fs-limits.max-component-length",
                default.max_component_len_bytes,
            )?,
            symlinks_enabled: conf.get_bool("hathi.namenode.symlinks.enabled", default.symlinks_enabled),
            max_directory_items: conf.get_usize(
                "dfs.namenode.fs-limits.max-directory-items",
                default.max_directory_items,
            )?,
            max_blocks_per_file: conf.get_usize(
                "dfs.namenode.fs-limits.max-blocks-per-file",
                default.max_blocks_per_file,
            )?,
            min_block_size_bytes: u64::try_from(conf.get_bytes("dfs.namenode.fs-limits.min-block-size", 1 << 20)?)?,
            min_replication: u16::try_from(conf.get_u32("dfs.namenode.replication.min", 1)?)?,
            max_replication: u16::try_from(conf.get_u32("dfs.replication.max", 512)?)?,
            permissions_enabled: conf.get_bool("dfs.permissions.enabled", true),
            supergroup: self.superuser_group.clone(),
            fs_owner: self.user.clone(),
            acls_enabled: conf.get_bool("dfs.namenode.acls.enabled", true),
            posix_acl_inheritance: conf.get_bool("dfs.namenode.posix.acl.inheritance.enabled", true),
            xattrs_enabled: conf.get_bool("dfs.namenode.xattrs.enabled", true),
            max_xattrs_per_inode: conf.get_usize(
                "dfs.namenode.fs-limits.max-xattrs-per-inode",
                default.max_xattrs_per_inode,
            )?,
            max_xattr_size_bytes: conf
                .get_usize("dfs.namenode.fs-limits.max-xattr-size", default.max_xattr_size_bytes)?,
            access_time_precision_ms: conf.get_u64("dfs.namenode.accesstime.precision", 3_600_000)?,
            storage_policy_enabled: conf.get_bool("dfs.storage.policy.enabled", true),
            owner_set_quota: conf.get_bool("dfs.permissions.allow.owner.set.quota", false),
            protected_directories: conf
                .get_list("fs.protected.directories")
                .into_iter()
                .map(|dir| dir.trim_end_matches('/').to_owned())
                .filter(|dir| dir.starts_with('/'))
                .collect(),
            protected_subdirectories: conf.get_bool("dfs.protected.subdirectories.enable", false),
            max_snapshots_per_directory,
            max_snapshots,
            diff_of_descendants: conf.get_bool("dfs.namenode.snapshotdiff.allow.snap-root-descendant", true),
            snapshot_deletion_ordered: conf.get_flag("dfs.namenode.snapshot.deletion.ordered", false)?,
            capture_open_files: conf.get_flag("dfs.namenode.snapshot.capture.openfiles", false)?,
            skip_access_times: conf.get_flag("dfs.namenode.snapshot.skip.capture.accesstime-only-change", false)?,
            snapshot_trash_roots: conf.get_flag("dfs.namenode.snapshot.trashroot.enabled", false)?,
            lease_hard_limit_ms: conf
                .get_duration(
                    "dfs.namenode.lease-hard-limit-sec",
                    Duration::from_secs(1200),
                    TimeUnit::Seconds,
                )?
                .as_millis() as u64,
            erasure_coding: self.erasure_coding()?,
            image: self.image,
            ..default
        })
    }

    /// What the block manager needs.
    pub fn blockmanager(&self) -> anyhow::Result<BlockManagerConfig> {
        let conf = &self.conf;
        let default = BlockManagerConfig::default();
        let ms = |key: &str, default_ms: u64, unit: TimeUnit| -> anyhow::Result<u64> {
            Ok(conf
                .get_duration(key, Duration::from_millis(default_ms), unit)?
                .as_millis() as u64)
        };
        let heartbeat_interval_ms = ms("dfs.heartbeat.interval", 3000, TimeUnit::Seconds)?;
        let limit = conf.get_usize("dfs.block.invalidate.limit", 1000)?;
        let count = |key: &str, default: u32| conf.get_u32(key, default);
        Ok(BlockManagerConfig {
            replication_max_streams: count("dfs.namenode.replication.max-streams", 2)?,
            replication_max_streams_hard: count("dfs.namenode.replication.max-streams-hard-limit", 4)?,
            replication_work_multiplier: count("dfs.namenode.replication.work.multiplier.per.iteration", 2)?.max(1),
            pending_timeout_ms: ms(
                "dfs.namenode.reconstruction.pending.timeout-sec",
                300_000,
                TimeUnit::Seconds,
            )?,
            startup_delay_deletion_ms: ms("dfs.namenode.startup.delay.block.deletion.sec", 0, TimeUnit::Seconds)?,
            excess_timeout_ms: ms(
                "dfs.namenode.excess.redundancy.timeout-sec",
                3_600_000,
                TimeUnit::Seconds,
            )?,
            min_maintenance_replication: u16::try_from(count("dfs.namenode.maintenance.replication.min", 1)?)?,
            max_replication: u16::try_from(conf.get_u32("dfs.replication.max", 512)?)?,
            min_replication: u16::try_from(conf.get_u32("dfs.namenode.replication.min", 1)?)?,
            heartbeat_interval_ms,
            heartbeat_recheck_ms: ms("dfs.namenode.heartbeat.recheck-interval", 300_000, TimeUnit::Millis)?,
            caching_enabled: conf.get_bool("dfs.namenode.caching.enabled", true),
            cache_retry_ms: conf.get_u64("dfs.namenode.path.based.cache.retry.interval.ms", 30_000)?,
            stale_interval_ms: ms("dfs.namenode.stale.datanode.interval", 30_000, TimeUnit::Millis)?,
            avoid_stale_for_read: conf.get_bool("dfs.namenode.avoid.read.stale.datanode", false),
            avoid_stale_for_write: conf.get_bool("dfs.namenode.avoid.write.stale.datanode", false),
            invalidate_limit: limit.max(20 * (heartbeat_interval_ms as usize / 1000)),
            max_report_leases: conf.get_usize("dfs.namenode.max.full.block.report.leases", 6)?,
            report_lease_ms: ms(
                "dfs.namenode.full.block.report.lease.length.ms",
                300_000,
                TimeUnit::Millis,
            )?,
            safemode_threshold: conf.get_f64("dfs.namenode.safemode.threshold-pct", 0.999)?,
            safemode_min_datanodes: conf.get_usize("dfs.namenode.safemode.min.datanodes", 0)?,
            safemode_extension_ms: ms("dfs.namenode.safemode.extension", 30_000, TimeUnit::Millis)?,
            consider_load: conf.get_bool("dfs.namenode.redundancy.considerLoad", true),
            load_factor: conf.get_f64("dfs.namenode.redundancy.considerLoad.factor", 2.0)?,
            seed: fastrand::u64(..),
            ..default
        })
    }

    /// What the retry cache needs.
    pub fn retry_cache(&self) -> anyhow::Result<RetryCacheOptions> {
        let default = RetryCacheOptions::default();
        Ok(RetryCacheOptions {
            enabled: self.conf.get_bool("dfs.namenode.enable.retrycache", true),
            expiry_ms: self
                .conf
                .get_u64("dfs.namenode.retrycache.expirytime.millis", default.expiry_ms)?,
            ..default
        })
    }
}

/// A directory that may be written as a `file:` URI.
fn local_path(dir: &str) -> PathBuf {
    let path = dir.strip_prefix("file://").or_else(|| dir.strip_prefix("file:"));
    PathBuf::from(path.unwrap_or(dir))
}

/// Resolves a name; the first address counts.
pub(crate) fn resolve(address: &HostPort) -> anyhow::Result<SocketAddr> {
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {address}"))?
        .next()
        .with_context(|| format!("{address} has no address"))
}

fn bind_address(conf: &Configuration, address: &HostPort, bind_host_key: &str) -> anyhow::Result<SocketAddr> {
    let host = conf.get(bind_host_key).unwrap_or_else(|| address.host.clone());
    resolve(&HostPort {
        host,
        port: address.port,
    })
}

/// Web addresses of the failover controllers, where they have any.
fn controllers(all: &Configuration, identity: &NameNodeIdentity) -> anyhow::Result<Vec<(String, HostPort)>> {
    let Some(ns) = &identity.nameservice else {
        return Ok(Vec::new());
    };
    let mut controllers = Vec::new();
    for id in all.namenode_ids(ns) {
        if let Some(address) = all.controller_http_address(ns, &id)? {
            controllers.push((id, address));
        }
    }
    Ok(controllers)
}

/// Whether one of a name's addresses is this machine's: whether one can listen on it (with any port).
fn is_local(address: &HostPort) -> bool {
    std::net::TcpListener::bind((address.host.as_str(), 0)).is_ok()
}

/// The short name of the process's user: `HADOOP_USER_NAME`, else as the system knows it.
#[must_use]
pub fn process_user() -> String {
    hathi_net::users::process_user()
}

/// `dfs.namenode.edits.dir.minimum`. Hadoop's NameNode with fewer directories than that ends at its first edit.
fn edits_minimum(conf: &Configuration, directories: usize, is_single: bool) -> anyhow::Result<usize> {
    const KEY: &str = "dfs.namenode.edits.dir.minimum";
    let minimum = conf.get_usize(KEY, 0)?;
    anyhow::ensure!(
        directories == 0 || minimum <= directories,
        "{KEY}: {minimum} directories must have the edits, but dfs.namenode.edits.dir names only {directories}"
    );
    // Where there are JournalNodes, they have the edits.
    Ok(minimum.max(usize::from(is_single)).min(directories))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::Environment;

    /// nn0 of a pair, with further keys.
    fn read(more: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let pair = [
            ("dfs.nameservices", "ns"),
            ("dfs.ha.namenodes.ns", "nn0,nn1"),
            ("dfs.ha.namenode.id", "nn0"),
            ("dfs.namenode.rpc-address.ns.nn0", "127.0.0.1:8020"),
            ("dfs.namenode.rpc-address.ns.nn1", "127.0.0.1:8021"),
            ("dfs.namenode.name.dir", "/name"),
            ("dfs.namenode.shared.edits.dir", "file:///shared"),
        ];
        let mut conf = Configuration::new(Environment::default());
        for (key, value) in pair.iter().chain(more) {
            conf.set(key, *value);
        }
        let settings = Settings::from_conf(&conf, &conf.who_am_i(is_local)?)?;
        settings.namesystem()?;
        Ok(settings)
    }

    #[test]
    fn a_key_of_high_availability_that_makes_no_sense_is_refused_by_name() {
        let flags = &["yes", "1", "ture"][..];
        for (key, absurd) in [
            ("dfs.ha.automatic-failover.enabled", flags),
            ("dfs.ha.automatic-failover.enabled.ns", flags),
            ("dfs.ha.allow.stale.reads", flags),
            ("dfs.ha.nn.not-become-active-in-safemode", flags),
            ("dfs.ha.standby.checkpoints", flags),
            ("dfs.ha.log-roll.period", &["soon", "1.5", "99999999999999999999"][..]),
            ("dfs.ha.tail-edits.period", &["-1", "soon", "99999999999999999999"][..]),
            ("hathi.lease.ms", &["0", "-1", "4294967296", "long"][..]),
        ] {
            for value in absurd {
                match read(&[(key, value)]) {
                    Ok(_) => panic!("{key} = {value} is taken"),
                    Err(error) => assert!(format!("{error:#}").contains(key), "{error:#}"),
                }
            }
        }
        for (key, value, named) in [
            ("dfs.ha.namenode.id", "nn7", "dfs.ha.namenode.id"),
            ("dfs.nameservice.id", "other", "dfs.namenode.rpc-address.other"),
        ] {
            let error = format!("{:#}", read(&[(key, value)]).expect_err("nobody is meant"));
            assert!(error.contains(named), "{key} = {value}: {error}");
        }
    }

    #[test]
    fn no_more_edits_directories_are_asked_for_than_there_are() {
        let (key, dirs) = (
            "dfs.namenode.edits.dir.minimum",
            ("dfs.namenode.edits.dir", "/edits/a,/edits/b"),
        );
        assert_eq!(read(&[dirs, (key, "2")]).unwrap().edits_must_have.minimum, 2);
        let error = format!("{:#}", read(&[dirs, (key, "3")]).expect_err("there are two"));
        assert!(error.contains(key) && error.contains("names only 2"), "{error}");
    }

    #[test]
    fn a_required_edits_directory_is_one_of_those_that_there_are() {
        let required = "dfs.namenode.edits.dir.required";
        let dirs = ("dfs.namenode.edits.dir", "file:///edits/a,/edits/b");
        let taken = read(&[dirs, (required, "/edits/a/,file:///edits/b")]).unwrap();
        assert_eq!(taken.edits_must_have.required.len(), 2);
        // The shared ones are required in any case.
        let shared = read(&[dirs, (required, "file:///shared")]).unwrap();
        assert!(shared.edits_must_have.required.is_empty());
        let journal = ("dfs.namenode.shared.edits.dir", "qjournal://127.0.0.1:8485/ns");
        read(&[dirs, journal, (required, journal.1)]).unwrap();
        let error = read(&[dirs, (required, "/edits/a,/edits/c")]).expect_err("it is not there");
        let error = format!("{error:#}");
        assert!(error.contains(required) && error.contains("/edits/c"), "{error}");

        let both = format!("{},{}", dirs.1, journal.1);
        read(&[(dirs.0, &both), journal]).unwrap();
        let error = read(&[(dirs.0, &both)]).expect_err("nobody writes there");
        let error = format!("{error:#}");
        assert!(error.contains(dirs.0) && error.contains(journal.1), "{error}");
    }

    #[test]
    fn times_of_following_are_hadoops_and_never_none_at_all() {
        let usual = read(&[]).unwrap();
        assert_eq!(usual.log_roll_period, Some(Duration::from_secs(120)));
        assert_eq!(usual.tail_period, Duration::from_secs(60));
        assert!(!usual.automatic_failover && usual.standby_checkpoints && !usual.not_active_in_safe_mode);
        let never = read(&[("dfs.ha.log-roll.period", "-1")]).unwrap();
        assert_eq!(never.log_roll_period, None);
        let always = read(&[("dfs.ha.log-roll.period", "0")]).unwrap();
        assert_eq!(always.log_roll_period, Some(Duration::from_secs(1)));
        let of_nameservice = [
            ("dfs.ha.automatic-failover.enabled", "false"),
            ("dfs.ha.automatic-failover.enabled.ns", "TRUE"),
        ];
        assert!(read(&of_nameservice).unwrap().automatic_failover);
    }
}
