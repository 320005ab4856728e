//! Java exception classes as they travel in RPC errors. Clients act on these names, so they are part of the protocol
//! (`RpcResponseHeaderProto.exceptionClassName`).

use std::fmt;

use crate::wire::MalformedMessage;

/// What the caller has to do after an exception of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Another NameNode is the active one, or may be.
    AskAnother,
    /// The same call may succeed a moment later.
    AskAgain,
    /// The call itself is wrong, or needs a feature that this server does not have. It never succeeds.
    AskDifferently,
    /// The caller lacks a right, a quota, or a place in a list of hosts. An administrator can grant these.
    GetRights,
    /// The caller's view of files, leases, replicas or registrations is wrong or out of date.
    LookAnew,
    /// The server failed, and its log says more.
    TellOperator,
}

/// The class of an exception: one of this module's, or the name of one that only a peer knows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Known(ExceptionClass),
    Other(Box<str>),
}

/// An exception as the other side of an RPC sees it: Java class and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteException {
    class: Named,
    /// The message; by Hadoop's custom its first line is what tools show.
    pub message: String,
}

impl RemoteException {
    /// An exception of one of this module's classes.
    pub fn new(class: ExceptionClass, message: impl Into<String>) -> Self {
        RemoteException {
            class: Named::Known(class),
            message: message.into(),
        }
    }

    /// Refuses a caller that is not a superuser (`FSPermissionChecker.checkSuperuserPrivilege`).
    #[must_use]
    pub fn not_superuser(user: &str) -> Self {
        let message = format!("Access denied for user {user}. Superuser privilege is required");
        RemoteException::new(ACCESS_CONTROL, message)
    }

    /// An exception that a peer sent. Its class may be any.
    #[must_use]
    pub fn received(class: &str, message: String) -> Self {
        let class = match ExceptionClass::of_java(class) {
            Some(known) => Named::Known(known),
            None => Named::Other(class.into()),
        };
        RemoteException { class, message }
    }

    /// The class, if it is one of this module's.
    #[must_use]
    pub fn class(&self) -> Option<ExceptionClass> {
        match &self.class {
            Named::Known(class) => Some(*class),
            Named::Other(_) => None,
        }
    }

    /// Fully qualified Java class name.
    #[must_use]
    pub fn class_name(&self) -> &str {
        match &self.class {
            Named::Known(class) => class.java(),
            Named::Other(name) => name,
        }
    }

    /// Whether this is the given class.
    #[must_use]
    pub fn is(&self, class: ExceptionClass) -> bool {
        self.class == Named::Known(class)
    }

    /// What the caller has to do. An exception of a class that only a peer knows is a matter for the operator.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        self.class().map_or(Remedy::TellOperator, ExceptionClass::remedy)
    }
}

/// How a server refuses a request that does not decode.
impl From<MalformedMessage> for RemoteException {
    fn from(_: MalformedMessage) -> Self {
        RemoteException::new(RPC_SERVER, "malformed request")
    }
}

impl fmt::Display for ExceptionClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.java())
    }
}

impl fmt::Display for RemoteException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class_name(), self.message)
    }
}

impl std::error::Error for RemoteException {}

