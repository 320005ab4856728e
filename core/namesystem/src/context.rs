//! What a handler knows of the caller, and what it leaves to the shell.

use crate::Namesystem;
use crate::calls::{BlockReportWork, DeleteWork, WalkWork};
use crate::keys::KeyWork;
use crate::passed_on::PassedOn;
use bytes::Bytes;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{BlockId, TxId};
use hathi_formats::proto::hdfs::LocatedBlockProto;
use prost::Message;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// The caller of a call, its time and its ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallContext {
    /// The effective user's short name.
    pub user: Arc<str>,
    /// The user's groups; the first one is the primary group.
    pub groups: Arc<[String]>,
    /// Process user or member of `dfs.permissions.superusergroup`.
    pub superuser: bool,
    /// The address the call came from.
    pub client_ip: Option<IpAddr>,
    /// 16 bytes, or empty when the caller has none.
    pub client_id: SmallVec<[u8; 16]>,
    /// The RPC call id (-2 for none).
    pub call_id: i32,
    /// Number of times that the caller has sent this call before.
    pub retry_count: i32,
    /// What the NameNode that passed the call on says of the client. `None` when the call came directly from it.
    pub passed_on: Option<PassedOn>,
    /// Wall clock ms, for mtimes.
    pub now_ms: u64,
    /// Monotonic clock ms, for leases, heartbeats, expiry.
    pub mono_ms: u64,
}

impl CallContext {
    /// Refuses a caller that is not a superuser (`FSPermissionChecker.checkSuperuserPrivilege`).
    pub fn check_superuser(&self) -> Result<(), RemoteException> {
        if self.superuser {
            return Ok(());
        }
        Err(RemoteException::not_superuser(&self.user))
    }

    /// [`CallContext::check_superuser`] for an operation of `ClientProtocol` (`FSNamesystem.checkSuperuserPrivilege`). When
    /// permissions are off, everybody may do everything.
    pub fn check_superuser_for(&self, ns: &Namesystem, operation: &str) -> Result<(), RemoteException> {
        if !ns.config.permissions_enabled {
            return Ok(());
        }
        self.check_superuser().map_err(|mut refused| {
            refused.message.push_str(" for operation ");
            refused.message.push_str(operation);
            refused
        })
    }
}

/// Work that takes threads, disks or peers. The shell does it before the caller is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Deferred {
    /// `ClientProtocol.saveNamespace`; answered with `SaveNamespaceResponseProto`.
    SaveNamespace {
        /// Do nothing when the last image is younger than this many seconds (0: never).
        time_window_s: u64,
        /// Do nothing when fewer transactions were logged since the last image (0: never).
        tx_gap: u64,
    },
    /// `refreshNodes`: read the include and exclude files again.
    RefreshNodes,
    /// `metaSave` into this file name in the log directory.
    MetaSave(String),
    /// `finalizeUpgrade`.
    FinalizeUpgrade,
    /// `getEditLogManifest`: the finalized segments in this NameNode's own directories, from this transaction on.
    EditLogManifest(TxId),
    /// `getEditsFromTxid`: the events of durable edits, from this transaction on.
    Edits(TxId),
    /// `rollingUpgrade` that prepares one where there is no standby: save the rollback image, and then begin it
    /// ([`crate::calls::rolling_upgrade::start_after_image`]).
    StartRollingUpgrade,
    /// `restoreFailedStorage` with `true`, `false` or `check`.
    RestoreFailedStorage(String),
    /// `ClientProtocol.reportBadBlocks`: tell the other NameNodes of these replicas, as far as they can be reached. The
    /// answer is a `ReportBadBlocksResponseProto`.
    TellCorrupt(Vec<LocatedBlockProto>),
    /// `DatanodeProtocol.blockReport` of many replicas: call its step under the write lock until it returns a reply.
    BlockReport(Box<BlockReportWork>),
    /// A read of many inodes: call its step under the read lock until it returns a reply.
    Walk(Box<WalkWork>),
    /// A delete of many inodes. The shell has at most one under way, and first asks it to [finish](DeleteWork::finish).
    Delete(Box<DeleteWork>),
    /// A call that needs an answer of the key provider: ask its question, and [finish](KeyWork::finish) it.
    AskKeys(Box<KeyWork>),
}

