//! Changes of the tree: files, directories, names.

use super::blocks::{finish_lease_recovery, recover_block};
use super::border::{Answer, Once, Outcome, Response};
use super::wire::{self, CreateView, MkdirsView};
use super::zones::{self, OnceOrDeferred};
use super::{ClientMachine, check_object_limit, commit, commit_void_once, no_safe_mode, plan_context};
use crate::Namesystem;
use crate::context::{CallContext, Reply};
use crate::keys::KeyQuestion;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::InodeId;
use hathi_formats::limits;
use hathi_formats::proto::hdfs::{
    AppendRequestProto, AppendResponseProto, ConcatRequestProto, ConcatResponseProto, CreateSymlinkRequestProto,
    CreateSymlinkResponseProto, FsPermissionProto, LocatedBlockProto, MkdirsResponseProto, Rename2RequestProto,
    Rename2ResponseProto, RenameRequestProto, RenameResponseProto, TruncateRequestProto, TruncateResponseProto,
};
use hathi_namespace::{
    AppendOutcome, CreateOutcome, CreateRequest, Crypto, FileKeys, Namespace, RenameOptions, Truncated,
};
use prost::Message;

/// Bits of `createFlag` (`CreateFlagProto`).
mod flag {
    pub const CREATE: u32 = 1;
    pub const OVERWRITE: u32 = 2;
    pub const LAZY_PERSIST: u32 = 16;
    pub const NEW_BLOCK: u32 = 32;
    pub const SHOULD_REPLICATE: u32 = 128;
}

/// In refusals.
pub(super) const CLIENT_NAME: &str = "The client's name";

/// A mode as it travels: nine bits and the sticky bit.
fn mode(permission: &FsPermissionProto) -> u16 {
    (permission.perm & 0o1777) as u16
}

/// `mkdirs`
pub fn mkdirs(ns: &mut Namesystem, ctx: &CallContext, request: MkdirsView<'_>) -> Outcome<MkdirsResponseProto> {
    no_safe_mode(ns, || format!("Cannot create directory {}", request.src))?;
    let machine = ClientMachine::default();
    let context = plan_context(ctx, &machine);
    let plan = ns.namespace().plan_mkdirs(
        &context,
        request.src,
        request.masked,
        request.unmasked,
        request.create_parent,
    )?;
    if !plan.ops.is_empty() {
        check_object_limit(ns)?;
    }
    let (made, after) = commit(ns, plan)?;
    Ok(Answer::new(MkdirsResponseProto { result: made }, after))
}

/// A file that was just made.
pub struct Created {
    /// The file.
    pub file: InodeId,
}

impl Response for Created {
    fn reply(self, ns: &Namesystem) -> Reply {
        match ns.namespace().status(self.file) {
            Some(status) => Reply::encoded(wire::status_response(&status, None)),
            None => Reply::refuse(vanished(self.file)),
        }
    }
}

/// `create`
pub fn create(ns: &mut Namesystem, ctx: &CallContext, request: CreateView<'_>) -> OnceOrDeferred<Created> {
    let src = request.src;
    limits::check_text(CLIENT_NAME, request.client_name, limits::CLIENT_NAME_MAX_BYTES)?;
    if request.flag & flag::SHOULD_REPLICATE != 0 && !request.ec_policy_name.is_empty() {
        Namespace::check_create_name(src)?;
        return Err(RemoteException::new(
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            "SHOULD_REPLICATE flag and ecPolicyName are exclusive parameters. Set both is not allowed!",
        ));
    }
    if ns.blockmanager().in_safe_mode() {
        Namespace::check_create_name(src)?;
    }
    no_safe_mode(ns, || format!("Cannot create file{src}"))?;
    let machine = ClientMachine::of(ctx);
    let create = CreateRequest {
        src,
        mode: request.masked,
        unmasked: request.unmasked,
        client_name: request.client_name,
        create: request.flag & flag::CREATE != 0,
        overwrite: request.flag & flag::OVERWRITE != 0,
        create_parent: request.create_parent,
        replication: u16::try_from(request.replication).unwrap_or(u16::MAX),
        block_size: request.block_size,
        lazy_persist: request.flag & flag::LAZY_PERSIST != 0,
        storage_policy: request.storage_policy,
        ec_policy: request.ec_policy_name,
        should_replicate: request.flag & flag::SHOULD_REPLICATE != 0,
    };
    let mut versions = Vec::new();
    if ns.namespace().has_zones() {
        ns.keys.expire(&ns.config.keys, ctx.mono_ms);
        let known = request.crypto_protocol_versions;
        versions = (0..64).filter(|version| known >> version & 1 == 1).collect();
    }
    let crypto = Crypto {
        versions: &versions,
        keys: ns.config.keys.has_provider().then_some(&ns.keys as &dyn FileKeys),
    };
    let plan = ns
        .namespace()
        .plan_create_with(&plan_context(ctx, &machine), &create, &ns.replicas(), &crypto)?;
    if matches!(plan.reply, CreateOutcome::Created(_)) {
        check_object_limit(ns)?;
    }
    let (outcome, after) = commit(ns, plan)?;
    let file = match outcome {
        CreateOutcome::Created(file) => file,
        CreateOutcome::NeedsKey(key_name) => {
            // One is enough for this call. More are fetched as they are used.
            return zones::ask(ctx, KeyQuestion::Generate { key_name, count: 1 });
        }
        CreateOutcome::LeaseRecovery(recovery) => {
            finish_lease_recovery(ns, ctx, &recovery, "CREATE_FILE", src, request.client_name)?;
            // The writer is gone and the file is closed: it exists, and that is what a create without overwrite hears.
            return Err(RemoteException::new(
                exceptions::FILE_ALREADY_EXISTS,
                format!("{src} for client {} already exists", machine.as_str()),
            ));
        }
    };
    if ns.namespace().has_zones() {
        take_key(ns, file, ctx.mono_ms);
    }
    Ok(Once {
        answer: Answer::now(Created { file }, after),
        keep: true,
    })
}

