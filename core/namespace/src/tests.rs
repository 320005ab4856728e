//! The namespace as a whole: against a naive model, against replay, against its own images, and verb by verb.

pub(crate) mod checked;
mod digest;
mod frozen;
mod model;
mod replay;
mod safety;
mod snapshot_diffs;
mod snapshot_keys;
mod snapshot_reads;
mod snapshot_verbs;
mod snapshots;
mod striped;
mod sub_access;
mod type_quotas;
mod unsupported;
mod verbs;
mod zones;

use std::collections::BTreeSet;

use hathi_formats::editlog::{EditOp, Frames, decode_frame, encode};
use hathi_formats::fsimage::Image;
use hathi_formats::ids::{Block, BlockId, GenerationStamp, InodeId, LayoutVersion, TxId};

use crate::*;

/// A namespace with its log, driven by calls.
pub(crate) struct Fixture {
    pub(crate) ns: Namespace,
    pub(crate) log: Vec<u8>,
    pub(crate) now_ms: u64,
    pub(crate) removed: Vec<Block>,
    pub(crate) view: View,
}

/// Replicas as a test wants them.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) incomplete: BTreeSet<i64>,
    pub(crate) recovery: Option<(BlockId, GenerationStamp)>,
    pub(crate) holders: Option<Holders>,
    pub(crate) finalized_length: Option<u64>,
}

impl BlockView for View {
    fn is_min_replicated(&self, block: BlockId) -> bool {
        !self.incomplete.contains(&block.0)
    }
    fn is_sufficiently_replicated(&self, _: BlockId) -> bool {
        true
    }
    fn is_complete(&self, block: BlockId) -> bool {
        !self.incomplete.contains(&block.0)
    }
    fn holders(&self, _: BlockId) -> Holders {
        self.holders.unwrap_or(Holders::Known)
    }
    fn is_under_recovery(&self, block: BlockId) -> bool {
        self.recovery_id(block).is_some()
    }
    fn committed_length(&self, _: BlockId) -> Option<u64> {
        None
    }
    fn finalized_length(&self, _: BlockId) -> Option<u64> {
        self.finalized_length
    }
    fn recovery_id(&self, block: BlockId) -> Option<GenerationStamp> {
        self.recovery.filter(|(id, _)| *id == block).map(|(_, stamp)| stamp)
    }
}

pub(crate) const ROOT: Caller<'static> = Caller {
    user: "hdfs",
    groups: &[],
    superuser: true,
};
pub(crate) const ALICE: Caller<'static> = Caller {
    user: "alice",
    groups: &[],
    superuser: false,
};
pub(crate) const BS: u64 = 1 << 20;

impl Fixture {
    pub(crate) fn new() -> Self {
        Fixture::with(NamespaceConfig::default())
    }

    pub(crate) fn with(config: NamespaceConfig) -> Self {
        let mut ns = Namespace::new(config);
        ns.start_active(1);
        Fixture {
            ns,
            log: Vec::new(),
            now_ms: 1_000_000,
            removed: Vec::new(),
            view: View::default(),
        }
    }

