//! One handler per protocol method. It takes the encoded request and returns a [`Reply`].
//!
//! Rules of every handler:
//! - The order of checks is that of Hadoop's `NameNodeRpcServer` and `FSNamesystem`: first the HA state
//!   (`checkOperation`), then the retry cache if the method runs at most once, then safe mode, then the namespace.
//! - A handler changes the namespace by committing ops. Its reply leaves after the last of them.
//! - A reply that changes nothing, refusals included, says which transactions it shows ([`Reply::after`]): "already
//!   exists" must not be said of a file that no quorum has. Refusals by the HA state leave at once.
//! - A handler that may have to look at much returns a page of it (listings), or goes on in slices (`walks`).

mod admin;
mod attributes;
mod audit;
mod block_report;
mod blocks;
mod carried;
mod client;
mod datanode;
mod delete;
mod locations;
mod policies;
mod read;
mod replayed;
mod summary;
#[cfg(test)]
mod tests;
mod unsupported;
mod walks;
mod wire;
mod write;

pub use audit::{AuditRecord, audit};
pub use block_report::BlockReportWork;
pub(crate) use blocks::{begin_recovery, internal_lease_holder};
pub use client::category;
pub use datanode::heartbeat_state;
pub use delete::DeleteWork;
pub(crate) use policies::policy_types;
pub(crate) use replayed::remember_replayed;
pub use walks::{CorruptFilesWalk, WALK_SLICE_INODES, WalkWork};
pub(crate) use wire::decode;

use crate::context::{CallContext, Reply, Verb};
use crate::retry_cache::CallKey;
use crate::{Namesystem, OperationCategory};
use arrayvec::ArrayString;
use bytes::Bytes;
use hathi_formats::editlog::RpcIds;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, BlockId, GenerationStamp, TxId};
use hathi_formats::proto::hdfs::ExtendedBlockProto;
use hathi_formats::protocols::Method;
use hathi_namespace::{Caller, Ctx, InodesInPath, Plan};
use prost::Message;
use std::fmt::Write;
use std::net::IpAddr;

/// The handler of a method. `None` for the methods of other protocols than `ClientProtocol`, `DatanodeProtocol`,
/// `DatanodeLifelineProtocol` and `NamenodeProtocol`.
#[must_use]
pub fn verb(method: Method) -> Option<Verb> {
    match method {
        Method::Client(method) => Some(client::verb(method)),
        Method::Datanode(method) => Some(datanode::verb(method)),
        Method::DatanodeLifeline(method) => Some(datanode::lifeline_verb(method)),
        Method::Namenode(method) => Some(crate::namenode_protocol::verb(method)),
        _ => None,
    }
}

/// [`verb`] for names (`declaringClassProtocolName`, method name).
#[must_use]
pub fn lookup(protocol: &str, method: &str) -> Option<Verb> {
    verb(Method::of(protocol, method)?)
}

/// Result of a handler: a reply, or a refusal that shows the state of the namespace.
pub(crate) type Outcome = Result<Reply, RemoteException>;

/// `RpcConstants.MAX_PATH_LENGTH` of Hadoop's `HdfsConstants`, in characters.
const MAX_PATH_LENGTH: usize = 8000;
/// `HdfsConstants.MAX_PATH_DEPTH`, in levels.
const MAX_PATH_DEPTH: usize = 1000;

/// Runs a read: checks the HA state, decodes the request, calls the handler.
pub(crate) fn reading<M: Message + Default>(
    ns: &Namesystem,
    ctx: &CallContext,
    body: &[u8],
    category: OperationCategory,
    handler: fn(&Namesystem, &CallContext, M) -> Outcome,
) -> Reply {
    if let Err(refused) = ns.check_operation(category) {
        return Reply::refuse(refused);
    }
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request));
    let reply = outcome.unwrap_or_else(|refused| Reply::refuse(refused).after(ns.shown_everything()));
    check_reply(ns, ns.edit_log.applied(), &reply);
    reply
}

/// In a debug build, asserts rules of every reply: it waits for an existing transaction, and for the last one of its
/// own call. `before` is the last transaction before the call.
fn check_reply(ns: &Namesystem, before: TxId, reply: &Reply) {
    let applied = ns.edit_log.applied();
    debug_assert!(
        reply.after.is_none_or(|after| after <= applied),
        "a reply would wait for a transaction that does not exist"
    );
    debug_assert!(
        applied == before || ns.is_broken() || reply.deferred.is_some() || reply.after == Some(applied),
        "the caller would be told of a change that no quorum has"
    );
}

/// Runs a write that a client may repeat without harm.
pub(crate) fn writing<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    body: &[u8],
    category: OperationCategory,
    handler: fn(&mut Namesystem, &CallContext, M) -> Outcome,
) -> Reply {
    if let Err(refused) = ns.check_operation(category) {
        return Reply::refuse(refused);
    }
    let before = ns.edit_log.applied();
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request));
    let reply = outcome.unwrap_or_else(|refused| Reply::refuse(refused).after(ns.shown_everything()));
    check_reply(ns, before, &reply);
    reply
}

