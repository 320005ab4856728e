//! Changes of the tree: files, directories, names.

use super::blocks::{finish_lease_recovery, recover_block};
use super::{
    ClientMachine, Once, Outcome, answer, check_path_length, commit, commit_void_once, no_safe_mode, once, once_with,
    path_length_ok, plan_context, wire, writing,
};
use crate::context::{CallContext, Reply};
use crate::{Namesystem, OperationCategory};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::InodeId;
use hathi_formats::limits;
use hathi_formats::proto::hdfs::{
    AppendRequestProto, AppendResponseProto, ConcatRequestProto, CreateSymlinkRequestProto, FsPermissionProto,
    LocatedBlockProto, Rename2RequestProto, RenameRequestProto, TruncateRequestProto,
};
use hathi_namespace::{AppendOutcome, CreateOutcome, CreateRequest, Namespace, RenameOptions, Truncated};
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
pub(super) fn mkdirs(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    if let Err(refused) = ns.check_operation(OperationCategory::Write) {
        return Reply::refuse(refused);
    }
    make_directory(ns, ctx, &body).unwrap_or_else(|refused| Reply::refuse(refused).after(ns.shown_everything()))
}

fn make_directory(ns: &mut Namesystem, ctx: &CallContext, body: &[u8]) -> Outcome {
    let request = wire::MkdirsView::decode(body)?;
    check_path_length("mkdirs", request.src)?;
    no_safe_mode(ns, || format!("Cannot create directory {}", request.src))?;
    let machine = ClientMachine::default();
    let context = plan_context(ctx, &machine);
    let plan = ns.namespace.plan_mkdirs(
        &context,
        request.src,
        request.masked,
        request.unmasked,
        request.create_parent,
    )?;
    let (made, after) = commit(ns, plan)?;
    Ok(answer(wire::boolean(made), after))
}

/// `create`
pub(super) fn create(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once_with(ns, ctx, |ns| create_file(ns, ctx, &wire::CreateView::decode(&body)?))
}

fn create_file(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: &wire::CreateView<'_>,
) -> Result<Once, RemoteException> {
    let src = request.src;
    check_path_length("create", src)?;
    limits::check_text(CLIENT_NAME, request.client_name, limits::CLIENT_NAME_MAX_BYTES)?;
    if request.flag & flag::SHOULD_REPLICATE != 0 && !request.ec_policy_name.is_empty() {
        Namespace::check_create_name(src)?;
        return Err(RemoteException::new(
            exceptions::HADOOP_ILLEGAL_ARGUMENT,
            "SHOULD_REPLICATE flag and ecPolicyName are exclusive parameters. Set both is not allowed!",
        ));
    }
    if ns.blockmanager.in_safe_mode() {
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
    };
    let plan = ns
        .namespace
        .plan_create(&plan_context(ctx, &machine), &create, &ns.replicas())?;
    let (outcome, after) = commit(ns, plan)?;
    let file = match outcome {
        CreateOutcome::Created(file) => file,
        CreateOutcome::LeaseRecovery(recovery) => {
            finish_lease_recovery(ns, ctx, &recovery, "CREATE_FILE", src, request.client_name)?;
            // The writer is gone and the file is closed: it exists, and that is what a create without overwrite hears.
            return Err(RemoteException::new(
                exceptions::FILE_ALREADY_EXISTS,
                format!("{src} for client {} already exists", machine.as_str()),
            ));
        }
    };
    let status = ns.namespace.status(file).ok_or_else(|| vanished(file))?;
    Ok(Once {
        reply: answer(wire::status_response(&status, None), after),
        keep: true,
    })
}

fn vanished(file: InodeId) -> RemoteException {
    RemoteException::new(
        exceptions::ILLEGAL_STATE,
        format!("inode {file} was made but is not there"),
    )
}

/// `append`
pub(super) fn append(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once(ns, ctx, &body, append_file)
}

