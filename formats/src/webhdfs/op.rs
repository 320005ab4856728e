//! The operations, by HTTP method (`GetOpParam`, `PutOpParam`, `PostOpParam`, `DeleteOpParam`).

use super::invalid;
use crate::exceptions::{self, RemoteException};

/// The HTTP methods that have operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET: reads.
    Get,
    /// PUT: changes that may be repeated.
    Put,
    /// POST: changes that may not.
    Post,
    /// DELETE.
    Delete,
}

impl HttpMethod {
    /// The method's name. `None` for methods without operations.
    #[must_use]
    pub fn of(method: &str) -> Option<HttpMethod> {
        Some(match method {
            "GET" => HttpMethod::Get,
            "PUT" => HttpMethod::Put,
            "POST" => HttpMethod::Post,
            "DELETE" => HttpMethod::Delete,
            _ => return None,
        })
    }

    /// The part of a Java class that this method's operations belong to.
    const fn java(self) -> &'static str {
        match self {
            HttpMethod::Get => "Get",
            HttpMethod::Put => "Put",
            HttpMethod::Post => "Post",
            HttpMethod::Delete => "Delete",
        }
    }
}

macro_rules! ops {
    ($($method:ident { $($op:ident $name:literal,)* })*) => {
        /// An operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Op {
            $($(#[doc = concat!("`", $name, "`")] $op,)*)*
        }

        impl Op {
            /// All of them.
            pub const ALL: &[Op] = &[$($(Op::$op,)*)*];

            /// Its HTTP method.
            #[must_use]
            pub const fn http_method(self) -> HttpMethod {
                match self {
                    $($(Op::$op)|* => HttpMethod::$method,)*
                }
            }

            /// Its name in the parameter `op`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Op::$op => $name,)*)*
                }
            }
        }
    };
}

ops! {
    Get {
        Open "OPEN",
        GetFileStatus "GETFILESTATUS",
        ListStatus "LISTSTATUS",
        ListStatusBatch "LISTSTATUS_BATCH",
        GetContentSummary "GETCONTENTSUMMARY",
        GetQuotaUsage "GETQUOTAUSAGE",
        GetFileChecksum "GETFILECHECKSUM",
        GetHomeDirectory "GETHOMEDIRECTORY",
        GetTrashRoot "GETTRASHROOT",
        GetTrashRoots "GETTRASHROOTS",
        GetDelegationToken "GETDELEGATIONTOKEN",
        GetBlockLocations "GET_BLOCK_LOCATIONS",
        GetFileBlockLocations "GETFILEBLOCKLOCATIONS",
        GetAclStatus "GETACLSTATUS",
        GetXAttrs "GETXATTRS",
        ListXAttrs "LISTXATTRS",
        CheckAccess "CHECKACCESS",
        GetAllStoragePolicy "GETALLSTORAGEPOLICY",
        GetStoragePolicy "GETSTORAGEPOLICY",
        GetEcPolicy "GETECPOLICY",
        GetEcPolicies "GETECPOLICIES",
        GetEcCodecs "GETECCODECS",
        GetServerDefaults "GETSERVERDEFAULTS",
        GetSnapshotDiff "GETSNAPSHOTDIFF",
        GetSnapshotDiffListing "GETSNAPSHOTDIFFLISTING",
        GetSnapshottableDirectoryList "GETSNAPSHOTTABLEDIRECTORYLIST",
        GetSnapshotList "GETSNAPSHOTLIST",
        GetLinkTarget "GETLINKTARGET",
        GetFileLinkStatus "GETFILELINKSTATUS",
        GetStatus "GETSTATUS",
    }
    Put {
        Create "CREATE",
        Mkdirs "MKDIRS",
        CreateSymlink "CREATESYMLINK",
        Rename "RENAME",
        SetReplication "SETREPLICATION",
        SetOwner "SETOWNER",
        SetPermission "SETPERMISSION",
        SetTimes "SETTIMES",
        RenewDelegationToken "RENEWDELEGATIONTOKEN",
        CancelDelegationToken "CANCELDELEGATIONTOKEN",
        ModifyAclEntries "MODIFYACLENTRIES",
        RemoveAclEntries "REMOVEACLENTRIES",
        RemoveDefaultAcl "REMOVEDEFAULTACL",
        RemoveAcl "REMOVEACL",
        SetAcl "SETACL",
        SetXAttr "SETXATTR",
        RemoveXAttr "REMOVEXATTR",
        AllowSnapshot "ALLOWSNAPSHOT",
        DisallowSnapshot "DISALLOWSNAPSHOT",
        CreateSnapshot "CREATESNAPSHOT",
        RenameSnapshot "RENAMESNAPSHOT",
        SetQuota "SETQUOTA",
        SetQuotaByStorageType "SETQUOTABYSTORAGETYPE",
        SetStoragePolicy "SETSTORAGEPOLICY",
        SatisfyStoragePolicy "SATISFYSTORAGEPOLICY",
        EnableEcPolicy "ENABLEECPOLICY",
        DisableEcPolicy "DISABLEECPOLICY",
        SetEcPolicy "SETECPOLICY",
    }
    Post {
        Append "APPEND",
        Concat "CONCAT",
        Truncate "TRUNCATE",
        UnsetStoragePolicy "UNSETSTORAGEPOLICY",
        UnsetEcPolicy "UNSETECPOLICY",
    }
    Delete {
        Delete "DELETE",
        DeleteSnapshot "DELETESNAPSHOT",
    }
}

impl Op {
    /// The operation that a request names.
    ///
    /// # Errors
    /// `IllegalArgumentException` if this method has no such operation, `UnsupportedOperationException` without one.
    pub fn parse(method: HttpMethod, text: Option<&str>) -> Result<Op, RemoteException> {
        let Some(text) = text.filter(|text| !text.is_empty() && !text.eq_ignore_ascii_case("null")) else {
            return Err(RemoteException::new(
                exceptions::UNSUPPORTED_OPERATION,
                "op=NULL is not supported",
            ));
        };
        Op::ALL
            .iter()
            .copied()
            .find(|op| op.http_method() == method && op.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let (class, text) = (method.java(), text.to_uppercase());
                let class = format!("org.apache.hadoop.hdfs.web.resources.{class}OpParam.Op");
                invalid("op", format!("No enum constant {class}.{text}"))
            })
    }
}
