//! Random histories of every kind of call and op, with hostile names and numbers: what was planned can be logged and
//! applies, and whoever reads the log, from the start or from an image of any moment on, ends up with the same state.

use hathi_formats::editlog::{
    CacheDirectiveInfo, CachePoolInfo, DelegationKey, DelegationTokenIdentifier, MAX_STRING_UNITS,
};
use hathi_formats::erasure_coding;
use hathi_formats::proto::hdfs::{EcSchemaProto, ErasureCodingPolicyProto};
use proptest::prelude::*;

use super::*;

/// Kinds of [`History::step`].
const KINDS: u8 = 30;

/// What a step does: its kind, and numbers from which it chooses.
type Step = (u8, usize, usize, u64);

struct History {
    fix: Fixture,
    /// Plans that named something the log can't hold.
    refused_by_log: usize,
}

const NUMBERS: [i64; 10] = [
    -1,
    0,
    1,
    7,
    BS as i64,
    1 << 47,
    1 << 48,
    i64::MAX - 1,
    i64::MAX,
    i64::MIN,
];

impl History {
    fn new() -> Self {
        let config = NamespaceConfig {
            symlinks_enabled: true,
            max_xattrs_per_inode: 3,
            ..NamespaceConfig::default()
        };
        History {
            fix: Fixture::with(config),
            refused_by_log: 0,
        }
    }

    fn path(&self, n: usize) -> String {
        let id = InodeId::ROOT.0 + n as u64 / 7 % (1 + self.fix.ns.last_inode_id().0 - InodeId::ROOT.0);
        match n % 24 {
            0 | 1 => "/a".to_owned(),
            2 | 3 => "/a/b".to_owned(),
            4 => "/a/b/c".to_owned(),
            5 => "/a/c".to_owned(),
            6 => "/d".to_owned(),
            7 => "/d/e/f".to_owned(),
            8 => "//a///b/".to_owned(),
            9 => "/.reservedX".to_owned(),
            10 => "/.reservedX/f".to_owned(),
            11 => "/é€😀/\u{FFFF}\u{D7FF}".to_owned(),
            12 => "/a/x\0y".to_owned(),
            13 => format!("/a/{}", "n".repeat(255)),
            14 => format!("/d/{}", "€".repeat(85)),
            15 => "/".to_owned(),
            16 => "/.reserved/raw/a/b".to_owned(),
            17 => format!("/.reserved/.inodes/{id}"),
            18 => format!("/.reserved/.inodes/{id}/.."),
            19 => format!("/.reserved/.inodes/{id}/../x"),
            20 => format!("/.reserved/.inodes/{id}/{}", "m".repeat(200)),
            21 => format!("/.reserved/.inodes/{id}/b"),
            22 => "/a/..".to_owned(),
            _ => "/.reserved".to_owned(),
        }
    }

    /// A name of a user, a client or the like.
    fn name(n: usize) -> String {
        match n % 8 {
            0 => String::new(),
            1 => "a\0b".to_owned(),
            2 => "😀€".to_owned(),
            3 => "x".repeat(MAX_STRING_UNITS + n / 8 % 2),
            _ => format!("u{}", n % 3),
        }
    }

    /// Logs and applies a plan, if there is one and the log can hold it: all of it, or nothing.
    fn commit<R>(&mut self, plan: Result<Plan<R>, Refused>) -> Option<R> {
        let plan = plan.ok()?;
        let fits = |op: &EditOp| encode(&mut Vec::new(), TxId(1), op).is_ok();
        if !plan.ops.iter().all(fits) {
            self.refused_by_log += 1;
            return None;
        }
        Some(self.fix.commit(plan))
    }

    fn op(&mut self, op: EditOp) {
        if encode(&mut Vec::new(), TxId(1), &op).is_ok() {
            self.fix.op(&op);
        }
    }

    /// An open file with its writer and its last block, if there is any.
    fn open_file(&self, n: usize) -> Option<(InodeId, String, Option<Block>)> {
        let leases = self.fix.ns.writers.leases();
        let id = leases.files_after(InodeId(0)).nth(n % leases.file_count().max(1))?;
        let writer = self.fix.ns.lease_holder(id)?.to_owned();
        Some((id, writer, self.fix.ns.blocks_of(id).last().map(|last| last.block)))
    }

    fn step(&mut self, step: Step) {
        let (kind, a, b, n) = step;
        match kind % KINDS {
            0..=10 => self.step_of_tree(kind % KINDS, a, b, n),
            11..=18 => self.step_of_writer(kind % KINDS, a, n),
            19..=25 => self.step_of_attributes(kind % KINDS, a, b, n),
            _ => self.step_of_the_rest(a, b, n),
        }
    }

