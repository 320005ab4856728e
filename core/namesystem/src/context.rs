//! What a call knows of its caller, and what it leaves to the shell.

use crate::Namesystem;
use crate::calls::{BlockReportWork, DeleteWork, WalkWork};
use crate::passed_on::PassedOn;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::LocatedBlockProto;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::sync::Arc;

/// Who calls, when, and with which ids.
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
    /// How often the caller has sent this call before.
    pub retry_count: i32,
    /// What is known of the client when the call did not come from it directly.
    pub passed_on: Option<PassedOn>,
    /// Wall clock ms, for mtimes.
    pub now_ms: u64,
    /// Monotonic clock ms, for leases, heartbeats, expiry.
    pub mono_ms: u64,
}

impl CallContext {
    /// Refuses everybody but a superuser (`FSPermissionChecker.checkSuperuserPrivilege`).
    pub fn check_superuser(&self) -> Result<(), RemoteException> {
        if self.superuser {
            return Ok(());
        }
        Err(RemoteException::new(
            exceptions::ACCESS_CONTROL,
            format!("Access denied for user {}. Superuser privilege is required", self.user),
        ))
    }
}

/// What the shell must do before the caller can be answered, because it takes threads, disks or peers.
#[derive(Clone, Debug, PartialEq)]
pub enum Deferred {
    /// `ClientProtocol.saveNamespace`; answered with `SaveNamespaceResponseProto`.
    SaveNamespace {
        /// Skip when the last image is younger than so many seconds (0: never).
        time_window_s: u64,
        /// Skip when fewer transactions came since (0: never).
        tx_gap: u64,
    },
    /// `refreshNodes`: read the include and exclude files again.
    RefreshNodes,
    /// `metaSave` into this file name in the log directory.
    MetaSave(String),
    /// `finalizeUpgrade`.
    FinalizeUpgrade,
    /// `getEditLogManifest`: the final segments that the NameNode itself keeps, from this transaction on.
    EditLogManifest(TxId),
    /// `restoreFailedStorage` with `true`, `false` or `check`.
    RestoreFailedStorage(String),
    /// `ClientProtocol.reportBadBlocks`: the other NameNodes are told of these replicas, as far as they can be reached;
    /// answered with `ReportBadBlocksResponseProto`.
    TellCorrupt(Vec<LocatedBlockProto>),
    /// `DatanodeProtocol.blockReport` of many replicas: step it under the write lock until it answers.
    BlockReport(Box<BlockReportWork>),
    /// A read of many inodes: step it under the read lock until it answers.
    Walk(Box<WalkWork>),
    /// A delete of many inodes. Whoever does it has at most one under way, and first asks it to [finish](DeleteWork::finish).
    Delete(Box<DeleteWork>),
}

/// What a verb answers.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The encoded response message, or what the caller gets thrown.
    pub result: Result<Bytes, RemoteException>,
    /// The reply shows the effects of transactions up to this one and may leave only when it is synced.
    pub after: Option<TxId>,
    /// When present, `result` is ignored: the shell does this and answers itself.
    pub deferred: Option<Deferred>,
}

impl Reply {
    /// An encoded response that shows nothing in flight.
    pub fn message(message: &impl ::prost::Message) -> Reply {
        Reply {
            result: Ok(Bytes::from(message.encode_to_vec())),
            after: None,
            deferred: None,
        }
    }

    /// A refusal.
    #[must_use]
    pub fn refuse(error: RemoteException) -> Reply {
        Reply {
            result: Err(error),
            after: None,
            deferred: None,
        }
    }

    /// Leaves only when this transaction is synced.
    #[must_use]
    pub fn after(mut self, txid: Option<TxId>) -> Reply {
        self.after = self.after.max(txid);
        self
    }

    /// Left to the shell.
    #[must_use]
    pub fn defer(deferred: Deferred) -> Reply {
        Reply {
            result: Ok(Bytes::new()),
            after: None,
            deferred: Some(deferred),
        }
    }
}

/// One protocol method. Body in: the encoded request message.
#[derive(Clone, Copy)]
pub enum Verb {
    /// Runs under the read lock.
    Read(fn(&Namesystem, &CallContext, Bytes) -> Reply),
    /// Runs under the write lock.
    Write(fn(&mut Namesystem, &CallContext, Bytes) -> Reply),
    /// Runs under the read lock first; when that answers `None` (an access time to write, say), under the write lock.
    ReadThenWrite(
        fn(&Namesystem, &CallContext, &Bytes) -> Option<Reply>,
        fn(&mut Namesystem, &CallContext, Bytes) -> Reply,
    ),
}
