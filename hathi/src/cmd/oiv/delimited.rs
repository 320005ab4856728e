//! A table with a line for each inode (`PBImageDelimitedTextWriter`).

use super::Options;
use super::tree::{Tree, field, for_each_inode, join, owner, tell_ignored};
use anyhow::Result;
use hathi_formats::erasure_coding::{self, DIRECTORY_XATTR, SystemPolicy};
use hathi_formats::fsimage::{Image, InodeKind, InodeRef, SectionName, SerialKind, StringTable, XAttrNameBits};
use hathi_formats::proto::fsimage::ErasureCodingSection;
use hathi_formats::proto::fsimage::i_node_section::XAttrFeatureProto;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use prost::Message;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

const COLUMNS: [&str; 12] = [
    "Path",
    "Replication",
    "ModificationTime",
    "AccessTime",
    "PreferredBlockSize",
    "BlocksCount",
    "FileSize",
    "NSQUOTA",
    "DSQUOTA",
    "Permission",
    "UserName",
    "GroupName",
];
/// Of a directory, in the namespace `system`.
const STORAGE_POLICY: &str = "hsm.block.storage.policy.id";

/// Prints the table.
pub(super) fn write(image: &Image<'_, File>, options: &Options, out: &mut dyn Write) -> Result<()> {
    let strings = StringTable::load(image)?;
    let tree = Tree::load(image)?;
    let policies = policies(image)?;
    let zone = TimeZone::system();
    let mut columns = COLUMNS.to_vec();
    if options.storage_policy {
        columns.push("StoragePolicyId");
    }
    if options.erasure_coding {
        columns.push("ErasureCodingPolicy");
    }
    writeln!(out, "{}", columns.join(&options.delimiter))?;
    // Hadoop puts a delimiter before each value of a row, and cuts off the first character of all.
    let begin: String = options.delimiter.chars().skip(1).collect();
    let mut ignored = 0;
    for_each_inode(image, |inode| {
        let Some(parent) = tree.parent_path(inode.id) else {
            ignored += 1;
            return Ok(());
        };
        let (user, group, mode) = owner(&strings, inode.permission);
        let directory = inode.kind == InodeKind::Directory;
        let quota = |quota: u64| if directory { quota.cast_signed() } else { 0 };
        let mut line = vec![
            field(&join(&parent, &String::from_utf8_lossy(inode.name))),
            inode.replication.to_string(),
            minute(inode.modification_time, &zone),
            minute(inode.access_time, &zone),
            inode.preferred_block_size.to_string(),
            inode.blocks.clone().count().to_string(),
            size(inode).to_string(),
            quota(inode.ns_quota).to_string(),
            quota(inode.ds_quota).to_string(),
            symbols(directory, mode, inode.acl.is_some_and(|acl| !acl.is_empty())),
            field(user),
            field(group),
        ];
        if options.storage_policy {
            line.push(storage_policy(inode, &strings).to_string());
        }
        if options.erasure_coding {
            let policy = erasure_coding_policy(inode, &strings, &policies);
            line.push(field(policy.as_deref().unwrap_or("-")));
        }
        Ok(writeln!(out, "{begin}{}", line.join(&options.delimiter))?)
    })?;
    tell_ignored(ignored);
    Ok(())
}

/// Bytes of a file.
pub(super) fn size(inode: &InodeRef<'_>) -> u64 {
    inode
        .blocks
        .clone()
        .fold(0, |sum: u64, block| sum.wrapping_add(block.num_bytes))
}

/// The value of an attribute that a directory has in the namespace `system`.
fn system_attribute(inode: &InodeRef<'_>, strings: &StringTable, name: &str) -> Option<Vec<u8>> {
    let xattrs = XAttrFeatureProto::decode(inode.xattrs?).unwrap_or_default().x_attrs;
    let found = xattrs.iter().find(|xattr| {
        XAttrNameBits::unpack(xattr.name).is_some_and(|bits| {
            bits.namespace == hathi_formats::editlog::XAttrNamespace::System
                && strings.get(SerialKind::XAttr, bits.name) == Some(name)
        })
    });
    found.map(|xattr| xattr.value().to_vec())
}

/// The policy of an inode. A directory has it in an extended attribute, a file in a field.
fn storage_policy(inode: &InodeRef<'_>, strings: &StringTable) -> u32 {
    match inode.kind {
        InodeKind::Directory => {
            let value = system_attribute(inode, strings, STORAGE_POLICY);
            value.and_then(|value| value.first().copied()).map_or(0, u32::from)
        }
        InodeKind::File | InodeKind::Symlink => inode.storage_policy_id,
    }
}

/// Names of the policies in the image.
fn policies(image: &Image<'_, File>) -> Result<BTreeMap<u32, String>> {
    let Some(section) = image.section(SectionName::ErasureCoding) else {
        return Ok(BTreeMap::new());
    };
    let section: ErasureCodingSection = image.messages(section).require()?;
    let name = |policy| erasure_coding::whole(policy).name().to_owned();
    Ok(section
        .policies
        .iter()
        .map(|policy| (policy.id, name(policy)))
        .collect())
}

fn erasure_coding_policy(
    inode: &InodeRef<'_>,
    strings: &StringTable,
    policies: &BTreeMap<u32, String>,
) -> Option<String> {
    match inode.kind {
        InodeKind::Directory => {
            let value = system_attribute(inode, strings, DIRECTORY_XATTR)?;
            erasure_coding::xattr_name(&value).map(str::to_owned)
        }
        InodeKind::File if inode.striped => policies
            .get(&inode.erasure_coding_policy_id)
            .cloned()
            .or_else(|| SystemPolicy::with_id(inode.erasure_coding_policy_id).map(|policy| policy.name.to_owned())),
        InodeKind::File | InodeKind::Symlink => None,
    }
}

fn minute(millis: u64, zone: &TimeZone) -> String {
    match Timestamp::from_millisecond(millis.cast_signed()) {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => millis.to_string(),
    }
}

/// Permissions as `drwxr-xr-t+` (`FsPermission.toString`).
fn symbols(directory: bool, mode: u16, acl: bool) -> String {
    let mut text = String::from(if directory { "d" } else { "-" });
    for shift in [6, 3, 0] {
        text.push_str(hathi_formats::editlog::fs_action_symbol((mode >> shift & 7) as u8));
    }
    if mode & 0o1000 != 0 {
        let last = if text.ends_with('x') { 't' } else { 'T' };
        text.pop();
        text.push(last);
    }
    if acl {
        text.push('+');
    }
    text
}
