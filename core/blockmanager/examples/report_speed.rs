//! How fast full block reports go in: `cargo run --profile dist -p hathi-blockmanager --example report_speed`.

use hathi_blockmanager::{
    BlockLayout, BlockManager, BlockManagerConfig, BlockState, HeartbeatStats, NewBlock, Now, ReportProgress,
    StorageReport,
};
use hathi_formats::block_list::{BlockListBuilder, ReplicaState};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId};
use hathi_formats::proto::datanode::StorageBlockReportProto;
use hathi_formats::proto::hdfs::{DatanodeIdProto, DatanodeStorageProto, StorageTypeProto};
use std::time::Instant;

const BLOCKS: i64 = 1_000_000;

fn report(node: usize) -> StorageBlockReportProto {
    let mut list = BlockListBuilder::default();
    for n in 1..=BLOCKS {
        let block = Block {
            id: BlockId((1 << 30) + n),
            num_bytes: 128 << 20,
            generation_stamp: GenerationStamp(1000 + n as u64),
        };
        list.add(block, ReplicaState::Finalized);
    }
    let (count, blocks_buffers) = list.finish();
    StorageBlockReportProto {
        storage: DatanodeStorageProto {
            storage_uuid: format!("DS-{node}"),
            state: None,
            storage_type: None,
        },
        blocks: Vec::new(),
        number_of_blocks: Some(count),
        blocks_buffers,
    }
}

fn main() {
    let mut manager = BlockManager::new(BlockManagerConfig::default());
    let now = Now {
        monotonic_ms: 1,
        wall_ms: 1,
    };
    manager.set_generation_stamp(GenerationStamp(1 << 40));
    let start = Instant::now();
    for n in 1..=BLOCKS {
        manager.add_block(NewBlock {
            block: Block {
                id: BlockId((1 << 30) + n),
                num_bytes: 128 << 20,
                generation_stamp: GenerationStamp(1000 + n as u64),
            },
            inode: InodeId(16385 + n as u64),
            layout: BlockLayout::Replicas(3),
            state: BlockState::Complete,
        });
    }
    println!(
        "add_block: {:.1} M/s",
        BLOCKS as f64 / start.elapsed().as_secs_f64() / 1e6
    );
    manager.activate_safe_mode(now);
    for round in ["first", "second", "first as active", "second as active"] {
        if round == "second" {
            manager.leave_safe_mode(true, now);
        }
        if round == "first as active" {
            manager.start_active(now);
            while manager.redundancy_tick(now, 100_000) {}
        }
        for node in 0..3usize {
            let id = DatanodeIdProto {
                ip_addr: format!("10.0.0.{node}"),
                host_name: format!("dn{node}"),
                datanode_uuid: format!("uuid-{node}"),
                ..DatanodeIdProto::default()
            };
            let Ok(datanode) = manager.register(id, "3.5.0", now) else {
                return;
            };
            let storage = StorageReport {
                uuid: format!("DS-{node}"),
                storage_type: StorageTypeProto::Disk,
                read_only: false,
                failed: false,
                capacity: 1 << 40,
                dfs_used: 0,
                remaining: 1 << 40,
                block_pool_used: 0,
                non_dfs_used: 0,
            };
            manager.heartbeat(
                datanode,
                HeartbeatStats {
                    reports: vec![storage],
                    ..HeartbeatStats::default()
                },
                now,
            );
            let Ok(Some(mut cursor)) = manager.begin_report(datanode, report(node)) else {
                return;
            };
            let (mut longest, mut slices) = (0.0f64, 0);
            let start = Instant::now();
            loop {
                let slice = Instant::now();
                let progress = manager.report_slice(&mut cursor, 10_000, now);
                longest = longest.max(slice.elapsed().as_secs_f64());
                slices += 1;
                if progress != Ok(ReportProgress::More) {
                    break;
                }
            }
            println!(
                "{round} report of node {node}: {:.1} M blocks/s, {slices} slices, longest {:.2} ms",
                BLOCKS as f64 / start.elapsed().as_secs_f64() / 1e6,
                longest * 1e3
            );
        }
    }
    println!(
        "{:.1} bytes per block with 3 replicas",
        manager.heap_bytes() as f64 / BLOCKS as f64
    );
}
