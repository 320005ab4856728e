//! Encoding inodes with all that they have, and the strings that they name by serials.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hathi_formats::editlog::{AclEntry, AclEntryType, XAttr};
use hathi_formats::fsimage::{
    AclBits, ImageWriter, InodeKind, InodeRef, STRING_TABLE_MASK_BITS, SectionName, SerialKind, XAttrNameBits,
};
use hathi_formats::ids::Block;
use hathi_formats::proto::fsimage as pb;
use prost::Message;

use super::super::policy_xattr;
use crate::attributes::Attributes;
use crate::store::strings::Strings;
use crate::tree::inode::InodeRec;

/// The strings of an image: users, groups, and names of extended attributes. Strings that only ACLs name get their serials
/// after those of owners and groups, and attributes while the inodes are written.
pub(super) struct Named {
    users: Strings,
    groups: Strings,
    xattrs: BTreeMap<String, u32>,
}

/// What an inode has beside its record, now or when a snapshot was taken.
#[derive(Default)]
pub(super) struct Features<'a> {
    pub(super) acl: Option<&'a [AclEntry]>,
    pub(super) xattrs: &'a [XAttr],
    /// Of names, of bytes, and by storage type.
    pub(super) quota: Option<(i64, i64, &'a BTreeMap<i32, i64>)>,
    /// Encoded `FileUnderConstructionFeature`.
    pub(super) under_construction: Option<Vec<u8>>,
    /// Of a file.
    pub(super) blocks: &'a [Block],
    /// Of a symlink.
    pub(super) target: &'a [u8],
}

impl Named {
    pub(super) fn new(attributes: &Attributes) -> Named {
        Named {
            users: attributes.users().clone(),
            groups: attributes.groups().clone(),
            xattrs: BTreeMap::new(),
        }
    }

    /// Appends an inode as a delimited message.
    pub(super) fn encode_inode(&mut self, rec: &InodeRec, name: &[u8], features: &Features<'_>, out: &mut Vec<u8>) {
        let acl = features.acl.map(|acl| self.encode_acl(acl));
        let policy = (rec.is_dir() && rec.storage_policy != 0).then(|| policy_xattr(rec.storage_policy));
        let has_xattrs = !features.xattrs.is_empty() || policy.is_some();
        let xattrs = has_xattrs.then(|| self.encode_xattrs(features.xattrs.iter().chain(&policy)));
        let mut inode = InodeRef::new(InodeKind::File, rec.id().0);
        inode.name = name;
        inode.modification_time = rec.mtime();
        inode.permission = rec.perm().0;
        inode.acl = acl.as_deref();
        inode.xattrs = xattrs.as_deref();
        if rec.is_file() {
            inode.access_time = rec.atime();
            match rec.erasure_coding_policy() {
                None => inode.replication = u32::from(rec.replication()),
                Some(policy) => {
                    inode.striped = true;
                    inode.erasure_coding_policy_id = u32::from(policy.0);
                }
            }
            inode.preferred_block_size = rec.block_size();
            inode.storage_policy_id = u32::from(rec.storage_policy);
            inode.under_construction = features.under_construction.as_deref();
            inode.encode(features.blocks, out);
        } else if rec.is_dir() {
            let (ns, ds, types) = features
                .quota
                .map_or((-1, -1, None), |(ns, ds, types)| (ns, ds, Some(types)));
            let types = types.filter(|types| !types.is_empty()).map(encode_type_quotas);
            inode.kind = InodeKind::Directory;
            inode.ns_quota = ns as u64;
            inode.ds_quota = ds as u64;
            inode.type_quotas = types.as_deref();
            inode.encode(&[], out);
        } else {
            inode.kind = InodeKind::Symlink;
            inode.access_time = rec.atime();
            inode.target = features.target;
            inode.encode(&[], out);
        }
    }

    fn encode_acl(&mut self, acl: &[AclEntry]) -> Vec<u8> {
        let entries = acl
            .iter()
            .map(|entry| {
                let name = match (&entry.name, entry.entry_type) {
                    (Some(name), AclEntryType::User) => self.users.intern(name),
                    (Some(name), AclEntryType::Group) => self.groups.intern(name),
                    _ => 0,
                };
                AclBits {
                    scope: entry.scope,
                    entry_type: entry.entry_type,
                    permission: entry.permission,
                    name,
                }
                .pack()
            })
            .collect();
        pb::i_node_section::AclFeatureProto { entries }.encode_to_vec()
    }

    fn encode_xattrs<'a>(&mut self, xattrs: impl Iterator<Item = &'a XAttr>) -> Vec<u8> {
        let x_attrs = xattrs
            .map(|xattr| pb::i_node_section::XAttrCompactProto {
                name: XAttrNameBits {
                    namespace: xattr.namespace,
                    name: self.xattr_serial(&xattr.name),
                }
                .pack(),
                value: xattr.value.clone().map(Into::into),
            })
            .collect();
        pb::i_node_section::XAttrFeatureProto { x_attrs }.encode_to_vec()
    }

    fn xattr_serial(&mut self, name: &str) -> u32 {
        if let Some(serial) = self.xattrs.get(name) {
            return *serial;
        }
        let serial = self.xattrs.len() as u32 + 1;
        self.xattrs.insert(name.to_owned(), serial);
        serial
    }

    /// Writes the section of the strings, the last one.
    pub(super) fn save<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let users = self.users.iter().map(|(serial, name)| (SerialKind::User, serial, name));
        let groups = self
            .groups
            .iter()
            .map(|(serial, name)| (SerialKind::Group, serial, name));
        let xattrs = self
            .xattrs
            .iter()
            .map(|(name, serial)| (SerialKind::XAttr, *serial, name.as_str()));
        let all: Vec<(SerialKind, u32, &str)> = users.chain(groups).chain(xattrs).collect();
        w.begin(SectionName::StringTable);
        w.message(&pb::StringTableSection {
            num_entry: Some(all.len() as u32),
            mask_bits: Some(STRING_TABLE_MASK_BITS),
        })?;
        for (kind, serial, name) in all {
            w.message(&pb::string_table_section::Entry {
                id: Some(kind.table_id(serial)),
                str: Some(name.to_owned()),
            })?;
        }
        w.end();
        Ok(())
    }
}

fn encode_type_quotas(types: &BTreeMap<i32, i64>) -> Vec<u8> {
    let quotas = types
        .iter()
        .filter_map(|(ordinal, bytes)| {
            Some(pb::i_node_section::QuotaByStorageTypeEntryProto {
                storage_type: crate::ops::storage_type_number(*ordinal)?,
                quota: *bytes as u64,
            })
        })
        .collect();
    pb::i_node_section::QuotaByStorageTypeFeatureProto { quotas }.encode_to_vec()
}
