//! An image as the XML of Hadoop's offline image viewer (`PBImageXmlWriter`), byte for byte except for the revision.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write};

use super::dates::iso_date;
use super::{
    AclBits, Image, ImageError, MessageReader, ReadAt, SectionName, SerialKind, XAttrNameBits, permission_parts,
};
use crate::editlog::{AclEntryScope, fs_action_symbol};
use crate::erasure_coding;
use crate::proto::fsimage as pb;
use crate::proto::fsimage::i_node_section::{AclFeatureProto, INode, INodeDirectory, INodeFile, XAttrFeatureProto};
use crate::proto::hdfs as hdfs_pb;

/// `INodeFile.DEFAULT_REPL_FOR_STRIPED_BLOCKS`, printed for striped files.
const STRIPED_REPLICATION: u32 = 1;

/// Why an image cannot be printed.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The image is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The output could not be written.
    #[error("cannot write the output")]
    Write(#[from] io::Error),
}

type Result = std::result::Result<(), DumpError>;

/// The strings of an image, by kind and serial.
#[derive(Clone, Debug, Default)]
pub struct StringTable {
    mask_bits: u32,
    strings: BTreeMap<u32, String>,
}

impl StringTable {
    /// Reads an image's string table.
    pub fn load<F: ReadAt + ?Sized>(image: &Image<'_, F>) -> std::result::Result<StringTable, ImageError> {
        let mut table = StringTable::default();
        let Some(section) = image.section(SectionName::StringTable) else {
            return Ok(table);
        };
        let mut messages = image.messages(section);
        let header: pb::StringTableSection = messages.require()?;
        table.mask_bits = header.mask_bits();
        for _ in 0..header.num_entry() {
            let entry: pb::string_table_section::Entry = messages.require()?;
            table.strings.insert(entry.id(), entry.str().to_owned());
        }
        Ok(table)
    }

    /// The string of a serial. `None` for serial 0 and for a serial that is not in the table.
    #[must_use]
    pub fn get(&self, kind: SerialKind, serial: u32) -> Option<&str> {
        let id = if self.mask_bits == 0 {
            serial
        } else {
            kind.table_id(serial)
        };
        self.strings.get(&id).map(String::as_str)
    }
}

/// Prints an image as XML. `revision` stands where Hadoop's viewer names its own source revision.
pub fn write_xml<F: ReadAt + ?Sized>(image: &Image<'_, F>, revision: &str, out: impl Write) -> Result {
    let mut dump = Dump {
        out,
        strings: StringTable::load(image)?,
    };
    dump.raw("<?xml version=\"1.0\"?>\n<fsimage><version>")?;
    dump.text("layoutVersion", image.layout_version())?;
    dump.text("onDiskVersion", super::ON_DISK_VERSION)?;
    dump.text("oivRevision", revision)?;
    dump.raw("</version>\n")?;
    for section in image.sections() {
        let mut messages = image.messages(*section);
        match section.name {
            SectionName::NsInfo => dump.name_section(&mut messages)?,
            SectionName::ErasureCoding => dump.erasure_coding(&mut messages)?,
            SectionName::Inode => dump.inodes(&mut messages)?,
            SectionName::InodeReference => dump.references(&mut messages)?,
            SectionName::InodeDir => dump.directories(&mut messages)?,
            SectionName::FilesUnderConstruction => dump.files_under_construction(&mut messages)?,
            SectionName::Snapshot => dump.snapshots(&mut messages)?,
            SectionName::SnapshotDiff => dump.snapshot_diffs(&mut messages)?,
            SectionName::SecretManager => dump.secrets(&mut messages)?,
            SectionName::CacheManager => dump.cache(&mut messages)?,
            SectionName::StringTable
            | SectionName::ExtendedAcl
            | SectionName::InodeSub
            | SectionName::InodeReferenceSub
            | SectionName::InodeDirSub
            | SectionName::SnapshotDiffSub => {}
        }
    }
    dump.raw("</fsimage>\n")?;
    dump.out.flush()?;
    Ok(())
}

struct Dump<W> {
    out: W,
    strings: StringTable,
}

impl<W: Write> Dump<W> {
    fn raw(&mut self, text: &str) -> Result {
        Ok(self.out.write_all(text.as_bytes())?)
    }

    /// An element around a value, which is mangled and escaped.
    fn text(&mut self, name: &str, value: impl Display) -> Result {
        write!(self.out, "<{name}>")?;
        let text = value.to_string();
        put_mangled(&mut self.out, &text)?;
        write!(self.out, "</{name}>")?;
        Ok(())
    }

