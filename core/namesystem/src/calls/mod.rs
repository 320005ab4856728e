//! One handler per protocol method. It takes its request message and returns its response message, or a refusal
//! ([`Outcome`]). `border` is between handlers and bytes. Whoever calls a handler with values first asks
//! [`Namesystem::check_operation`], and lets nobody see an answer before [`Answer::after`] is synced.
//!
//! Rules of every handler:
//! - The order of checks is that of Hadoop's `NameNodeRpcServer` and `FSNamesystem`: first the HA state
//!   (`checkOperation`), then the retry cache if the method runs at most once, then safe mode, then the namespace.
//! - A handler changes the namespace by committing ops. Its reply leaves after the last of them.
//! - A reply that changes nothing, refusals included, says which transactions it shows ([`Answer::after`]): "already
//!   exists" must not be said of a file that no quorum has. Refusals by the HA state leave at once.
//! - A handler that may have to look at much returns a page of it (listings), or goes on in slices (`walks`).

pub mod admin;
pub mod attributes;
mod audit;
mod block_report;
pub mod blocks;
pub(crate) mod border;
pub mod caching;
mod caching_audit;
mod client;
mod datanode;
pub mod delete;
pub mod erasure_coding;
pub mod locations;
pub mod policies;
pub mod read;
mod replayed;
pub mod rolling_upgrade;
pub mod satisfier;
pub mod snapshots;
mod striped;
pub mod summary;
#[cfg(test)]
mod tests;
pub mod tokens;
pub mod unsupported;
mod walks;
mod wire;
pub mod write;
pub mod zones;

pub use audit::{AuditRecord, audit};
pub use block_report::BlockReportWork;
pub(crate) use blocks::{begin_recovery, internal_lease_holder};
pub use border::{Answer, Anything, Never, Once, OrDeferred, Outcome, Response};
pub use datanode::heartbeat_state;
pub use delete::DeleteWork;
pub(crate) use policies::policy_types;
pub(crate) use replayed::remember_replayed;
pub use walks::{CorruptFilesWalk, WALK_SLICE_INODES, WalkWork};
pub(crate) use wire::decode;
pub use wire::{CreateView, GetBlockLocationsView, MkdirsView};

use crate::Namesystem;
use crate::context::{CallContext, MethodHandler};
use crate::retry_cache::CallKey;
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
pub fn handler(method: Method) -> Option<MethodHandler> {
    match method {
        Method::Client(method) => Some(client::handler(method)),
        Method::Datanode(method) => Some(datanode::handler(method)),
        Method::DatanodeLifeline(method) => Some(datanode::lifeline_handler(method)),
        Method::Namenode(method) => Some(crate::namenode_protocol::handler(method)),
        _ => None,
    }
}

/// Serves a call with values: for tests and tools that own a namesystem. Work that takes a shell is not done.
///
/// # Panics
/// Panics when no handler has the method, or when its response is another message.
pub fn serve<M: Message + Default>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    method: impl Into<Method>,
    request: &impl Message,
) -> Result<M, RemoteException> {
    let handler = handler(method.into()).expect("a handler has this method");
    let body = Bytes::from(request.encode_to_vec());
    let response = handler.run(ns, ctx, &body).result?;
    Ok(M::decode(response).expect("the method's response"))
}

/// [`handler`] for names (`declaringClassProtocolName`, method name).
#[must_use]
pub fn lookup(protocol: &str, method: &str) -> Option<MethodHandler> {
    handler(Method::of(protocol, method)?)
}

/// Commits the ops of a plan. Returns what the plan decided, and the transaction after which a reply may leave. That is
/// the last one of the plan, or, when the plan had nothing to do and the answer shows just that, the last applied one.
pub(crate) fn commit<R>(ns: &mut Namesystem, plan: Plan<R>) -> Result<(R, Option<TxId>), RemoteException> {
    let last = ns.commit(&plan.ops)?;
    Ok((plan.reply, last.or_else(|| ns.shown_everything())))
}

/// Commits a plan whose answer is an empty message.
fn commit_void<R: Default>(ns: &mut Namesystem, plan: Plan<()>) -> Outcome<R> {
    let ((), after) = commit(ns, plan)?;
    Ok(Answer::new(R::default(), after))
}

/// Commits a plan whose answer is an empty message, which a repeated call gets again.
fn commit_void_once<R: Default>(ns: &mut Namesystem, plan: Plan<()>) -> Result<Once<R>, RemoteException> {
    Ok(Once {
        answer: commit_void(ns, plan)?,
        keep: true,
    })
}

/// Refuses a change in safe mode. `what` is called only then.
pub(crate) fn no_safe_mode(ns: &Namesystem, what: impl FnOnce() -> String) -> Result<(), RemoteException> {
    if ns.blockmanager().in_safe_mode() {
        return ns.check_not_in_safe_mode(&what());
    }
    Ok(())
}

/// Refuses a new inode or block when there are as many as there may be (`FSNamesystem.checkFsObjectLimit`).
pub(crate) fn check_object_limit(ns: &Namesystem) -> Result<(), RemoteException> {
    let max = ns.config.max_objects;
    let objects = ns
        .namespace()
        .inode_count()
        .saturating_add(ns.namespace().block_count());
    if max != 0 && max <= objects {
        return Err(io(format!(
            "Exceeded the configured number of objects {max} in the filesystem."
        )));
    }
    Ok(())
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

/// A `java.io.IOException`.
pub(crate) fn io(message: impl Into<String>) -> RemoteException {
    RemoteException::new(exceptions::IO, message)
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