/// Result of an at-most-once handler.
pub(crate) struct Once {
    /// The answer.
    pub reply: Reply,
    /// Whether a repeated call gets the same answer. An answer that nothing was done (`rename` returns false) is not
    /// kept.
    pub keep: bool,
}

/// Runs a write whose repetitions get the first answer.
pub(crate) fn once<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    body: &[u8],
    handler: fn(&mut Namesystem, &CallContext, M) -> Result<Once, RemoteException>,
) -> Reply {
    once_with(ns, ctx, |ns| handler(ns, ctx, decode(body)?))
}

/// [`once`] for a handler that decodes its request itself (`RetryCache.waitForCompletion`). A repetition that comes
/// while the first answer still waits for its transaction waits for the same transaction.
pub(crate) fn once_with(
    ns: &mut Namesystem,
    ctx: &CallContext,
    handler: impl FnOnce(&mut Namesystem) -> Result<Once, RemoteException>,
) -> Reply {
    if let Err(refused) = ns.check_operation(OperationCategory::Write) {
        return Reply::refuse(refused);
    }
    let key = CallKey::new(&ctx.client_id, ctx.call_id);
    if let Some(cached) = key.and_then(|key| ns.retry_cache.get(&key)) {
        debug_assert!(
            cached.txid <= ns.edit_log.applied(),
            "an answer is remembered no longer than what it shows"
        );
        let reply = Reply {
            result: Ok(Bytes::copy_from_slice(cached.payload)),
            after: (cached.txid > ns.edit_log.synced()).then_some(cached.txid),
            deferred: None,
        };
        ns.retry_cache.count_hit();
        return reply;
    }
    let before = ns.edit_log.applied();
    match handler(ns) {
        Ok(Once { reply, keep }) => {
            check_reply(ns, before, &reply);
            debug_assert!(
                !keep || reply.result.is_ok(),
                "only successes are kept: what failed runs again"
            );
            if let (true, Some(key), Ok(payload)) = (keep, key, &reply.result) {
                let txid = reply.after.unwrap_or_else(|| ns.edit_log.applied());
                ns.retry_cache.insert(key, txid, payload, ctx.mono_ms);
            }
            reply
        }
        Err(refused) => Reply::refuse(refused).after(ns.shown_everything()),
    }
}

/// Commits the ops of a plan. Returns what the plan decided, and the transaction after which a reply may leave. That is
/// the last one of the plan, or, when the plan had nothing to do and the answer shows just that, the last applied one.
pub(crate) fn commit<R>(ns: &mut Namesystem, plan: Plan<R>) -> Result<(R, Option<TxId>), RemoteException> {
    let last = ns.commit(&plan.ops)?;
    Ok((plan.reply, last.or_else(|| ns.shown_everything())))
}

/// Commits a plan whose answer is an empty message.
pub(crate) fn commit_void(ns: &mut Namesystem, plan: Plan<()>) -> Outcome {
    let ((), after) = commit(ns, plan)?;
    Ok(answer(wire::EMPTY, after))
}

/// Commits a plan whose answer is an empty message, which a repeated call gets again.
pub(crate) fn commit_void_once(ns: &mut Namesystem, plan: Plan<()>) -> Result<Once, RemoteException> {
    Ok(Once {
        reply: commit_void(ns, plan)?,
        keep: true,
    })
}

/// An encoded answer.
pub(crate) fn answer(body: Bytes, after: Option<TxId>) -> Reply {
    Reply {
        result: Ok(body),
        after,
        deferred: None,
    }
}

/// Refuses a change in safe mode. `what` is called only then.
pub(crate) fn no_safe_mode(ns: &Namesystem, what: impl FnOnce() -> String) -> Result<(), RemoteException> {
    if ns.blockmanager.in_safe_mode() {
        return ns.check_not_in_safe_mode(&what());
    }
    Ok(())
}

/// Refuses a caller that is not a superuser (`FSNamesystem.checkSuperuserPrivilege`).
pub(crate) fn superuser(ns: &Namesystem, ctx: &CallContext, operation: &str) -> Result<(), RemoteException> {
    if ctx.superuser || !ns.config.permissions_enabled {
        return Ok(());
    }
    Err(RemoteException::new(
        exceptions::ACCESS_CONTROL,
        format!(
            "Access denied for user {}. Superuser privilege is required for operation {operation}",
            ctx.user
        ),
    ))
}

/// The caller in the namespace's form.
pub(crate) fn caller(ctx: &CallContext) -> Caller<'_> {
    Caller {
        user: &ctx.user,
        groups: &ctx.groups,
        superuser: ctx.superuser,
    }
}

