//! Values that fields of ops have.

/// The RPC call that an op answers (`FSEditLogOp.rpcClientId`, `rpcCallId`). A replay fills the retry cache with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RpcIds {
    /// The client id, or `None` when the op came from no retryable call.
    pub client_id: Option<[u8; 16]>,
    /// The call id; [`RpcIds::INVALID_CALL_ID`] when there is none.
    pub call_id: i32,
}

impl RpcIds {
    /// `RpcConstants.INVALID_CALL_ID`.
    pub const INVALID_CALL_ID: i32 = -2;
    /// No call: an empty client id and call id -2.
    pub const NONE: RpcIds = RpcIds {
        client_id: None,
        call_id: RpcIds::INVALID_CALL_ID,
    };

    /// The ids of a call.
    #[must_use]
    pub const fn new(client_id: [u8; 16], call_id: i32) -> Self {
        RpcIds {
            client_id: Some(client_id),
            call_id,
        }
    }

    /// Both ids, if they name a call for the retry cache (`FSEditLogOp.hasRpcIds`).
    #[must_use]
    pub fn get(&self) -> Option<([u8; 16], i32)> {
        match self.client_id {
            Some(id) if self.call_id != RpcIds::INVALID_CALL_ID => Some((id, self.call_id)),
            _ => None,
        }
    }
}

impl Default for RpcIds {
    fn default() -> Self {
        RpcIds::NONE
    }
}

/// Subject of an ACL entry (`AclEntryType`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AclEntryType {
    /// The owner, or a named user.
    User = 0,
    /// The owning group, or a named group.
    Group = 1,
    /// The upper bound for named users and all groups.
    Mask = 2,
    /// Everybody else.
    Other = 3,
}

impl AclEntryType {
    /// From the low two bits of `value`.
    #[must_use]
    pub const fn from_bits(value: u32) -> AclEntryType {
        match value & 3 {
            0 => AclEntryType::User,
            1 => AclEntryType::Group,
            2 => AclEntryType::Mask,
            _ => AclEntryType::Other,
        }
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AclEntryType::User => "USER",
            AclEntryType::Group => "GROUP",
            AclEntryType::Mask => "MASK",
            AclEntryType::Other => "OTHER",
        }
    }
}

/// Scope of an ACL entry (`AclEntryScope`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum AclEntryScope {
    /// For the inode itself.
    Access = 0,
    /// For children created in the directory.
    Default = 1,
}

impl AclEntryScope {
    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AclEntryScope::Access => "ACCESS",
            AclEntryScope::Default => "DEFAULT",
        }
    }
}

/// The text of three permission bits (`FsAction.SYMBOL`), for example `rw-`.
#[must_use]
pub const fn fs_action_symbol(bits: u8) -> &'static str {
    match bits & 7 {
        0 => "---",
        1 => "--x",
        2 => "-w-",
        3 => "-wx",
        4 => "r--",
        5 => "r-x",
        6 => "rw-",
        _ => "rwx",
    }
}

/// The three permission bits of a text as [`fs_action_symbol`] makes it.
#[must_use]
pub fn fs_action_bits(symbol: &str) -> Option<u8> {
    (0..8).find(|bits| fs_action_symbol(*bits) == symbol)
}

/// One ACL entry (`AclEntry`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclEntry {
    /// Access or default.
    pub scope: AclEntryScope,
    /// User, group, mask or other.
    pub entry_type: AclEntryType,
    /// The named user or group.
    pub name: Option<String>,
    /// Permission bits, 0 to 7.
    pub permission: u8,
}

/// An extended attribute (`XAttr`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct XAttr {
    /// The namespace.
    pub namespace: XAttrNamespace,
    /// The name without its namespace prefix.
    pub name: String,
    /// The value; `None` when absent, as in a removal.
    pub value: Option<Vec<u8>>,
}

/// Namespace of an extended attribute (`XAttr.NameSpace`). The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum XAttrNamespace {
    /// `user.`
    User = 0,
    /// `trusted.`
    Trusted = 1,
    /// `security.`
    Security = 2,
    /// `system.`
    System = 3,
    /// `raw.`
    Raw = 4,
}

impl XAttrNamespace {
    /// From the number in a message or a packed name.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<XAttrNamespace> {
        Some(match number {
            0 => XAttrNamespace::User,
            1 => XAttrNamespace::Trusted,
            2 => XAttrNamespace::Security,
            3 => XAttrNamespace::System,
            4 => XAttrNamespace::Raw,
            _ => return None,
        })
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            XAttrNamespace::User => "USER",
            XAttrNamespace::Trusted => "TRUSTED",
            XAttrNamespace::Security => "SECURITY",
            XAttrNamespace::System => "SYSTEM",
            XAttrNamespace::Raw => "RAW",
        }
    }

    /// From Java's name of the constant.
    #[must_use]
    pub fn from_name(name: &str) -> Option<XAttrNamespace> {
        (0..5)
            .filter_map(XAttrNamespace::from_number)
            .find(|namespace| namespace.name() == name)
    }
}

/// Options of a rename (`Options.Rename`) as `OP_RENAME` carries them. The discriminants are those on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RenameOption {
    /// No option.
    None = 0,
    /// Replace an existing destination.
    Overwrite = 1,
    /// A move to the trash.
    ToTrash = 2,
}

impl RenameOption {
    /// From its byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<RenameOption> {
        Some(match code {
            0 => RenameOption::None,
            1 => RenameOption::Overwrite,
            2 => RenameOption::ToTrash,
            _ => return None,
        })
    }

    /// Java's name of the constant.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RenameOption::None => "NONE",
            RenameOption::Overwrite => "OVERWRITE",
            RenameOption::ToTrash => "TO_TRASH",
        }
    }
}
