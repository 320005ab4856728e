//! Fills a namespace with its own plans, for benchmarks and for images of any size.

use hathi_formats::editlog::{EditOp, RpcIds};
use hathi_formats::ids::{Block, BlockId, GenerationStamp};

use crate::namespace::Namespace;
use crate::types::{BlockView, Caller, CreateOutcome, CreateRequest, Ctx, Effect, Effects, Holders, Refused};

/// The files to make: directories eight levels deep with equally many files of one block each.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Files in all.
    pub files: u64,
    /// Files per directory.
    pub files_per_directory: u64,
    /// Length of the block of each file; 0: no block.
    pub block_bytes: u64,
    /// Replication.
    pub replication: u16,
    /// Of each so many files the first stays, and the others are deleted at once, as temporary files are; 1: all stay.
    pub one_stays_of: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Shape {
            files: 10_000,
            files_per_directory: 100,
            block_bytes: 128 << 20,
            replication: 3,
            one_stays_of: 1,
        }
    }
}

/// A block manager that finds every block well replicated.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllReplicated;

impl BlockView for AllReplicated {
    fn is_min_replicated(&self, _: BlockId) -> bool {
        true
    }
    fn is_sufficiently_replicated(&self, _: BlockId) -> bool {
        true
    }
    fn is_complete(&self, _: BlockId) -> bool {
        true
    }
    fn holders(&self, _: BlockId) -> Holders {
        Holders::Known
    }
    fn is_under_recovery(&self, _: BlockId) -> bool {
        false
    }
    fn recovery_id(&self, _: BlockId) -> Option<GenerationStamp> {
        None
    }
    fn committed_length(&self, _: BlockId) -> Option<u64> {
        None
    }
    fn finalized_length(&self, _: BlockId) -> Option<u64> {
        None
    }
}

/// Directory number `n`, eight components deep with its files.
#[must_use]
pub fn directory(n: u64) -> String {
    format!(
        "/user/team{:02}/warehouse/db{:02}/table{:03}/year={:04}/day={:03}",
        n % 7,
        n / 7 % 11,
        n / 77 % 131,
        n / 10_087 % 53,
        n / 534_611
    )
}

/// Name of file number `n`. All names differ, and their order is not that of `n`.
#[must_use]
pub fn file_name(n: u64) -> String {
    format!(
        "part-{:05}-{:08x}",
        n % 100_000,
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    )
}

/// Path of file number `n` of a shape.
#[must_use]
pub fn file_path(shape: &Shape, n: u64) -> String {
    format!("{}/{}", directory(n / shape.files_per_directory.max(1)), file_name(n))
}

/// Makes the files of a shape. `logged` gets every op with its effects; those of a delete are complete when it is freed,
/// which happens at once. Returns the last transaction.
pub fn fill(ns: &mut Namespace, shape: &Shape, logged: &mut dyn FnMut(u64, &EditOp, &Effects)) -> Result<u64, Refused> {
    let groups = ["supergroup".to_owned()];
    let ctx = Ctx {
        caller: Caller {
            user: "hdfs",
            groups: &groups,
            superuser: true,
        },
        now_ms: 1_700_000_000_000,
        mono_ms: 0,
        rpc_ids: RpcIds::NONE,
        client_machine: "client.example",
    };
    for n in 0..shape.files {
        if n % shape.files_per_directory.max(1) == 0 {
            let path = directory(n / shape.files_per_directory.max(1));
            let plan = ns.plan_mkdirs(&ctx, &path, 0o755, None, true)?;
            commit(ns, &plan.ops, logged)?;
        }
        let path = file_path(shape, n);
        make_file(ns, &ctx, shape, &path, logged)?;
        if n % shape.one_stays_of.max(1) != 0 {
            let plan = ns.plan_delete(&ctx, &path, false, None)?;
            delete(ns, &plan.ops, logged)?;
        }
    }
    Ok(ns.last_applied_txid())
}

/// Creates, writes and closes one file.
pub fn make_file(
    ns: &mut Namespace,
    ctx: &Ctx<'_>,
    shape: &Shape,
    path: &str,
    logged: &mut dyn FnMut(u64, &EditOp, &Effects),
) -> Result<(), Refused> {
    const CLIENT: &str = "DFSClient_generator";
    let request = CreateRequest {
        src: path,
        mode: 0o644,
        unmasked: None,
        client_name: CLIENT,
        create: true,
        overwrite: false,
        create_parent: true,
        replication: shape.replication,
        block_size: shape.block_bytes.max(128 << 20),
        lazy_persist: false,
        storage_policy: "",
        ec_policy: "",
        should_replicate: false,
    };
    let plan = ns.plan_create(ctx, &request, &AllReplicated)?;
    commit(ns, &plan.ops, logged)?;
    let CreateOutcome::Created(file) = plan.reply else {
        return Ok(());
    };
    let mut last = None;
    if shape.block_bytes > 0 {
        let plan = ns.plan_add_block(file, CLIENT, None)?;
        commit(ns, &plan.ops, logged)?;
        last = Some(Block {
            num_bytes: shape.block_bytes,
            ..plan.reply.block
        });
    }
    let plan = ns.plan_complete(ctx, path, file, CLIENT, last, &AllReplicated)?;
    commit(ns, &plan.ops, logged)
}

fn delete(ns: &mut Namespace, ops: &[EditOp], logged: &mut dyn FnMut(u64, &EditOp, &Effects)) -> Result<(), Refused> {
    let mut last = None;
    commit(ns, ops, &mut |txid, op, effects| {
        last = Some((txid, op.clone(), effects.clone()));
    })?;
    let Some((txid, op, mut effects)) = last else {
        return Ok(());
    };
    let freed = ns.reclaim(usize::MAX).blocks;
    effects
        .effects
        .extend(freed.into_iter().map(|block| Effect::BlockRemoved { block }));
    logged(txid, &op, &effects);
    Ok(())
}

fn commit(ns: &mut Namespace, ops: &[EditOp], logged: &mut dyn FnMut(u64, &EditOp, &Effects)) -> Result<(), Refused> {
    for op in ops {
        let txid = ns.last_applied_txid() + 1;
        let effects = ns
            .apply(txid, op)
            .map_err(|error| Refused::new(hathi_formats::exceptions::IO, error.to_string()))?;
        logged(txid, op, &effects);
    }
    Ok(())
}