    fn bytes(&mut self, name: &str, value: &[u8]) -> Result {
        self.text(name, String::from_utf8_lossy(value))
    }

    /// An element that is written only if `value` is true.
    fn flag(&mut self, name: &str, value: bool) -> Result {
        if value { self.raw(&format!("<{name}/>")) } else { Ok(()) }
    }

    fn name_section<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        let section: pb::NameSystemSection = messages.require()?;
        self.raw("<NameSection>")?;
        self.text("namespaceId", section.namespace_id() as i32)?;
        self.text("genstampV1", section.genstamp_v1() as i64)?;
        self.text("genstampV2", section.genstamp_v2() as i64)?;
        self.text("genstampV1Limit", section.genstamp_v1_limit() as i64)?;
        self.text("lastAllocatedBlockId", section.last_allocated_block_id() as i64)?;
        self.text("txid", section.transaction_id() as i64)?;
        self.raw("</NameSection>\n")
    }

    fn erasure_coding<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        let section: pb::ErasureCodingSection = messages.require()?;
        if section.policies.is_empty() {
            return Ok(());
        }
        self.raw("<ErasureCodingSection>\n")?;
        for policy in &section.policies {
            self.policy(policy)?;
        }
        self.raw("</ErasureCodingSection>\n\n")
    }

    fn policy(&mut self, policy: &hdfs_pb::ErasureCodingPolicyProto) -> Result {
        let policy = erasure_coding::whole(policy);
        self.raw("<erasureCodingPolicy>\n")?;
        self.text("policyId", policy.id as i32)?;
        self.text("policyName", policy.name())?;
        self.text("cellSize", policy.cell_size())?;
        self.text("policyState", erasure_coding::state_name(&policy))?;
        self.raw("<ecSchema>\n")?;
        if let Some(schema) = &policy.schema {
            self.text("codecName", &schema.codec_name)?;
            self.text("dataUnits", schema.data_units)?;
            self.text("parityUnits", schema.parity_units)?;
            if !schema.options.is_empty() {
                self.raw("<extraOptions>\n")?;
                for option in &schema.options {
                    self.raw("<option>\n")?;
                    self.text("key", &option.key)?;
                    self.text("value", &option.value)?;
                    self.raw("</option>\n")?;
                }
                self.raw("</extraOptions>\n")?;
            }
        }
        self.raw("</ecSchema>\n</erasureCodingPolicy>\n\n")
    }

    fn inodes<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        let section: pb::INodeSection = messages.require()?;
        self.raw("<INodeSection>")?;
        self.text("lastInodeId", section.last_inode_id() as i64)?;
        self.text("numInodes", section.num_inodes() as i64)?;
        for _ in 0..section.num_inodes() {
            let inode: INode = messages.require()?;
            self.raw("<inode>")?;
            self.inode(&inode)?;
            self.raw("</inode>\n")?;
        }
        self.raw("</INodeSection>\n")
    }

    fn inode(&mut self, inode: &INode) -> Result {
        self.text("id", inode.id as i64)?;
        self.text("type", inode.r#type().as_str_name())?;
        self.bytes("name", inode.name())?;
        if let Some(file) = &inode.file {
            self.file(file)
        } else if let Some(directory) = &inode.directory {
            self.directory(directory)
        } else if let Some(symlink) = &inode.symlink {
            self.permission(symlink.permission())?;
            self.bytes("target", symlink.target())?;
            self.text("mtime", symlink.modification_time() as i64)?;
            self.text("atime", symlink.access_time() as i64)
        } else {
            Ok(())
        }
    }

    fn file(&mut self, file: &INodeFile) -> Result {
        let striped = file.erasure_coding_policy_id.is_some();
        self.text(
            "replication",
            if striped {
                STRIPED_REPLICATION
            } else {
                file.replication()
            },
        )?;
        self.text("mtime", file.modification_time() as i64)?;
        self.text("atime", file.access_time() as i64)?;
        self.text("preferredBlockSize", file.preferred_block_size() as i64)?;
        self.permission(file.permission())?;
        self.xattrs(file.x_attrs.as_ref())?;
        self.acl(file.acl.as_ref())?;
        self.blocks(&file.blocks)?;
        if let Some(policy) = file.storage_policy_id {
            self.text("storagePolicyId", policy as i32)?;
        }
        if let Some(policy) = file.erasure_coding_policy_id {
            self.text("blockType", file.block_type().as_str_name())?;
            self.text("erasureCodingPolicyId", policy as i32)?;
        }
        if let Some(writer) = &file.file_uc {
            self.raw("<file-under-construction>")?;
            self.text("clientName", writer.client_name())?;
            self.text("clientMachine", writer.client_machine())?;
            self.raw("</file-under-construction>\n")?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &INodeDirectory) -> Result {
        self.text("mtime", directory.modification_time() as i64)?;
        self.permission(directory.permission())?;
        self.xattrs(directory.x_attrs.as_ref())?;
        self.acl(directory.acl.as_ref())?;
        if let (Some(ds_quota), Some(ns_quota)) = (directory.ds_quota, directory.ns_quota) {
            self.text("nsquota", ns_quota as i64)?;
            self.text("dsquota", ds_quota as i64)?;
        }
        for quota in directory.type_quotas.iter().flat_map(|quotas| &quotas.quotas) {
            self.raw("<typeQuota>")?;
            self.text("type", quota.storage_type().as_str_name())?;
            self.text("quota", quota.quota as i64)?;
            self.raw("</typeQuota>")?;
        }
        Ok(())
    }

    fn permission(&mut self, permission: u64) -> Result {
        let (user, group, mode) = permission_parts(permission);
        let name = |kind, serial| self.strings.get(kind, serial).unwrap_or("null").to_owned();
        let (user, group) = (name(SerialKind::User, user), name(SerialKind::Group, group));
        self.text("permission", format_args!("{user}:{group}:{:04o}", mode & 0o1777))
    }

    fn xattrs(&mut self, xattrs: Option<&XAttrFeatureProto>) -> Result {
        let Some(xattrs) = xattrs else { return Ok(()) };
        self.raw("<xattrs>")?;
        for xattr in &xattrs.x_attrs {
            self.raw("<xattr>")?;
            if let Some(name) = XAttrNameBits::unpack(xattr.name) {
                self.text("ns", name.namespace.name())?;
                let text = self
                    .strings
                    .get(SerialKind::XAttr, name.name)
                    .unwrap_or("null")
                    .to_owned();
                self.text("name", text)?;
            }
            match std::str::from_utf8(xattr.value()) {
                Ok(text) => self.text("val", text)?,
                Err(_) => {
                    let hex: String = xattr.value().iter().map(|byte| format!("{byte:02x}")).collect();
                    self.text("valHex", hex)?;
                }
            }
            self.raw("</xattr>")?;
        }
        self.raw("</xattrs>")
    }

    fn acl(&mut self, acl: Option<&AclFeatureProto>) -> Result {
        let Some(acl) = acl.filter(|acl| !acl.entries.is_empty()) else {
            return Ok(());
        };
        self.raw("<acls>")?;
        for entry in &acl.entries {
            let entry = AclBits::unpack(*entry);
            let scope = match entry.scope {
                AclEntryScope::Access => "",
                AclEntryScope::Default => "default:",
            };
            let kind = entry.entry_type.name();
            let name = match kind {
                "USER" => self.strings.get(SerialKind::User, entry.name),
                "GROUP" => self.strings.get(SerialKind::Group, entry.name),
                _ => None,
            };
            let text = format!(
                "{scope}{}:{}:{}",
                kind.to_ascii_lowercase(),
                name.unwrap_or_default(),
                fs_action_symbol(entry.permission)
            );
            self.text("acl", text)?;
        }
        self.raw("</acls>")
    }

    fn blocks(&mut self, blocks: &[hdfs_pb::BlockProto]) -> Result {
        if blocks.is_empty() {
            return Ok(());
        }
        self.raw("<blocks>")?;
        for block in blocks {
            self.raw("<block>")?;
            self.text("id", block.block_id as i64)?;
            self.text("genstamp", block.gen_stamp as i64)?;
            self.text("numBytes", block.num_bytes() as i64)?;
            self.raw("</block>\n")?;
        }
        self.raw("</blocks>\n")
    }

    fn references<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        self.raw("<INodeReferenceSection>")?;
        while let Some(reference) = messages.next_message::<pb::i_node_reference_section::INodeReference>()? {
            self.raw("<ref>")?;
            self.text("referredId", reference.referred_id() as i64)?;
            self.bytes("name", reference.name())?;
            self.text("dstSnapshotId", reference.dst_snapshot_id() as i32)?;
            self.text("lastSnapshotId", reference.last_snapshot_id() as i32)?;
            self.raw("</ref>\n")?;
        }
        self.raw("</INodeReferenceSection>")
    }

    fn directories<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        self.raw("<INodeDirectorySection>")?;
        while let Some(entry) = messages.next_message::<pb::i_node_directory_section::DirEntry>()? {
            self.raw("<directory>")?;
            self.text("parent", entry.parent() as i64)?;
            for child in &entry.children {
                self.text("child", *child as i64)?;
            }
            for reference in &entry.ref_children {
                self.text("refChild", *reference as i32)?;
            }
            self.raw("</directory>\n")?;
        }
        self.raw("</INodeDirectorySection>\n")
    }

    fn files_under_construction<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        use pb::files_under_construction_section::FileUnderConstructionEntry;
        self.raw("<FileUnderConstructionSection>")?;
        while let Some(entry) = messages.next_message::<FileUnderConstructionEntry>()? {
            self.raw("<inode>")?;
            self.text("id", entry.inode_id() as i64)?;
            self.text("path", entry.full_path())?;
            self.raw("</inode>\n")?;
        }
        self.raw("</FileUnderConstructionSection>\n")
    }

    fn snapshots<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        let section: pb::SnapshotSection = messages.require()?;
        self.raw("<SnapshotSection>")?;
        self.text("snapshotCounter", section.snapshot_counter() as i32)?;
        self.text("numSnapshots", section.num_snapshots() as i32)?;
        if !section.snapshottable_dir.is_empty() {
            self.raw("<snapshottableDir>")?;
            for id in &section.snapshottable_dir {
                self.text("dir", *id as i64)?;
            }
            self.raw("</snapshottableDir>\n")?;
        }
        for _ in 0..section.num_snapshots() {
            let snapshot: pb::snapshot_section::Snapshot = messages.require()?;
            self.raw("<snapshot>")?;
            self.text("id", snapshot.snapshot_id() as i32)?;
            self.raw("<root>")?;
            self.inode(&snapshot.root.unwrap_or_default())?;
            self.raw("</root></snapshot>")?;
        }
        self.raw("</SnapshotSection>\n")
    }

    fn snapshot_diffs<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        use pb::snapshot_diff_section::{DiffEntry, diff_entry};
        self.raw("<SnapshotDiffSection>")?;
        while let Some(entry) = messages.next_message::<DiffEntry>()? {
            let element = match entry.r#type() {
                diff_entry::Type::Filediff => "fileDiffEntry",
                diff_entry::Type::Directorydiff => "dirDiffEntry",
            };
            self.raw(&format!("<{element}>"))?;
            self.text("inodeId", entry.inode_id() as i64)?;
            self.text("count", entry.num_of_diff() as i32)?;
            for _ in 0..entry.num_of_diff() {
                match entry.r#type() {
                    diff_entry::Type::Filediff => self.file_diff(&messages.require()?)?,
                    diff_entry::Type::Directorydiff => self.directory_diff(messages)?,
                }
            }
            self.raw(&format!("</{element}>"))?;
        }
        self.raw("</SnapshotDiffSection>\n")
    }

    fn file_diff(&mut self, diff: &pb::snapshot_diff_section::FileDiff) -> Result {
        self.raw("<fileDiff>")?;
        self.text("snapshotId", diff.snapshot_id() as i32)?;
        self.text("size", diff.file_size() as i64)?;
        self.bytes("name", diff.name())?;
        // Java prints the copy even when there is none.
        self.raw("<snapshotCopy>")?;
        self.file(diff.snapshot_copy.as_ref().unwrap_or(&INodeFile::default()))?;
        self.raw("</snapshotCopy>\n")?;
        self.blocks(&diff.blocks)?;
        self.raw("</fileDiff>\n")
    }

    fn directory_diff<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        use pb::snapshot_diff_section::{CreatedListEntry, DirectoryDiff};
        let diff: DirectoryDiff = messages.require()?;
        self.raw("<dirDiff>")?;
        self.text("snapshotId", diff.snapshot_id() as i32)?;
        self.text("childrenSize", diff.children_size() as i32)?;
        self.flag("isSnapshotRoot", diff.is_snapshot_root())?;
        self.bytes("name", diff.name())?;
        if let Some(copy) = &diff.snapshot_copy {
            self.raw("<snapshotCopy>")?;
            self.directory(copy)?;
            self.raw("</snapshotCopy>\n")?;
        }
        self.text("createdListSize", diff.created_list_size() as i32)?;
        for id in &diff.deleted_i_node {
            self.text("deletedInode", *id as i64)?;
        }
        for reference in &diff.deleted_i_node_ref {
            self.text("deletedInoderef", *reference as i32)?;
        }
        for _ in 0..diff.created_list_size() {
            let created: CreatedListEntry = messages.require()?;
            self.raw("<created>")?;
            self.bytes("name", created.name())?;
            self.raw("</created>\n")?;
        }
        self.raw("</dirDiff>\n")
    }

    fn secrets<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        use pb::secret_manager_section::{DelegationKey, PersistToken};
        let section: pb::SecretManagerSection = messages.require()?;
        self.raw("<SecretManagerSection>")?;
        self.text("currentId", section.current_id() as i32)?;
        self.text("tokenSequenceNumber", section.token_sequence_number() as i32)?;
        self.text("numDelegationKeys", section.num_keys() as i32)?;
        self.text("numTokens", section.num_tokens() as i32)?;
        for _ in 0..section.num_keys() {
            let key: DelegationKey = messages.require()?;
            self.raw("<delegationKey>")?;
            self.text("id", key.id() as i32)?;
            let hex: String = key.key().iter().map(|byte| format!("{byte:02x}")).collect();
            self.text("key", hex)?;
            self.date("expiry", key.expiry_date)?;
            self.raw("</delegationKey>")?;
        }
        for _ in 0..section.num_tokens() {
            let token: PersistToken = messages.require()?;
            self.raw("<token>")?;
            self.optional("version", token.version)?;
            self.optional("owner", token.owner)?;
            self.optional("renewer", token.renewer)?;
            self.optional("realUser", token.real_user)?;
            self.date("issueDate", token.issue_date)?;
            self.date("maxDate", token.max_date)?;
            self.optional("sequenceNumber", token.sequence_number.map(u32::cast_signed))?;
            self.optional("masterKeyId", token.master_key_id.map(u32::cast_signed))?;
            self.date("expiryDate", token.expiry_date)?;
            self.raw("</token>")?;
        }
        self.raw("</SecretManagerSection>")
    }

    fn optional(&mut self, name: &str, value: Option<impl Display>) -> Result {
        value.map_or(Ok(()), |value| self.text(name, value))
    }

    fn date(&mut self, name: &str, millis: Option<u64>) -> Result {
        self.optional(name, millis.map(|millis| iso_date(millis as i64)))
    }

    fn cache<F: ReadAt + ?Sized>(&mut self, messages: &mut MessageReader<'_, F>) -> Result {
        let section: pb::CacheManagerSection = messages.require()?;
        self.raw("<CacheManagerSection>")?;
        self.text("nextDirectiveId", section.next_directive_id as i64)?;
        self.text("numDirectives", section.num_directives as i32)?;
        self.text("numPools", section.num_pools as i32)?;
        for _ in 0..section.num_pools {
            let pool: hdfs_pb::CachePoolInfoProto = messages.require()?;
            self.raw("<pool>")?;
            self.text("poolName", pool.pool_name())?;
            self.text("ownerName", pool.owner_name())?;
            self.text("groupName", pool.group_name())?;
            self.text("mode", pool.mode())?;
            self.text("limit", pool.limit())?;
            self.text("maxRelativeExpiry", pool.max_relative_expiry())?;
            self.raw("</pool>\n")?;
        }
        for _ in 0..section.num_directives {
            let directive: hdfs_pb::CacheDirectiveInfoProto = messages.require()?;
            self.raw("<directive>")?;
            self.text("id", directive.id())?;
            self.text("path", directive.path())?;
            self.text("replication", directive.replication())?;
            self.text("pool", directive.pool())?;
            self.raw("<expiration>")?;
            let expiration = directive.expiration.unwrap_or_default();
            self.text("millis", expiration.millis)?;
            self.flag("relative", expiration.is_relative)?;
            self.raw("</expiration>\n</directive>\n")?;
        }
        self.raw("</CacheManagerSection>\n")
    }
}

/// Text as Hadoop puts it into XML by hand (`XMLUtils.mangleXmlString` with entity references).
fn put_mangled(out: &mut impl Write, text: &str) -> io::Result<()> {
    for c in text.chars() {
        match c {
            '&' => out.write_all(b"&amp;")?,
            '"' => out.write_all(b"&quot;")?,
            '\'' => out.write_all(b"&apos;")?,
            '<' => out.write_all(b"&lt;")?,
            '>' => out.write_all(b"&gt;")?,
            '\t' | '\n' | '\r' => write!(out, "{c}")?,
            '\0'..='\x1F' | '\\' | '\u{FFFE}' | '\u{FFFF}' => write!(out, "\\{:04x};", u32::from(c))?,
            _ => write!(out, "{c}")?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mangles_what_xml_cannot_hold() {
        let mut out = Vec::new();
        put_mangled(&mut out, "a&<>'\"\\\u{1}\n😀").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "a&amp;&lt;&gt;&apos;&quot;\\005c;\\0001;\n😀"
        );
    }
}