/// The key that a new file has is no other file's.
fn take_key(ns: &mut Namesystem, file: InodeId, mono_ms: u64) {
    let status = ns.namespace().status(file);
    let key_name = status.and_then(|status| Some(status.encryption_info()?.key_name));
    if let Some(key_name) = key_name {
        ns.keys.take(&key_name, mono_ms);
    }
}

fn vanished(file: InodeId) -> RemoteException {
    RemoteException::new(
        exceptions::ILLEGAL_STATE,
        format!("inode {file} was made but is not there"),
    )
}

/// A file that was just opened for append.
pub struct Appended {
    /// The file.
    pub file: InodeId,
    /// The block to write on, or, when the client asked for a new block, the last one as it is and without locations.
    pub block: Option<LocatedBlockProto>,
}

impl Response for Appended {
    fn reply(self, ns: &Namesystem) -> Reply {
        let Some(status) = ns.namespace().status(self.file) else {
            return Reply::refuse(vanished(self.file));
        };
        let block = self.block;
        let mut body = AppendResponseProto { block, stat: None }.encode_to_vec();
        wire::append_status(&mut body, 2, &status);
        Reply::encoded(Bytes::from(body))
    }
}

/// `append`
pub fn append(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AppendRequestProto,
) -> Result<Once<Appended>, RemoteException> {
    let src = request.src.as_str();
    limits::check_text(CLIENT_NAME, &request.client_name, limits::CLIENT_NAME_MAX_BYTES)?;
    no_safe_mode(ns, || format!("Cannot append to file{src}"))?;
    let machine = ClientMachine::of(ctx);
    let new_block = request.flag() & flag::NEW_BLOCK != 0;
    let mut recovered = false;
    loop {
        let context = plan_context(ctx, &machine);
        let plan = ns
            .namespace()
            .plan_append(&context, src, &request.client_name, new_block, &ns.replicas())?;
        let (outcome, after) = commit(ns, plan)?;
        match outcome {
            AppendOutcome::Opened { file, .. } => {
                // What was recovered before has an end, and must not begin again under the new writer.
                ns.recoveries.remove(file);
                let appended = appended(ns, file, new_block)?;
                let last = ns.namespace().blocks_of(file).last();
                if let (Some(last), Some(call)) = (last, super::blocks::opening_call(ctx)) {
                    // Of no use unless the append goes on with the block.
                    ns.blockmanager_mut().set_opened_by(last.block.id, call);
                }
                return Ok(Once {
                    answer: Answer::new(appended, after),
                    keep: true,
                });
            }
            AppendOutcome::LeaseRecovery(recovery) if !recovered => {
                finish_lease_recovery(ns, ctx, &recovery, "APPEND_FILE", src, &request.client_name)?;
                recovered = true;
            }
            AppendOutcome::LeaseRecovery(_) => {
                return Err(super::io(format!("{src} is open again after its recovery")));
            }
        }
    }
}