/// What a call has to do with the reports of replicas. `complete` may wait for one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reported {
    /// Nothing.
    #[default]
    Nothing,
    /// The answer is "not yet", because too few replicas of this block are reported. The shell may serve the call again
    /// after the next report of the block, and answer then.
    Awaits(BlockId),
    /// Replicas of these blocks were reported just now.
    Blocks(Vec<BlockId>),
}

/// A reply on its way to the caller.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The encoded response message, or the exception that the caller gets.
    pub result: Result<Bytes, RemoteException>,
    /// The reply shows the effects of transactions up to this one, so it may leave only when this one is synced.
    pub after: Option<TxId>,
    /// When present, `result` is ignored. The shell does this work and answers by itself.
    pub deferred: Option<Deferred>,
    /// What the call has to do with the reports of replicas.
    pub reported: Reported,
}

impl Reply {
    /// A reply that shows nothing in flight.
    pub fn message(message: &impl Message) -> Reply {
        Reply::encoded(encoded(message))
    }

    /// A reply with an encoded response message, which shows nothing in flight.
    #[must_use]
    pub fn encoded(body: Bytes) -> Reply {
        Reply {
            result: Ok(body),
            after: None,
            deferred: None,
            reported: Reported::Nothing,
        }
    }

    /// A refusal.
    #[must_use]
    pub fn refuse(error: RemoteException) -> Reply {
        Reply {
            result: Err(error),
            after: None,
            deferred: None,
            reported: Reported::Nothing,
        }
    }

    /// Makes the reply wait until this transaction is synced.
    #[must_use]
    pub fn after(mut self, txid: Option<TxId>) -> Reply {
        self.after = self.after.max(txid);
        self
    }

    /// A reply that the shell makes.
    #[must_use]
    pub fn defer(deferred: Deferred) -> Reply {
        Reply {
            result: Ok(Bytes::new()),
            after: None,
            deferred: Some(deferred),
            reported: Reported::Nothing,
        }
    }
}

impl MethodHandler {
    /// Runs the handler, for callers that own the namesystem.
    pub fn run(self, ns: &mut Namesystem, ctx: &CallContext, body: &Bytes) -> Reply {
        match self {
            MethodHandler::Read(read) => read(ns, ctx, body.clone()),
            MethodHandler::Write(write) => write(ns, ctx, body.clone()),
            MethodHandler::ReadThenWrite(read, write) => {
                read(ns, ctx, body).unwrap_or_else(|| write(ns, ctx, body.clone()))
            }
        }
    }
}

/// A response message. Most changes answer nothing, yes or no, and these answers take no memory.
fn encoded(message: &impl Message) -> Bytes {
    const NO: &[u8; 2] = &[8, 0];
    const YES: &[u8; 2] = &[8, 1];
    let len = message.encoded_len();
    if len == 0 {
        return Bytes::new();
    }
    if len == YES.len() {
        let mut short = [0; YES.len()];
        message.encode_raw(&mut &mut short[..]);
        match &short {
            YES => return Bytes::from_static(YES),
            NO => return Bytes::from_static(NO),
            _ => {}
        }
    }
    let mut body = Vec::with_capacity(len);
    message.encode_raw(&mut body);
    Bytes::from(body)
}

/// The handler of a protocol method. It gets the encoded request message.
#[derive(Clone, Copy)]
pub enum MethodHandler {
    /// Runs under the read lock.
    Read(fn(&Namesystem, &CallContext, Bytes) -> Reply),
    /// Runs under the write lock.
    Write(fn(&mut Namesystem, &CallContext, Bytes) -> Reply),
    /// Runs under the read lock first. When it returns `None` there, for example because an access time must be
    /// written, it runs under the write lock.
    ReadThenWrite(
        fn(&Namesystem, &CallContext, &Bytes) -> Option<Reply>,
        fn(&mut Namesystem, &CallContext, Bytes) -> Reply,
    ),
}
