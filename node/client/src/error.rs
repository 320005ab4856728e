//! Errors of the client.

use hathi_conf::ConfError;
use hathi_formats::exceptions::{ExceptionClass, RemoteException};
use hathi_formats::proto::hdfs::DatanodeInfoProto;
use hathi_net::ipc::RpcError;
use hathi_net::kms::KeyError;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A call to a NameNode or DataNode failed.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The configuration can't be used.
    #[error(transparent)]
    Configuration(#[from] ConfError),
    /// A DataNode could not be reached, or its answer did not fit the request.
    #[error("{what} {peer}: {source}")]
    DataNode {
        /// The operation.
        what: &'static str,
        /// The DataNode, `ip:port`.
        peer: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No replica of a block could be read.
    #[error("Could not obtain block: blk_{block} file={path} (last error: {last})")]
    MissingBlock {
        /// The block's id.
        block: i64,
        /// The file.
        path: String,
        /// The answer of the last replica.
        last: String,
    },
    /// No DataNode knows how much of a block under construction can be read.
    #[error("Cannot obtain block length for blk_{block} file={path} (last error: {last})")]
    UnknownLength {
        /// The block's id.
        block: i64,
        /// The file.
        path: String,
        /// The answer of the last DataNode.
        last: String,
    },
    /// No DataNode is left to write to.
    #[error("All datanodes {nodes} are bad. Aborting...")]
    AllDataNodesBad {
        /// The DataNodes that were tried.
        nodes: String,
    },
    /// The file is striped, and this client can't do this with it.
    #[error("{path} is striped by an erasure coding policy, and this client can't {what}")]
    Striped {
        /// The file.
        path: String,
        /// What it can't do.
        what: &'static str,
    },
    /// The file does not exist.
    #[error("File does not exist: {0}")]
    NotFound(String),
    /// An encrypted file can't be read or written.
    #[error("{path}: {why}")]
    Encrypted {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The key provider gives no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The writer failed earlier.
    #[error("the file's writer has failed before: {0}")]
    Poisoned(String),
}

impl ClientError {
    /// An operation of data transfer that failed.
    pub(crate) fn of_datanode(what: &'static str, node: &DatanodeInfoProto, source: std::io::Error) -> ClientError {
        ClientError::DataNode {
            what,
            peer: node.id.xfer_address(),
            source,
        }
    }

    /// The remote exception, if a server sent one.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteException> {
        match self {
            ClientError::Rpc(error) => error.remote(),
            _ => None,
        }
    }

    /// Whether a server answered with this exception class.
    #[must_use]
    pub fn is_remote(&self, class: ExceptionClass) -> bool {
        self.remote().is_some_and(|exception| exception.is(class))
    }
}