fn append_file(ns: &mut Namesystem, ctx: &CallContext, request: AppendRequestProto) -> Result<Once, RemoteException> {
    let src = request.src.as_str();
    limits::check_text(CLIENT_NAME, &request.client_name, limits::CLIENT_NAME_MAX_BYTES)?;
    no_safe_mode(ns, || format!("Cannot append to file{src}"))?;
    let machine = ClientMachine::of(ctx);
    let new_block = request.flag() & flag::NEW_BLOCK != 0;
    let mut recovered = false;
    loop {
        let context = plan_context(ctx, &machine);
        let plan = ns
            .namespace
            .plan_append(&context, src, &request.client_name, new_block, &ns.replicas())?;
        let (outcome, after) = commit(ns, plan)?;
        match outcome {
            AppendOutcome::Opened { file, .. } => {
                let response = append_response(ns, file, new_block)?;
                return Ok(Once {
                    reply: answer(response, after),
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

/// `LastBlockWithStatus` of a file that was just opened for append: with the partial block to write on, or, when the
/// client asked for a new block, with the last one as it is and without locations.
pub(super) fn append_response(ns: &Namesystem, file: InodeId, new_block: bool) -> Result<Bytes, RemoteException> {
    let status = ns.namespace.status(file).ok_or_else(|| vanished(file))?;
    let pool = &ns.info.block_pool_id;
    let block = match ns.namespace.blocks_of(file).last() {
        None => None,
        Some(last) if new_block => Some(LocatedBlockProto {
            b: super::blocks::extended(pool, last.block),
            offset: u64::MAX, // -1: unknown
            ..Default::default()
        }),
        Some(last) if last.block.num_bytes == status.block_size => None,
        Some(last) => Some(ns.blockmanager.located_block(pool, last.block, last.offset, None)),
    };
    let mut body = AppendResponseProto { block, stat: None }.encode_to_vec();
    wire::put_status_field(&mut body, 0x12, &status);
    Ok(Bytes::from(body))
}

/// `truncate`
pub(super) fn truncate(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    writing(ns, ctx, &body, OperationCategory::Write, truncate_file)
}

fn truncate_file(ns: &mut Namesystem, ctx: &CallContext, request: TruncateRequestProto) -> Outcome {
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
            .namespace
            .plan_truncate(&context, src, request.new_length, &request.client_name, &replicas)?;
        let (outcome, after) = commit(ns, plan)?;
        match outcome {
            Truncated::Done => return Ok(answer(wire::boolean(true), after)),
            Truncated::RecoverBlock {
                file,
                block,
                recovery_id,
            } => {
                recover_block(ns, ctx, file, block.id, recovery_id);
                return Ok(answer(wire::boolean(false), after));
            }
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
pub(super) fn rename(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once(ns, ctx, &body, |ns, ctx, request: RenameRequestProto| {
        check_path_length("rename", &request.dst)?;
        no_safe_mode(ns, || format!("Cannot rename {}", request.src))?;
        let machine = ClientMachine::default();
        let plan = ns
            .namespace
            .plan_rename(&plan_context(ctx, &machine), &request.src, &request.dst)?;
        let (renamed, after) = commit(ns, plan)?;
        Ok(Once {
            reply: answer(wire::boolean(renamed), after),
            keep: renamed,
        })
    })
}

/// `rename2`
pub(super) fn rename2(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once(ns, ctx, &body, |ns, ctx, request: Rename2RequestProto| {
        check_path_length("rename", &request.dst)?;
        no_safe_mode(ns, || format!("Cannot rename {}", request.src))?;
        let machine = ClientMachine::default();
        let options = RenameOptions {
            overwrite: request.overwrite_dest,
            to_trash: request.move_to_trash(),
        };
        let plan = ns
            .namespace
            .plan_rename2(&plan_context(ctx, &machine), &request.src, &request.dst, options)?;
        commit_void_once(ns, plan)
    })
}

/// `concat`
pub(super) fn concat(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once(ns, ctx, &body, |ns, ctx, request: ConcatRequestProto| {
        limits::check_count("The list of sources", request.srcs.len(), limits::CONCAT_SOURCES_MAX)?;
        no_safe_mode(ns, || format!("Cannot concat {}", request.trg))?;
        let machine = ClientMachine::default();
        let plan = ns
            .namespace
            .plan_concat(&plan_context(ctx, &machine), &request.trg, &request.srcs)?;
        commit_void_once(ns, plan)
    })
}

/// `createSymlink`
pub(super) fn create_symlink(ns: &mut Namesystem, ctx: &CallContext, body: Bytes) -> Reply {
    once(ns, ctx, &body, |ns, ctx, request: CreateSymlinkRequestProto| {
        if !path_length_ok(&request.link) {
            return Err(super::io("Symlink path exceeds 8000 character limit"));
        }
        if !ns.namespace.config.symlinks_enabled {
            return Err(RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                "Symlinks not supported",
            ));
        }
        no_safe_mode(ns, || format!("Cannot create symlink {}", request.link))?;
        let machine = ClientMachine::default();
        let plan = ns.namespace.plan_create_symlink(
            &plan_context(ctx, &machine),
            &request.target,
            &request.link,
            mode(&request.dir_perm),
            request.create_parent,
        )?;
        commit_void_once(ns, plan)
    })
}
