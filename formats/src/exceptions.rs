//! Java exception classes as they travel in RPC errors. Clients act on these names, so they are part of the protocol
//! (`RpcResponseHeaderProto.exceptionClassName`).

use std::borrow::Cow;
use std::fmt;

/// An exception as the other side of an RPC sees it: a fully qualified Java class and a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteException {
    /// Fully qualified Java class name, one of the constants of this module or whatever a peer sent.
    pub class: Cow<'static, str>,
    /// The message; by Hadoop's custom its first line is what tools show.
    pub message: String,
}

impl RemoteException {
    /// An exception of one of this module's classes.
    pub fn new(class: &'static str, message: impl Into<String>) -> Self {
        RemoteException {
            class: Cow::Borrowed(class),
            message: message.into(),
        }
    }

    /// Whether this is the given class.
    #[must_use]
    pub fn is(&self, class: &str) -> bool {
        self.class == class
    }
}

impl fmt::Display for RemoteException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for RemoteException {}

macro_rules! classes {
    ($($name:ident = $class:literal;)*) => {
        $(#[doc = concat!("`", $class, "`")] pub const $name: &str = $class;)*
    };
}

classes! {
    IO = "java.io.IOException";
    EOF = "java.io.EOFException";
    FILE_NOT_FOUND = "java.io.FileNotFoundException";
    ILLEGAL_ARGUMENT = "java.lang.IllegalArgumentException";
    ILLEGAL_STATE = "java.lang.IllegalStateException";
    ASSERTION = "java.lang.AssertionError";
    UNSUPPORTED_OPERATION = "java.lang.UnsupportedOperationException";
    CLASS_NOT_FOUND = "java.lang.ClassNotFoundException";
    HADOOP_ILLEGAL_ARGUMENT = "org.apache.hadoop.HadoopIllegalArgumentException";
    STANDBY = "org.apache.hadoop.ipc.StandbyException";
    OBSERVER_RETRY_ON_ACTIVE = "org.apache.hadoop.ipc.ObserverRetryOnActiveException";
    RETRIABLE = "org.apache.hadoop.ipc.RetriableException";
    RPC_NO_SUCH_METHOD = "org.apache.hadoop.ipc.RpcNoSuchMethodException";
    RPC_NO_SUCH_PROTOCOL = "org.apache.hadoop.ipc.RpcNoSuchProtocolException";
    RPC_SERVER = "org.apache.hadoop.ipc.RpcServerException";
    RPC_VERSION_MISMATCH = "org.apache.hadoop.ipc.RPC$VersionMismatch";
    IPC = "org.apache.hadoop.ipc.IpcException";
    ACCESS_CONTROL = "org.apache.hadoop.security.AccessControlException";
    AUTHORIZATION = "org.apache.hadoop.security.authorize.AuthorizationException";
    INVALID_TOKEN = "org.apache.hadoop.security.token.SecretManager$InvalidToken";
    HEALTH_CHECK_FAILED = "org.apache.hadoop.ha.HealthCheckFailedException";
    SERVICE_FAILED = "org.apache.hadoop.ha.ServiceFailedException";
    FILE_ALREADY_EXISTS = "org.apache.hadoop.fs.FileAlreadyExistsException";
    PARENT_NOT_DIRECTORY = "org.apache.hadoop.fs.ParentNotDirectoryException";
    PATH_IS_NOT_EMPTY_DIRECTORY = "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException";
    INVALID_PATH = "org.apache.hadoop.fs.InvalidPathException";
    INVALID_REQUEST = "org.apache.hadoop.fs.InvalidRequestException";
    PATH_COMPONENT_TOO_LONG = "org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException";
    MAX_DIRECTORY_ITEMS_EXCEEDED = "org.apache.hadoop.hdfs.protocol.FSLimitException$MaxDirectoryItemsExceededException";
    ACL = "org.apache.hadoop.hdfs.protocol.AclException";
    NS_QUOTA_EXCEEDED = "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException";
    DS_QUOTA_EXCEEDED = "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException";
    QUOTA_BY_STORAGE_TYPE_EXCEEDED = "org.apache.hadoop.hdfs.protocol.QuotaByStorageTypeExceededException";
    UNRESOLVED_PATH = "org.apache.hadoop.hdfs.protocol.UnresolvedPathException";
    SNAPSHOT = "org.apache.hadoop.hdfs.protocol.SnapshotException";
    SNAPSHOT_ACCESS_CONTROL = "org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException";
    ALREADY_BEING_CREATED = "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException";
    RECOVERY_IN_PROGRESS = "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException";
    NO_EC_POLICY_SET = "org.apache.hadoop.hdfs.protocol.NoECPolicySetException";
    UNREGISTERED_NODE = "org.apache.hadoop.hdfs.protocol.UnregisteredNodeException";
    QUOTA_EXCEEDED = "org.apache.hadoop.hdfs.protocol.QuotaExceededException";
    NOT_REPLICATED_YET = "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException";
    LEASE_EXPIRED = "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException";
    SAFE_MODE = "org.apache.hadoop.hdfs.server.namenode.SafeModeException";
    DISALLOWED_DATANODE = "org.apache.hadoop.hdfs.server.protocol.DisallowedDatanodeException";
    INVALID_BLOCK_REPORT_LEASE = "org.apache.hadoop.hdfs.server.protocol.InvalidBlockReportLeaseException";
    INCORRECT_VERSION = "org.apache.hadoop.hdfs.server.common.IncorrectVersionException";
    INCONSISTENT_FS_STATE = "org.apache.hadoop.hdfs.server.common.InconsistentFSStateException";
    REPLICA_NOT_FOUND = "org.apache.hadoop.hdfs.server.datanode.ReplicaNotFoundException";
    REPLICA_ALREADY_EXISTS = "org.apache.hadoop.hdfs.server.datanode.ReplicaAlreadyExistsException";
    JOURNAL_NOT_FORMATTED = "org.apache.hadoop.hdfs.qjournal.protocol.JournalNotFormattedException";
    JOURNAL_OUT_OF_SYNC = "org.apache.hadoop.hdfs.qjournal.protocol.JournalOutOfSyncException";
    NEWER_TXID = "org.apache.hadoop.hdfs.qjournal.server.NewerTxnIdException";
    CALL_IN_DOUBT = "hathi.CallInDoubtException";
    CALL_LATE = "hathi.CallLateException";
    CACHE_MISS = "org.apache.hadoop.hdfs.qjournal.server.JournaledEditsCache$CacheMissException";
}