macro_rules! classes {
    ($($remedy:ident { $($name:ident = $variant:ident $class:literal;)* })*) => {
        /// A Java class of exceptions that is thrown or understood here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ExceptionClass {
            $($(#[doc = concat!("`", $class, "`")] $variant,)*)*
        }

        impl ExceptionClass {
            /// All of them.
            pub const ALL: &[ExceptionClass] = &[$($(ExceptionClass::$variant,)*)*];

            /// Fully qualified Java class name.
            #[must_use]
            pub const fn java(self) -> &'static str {
                match self {
                    $($(ExceptionClass::$variant => $class,)*)*
                }
            }

            /// The class of this fully qualified Java name.
            #[must_use]
            pub fn of_java(class: &str) -> Option<ExceptionClass> {
                match class {
                    $($($class => Some(ExceptionClass::$variant),)*)*
                    _ => None,
                }
            }

            /// What a caller has to do who gets one.
            #[must_use]
            pub fn remedy(self) -> Remedy {
                match self {
                    $($(ExceptionClass::$variant)|* => Remedy::$remedy,)*
                }
            }
        }

        $($(#[doc = concat!("`", $class, "`")] pub const $name: ExceptionClass = ExceptionClass::$variant;)*)*
    };
}

classes! {
    AskAnother {
        STANDBY = Standby "org.apache.hadoop.ipc.StandbyException";
        OBSERVER_RETRY_ON_ACTIVE = ObserverRetryOnActive "org.apache.hadoop.ipc.ObserverRetryOnActiveException";
    }
    AskAgain {
        RETRIABLE = Retriable "org.apache.hadoop.ipc.RetriableException";
        NOT_REPLICATED_YET = NotReplicatedYet "org.apache.hadoop.hdfs.server.namenode.NotReplicatedYetException";
        RECOVERY_IN_PROGRESS = RecoveryInProgress "org.apache.hadoop.hdfs.protocol.RecoveryInProgressException";
        SAFE_MODE = SafeMode "org.apache.hadoop.hdfs.server.namenode.SafeModeException";
        INVALID_BLOCK_REPORT_LEASE = InvalidBlockReportLease "org.apache.hadoop.hdfs.server.protocol.InvalidBlockReportLeaseException";
        CALL_IN_DOUBT = CallInDoubt "hathi.CallInDoubtException";
    }
    AskDifferently {
        ILLEGAL_ARGUMENT = IllegalArgument "java.lang.IllegalArgumentException";
        HADOOP_ILLEGAL_ARGUMENT = HadoopIllegalArgument "org.apache.hadoop.HadoopIllegalArgumentException";
        UNSUPPORTED_OPERATION = UnsupportedOperation "java.lang.UnsupportedOperationException";
        CLASS_NOT_FOUND = ClassNotFound "java.lang.ClassNotFoundException";
        RPC_NO_SUCH_METHOD = RpcNoSuchMethod "org.apache.hadoop.ipc.RpcNoSuchMethodException";
        RPC_NO_SUCH_PROTOCOL = RpcNoSuchProtocol "org.apache.hadoop.ipc.RpcNoSuchProtocolException";
        RPC_SERVER = RpcServer "org.apache.hadoop.ipc.RpcServerException";
        RPC_VERSION_MISMATCH = RpcVersionMismatch "org.apache.hadoop.ipc.RPC$VersionMismatch";
        IPC = Ipc "org.apache.hadoop.ipc.IpcException";
        EOF = Eof "java.io.EOFException";
        INVALID_PATH = InvalidPath "org.apache.hadoop.fs.InvalidPathException";
        INVALID_REQUEST = InvalidRequest "org.apache.hadoop.fs.InvalidRequestException";
        PATH_COMPONENT_TOO_LONG = PathComponentTooLong "org.apache.hadoop.hdfs.protocol.FSLimitException$PathComponentTooLongException";
        UNKNOWN_CRYPTO_PROTOCOL_VERSION = UnknownCryptoProtocolVersion "org.apache.hadoop.hdfs.UnknownCryptoProtocolVersionException";
        NO_EC_POLICY_SET = NoEcPolicySet "org.apache.hadoop.hdfs.protocol.NoECPolicySetException";
    }
    GetRights {
        ACCESS_CONTROL = AccessControl "org.apache.hadoop.security.AccessControlException";
        AUTHORIZATION = Authorization "org.apache.hadoop.security.authorize.AuthorizationException";
        INVALID_TOKEN = InvalidToken "org.apache.hadoop.security.token.SecretManager$InvalidToken";
        SNAPSHOT_ACCESS_CONTROL = SnapshotAccessControl "org.apache.hadoop.hdfs.protocol.SnapshotAccessControlException";
        DISALLOWED_DATANODE = DisallowedDatanode "org.apache.hadoop.hdfs.server.protocol.DisallowedDatanodeException";
        NS_QUOTA_EXCEEDED = NsQuotaExceeded "org.apache.hadoop.hdfs.protocol.NSQuotaExceededException";
        DS_QUOTA_EXCEEDED = DsQuotaExceeded "org.apache.hadoop.hdfs.protocol.DSQuotaExceededException";
        QUOTA_BY_STORAGE_TYPE_EXCEEDED = QuotaByStorageTypeExceeded "org.apache.hadoop.hdfs.protocol.QuotaByStorageTypeExceededException";
        QUOTA_EXCEEDED = QuotaExceeded "org.apache.hadoop.hdfs.protocol.QuotaExceededException";
        MAX_DIRECTORY_ITEMS_EXCEEDED = MaxDirectoryItemsExceeded "org.apache.hadoop.hdfs.protocol.FSLimitException$MaxDirectoryItemsExceededException";
    }
    LookAnew {
        FILE_NOT_FOUND = FileNotFound "java.io.FileNotFoundException";
        FILE_ALREADY_EXISTS = FileAlreadyExists "org.apache.hadoop.fs.FileAlreadyExistsException";
        PARENT_NOT_DIRECTORY = ParentNotDirectory "org.apache.hadoop.fs.ParentNotDirectoryException";
        PATH_IS_NOT_DIRECTORY = PathIsNotDirectory "org.apache.hadoop.fs.PathIsNotDirectoryException";
        PATH_IS_NOT_EMPTY_DIRECTORY = PathIsNotEmptyDirectory "org.apache.hadoop.fs.PathIsNotEmptyDirectoryException";
        ACL = Acl "org.apache.hadoop.hdfs.protocol.AclException";
        XATTR_NOT_FOUND = XattrNotFound "org.apache.hadoop.hdfs.protocol.XAttrNotFoundException";
        UNRESOLVED_PATH = UnresolvedPath "org.apache.hadoop.hdfs.protocol.UnresolvedPathException";
        SNAPSHOT = Snapshot "org.apache.hadoop.hdfs.protocol.SnapshotException";
        ALREADY_BEING_CREATED = AlreadyBeingCreated "org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException";
        UNREGISTERED_NODE = UnregisteredNode "org.apache.hadoop.hdfs.protocol.UnregisteredNodeException";
        LEASE_EXPIRED = LeaseExpired "org.apache.hadoop.hdfs.server.namenode.LeaseExpiredException";
        REPLICA_NOT_FOUND = ReplicaNotFound "org.apache.hadoop.hdfs.server.datanode.ReplicaNotFoundException";
        REPLICA_ALREADY_EXISTS = ReplicaAlreadyExists "org.apache.hadoop.hdfs.server.datanode.ReplicaAlreadyExistsException";
        ILLEGAL_STATE = IllegalState "java.lang.IllegalStateException";
        JOURNAL_NOT_FORMATTED = JournalNotFormatted "org.apache.hadoop.hdfs.qjournal.protocol.JournalNotFormattedException";
        JOURNAL_OUT_OF_SYNC = JournalOutOfSync "org.apache.hadoop.hdfs.qjournal.protocol.JournalOutOfSyncException";
        NEWER_TXID = NewerTxid "org.apache.hadoop.hdfs.qjournal.server.NewerTxnIdException";
        CALL_LATE = CallLate "hathi.CallLateException";
        CACHE_MISS = CacheMiss "org.apache.hadoop.hdfs.qjournal.server.JournaledEditsCache$CacheMissException";
    }
    TellOperator {
        IO = Io "java.io.IOException";
        ASSERTION = Assertion "java.lang.AssertionError";
        HEALTH_CHECK_FAILED = HealthCheckFailed "org.apache.hadoop.ha.HealthCheckFailedException";
        SERVICE_FAILED = ServiceFailed "org.apache.hadoop.ha.ServiceFailedException";
        INVALID_TOPOLOGY = InvalidTopology "org.apache.hadoop.net.NetworkTopology$InvalidTopologyException";
        UNRESOLVED_TOPOLOGY = UnresolvedTopology "org.apache.hadoop.hdfs.server.blockmanagement.UnresolvedTopologyException";
        INCORRECT_VERSION = IncorrectVersion "org.apache.hadoop.hdfs.server.common.IncorrectVersionException";
        INCONSISTENT_FS_STATE = InconsistentFsState "org.apache.hadoop.hdfs.server.common.InconsistentFSStateException";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_found_by_its_java_name_and_an_unknown_one_is_kept_as_it_came() {
        for class in ExceptionClass::ALL {
            let received = RemoteException::received(class.java(), "why".to_owned());
            assert_eq!(received, RemoteException::new(*class, "why"));
            assert_eq!(received.class_name(), class.java());
        }
        let foreign = RemoteException::received("com.example.OddException", "why".to_owned());
        assert_eq!(foreign.to_string(), "com.example.OddException: why");
        assert!(ExceptionClass::ALL.iter().all(|class| !foreign.is(*class)));
        assert_eq!(foreign.remedy(), Remedy::TellOperator);
    }
}