/// `LastBlockWithStatus` of a file that was just opened for append.
pub(super) fn appended(ns: &Namesystem, file: InodeId, new_block: bool) -> Result<Appended, RemoteException> {
    let status = ns.namespace().status(file).ok_or_else(|| vanished(file))?;
    let pool = &ns.info.block_pool_id;
    let block = match ns.namespace().blocks_of(file).last() {
        None => None,
        Some(last) if new_block => Some(LocatedBlockProto {
            b: super::blocks::extended(pool, last.block),
            offset: u64::MAX, // -1: unknown
            ..Default::default()
        }),
        Some(last) if last.block.num_bytes == status.block_size => None,
        Some(last) => Some(ns.blockmanager().located_block(pool, last.block, last.offset, None)),
    };
    Ok(Appended { file, block })
}

/// `truncate`
pub fn truncate(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: TruncateRequestProto,
) -> Outcome<TruncateResponseProto> {
    let src = request.src.as_str();
    limits::check_text(CLIENT_NAME, &request.client_name, limits::CLIENT_NAME_MAX_BYTES)?;
    no_safe_mode(ns, || format!("Cannot truncate for {src}"))?;
    if i64::try_from(request.new_length).is_err() {
        return Err(RemoteException::new(
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            format!(
                "Cannot truncate to a negative file size: {}.",
                request.new_length as i64
            ),
        ));
    }
    let machine = ClientMachine::of(ctx);
    let mut recovered = false;
    loop {
        let context = plan_context(ctx, &machine);
        let replicas = ns.replicas();
        let plan = ns
            .namespace()
            .plan_truncate(&context, src, request.new_length, &request.client_name, &replicas)?;
        let (outcome, after) = commit(ns, plan)?;
        match outcome {
            Truncated::Done => return Ok(Answer::new(TruncateResponseProto { result: true }, after)),
            Truncated::RecoverBlock {
                file,
                block,
                recovery_id,
            } => {
                recover_block(ns, ctx, file, block.id, recovery_id);
                return Ok(Answer::new(TruncateResponseProto { result: false }, after));
            }
            Truncated::UnderWay => return Ok(Answer::new(TruncateResponseProto { result: false }, after)),
            Truncated::LeaseRecovery(recovery) if !recovered => {
                finish_lease_recovery(ns, ctx, &recovery, "TRUNCATE_FILE", src, &request.client_name)?;
                recovered = true;
            }
            Truncated::LeaseRecovery(_) => {
                return Err(super::io(format!("{src} is open again after its recovery")));
            }
        }
    }
}

/// `rename`
pub fn rename(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RenameRequestProto,
) -> Result<Once<RenameResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot rename {}", request.src))?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_rename(&plan_context(ctx, &machine), &request.src, &request.dst)?;
    let (renamed, after) = commit(ns, plan)?;
    Ok(Once {
        answer: Answer::new(RenameResponseProto { result: renamed }, after),
        keep: renamed,
    })
}

/// `rename2`
pub fn rename2(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: Rename2RequestProto,
) -> Result<Once<Rename2ResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot rename {}", request.src))?;
    let machine = ClientMachine::default();
    let options = RenameOptions {
        overwrite: request.overwrite_dest,
        to_trash: request.move_to_trash(),
    };
    let plan = ns
        .namespace()
        .plan_rename2(&plan_context(ctx, &machine), &request.src, &request.dst, options)?;
    commit_void_once(ns, plan)
}

/// `concat`
pub fn concat(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: ConcatRequestProto,
) -> Result<Once<ConcatResponseProto>, RemoteException> {
    limits::check_count("The list of sources", request.srcs.len(), limits::CONCAT_SOURCES_MAX)?;
    no_safe_mode(ns, || format!("Cannot concat {}", request.trg))?;
    let machine = ClientMachine::default();
    let plan = ns
        .namespace()
        .plan_concat(&plan_context(ctx, &machine), &request.trg, &request.srcs)?;
    commit_void_once(ns, plan)
}

/// `createSymlink`
pub fn create_symlink(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CreateSymlinkRequestProto,
) -> Result<Once<CreateSymlinkResponseProto>, RemoteException> {
    if !Namespace::is_path_length_ok(&request.link) {
        return Err(super::io("Symlink path exceeds 8000 character limit"));
    }
    if !ns.namespace().config.symlinks_enabled {
        return Err(RemoteException::new(
            exceptions::UNSUPPORTED_OPERATION,
            "Symlinks not supported",
        ));
    }
    no_safe_mode(ns, || format!("Cannot create symlink {}", request.link))?;
    check_object_limit(ns)?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_create_symlink(
        &plan_context(ctx, &machine),
        &request.target,
        &request.link,
        mode(&request.dir_perm),
        request.create_parent,
    )?;
    commit_void_once(ns, plan)
}
