//! What a NameNode's process is told at its start, and what follows for its namesystem.

use super::calls::Waiting;
use super::knobs::Knobs;
use super::mutants::{ClusterMutant, Planted};
use hathi_blockmanager::BlockManagerConfig;
use hathi_journal::lease::LeaseProof;
use hathi_namesystem::NamesystemConfig;
use hathi_namesystem::loader::NamesystemParts;
use hathi_namesystem::retry_cache::RetryCacheOptions;

/// Wall clock time at the beginning of a run.
pub const WALL_MS: u64 = 1_700_000_000_000;

/// Limits of leases where there are DataNodes.
const LEASE_SOFT_LIMIT_MS: u64 = 400;
const LEASE_HARD_LIMIT_MS: u64 = 1_200;

/// The user of all processes.
pub const USER: &str = "hdfs";

/// What a process is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Index of the NameNode.
    pub index: usize,
    /// Number of NameNodes.
    pub namenodes: usize,
    /// Number of JournalNodes.
    pub journalnodes: usize,
    /// `<namenode id>@<instance id>`
    pub holder: String,
    /// The proof of its leases.
    pub proof: LeaseProof,
    /// See [`Knobs`].
    pub knobs: Knobs,
    /// The planted bug.
    pub planted: Planted,
    /// The clients' connections.
    pub waiting: Waiting,
}

/// Configuration of every namespace. With DataNodes, leases are so short that runs get to see their ends.
pub fn namespace_config(datanodes: bool) -> hathi_namespace::NamespaceConfig {
    let common = hathi_namespace::NamespaceConfig {
        access_time_precision_ms: 0,
        fs_owner: USER.to_owned(),
        ..hathi_namespace::NamespaceConfig::default()
    };
    match datanodes {
        false => common,
        true => hathi_namespace::NamespaceConfig {
            min_block_size_bytes: 1,
            lease_soft_limit_ms: LEASE_SOFT_LIMIT_MS,
            lease_hard_limit_ms: LEASE_HARD_LIMIT_MS,
            ..common
        },
    }
}

/// Configuration of every block manager, in the same way.
pub fn block_manager(datanodes: bool, seed: u64) -> BlockManagerConfig {
    let common = BlockManagerConfig {
        safemode_extension_ms: 0,
        ..BlockManagerConfig::default()
    };
    match datanodes {
        false => common,
        true => BlockManagerConfig {
            heartbeat_interval_ms: 50,
            heartbeat_recheck_ms: 500,
            stale_interval_ms: 400,
            pending_timeout_ms: 800,
            excess_timeout_ms: 2_500,
            report_lease_ms: 2_000,
            consider_load: false,
            seed,
            ..common
        },
    }
}

/// The parts of every namesystem.
pub fn parts(settings: &Settings, seed: u64) -> NamesystemParts {
    let (planted, datanodes) = (settings.planted, settings.knobs.datanodes);
    NamesystemParts {
        config: NamesystemConfig {
            superuser: USER.to_owned(),
            access_time_precision_ms: 0,
            allow_stale_reads: planted.is(ClusterMutant::StandbyAnswers),
            min_block_size: if datanodes {
                1
            } else {
                NamesystemConfig::default().min_block_size
            },
            lease_hard_limit_ms: match datanodes {
                true => LEASE_HARD_LIMIT_MS,
                false => NamesystemConfig::default().lease_hard_limit_ms,
            },
            ..NamesystemConfig::default()
        },
        blockmanager: block_manager(datanodes, seed),
        retry_cache: RetryCacheOptions::default(),
        info: crate::namenode::namespace_info(),
    }
}