    pub(crate) fn ctx<'a>(&self, caller: Caller<'a>) -> Ctx<'a> {
        Ctx {
            caller,
            now_ms: self.now_ms,
            mono_ms: self.now_ms,
            rpc_ids: RpcIds::NONE,
            client_machine: "host",
        }
    }

    /// Applies and logs a plan.
    pub(crate) fn commit<R>(&mut self, plan: Plan<R>) -> R {
        for op in &plan.ops {
            self.op(op);
        }
        self.now_ms += 1;
        plan.reply
    }

    pub(crate) fn op(&mut self, op: &EditOp) -> Effects {
        let txid = self.ns.last_applied_txid() + 1;
        encode(&mut self.log, TxId(txid), op).unwrap();
        let effects = self
            .ns
            .apply(txid, op)
            .unwrap_or_else(|error| panic!("{op:?}: {error}"));
        self.note(&effects);
        effects
    }

    /// Notes the blocks that are removed.
    pub(crate) fn note(&mut self, effects: &Effects) {
        for effect in &effects.effects {
            if let Effect::BlockRemoved { block } = effect {
                self.removed.push(*block);
            }
        }
    }

    pub(crate) fn reclaim(&mut self, max: usize) -> bool {
        let slice = self.ns.reclaim(max);
        self.removed.extend(slice.blocks);
        slice.done
    }

    pub(crate) fn mkdirs(&mut self, caller: Caller<'_>, path: &str) -> Result<bool, Refused> {
        let plan = self.ns.plan_mkdirs(&self.ctx(caller), path, 0o755, None, true)?;
        Ok(self.commit(plan))
    }

    pub(crate) fn create(&mut self, caller: Caller<'_>, path: &str, overwrite: bool) -> Result<InodeId, Refused> {
        let request = CreateRequest {
            src: path,
            mode: 0o644,
            unmasked: None,
            client_name: "client",
            create: true,
            overwrite,
            create_parent: true,
            replication: 3,
            block_size: BS,
            lazy_persist: false,
            storage_policy: "",
            ec_policy: "",
            should_replicate: false,
        };
        let plan = self.ns.plan_create(&self.ctx(caller), &request, &self.view)?;
        match self.commit(plan) {
            CreateOutcome::Created(id) => Ok(id),
            CreateOutcome::LeaseRecovery(recovery) => panic!("unexpected {recovery:?}"),
            CreateOutcome::NeedsKey(key) => panic!("unexpected need of {key}"),
        }
    }

    pub(crate) fn add_block(&mut self, file: InodeId, previous: Option<Block>) -> Result<Block, Refused> {
        let ctx = self.ctx(ROOT);
        self.ns
            .check_add_block(&ctx, "", file, "client", previous, &self.view)?;
        let plan = self.ns.plan_add_block(file, "client", previous)?;
        Ok(self.commit(plan).block)
    }

    pub(crate) fn complete(&mut self, path: &str, file: InodeId, last: Option<Block>) -> Result<bool, Refused> {
        let plan = self
            .ns
            .plan_complete(&self.ctx(ROOT), path, file, "client", last, &self.view)?;
        Ok(self.commit(plan).done)
    }

    /// A closed file of these block lengths.
    pub(crate) fn file(&mut self, path: &str, blocks: &[u64]) -> Result<InodeId, Refused> {
        let id = self.create(ROOT, path, false)?;
        self.write(path, id, None, blocks);
        Ok(id)
    }

    pub(crate) fn write(&mut self, path: &str, id: InodeId, mut last: Option<Block>, blocks: &[u64]) {
        for len in blocks {
            let block = self.add_block(id, last).unwrap();
            last = Some(Block {
                num_bytes: *len,
                ..block
            });
        }
        assert!(self.complete(path, id, last).unwrap());
    }

    pub(crate) fn delete(&mut self, caller: Caller<'_>, path: &str, recursive: bool) -> Result<bool, Refused> {
        let plan = self.ns.plan_delete(&self.ctx(caller), path, recursive, None)?;
        match self.commit(plan) {
            Deleted::Answer(result) => Ok(result),
            Deleted::WalkFirst(_) => panic!("{path} is too large to be looked at at once"),
        }
    }

    pub(crate) fn stat(&self, path: &str) -> Option<FileStatus<'_>> {
        let iip = self.ns.resolve(path).unwrap();
        self.ns.file_info(&ROOT, &iip).unwrap()
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let mut out = Vec::new();
        let mut after = Vec::new();
        loop {
            let iip = self.ns.resolve(path).unwrap();
            let left = self
                .ns
                .list(&ROOT, &iip, &after, 3, &mut |status| {
                    out.push(String::from_utf8(status.name.to_vec()).unwrap());
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap();
            after = out
                .last()
                .map_or_else(Vec::new, |name: &String| name.clone().into_bytes());
            if left.unwrap_or(0) == 0 {
                return out;
            }
        }
    }

    /// What a standby has after reading the whole log.
    pub(crate) fn replayed(&self) -> Namespace {
        let mut ns = Namespace::new(self.ns.config.clone());
        let mut frames = Frames::new(&self.log, 0);
        while let Some(frame) = frames.next_frame().unwrap() {
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
            ns.apply(frame.txid.0, &op).unwrap();
        }
        ns
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        let (bytes, summary) = self
            .ns
            .freeze()
            .save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| false)
            .unwrap();
        assert_eq!(summary.len_bytes, bytes.len() as u64);
        bytes
    }

    pub(crate) fn loaded(&self) -> Namespace {
        let bytes = self.image();
        let image = Image::open(&bytes[..]).unwrap();
        image::load(self.ns.config.clone(), &image).unwrap()
    }

    /// The three ways to the same state agree, and every invariant holds.
    pub(crate) fn check(&self) {
        self.ns.check();
        let digest = self.ns.digest();
        let replayed = self.replayed();
        replayed.check();
        assert_eq!(replayed.digest(), digest, "replay differs");
        let loaded = self.loaded();
        loaded.check();
        assert_eq!(loaded.digest(), digest, "the image differs");
        let verified = image::verify(self.ns.config.clone(), &Image::open(&self.image()[..]).unwrap()).unwrap();
        assert_eq!(
            (verified.digest, verified.origin),
            (digest, self.ns.digest_origin()),
            "who checks the image finds another state in it"
        );
        assert_eq!(loaded.last_applied_txid(), self.ns.last_applied_txid());
    }
}