    fn step_of_tree(&mut self, kind: u8, a: usize, b: usize, n: u64) {
        let (src, dst) = (self.path(a), self.path(b));
        let ctx = self.fix.ctx(ROOT);
        let (ns, view) = (&self.fix.ns, &self.fix.view);
        match kind {
            0 | 1 => {
                let plan = ns.plan_mkdirs(&ctx, &src, n as u16 & 0o1777, None, !n.is_multiple_of(5));
                self.commit(plan);
            }
            2..=4 => {
                let request = CreateRequest {
                    src: &src,
                    mode: 0o644,
                    unmasked: Some(0o666),
                    client_name: &Self::name(b),
                    create: true,
                    overwrite: n.is_multiple_of(2),
                    create_parent: true,
                    replication: 1 + n as u16 % 4,
                    block_size: [BS, BS, u64::MAX][n as usize % 3],
                    lazy_persist: false,
                    storage_policy: "",
                    ec_policy: "",
                    should_replicate: false,
                };
                let mut plan = ns.plan_create(&ctx, &request, view);
                if let (Ok(plan), true) = (&mut plan, n.is_multiple_of(4)) {
                    // As below a directory with an erasure coding policy.
                    for op in &mut plan.ops {
                        if let EditOp::Add(add) = op {
                            add.erasure_coding_policy_id = striped::XOR;
                        }
                    }
                }
                self.commit(plan);
            }
            5 => {
                let plan = ns.plan_delete(&ctx, &src, !n.is_multiple_of(3), None);
                self.commit(plan);
            }
            6 | 7 => {
                let plan = ns.plan_rename(&ctx, &src, &dst);
                self.commit(plan);
            }
            8 => {
                let options = RenameOptions {
                    overwrite: n.is_multiple_of(2),
                    to_trash: n.is_multiple_of(3),
                };
                let plan = ns.plan_rename2(&ctx, &src, &dst, options);
                self.commit(plan);
            }
            9 => {
                let plan = ns.plan_create_symlink(&ctx, &Self::name(b), &src, 0o777, true);
                self.commit(plan);
            }
            _ => {
                let plan = ns.plan_concat(&ctx, &src, &[dst]);
                self.commit(plan);
            }
        }
    }

    fn step_of_writer(&mut self, kind: u8, a: usize, n: u64) {
        let length = NUMBERS[n as usize % NUMBERS.len()];
        let path = self.path(a);
        let ctx = self.fix.ctx(ROOT);
        let (ns, view) = (&self.fix.ns, &self.fix.view);
        if kind == 11 {
            let plan = ns.plan_append(&ctx, &path, "client", n.is_multiple_of(2), view);
            self.commit(plan);
            return;
        }
        if kind == 12 {
            let shorter = [0, 1, BS - 1, BS, BS + 3, u64::MAX][n as usize % 6];
            let plan = ns.plan_truncate(&ctx, &path, shorter, "client", view);
            self.commit(plan);
            return;
        }
        let Some((file, writer, last)) = self.open_file(a) else {
            return;
        };
        let longer = |block: Block| Block {
            num_bytes: block.num_bytes.saturating_add([0, 5, BS, u64::MAX][n as usize % 4]),
            ..block
        };
        match (kind, last) {
            (13, last) => {
                let previous = last.map(longer);
                if ns.check_add_block(&ctx, "", file, &writer, previous, view).is_ok() {
                    let plan = ns.plan_add_block(file, &writer, previous);
                    self.commit(plan);
                }
            }
            (14, last) => {
                let plan = ns.plan_complete(&ctx, "", file, &writer, last.map(longer), view);
                self.commit(plan);
            }
            (15, _) => {
                let plan = ns.plan_fsync(&ctx, "", file, &writer, length, |_| true);
                self.commit(plan);
            }
            (16, Some(last)) if n.is_multiple_of(2) => {
                let plan = ns.plan_abandon_block(&ctx, last, "", file, &writer);
                self.commit(plan);
            }
            (16, Some(last)) => {
                let plan = ns.plan_update_block_for_pipeline(last, &writer);
                if let Some(with_stamp) = self.commit(plan) {
                    let plan = self
                        .fix
                        .ns
                        .plan_update_pipeline(&ctx, &writer, last, longer(with_stamp));
                    self.commit(plan);
                }
            }
            (17, _) => {
                let plan = ns.plan_release_lease(self.fix.now_ms, file, Some("HDFS_NameNode"), view);
                self.commit(plan);
            }
            (18, Some(last)) => {
                let stamp = ns.next_stamp();
                self.op(EditOp::SetGenstampV2 { genstamp: stamp });
                self.fix.view.recovery = Some((last.id, stamp));
                let sync = BlockSynchronization {
                    block: last,
                    new_generation_stamp: stamp,
                    new_length: length as u64,
                    close_file: !n.is_multiple_of(3),
                    delete_block: n.is_multiple_of(5),
                };
                let plan = self
                    .fix
                    .ns
                    .plan_commit_block_synchronization(self.fix.now_ms, &sync, &self.fix.view);
                self.commit(plan);
                self.fix.view.recovery = None;
            }
            _ => {}
        }
    }