/// Address of the caller's machine, in a buffer of its own. It is kept with files under construction, and decides which
/// replica is read.
#[derive(Default)]
pub(crate) struct ClientMachine(ArrayString<LONGEST_ADDRESS>);

/// Length of eight groups of four digits with the colons between them.
const LONGEST_ADDRESS: usize = 39;

impl ClientMachine {
    /// The machine of this caller. Empty when it is unknown, where Hadoop's `Server.getRemoteAddress` is replaced by
    /// "".
    pub fn of(ctx: &CallContext) -> ClientMachine {
        let mut machine = ClientMachine::default();
        match ctx.client_ip.map(|ip| ip.to_canonical()) {
            None => {}
            // Almost every call comes from an IPv4 address, and the formatter would take a twentieth of the time of an
            // open.
            Some(IpAddr::V4(ip)) => {
                for (position, octet) in ip.octets().into_iter().enumerate() {
                    if position > 0 {
                        machine.0.push('.');
                    }
                    for (power, least) in [(100, 100), (10, 10), (1, 0)] {
                        if octet >= least {
                            machine.0.push(char::from(b'0' + octet / power % 10));
                        }
                    }
                }
            }
            Some(IpAddr::V6(ip)) => {
                // The longest address fits.
                let _ = write!(machine.0, "{ip}");
            }
        }
        machine
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The call in the form of the namespace's plans.
pub(crate) fn plan_context<'a>(ctx: &'a CallContext, machine: &'a ClientMachine) -> Ctx<'a> {
    Ctx {
        caller: caller(ctx),
        now_ms: ctx.now_ms,
        mono_ms: ctx.mono_ms,
        rpc_ids: rpc_ids(ctx),
        client_machine: machine.as_str(),
    }
}

/// Ids that the ops of this call carry. A standby fills its retry cache from them.
fn rpc_ids(ctx: &CallContext) -> RpcIds {
    CallKey::new(&ctx.client_id, ctx.call_id).map_or(RpcIds::NONE, |key| RpcIds::new(key.client_id, key.call_id))
}

/// The transaction that a reply about this path shows.
pub(crate) fn shown_path(ns: &Namesystem, iip: &InodesInPath<'_>) -> Option<TxId> {
    let inodes = ns.shown_txid(iip.ids.iter().copied());
    // The status of a directory shows its modification time. An absent name shows the list of children in which it is
    // absent.
    inodes.max(ns.shown_children([iip.deepest()]))
}

/// `NameNodeRpcServer.checkPathLength`.
pub(crate) fn path_length_ok(path: &str) -> bool {
    // Characters and components are counted only when the number of bytes does not decide.
    (path.len() <= MAX_PATH_LENGTH || path.chars().count() <= MAX_PATH_LENGTH)
        && (path.len() <= MAX_PATH_DEPTH
            || path.split('/').filter(|component| !component.is_empty()).count() <= MAX_PATH_DEPTH)
}

/// Refuses a path that is too long, in the words of the method.
pub(crate) fn check_path_length(method: &str, path: &str) -> Result<(), RemoteException> {
    if path_length_ok(path) {
        return Ok(());
    }
    Err(io(format!(
        "{method}: Pathname too long.  Limit {MAX_PATH_LENGTH} characters, {MAX_PATH_DEPTH} levels."
    )))
}

/// A `java.io.IOException`.
pub(crate) fn io(message: impl Into<String>) -> RemoteException {
    RemoteException::new(exceptions::IO, message)
}

/// A `java.lang.UnsupportedOperationException`.
pub(crate) fn unsupported(what: &str) -> RemoteException {
    RemoteException::new(
        exceptions::UNSUPPORTED_OPERATION,
        format!("{what} is not supported by this NameNode"),
    )
}

/// A block of this block pool (`FSDirWriteFileOp.checkBlock`).
pub(crate) fn block_of(ns: &Namesystem, block: &ExtendedBlockProto) -> Result<Block, RemoteException> {
    if block.pool_id != ns.info.block_pool_id {
        return Err(io(format!(
            "Unexpected BlockPoolId {} - expected {}",
            block.pool_id, ns.info.block_pool_id
        )));
    }
    Ok(local_block(block))
}

/// The block without its pool id.
pub(crate) fn local_block(block: &ExtendedBlockProto) -> Block {
    Block {
        id: BlockId(block.block_id as i64),
        num_bytes: block.num_bytes.unwrap_or(0),
        generation_stamp: GenerationStamp(block.generation_stamp),
    }
}

/// `pool:blk_<id>_<stamp>`, as Hadoop's `ExtendedBlock.toString`.
pub(crate) fn block_text(block: &ExtendedBlockProto) -> String {
    format!(
        "{}:blk_{}_{}",
        block.pool_id, block.block_id as i64, block.generation_stamp
    )
}
