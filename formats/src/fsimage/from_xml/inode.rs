//! Inodes of the XML.

use std::io::{BufRead, Write};

use super::super::{AclBits, SerialKind, XAttrNameBits, permission_bits};
use super::{Maker, Result, STRINGS_MAX, long};
use crate::editlog::{AclEntryScope, AclEntryType, XAttrNamespace, fs_action_bits};
use crate::proto::fsimage::i_node_section as section;
use crate::proto::fsimage::{self as pb, i_node_section::i_node::Type};
use crate::proto::hdfs::{BlockProto, BlockTypeProto, StorageTypeProto};
use crate::xml_tree::{Node, XmlError, from_hex};

/// Low bits of a striped block's id that are the position in its group.
const POSITION_MASK: i64 = 15;

impl<R: BufRead, W: Write> Maker<R, W> {
    pub(super) fn inodes(&mut self) -> Result {
        let mut head = self.xml.until("INodeSection", &["inode"])?;
        let num_inodes: u64 = head.require_number("numInodes")?;
        let header = pb::INodeSection {
            last_inode_id: long(&mut head, "lastInodeId")?,
            num_inodes: Some(num_inodes),
        };
        head.done()?;
        self.out.message(&header)?;
        for _ in 0..num_inodes {
            let mut node = self.require_record("inode")?;
            let inode = self.inode(&mut node)?;
            self.out.message(&inode)?;
        }
        Ok(self.xml.close()?)
    }

    pub(super) fn inode(&mut self, node: &mut Node) -> Result<section::INode> {
        let kind = node.require_text("type")?;
        let mut inode = section::INode {
            id: node.require_number::<i64>("id")?.cast_unsigned(),
            name: Some(node.take_text("name").unwrap_or_default().into_bytes().into()),
            ..section::INode::default()
        };
        match kind.as_str() {
            "FILE" => {
                inode.set_type(Type::File);
                inode.file = Some(self.file(node)?);
            }
            "DIRECTORY" => {
                inode.set_type(Type::Directory);
                inode.directory = Some(self.directory(node)?);
            }
            "SYMLINK" => {
                inode.set_type(Type::Symlink);
                inode.symlink = Some(section::INodeSymlink {
                    permission: self.permission(node)?,
                    target: node.take_text("target").map(|target| target.into_bytes().into()),
                    modification_time: long(node, "mtime")?,
                    access_time: long(node, "atime")?,
                });
            }
            other => {
                return Err(node
                    .error(format!("INode XML found with unknown <type> tag {other}"))
                    .into());
            }
        }
        node.done()?;
        Ok(inode)
    }

    pub(super) fn file(&mut self, node: &mut Node) -> Result<section::INodeFile> {
        let replication = node.take_number("replication")?;
        let mut file = section::INodeFile {
            replication,
            modification_time: long(node, "mtime")?,
            access_time: long(node, "atime")?,
            preferred_block_size: long(node, "preferredBlockSize")?,
            permission: self.permission(node)?,
            x_attrs: self.xattrs(node)?,
            acl: self.acl(node)?,
            blocks: blocks(node)?,
            storage_policy_id: node.take_number("storagePolicyId")?,
            ..section::INodeFile::default()
        };
        if let Some(kind) = node.take_text("blockType") {
            let kind = BlockTypeProto::from_str_name(&kind)
                .ok_or_else(|| node.error(format!("INode XML found with unknown <blocktype> {kind}")))?;
            file.set_block_type(kind);
            file.erasure_coding_policy_id = node.take_number("erasureCodingPolicyId")?;
            if kind == BlockTypeProto::Striped {
                // What is printed for a striped file is no factor of its own.
                file.replication = None;
                let groups = file
                    .blocks
                    .iter()
                    .map(|block| block.block_id.cast_signed() & !POSITION_MASK);
                self.last_striped_block = self.last_striped_block.max(groups.max());
            }
        }
        if let Some(mut writer) = node.take("file-under-construction") {
            file.file_uc = Some(section::FileUnderConstructionFeature {
                client_name: Some(writer.require_text("clientName")?),
                client_machine: Some(writer.require_text("clientMachine")?),
                ..section::FileUnderConstructionFeature::default()
            });
            writer.done()?;
        }
        Ok(file)
    }

    pub(super) fn directory(&mut self, node: &mut Node) -> Result<section::INodeDirectory> {
        let mut directory = section::INodeDirectory {
            modification_time: long(node, "mtime")?,
            ns_quota: long(node, "nsquota")?,
            ds_quota: long(node, "dsquota")?,
            permission: self.permission(node)?,
            x_attrs: self.xattrs(node)?,
            acl: self.acl(node)?,
            type_quotas: None,
        };
        let mut quotas = Vec::new();
        for mut quota in node.take_all("typeQuota") {
            let kind = quota.require_text("type")?;
            let kind = StorageTypeProto::from_str_name(&kind)
                .ok_or_else(|| quota.error(format!("<typeQuota> had unknown <type> {kind}")))?;
            quotas.push(section::QuotaByStorageTypeEntryProto {
                storage_type: kind.into(),
                quota: quota.require_number::<i64>("quota")?.cast_unsigned(),
            });
            quota.done()?;
        }
        if !quotas.is_empty() {
            directory.type_quotas = Some(section::QuotaByStorageTypeFeatureProto { quotas });
        }
        Ok(directory)
    }