    fn step_of_attributes(&mut self, kind: u8, a: usize, b: usize, n: u64) {
        let path = self.path(a);
        let name = Self::name(b);
        let number = |at: u64| NUMBERS[at as usize % NUMBERS.len()];
        let ctx = self.fix.ctx(ROOT);
        let ns = &self.fix.ns;
        let plan = match kind {
            19 => ns.plan_set_permission(&ctx, &path, n as u16),
            20 => ns.plan_set_owner(&ctx, &path, Some(&name), n.is_multiple_of(2).then_some("g")),
            21 => ns.plan_set_times(&ctx, &path, number(n), number(n / 16)),
            22 => {
                let kind = n.is_multiple_of(3).then_some(1 + (n % 7) as i32);
                ns.plan_set_quota(&ctx, &path, number(n), number(n / 16), kind)
            }
            23 => ns.plan_set_storage_policy(&ctx, &path, (!n.is_multiple_of(3)).then_some("COLD")),
            24 => {
                let entry = |scope, entry_type, name: Option<&str>| AclEntry {
                    scope,
                    entry_type,
                    name: name.filter(|name| !name.is_empty()).map(str::to_owned),
                    permission: n as u8 & 7,
                };
                let scope = [AclEntryScope::Access, AclEntryScope::Default][b % 2];
                let named = entry(scope, AclEntryType::User, Some(&name));
                match n % 5 {
                    0 => ns.plan_set_acl(
                        &ctx,
                        &path,
                        &[
                            entry(scope, AclEntryType::User, None),
                            entry(scope, AclEntryType::Group, None),
                            entry(scope, AclEntryType::Other, None),
                            named,
                        ],
                    ),
                    1 => ns.plan_remove_acl(&ctx, &path),
                    2 => ns.plan_remove_default_acl(&ctx, &path),
                    3 => ns.plan_remove_acl_entries(&ctx, &path, &[named]),
                    _ => ns.plan_modify_acl(&ctx, &path, &[named]),
                }
            }
            _ => {
                let xattr = XAttr {
                    namespace: [XAttrNamespace::User, XAttrNamespace::Trusted][b % 2],
                    name: Self::name(b / 2).chars().take(40).collect(),
                    value: [None, Some(Vec::new()), Some(vec![0, 255])][n as usize % 3].clone(),
                };
                match n % 4 {
                    0 => ns.plan_remove_xattr(&ctx, &path, &xattr),
                    _ => ns.plan_set_xattr(&ctx, &path, &xattr, true, true),
                }
            }
        };
        self.commit(plan);
        if kind == 19 {
            let plan = self.fix.ns.plan_set_replication(&ctx, &path, n as u16 / 7);
            self.commit(plan);
        }
    }

