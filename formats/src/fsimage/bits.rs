//! Numbers in which the serial of a string is packed with other bits: ACL entries, names of extended attributes, ids of
//! the string table.

use crate::editlog::{AclEntryScope, AclEntryType, XAttrNamespace};

use super::STRING_KIND_SHIFT;

/// Serials in ACL entries and attributes have 24 bits.
const SERIAL_MASK: u32 = (1 << 24) - 1;

/// Kind of a string in the string table. Each kind has its own serials, from 1. Serial 0 means no string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SerialKind {
    /// Unused.
    Global = 0,
    /// A user's name.
    User = 1,
    /// A group's name.
    Group = 2,
    /// The name of an extended attribute.
    XAttr = 3,
}

impl SerialKind {
    /// The id of a string in the table.
    #[must_use]
    pub const fn table_id(self, serial: u32) -> u32 {
        serial | ((self as u32) << STRING_KIND_SHIFT)
    }

    /// Kind and serial of an id. With `mask_bits` 0 (layouts before -65) all kinds share one table, and the kind is
    /// `None`.
    #[must_use]
    pub const fn split(id: u32, mask_bits: u32) -> Option<(Option<SerialKind>, u32)> {
        if mask_bits == 0 {
            return Some((None, id));
        }
        let serial_bits = match u32::BITS.checked_sub(mask_bits) {
            Some(0) | None => return None,
            Some(bits) => bits,
        };
        let kind = match id >> serial_bits {
            0 => SerialKind::Global,
            1 => SerialKind::User,
            2 => SerialKind::Group,
            3 => SerialKind::XAttr,
            _ => return None,
        };
        Some((Some(kind), id & !(u32::MAX << serial_bits)))
    }
}

/// `AclEntryStatusFormat`: permission in bits 0 to 2, type in 3 and 4, scope in 5, name serial in 6 to 29.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AclBits {
    /// Access or default.
    pub scope: AclEntryScope,
    /// User, group, mask or other.
    pub entry_type: AclEntryType,
    /// Three permission bits.
    pub permission: u8,
    /// Serial of the user's or group's name. 0 is none.
    pub name: u32,
}

impl AclBits {
    /// From the packed form.
    #[must_use]
    pub const fn unpack(packed: u32) -> AclBits {
        AclBits {
            scope: if packed & 1 << 5 == 0 {
                AclEntryScope::Access
            } else {
                AclEntryScope::Default
            },
            entry_type: AclEntryType::from_bits(packed >> 3),
            permission: (packed & 7) as u8,
            name: (packed >> 6) & SERIAL_MASK,
        }
    }

    /// The packed form.
    #[must_use]
    pub const fn pack(self) -> u32 {
        (self.permission as u32 & 7)
            | ((self.entry_type as u32) << 3)
            | ((self.scope as u32) << 5)
            | ((self.name & SERIAL_MASK) << 6)
    }
}

/// `XAttrFormat`: the namespace's high bit in bit 5, name serial in 6 to 29, its low bits in 30 and 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XAttrNameBits {
    /// The namespace.
    pub namespace: XAttrNamespace,
    /// Serial of the name.
    pub name: u32,
}

impl XAttrNameBits {
    /// From the packed form; `None` for a namespace that does not exist.
    #[must_use]
    pub const fn unpack(packed: u32) -> Option<XAttrNameBits> {
        let number = (packed >> 30) | ((packed >> 5 & 1) << 2);
        match XAttrNamespace::from_number(number as i32) {
            Some(namespace) => Some(XAttrNameBits {
                namespace,
                name: (packed >> 6) & SERIAL_MASK,
            }),
            None => None,
        }
    }

    /// The packed form.
    #[must_use]
    pub const fn pack(self) -> u32 {
        let number = self.namespace as u32;
        ((number & 3) << 30) | ((number >> 2) << 5) | ((self.name & SERIAL_MASK) << 6)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fsimage::STRING_TABLE_MASK_BITS;

    proptest! {
        #[test]
        fn packed_forms_round_trip(acl in 0..1_u32 << 30, xattr: u32, serial in 0..1_u32 << 29) {
            prop_assert_eq!(AclBits::unpack(acl).pack(), acl);
            if let Some(bits) = XAttrNameBits::unpack(xattr) {
                prop_assert_eq!(bits.pack(), xattr & !0x1F);
            }
            let id = SerialKind::Group.table_id(serial);
            prop_assert_eq!(SerialKind::split(id, STRING_TABLE_MASK_BITS), Some((Some(SerialKind::Group), serial)));
        }
    }

    #[test]
    fn raw_namespace_uses_the_high_bit() {
        let bits = XAttrNameBits {
            namespace: XAttrNamespace::Raw,
            name: 1,
        };
        assert_eq!(bits.pack(), 1 << 6 | 1 << 5);
    }
}