    fn serial(&mut self, node: &Node, kind: SerialKind, text: &str) -> Result<u32> {
        let too_many = || node.error(format!("more than {STRINGS_MAX} different strings"));
        Ok(self.strings.serial(kind, text).ok_or_else(too_many)?)
    }

    /// `user:group:mode`. A user's name may have a colon in other systems, so the last two parts are cut off first.
    fn permission(&mut self, node: &mut Node) -> Result<Option<u64>> {
        let Some(text) = node.take_text("permission") else {
            return Ok(None);
        };
        let parts: Vec<&str> = text.rsplitn(3, ':').collect();
        let [mode, group, user] = parts.as_slice() else {
            let problem = format!("Unable to parse permission string {text}: expected 3 components");
            return Err(node.error(problem).into());
        };
        let mode = u16::from_str_radix(mode, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| node.error(format!("{mode} is not a mode")))?;
        let user = self.serial(node, SerialKind::User, user)?;
        let group = self.serial(node, SerialKind::Group, group)?;
        Ok(Some(permission_bits(user, group, mode)))
    }

    fn acl(&mut self, node: &mut Node) -> Result<Option<section::AclFeatureProto>> {
        let Some(mut acls) = node.take("acls") else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        for acl in acls.take_all("acl") {
            entries.push(self.acl_entry(&acl)?);
        }
        acls.done()?;
        Ok(Some(section::AclFeatureProto { entries }))
    }

    /// `[default:]type:name:rwx`
    fn acl_entry(&mut self, acl: &Node) -> Result<u32> {
        let wrong = || acl.error(format!("{:?} is no ACL entry", acl.text));
        let (scope, rest) = match acl.text.strip_prefix("default:") {
            Some(rest) => (AclEntryScope::Default, rest),
            None => (AclEntryScope::Access, acl.text.as_str()),
        };
        let (kind, rest) = rest.split_once(':').ok_or_else(wrong)?;
        let (name, action) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let (entry_type, strings) = match kind {
            "user" => (AclEntryType::User, Some(SerialKind::User)),
            "group" => (AclEntryType::Group, Some(SerialKind::Group)),
            "mask" => (AclEntryType::Mask, None),
            "other" => (AclEntryType::Other, None),
            _ => return Err(wrong().into()),
        };
        let name = match (name, strings) {
            ("", _) => 0,
            (name, Some(strings)) => self.serial(acl, strings, name)?,
            (_, None) => return Err(wrong().into()),
        };
        let bits = AclBits {
            scope,
            entry_type,
            permission: fs_action_bits(action).ok_or_else(wrong)?,
            name,
        };
        Ok(bits.pack())
    }

    fn xattrs(&mut self, node: &mut Node) -> Result<Option<section::XAttrFeatureProto>> {
        let Some(mut all) = node.take("xattrs") else {
            return Ok(None);
        };
        let mut x_attrs = Vec::new();
        for mut xattr in all.take_all("xattr") {
            let namespace = xattr.require_text("ns")?;
            let namespace = XAttrNamespace::from_name(&namespace)
                .ok_or_else(|| xattr.error(format!("{namespace} is no namespace")))?;
            let name = xattr.require_text("name")?;
            let value = match (xattr.take_text("val"), xattr.take_text("valHex")) {
                (Some(text), None) => text.into_bytes(),
                (None, Some(hex)) => from_hex(&hex).ok_or_else(|| xattr.error(format!("{hex:?} are no hex digits")))?,
                _ => return Err(xattr.error("<xattr> had no <val> or <valHex> entry.").into()),
            };
            xattr.done()?;
            let bits = XAttrNameBits {
                namespace,
                name: self.serial(&xattr, SerialKind::XAttr, &name)?,
            };
            x_attrs.push(section::XAttrCompactProto {
                name: bits.pack(),
                value: Some(value.into()),
            });
        }
        all.done()?;
        Ok(Some(section::XAttrFeatureProto { x_attrs }))
    }
}

/// The blocks of a file, or of a difference.
pub(super) fn blocks(node: &mut Node) -> std::result::Result<Vec<BlockProto>, XmlError> {
    let Some(mut all) = node.take("blocks") else {
        return Ok(Vec::new());
    };
    let mut blocks = Vec::new();
    for mut block in all.take_all("block") {
        blocks.push(BlockProto {
            block_id: block.require_number::<i64>("id")?.cast_unsigned(),
            gen_stamp: block.require_number::<i64>("genstamp")?.cast_unsigned(),
            num_bytes: Some(block.require_number::<i64>("numBytes")?.cast_unsigned()),
        });
        block.done()?;
    }
    all.done()?;
    Ok(blocks)
}