    /// Ops that no plan makes: Hadoop's, of features that are only carried, and of states.
    fn step_of_the_rest(&mut self, a: usize, b: usize, n: u64) {
        let number = NUMBERS[b % NUMBERS.len()];
        let name = Self::name(b);
        let rpc_ids = RpcIds::new([7; 16], a as i32);
        let token = DelegationTokenIdentifier {
            owner: name.clone(),
            sequence_number: n as i32 % 5,
            max_date: number,
            ..DelegationTokenIdentifier::default()
        };
        let pool = CachePoolInfo {
            pool_name: name.clone(),
            limit: n.is_multiple_of(2).then_some(number),
            mode: Some(n as u16),
            ..CachePoolInfo::default()
        };
        let directive = CacheDirectiveInfo {
            id: n as i64 % 4,
            path: Some(self.path(a)),
            pool: Some(name.clone()),
            replication: Some(n as i16),
            expiration: Some(number),
        };
        let path = self.path(a);
        let directory = self.fix.ns.resolve(&path).ok().filter(|iip| {
            let id = iip.last();
            id.is_some_and(|id| {
                self.fix
                    .ns
                    .status(id)
                    .is_some_and(|status| status.kind == InodeKind::Directory)
            })
        });
        let directory = directory.map(|iip| iip.path());
        match n % 17 {
            0 => self.op(EditOp::GetDelegationToken {
                token,
                expiry_time: number,
            }),
            1 => self.op(EditOp::RenewDelegationToken {
                token,
                expiry_time: number,
            }),
            2 => self.op(EditOp::CancelDelegationToken { token }),
            3 => self.op(EditOp::UpdateMasterKey {
                key: DelegationKey {
                    key_id: b as i32,
                    expiry_date: number,
                    key: Some(vec![1, 2]),
                },
            }),
            4 => self.op(EditOp::AddCachePool { pool, rpc_ids }),
            5 => self.op(EditOp::ModifyCachePool { pool, rpc_ids }),
            6 => self.op(EditOp::RemoveCachePool {
                pool_name: name,
                rpc_ids,
            }),
            7 => self.op(EditOp::AddCacheDirective { directive, rpc_ids }),
            8 => self.op(EditOp::RemoveCacheDirective {
                id: n as i64 % 4,
                rpc_ids,
            }),
            9 => self.op(EditOp::RollingUpgradeStart { time: number }),
            10 => self.op(EditOp::RollingUpgradeFinalize { time: number }),
            11 => self.op(EditOp::AddErasureCodingPolicy {
                codec: "rs".to_owned(),
                data_units: 3 + b as i32 % 3,
                parity_units: 2,
                cell_size: 1024,
                extra_options: vec![(name.clone(), name)],
                rpc_ids,
            }),
            12 => self.step_of_erasure_coding(a, b, &path),
            13 => self.op(EditOp::SetGenstampV1 {
                genstamp: GenerationStamp(number.max(0) as u64),
            }),
            14 | 15 => {
                if let Some(snapshot_root) = directory {
                    self.op(match n % 2 {
                        0 => EditOp::AllowSnapshot { snapshot_root },
                        _ => EditOp::DisallowSnapshot { snapshot_root },
                    });
                }
            }
            _ => {
                self.fix.reclaim(1 + b % 5);
            }
        }
    }

    /// Policies of the cluster and of directories.
    fn step_of_erasure_coding(&mut self, a: usize, b: usize, path: &str) {
        let ctx = self.fix.ctx(ROOT);
        let ns = &self.fix.ns;
        let names: Vec<String> = ["no such policy", "replication"]
            .map(str::to_owned)
            .into_iter()
            .chain(
                ns.erasure_coding_policies()
                    .map(|policy| erasure_coding::whole(&policy).name().to_owned()),
            )
            .collect();
        let name = &names[b / 8 % names.len()];
        let plan = match b % 8 {
            0 => ns.plan_enable_erasure_coding_policy(&ctx, name),
            1 => ns.plan_disable_erasure_coding_policy(&ctx, name),
            2 => ns.plan_remove_erasure_coding_policy(&ctx, name),
            3 => ns.plan_unset_erasure_coding_policy(&ctx, path),
            4 => {
                let policies: Vec<_> = (0..2)
                    .map(|n| ErasureCodingPolicyProto {
                        name: Some(String::new()),
                        schema: Some(EcSchemaProto {
                            codec_name: ["rs", "xor", "lrc"][a % 3].to_owned(),
                            data_units: (b / 8 % 20 + n) as u32,
                            parity_units: 2,
                            options: Vec::new(),
                        }),
                        cell_size: Some(1024),
                        id: u32::MAX,
                        state: None,
                    })
                    .collect();
                let plan = ns.plan_add_erasure_coding_policies(&ctx, &policies);
                self.commit(plan);
                return;
            }
            _ => ns.plan_set_erasure_coding_policy(&ctx, path, Some(name)),
        };
        self.commit(plan);
    }
}

/// Applies what a log holds beyond what the namespace has.
pub(super) fn catch_up(ns: &mut Namespace, log: &[u8]) {
    for frame in Frames::new(log, 0) {
        let frame = frame.unwrap();
        if frame.txid.0 > ns.last_applied_txid() {
            let op = decode_frame(&frame, LayoutVersion::NAMENODE_CURRENT).unwrap();
            ns.apply(frame.txid.0, &op)
                .unwrap_or_else(|error| panic!("{op:?}: {error}"));
        }
    }
}

proptest! {
    #[test]
    fn safety_n1_a_log_and_an_image_of_any_moment_lead_to_the_state_of_the_active(
        steps in proptest::collection::vec((0..KINDS, 0..10_000usize, 0..10_000usize, any::<u64>()), 1..150),
        moment in any::<prop::sample::Index>(),
    ) {
        let mut history = History::new();
        let moment = moment.index(steps.len());
        let mut loaded = None;
        for (n, step) in steps.iter().enumerate() {
            history.step(*step);
            history.fix.ns.check();
            if n == moment {
                loaded = Some(history.fix.loaded());
            }
        }
        history.fix.check();
        let mut loaded = loaded.unwrap();
        catch_up(&mut loaded, &history.fix.log);
        loaded.check();
        prop_assert_eq!(loaded.digest(), history.fix.ns.digest());
    }
}
