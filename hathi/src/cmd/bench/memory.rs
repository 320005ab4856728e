//! `hathi bench memory`: memory of a file of one block with three replicas.

use crate::cmd::resident_bytes;
use anyhow::{Context, Result, bail};
use clap::Args;
use hathi_blockmanager::{
    BlockLayout, BlockManager, BlockManagerConfig, BlockState, HeartbeatStats, NewBlock, Now, ReportProgress,
    StorageReport,
};
use hathi_formats::block_list::{BlockListBuilder, ReplicaState};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageTypeProto};
use hathi_namespace::{Effect, Namespace, NamespaceConfig, generator};
use std::process::ExitCode;
use std::time::Instant;

/// DataNodes that hold the replicas; each block is on three of them.
const DATANODES: u64 = 30;
const REPLICATION: u64 = 3;
const NOW: Now = Now {
    monotonic_ms: 1,
    wall_ms: 1,
};

#[derive(Args, Debug)]
pub(super) struct MemoryArgs {
    /// Files to build.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// Of each so many files that are made one stays, and the others are deleted at once: ids are given out and not
    /// used, as in a cluster that is years old.
    #[arg(long, default_value_t = 1)]
    one_stays_of: u64,
}

pub(super) fn run(args: MemoryArgs) -> Result<ExitCode> {
    let before = resident_bytes();
    let started = Instant::now();
    let mut namespace = Namespace::new(NamespaceConfig::default());
    let mut manager = BlockManager::new(BlockManagerConfig::default());
    let one_of = args.one_stays_of.max(1);
    let usual = generator::Shape::default();
    let shape = generator::Shape {
        files: args.files.saturating_mul(one_of),
        files_per_directory: usual.files_per_directory.saturating_mul(one_of),
        one_stays_of: one_of,
        ..usual
    };
    let mut live = 0_u64;
    let mut first_block = None;
    generator::fill(&mut namespace, &shape, &mut |_, _, effects| {
        for effect in &effects.effects {
            match effect {
                Effect::BlockCompleted { block, file } => {
                    first_block.get_or_insert(*block);
                    live += 1;
                    manager.set_generation_stamp(block.generation_stamp);
                    manager.add_block(NewBlock {
                        block: *block,
                        inode: *file,
                        layout: BlockLayout::Replicas(shape.replication),
                        state: BlockState::Complete,
                    });
                }
                Effect::BlockRemoved { block } => {
                    live -= 1;
                    manager.remove_block(block.id);
                }
                _ => {}
            }
        }
    })
    .map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    let built = started.elapsed().as_secs_f64();
    let built_bytes = resident_bytes().saturating_sub(before);
    let first = first_block.context("no block was made")?;
    if live != args.files {
        bail!("{live} blocks for {} files", args.files);
    }
    let reporting = Instant::now();
    for node in 0..DATANODES {
        // Blocks and their stamps are numbered as they are made, so both of the n-th file that stays are known.
        let blocks = (0..live)
            .filter(|n| n % (DATANODES / REPLICATION) == node / REPLICATION)
            .map(|n| n * one_of)
            .map(|n| (first.id.0 + n.cast_signed(), first.generation_stamp.0 + n));
        report(&mut manager, node, blocks, first.num_bytes)?;
    }
    let reported = reporting.elapsed().as_secs_f64();
    let resident = resident_bytes().saturating_sub(before);
    println!(
        "files {} resident {resident} bytes, {} bytes per file ({} without replicas, the block map takes {}); built in {built:.1} s ({:.2} us per file), {} replicas reported in {reported:.1} s",
        args.files,
        resident / args.files.max(1),
        built_bytes / args.files.max(1),
        manager.heap_bytes() as u64 / args.files.max(1),
        built * 1e6 / args.files.max(1) as f64,
        live * REPLICATION
    );
    let (id, replicas) = (first.id, manager.replicas_of(first.id).len());
    if replicas != 3 {
        bail!("block {id} has {replicas} replicas");
    }
    Ok(ExitCode::SUCCESS)
}

/// A full block report of one DataNode, encoded as a DataNode sends it.
fn report(manager: &mut BlockManager, node: u64, blocks: impl Iterator<Item = (i64, u64)>, len: u64) -> Result<()> {
    let mut list = BlockListBuilder::default();
    for (id, stamp) in blocks {
        let block = Block {
            id: BlockId(id),
            num_bytes: len,
            generation_stamp: GenerationStamp(stamp),
        };
        list.add(block, ReplicaState::Finalized);
    }
    let (count, blocks_buffers) = list.finish();
    let uuid = format!("DS-{node}");
    let id = DatanodeIdProto {
        ip_addr: format!("10.0.0.{node}"),
        host_name: format!("dn{node}"),
        datanode_uuid: format!("uuid-{node}"),
        ..DatanodeIdProto::default()
    };
    let datanode = manager.register(id, "3.5.0", NOW)?;
    let storage = StorageReport {
        uuid: uuid.clone(),
        storage_type: StorageTypeProto::Disk,
        read_only: false,
        failed: false,
        capacity: 1 << 40,
        dfs_used: 0,
        remaining: 1 << 40,
        block_pool_used: 0,
        non_dfs_used: 0,
    };
    let stats = HeartbeatStats {
        reports: vec![storage],
        ..HeartbeatStats::default()
    };
    manager.heartbeat(datanode, stats, NOW);
    let report = StorageBlockReportProto {
        storage: DatanodeStorageProto {
            storage_uuid: uuid,
            state: None,
            storage_type: None,
        },
        blocks: Vec::new(),
        number_of_blocks: Some(count),
        blocks_buffers,
    };
    let Some(mut cursor) = manager.begin_report(datanode, report)? else {
        bail!("the report of node {node} was not taken");
    };
    while manager.report_slice(&mut cursor, 100_000, NOW)? == ReportProgress::More {}
    Ok(())
}
