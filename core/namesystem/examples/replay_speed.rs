//! How fast edits are decoded and applied, as a standby and a NameNode that starts do it:
//! `cargo run --profile dist -p hathi-namesystem --example replay_speed [create|mkdirs|file] [EDITS]`.

use bytes::Bytes;
use hathi_blockmanager::BlockManagerConfig;
use hathi_formats::editlog::{AddOp, EditOp, PermissionStatus, RpcIds, SegmentHeader, encode};
use hathi_formats::ids::{InodeId, LayoutVersion, NamespaceInfo, TxId};
use hathi_namespace::{Namespace, NamespaceConfig, generator};
use hathi_namesystem::Life;
use hathi_namesystem::history::EditsSource;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::tailer::Edits;
use std::time::Instant;

/// The allocator of the daemons.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Transactions under one hold of the lock, as in production.
const SLICE_TXNS: usize = 1000;
/// Bytes of edits that are handed over at one time. A segment is larger, an answer of a JournalNode smaller.
const PIECE_BYTES: usize = 16 << 20;

/// Files or directories in one directory.
const PER_DIRECTORY: u64 = 100;
const EDITS: u64 = 1_500_000;

/// Edits in pieces, each with the header of a segment.
#[derive(Default)]
struct Log {
    pieces: Vec<(Vec<u8>, TxId)>,
    last: TxId,
}

impl Log {
    fn push(&mut self, op: &EditOp) {
        if self.pieces.last().is_none_or(|(bytes, _)| bytes.len() >= PIECE_BYTES) {
            let layout_version = LayoutVersion::NAMENODE_CURRENT;
            let header = SegmentHeader { layout_version }.encode().to_vec();
            self.pieces.push((header, self.last));
        }
        self.last = self.last.next();
        if let Some((bytes, last)) = self.pieces.last_mut() {
            *last = self.last;
            encode(bytes, self.last, op).expect("the edits are short");
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let kind = args.next().unwrap_or_else(|| "create".to_owned());
    let edits = args
        .next()
        .map_or(EDITS, |edits| edits.parse().expect("a number of edits"));
    let log = match kind.as_str() {
        // Whole files of one block: five edits each.
        "file" => files(edits / 5),
        // Files that are created and stay open, as NNThroughputBenchmark's: one edit each.
        "create" => entries(edits, add),
        // Directories: one edit each.
        "mkdirs" => entries(edits, mkdir),
        other => panic!("create, mkdirs or file, not {other}"),
    };
    let mut ns = assemble(
        NamesystemParts {
            config: hathi_namesystem::NamesystemConfig::default(),
            blockmanager: BlockManagerConfig::default(),
            retry_cache: RetryCacheOptions::default(),
            info: NamespaceInfo::default(),
        },
        Namespace::new(NamespaceConfig::default()),
        TxId(0),
        Life::first(),
    );
    ns.become_standby().expect("a new one becomes a standby");
    let bytes: usize = log.pieces.iter().map(|(bytes, _)| bytes.len()).sum();
    let started = Instant::now();
    for (piece, last) in log.pieces {
        let mut piece = Edits::new(Bytes::from(piece), last, EditsSource::Finalized).expect("it has a header");
        while piece.apply(&mut ns, SLICE_TXNS, 1).expect("the edits apply") {}
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(ns.edit_log().applied(), log.last);
    let edits = log.last.0 as f64;
    println!(
        "{kind} edits {edits} bytes {bytes} seconds {seconds:.2} edits/s {:.0} us/edit {:.3}",
        edits / seconds,
        seconds * 1e6 / edits
    );
}

fn files(files: u64) -> Log {
    let mut log = Log::default();
    let shape = generator::Shape {
        files,
        files_per_directory: PER_DIRECTORY,
        ..generator::Shape::default()
    };
    let filled = generator::fill(
        &mut Namespace::new(NamespaceConfig::default()),
        &shape,
        &mut |_, op, _| log.push(op),
    );
    filled.expect("the files are made");
    log
}

fn entries(edits: u64, entry: fn(InodeId, u64, String) -> EditOp) -> Log {
    let mut log = Log::default();
    // The root has the first id.
    let mut id = InodeId(16_385);
    let mut next_id = || {
        id = InodeId(id.0 + 1);
        id
    };
    for n in 0..edits {
        let directory = format!("/bench{}", n / PER_DIRECTORY);
        if n % PER_DIRECTORY == 0 {
            log.push(&mkdir(next_id(), n, directory.clone()));
        }
        log.push(&entry(next_id(), n, format!("{directory}/entry{n:09}")));
    }
    log
}

fn permissions() -> PermissionStatus {
    PermissionStatus {
        user: "hdfs".to_owned(),
        group: "supergroup".to_owned(),
        mode: 0o644,
    }
}

fn mkdir(inode_id: InodeId, _: u64, path: String) -> EditOp {
    EditOp::Mkdir {
        inode_id,
        path,
        time: 1_700_000_000_000,
        permissions: permissions(),
        acl_entries: Vec::new(),
        xattrs: Vec::new(),
    }
}

fn add(inode_id: InodeId, n: u64, path: String) -> EditOp {
    EditOp::Add(AddOp {
        inode_id,
        path,
        replication: 3,
        mtime: 1_700_000_000_000,
        atime: 1_700_000_000_000,
        block_size: 128 << 20,
        permissions: permissions(),
        client_name: format!("DFSClient_NONMAPREDUCE_{}_1", n % 64),
        client_machine: "127.0.0.1".to_owned(),
        rpc_ids: RpcIds {
            client_id: Some((u128::from(n % 64) + 1).to_be_bytes()),
            call_id: (n / 64) as i32,
        },
        ..AddOp::default()
    })
}
