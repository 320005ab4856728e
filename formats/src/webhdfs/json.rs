//! JSON of answers (`JsonUtil`).
//!
//! Numbers that are unsigned in the messages are Java's signed ones: a quota that is not set is -1.

use super::values::{Encoding, token_url_string};
use crate::erasure_coding;
use crate::exceptions::RemoteException;
use crate::proto::hdfs::acl_entry_proto::{AclEntryScopeProto, AclEntryTypeProto};
use crate::proto::hdfs::datanode_info_proto::AdminState;
use crate::proto::hdfs::hdfs_file_status_proto::{FileType, Flags};
use crate::proto::hdfs::x_attr_proto::XAttrNamespaceProto;
use crate::proto::hdfs::{
    AclEntryProto, AclStatusProto, BlockStoragePolicyProto, CodecProto, ContentSummaryProto, DatanodeInfoProto,
    DirectoryListingProto, EcSchemaProto, ErasureCodingPolicyProto, FsServerDefaultsProto, GetFsStatsResponseProto,
    HdfsFileStatusProto, LocatedBlockProto, LocatedBlocksProto, QuotaUsageProto, SnapshotDiffReportListingEntryProto,
    SnapshotDiffReportListingProto, SnapshotDiffReportProto, SnapshotListingProto, SnapshottableDirectoryListingProto,
    StorageTypeProto, StorageTypeQuotaInfosProto, StorageTypesProto, XAttrProto,
};
use crate::snapshots;
use serde_json::{Map, Value, json};

/// The first id of erasure coding policies that users add (`ErasureCodeConstants.USER_DEFINED_POLICY_START_ID`).
const USER_DEFINED_START: u32 = 64;
/// Id of the policy `LAZY_PERSIST`, which alone is copied when a file is created (`BlockStoragePolicySuite`).
const LAZY_PERSIST: u32 = 15;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// `{"boolean":...}`
#[must_use]
pub fn boolean(value: bool) -> Value {
    json!({ "boolean": value })
}

/// `{"long":...}`
#[must_use]
pub fn long(value: u64) -> Value {
    json!({ "long": value.cast_signed() })
}

/// `{"Path":...}`
#[must_use]
pub fn path(path: &str) -> Value {
    json!({ "Path": path })
}

/// `{"Location":...}`: where a redirect would have led to.
#[must_use]
pub fn location(address: &str) -> Value {
    json!({ "Location": address })
}

/// `{"RemoteException":...}`
#[must_use]
pub fn remote_exception(refused: &RemoteException) -> Value {
    let class = refused.class_name();
    json!({ "RemoteException": {
        "exception": class.rsplit(['.', '$']).next().unwrap_or(class),
        "javaClassName": class,
        "message": refused.message,
    }})
}

fn octal(permission: u32) -> String {
    format!("{:o}", permission & 0o1777)
}

/// The members of a status, without a root.
#[must_use]
pub fn status_members(status: &HdfsFileStatusProto) -> Value {
    let kind = match status.file_type() {
        FileType::IsDir => "DIRECTORY",
        FileType::IsFile => "FILE",
        FileType::IsSymlink => "SYMLINK",
    };
    let mut members = object(json!({
        "pathSuffix": String::from_utf8_lossy(&status.path),
        "type": kind,
        "length": status.length.cast_signed(),
        "owner": status.owner,
        "group": status.group,
        "permission": octal(status.permission.perm),
        "accessTime": status.access_time.cast_signed(),
        "modificationTime": status.modification_time.cast_signed(),
        "blockSize": status.blocksize().cast_signed(),
        "replication": status.block_replication(),
        "fileId": status.file_id().cast_signed(),
        "childrenNum": status.children_num(),
        "storagePolicy": status.storage_policy(),
    }));
    if let Some(target) = status.symlink.as_ref().filter(|_| kind == "SYMLINK") {
        members.insert("symlink".into(), String::from_utf8_lossy(target).into());
    }
    for (flag, name) in [
        (Flags::HasAcl, "aclBit"),
        (Flags::HasCrypt, "encBit"),
        (Flags::HasEc, "ecBit"),
        (Flags::SnapshotEnabled, "snapshotEnabled"),
    ] {
        if status.flags() & (flag as i32).cast_unsigned() != 0 {
            members.insert(name.into(), true.into());
        }
    }
    if let Some(policy) = &status.ec_policy {
        members.insert("ecPolicy".into(), erasure_coding::whole(policy).name().into());
        members.insert("ecPolicyObj".into(), ec_policy_of_status(policy));
    }
    Value::Object(members)
}

/// `{"FileStatus":...}`
#[must_use]
pub fn file_status(status: &HdfsFileStatusProto) -> Value {
    json!({ "FileStatus": status_members(status) })
}

fn statuses(listed: &[HdfsFileStatusProto]) -> Value {
    let all: Vec<Value> = listed.iter().map(status_members).collect();
    json!({ "FileStatuses": { "FileStatus": all } })
}

/// `{"DirectoryListing":...}`: one batch of a directory.
#[must_use]
pub fn directory_listing(listing: &DirectoryListingProto) -> Value {
    json!({ "DirectoryListing": {
        "partialListing": statuses(&listing.partial_listing),
        "remainingEntries": listing.remaining_entries,
    }})
}

/// An entry of `GETTRASHROOTS`, which are statuses of another shape.
#[must_use]
pub fn trash_root(path: &str, status: &HdfsFileStatusProto) -> Value {
    let target = status.symlink.as_ref();
    json!({
        "path": path,
        "length": status.length.cast_signed(),
        "isdir": status.file_type() == FileType::IsDir,
        "block_replication": status.block_replication(),
        "blocksize": status.blocksize().cast_signed(),
        "modification_time": status.modification_time.cast_signed(),
        "access_time": status.access_time.cast_signed(),
        "permission": octal(status.permission.perm),
        "owner": status.owner,
        "group": status.group,
        "symlink": target.map(|target| String::from_utf8_lossy(target).into_owned()),
    })
}

fn storage_type(number: i32) -> &'static str {
    StorageTypeProto::try_from(number).map_or("DISK", |kind| kind.as_str_name())
}

fn storage_types(types: Option<&StorageTypesProto>) -> Value {
    let types = types.map(|types| &types.storage_types[..]).unwrap_or_default();
    types.iter().map(|&kind| storage_type(kind)).collect()
}

fn type_quotas(members: &mut Map<String, Value>, quotas: Option<&StorageTypeQuotaInfosProto>) {
    let quotas = quotas.map(|quotas| &quotas.type_quota_info[..]).unwrap_or_default();
    if quotas.is_empty() {
        return;
    }
    let by_type: Map<String, Value> = quotas
        .iter()
        .map(|of_type| {
            let used = json!({"quota": of_type.quota.cast_signed(), "consumed": of_type.consumed.cast_signed()});
            (of_type.r#type().as_str_name().to_owned(), used)
        })
        .collect();
    members.insert("typeQuota".into(), by_type.into());
}

/// `{"ContentSummary":...}`
#[must_use]
pub fn content_summary(summary: &ContentSummaryProto) -> Value {
    let mut members = object(json!({
        "length": summary.length.cast_signed(),
        "fileCount": summary.file_count.cast_signed(),
        "directoryCount": summary.directory_count.cast_signed(),
        "ecPolicy": summary.erasure_coding_policy(),
        "quota": summary.quota.cast_signed(),
        "spaceConsumed": summary.space_consumed.cast_signed(),
        "spaceQuota": summary.space_quota.cast_signed(),
        "snapshotLength": summary.snapshot_length().cast_signed(),
        "snapshotFileCount": summary.snapshot_file_count().cast_signed(),
        "snapshotDirectoryCount": summary.snapshot_directory_count().cast_signed(),
        "snapshotSpaceConsumed": summary.snapshot_space_consumed().cast_signed(),
    }));
    type_quotas(&mut members, summary.type_quota_infos.as_ref());
    json!({ "ContentSummary": members })
}

/// `{"QuotaUsage":...}`
#[must_use]
pub fn quota_usage(usage: &QuotaUsageProto) -> Value {
    let mut members = object(json!({
        "fileAndDirectoryCount": usage.file_and_directory_count.cast_signed(),
        "quota": usage.quota.cast_signed(),
        "spaceConsumed": usage.space_consumed.cast_signed(),
        "spaceQuota": usage.space_quota.cast_signed(),
    }));
    type_quotas(&mut members, usage.type_quota_infos.as_ref());
    json!({ "QuotaUsage": members })
}

fn acl_entry(entry: &AclEntryProto) -> String {
    let scope = match entry.scope() {
        AclEntryScopeProto::Access => "",
        AclEntryScopeProto::Default => "default:",
    };
    let kind = match entry.r#type() {
        AclEntryTypeProto::User => "user",
        AclEntryTypeProto::Group => "group",
        AclEntryTypeProto::Mask => "mask",
        AclEntryTypeProto::Other => "other",
    };
    let bits = entry.permissions;
    let letter = |bit: i32, letter: char| if bits & bit == 0 { '-' } else { letter };
    let action: String = [letter(4, 'r'), letter(2, 'w'), letter(1, 'x')].iter().collect();
    format!("{scope}{kind}:{}:{action}", entry.name())
}

/// `{"AclStatus":...}`
#[must_use]
pub fn acl_status(status: &AclStatusProto) -> Value {
    let entries: Vec<String> = status.entries.iter().map(acl_entry).collect();
    let mut members = object(json!({
        "owner": status.owner,
        "group": status.group,
        "stickyBit": status.sticky,
        "entries": entries,
    }));
    if let Some(permission) = &status.permission {
        members.insert("permission".into(), octal(permission.perm).into());
    }
    json!({ "AclStatus": members })
}

fn xattr_name(xattr: &XAttrProto) -> String {
    let namespace = match xattr.namespace() {
        XAttrNamespaceProto::User => "user",
        XAttrNamespaceProto::Trusted => "trusted",
        XAttrNamespaceProto::Security => "security",
        XAttrNamespaceProto::System => "system",
        XAttrNamespaceProto::Raw => "raw",
    };
    format!("{namespace}.{}", xattr.name)
}

/// `{"XAttrs":[...]}`
#[must_use]
pub fn xattrs(xattrs: &[XAttrProto], encoding: Encoding) -> Value {
    let all: Vec<Value> = xattrs
        .iter()
        .map(|xattr| {
            let value = xattr.value.as_deref().map(|value| encoding.encode(value));
            json!({ "name": xattr_name(xattr), "value": value })
        })
        .collect();
    json!({ "XAttrs": all })
}

/// `{"XAttrNames":"[...]"}`: the array is a text.
#[must_use]
pub fn xattr_names(xattrs: &[XAttrProto]) -> Value {
    let names: Value = xattrs.iter().map(xattr_name).collect();
    json!({ "XAttrNames": names.to_string() })
}

fn datanode(node: &DatanodeInfoProto) -> Value {
    let id = &node.id;
    let state = match node.admin_state() {
        AdminState::Normal => "NORMAL",
        AdminState::DecommissionInprogress => "DECOMMISSION_INPROGRESS",
        AdminState::Decommissioned => "DECOMMISSIONED",
        AdminState::EnteringMaintenance => "ENTERING_MAINTENANCE",
        AdminState::InMaintenance => "IN_MAINTENANCE",
    };
    let mut members = object(json!({
        "ipAddr": id.ip_addr,
        "name": id.xfer_address(),
        "hostName": id.host_name,
        "storageID": id.datanode_uuid,
        "xferPort": id.xfer_port,
        "infoPort": id.info_port,
        "infoSecurePort": id.info_secure_port(),
        "ipcPort": id.ipc_port,
        "capacity": node.capacity().cast_signed(),
        "dfsUsed": node.dfs_used().cast_signed(),
        "remaining": node.remaining().cast_signed(),
        "blockPoolUsed": node.block_pool_used().cast_signed(),
        "cacheCapacity": node.cache_capacity().cast_signed(),
        "cacheUsed": node.cache_used().cast_signed(),
        "lastUpdate": node.last_update().cast_signed(),
        "lastUpdateMonotonic": node.last_update_monotonic().cast_signed(),
        "xceiverCount": node.xceiver_count(),
        "networkLocation": node.location(),
        "adminState": state,
        "lastBlockReportTime": node.last_block_report_time().cast_signed(),
        "lastBlockReportMonotonic": node.last_block_report_monotonic().cast_signed(),
    }));
    if let Some(domain) = &node.upgrade_domain {
        members.insert("upgradeDomain".into(), domain.as_str().into());
    }
    Value::Object(members)
}

fn cached(block: &LocatedBlockProto) -> impl Iterator<Item = &DatanodeInfoProto> {
    let with_flags = block.locs.iter().zip(&block.is_cached);
    with_flags.filter(|(_, is_cached)| **is_cached).map(|(node, _)| node)
}

fn located_block(block: &LocatedBlockProto) -> Value {
    let types: Value = block.storage_types.iter().map(|&kind| storage_type(kind)).collect();
    json!({
        "blockToken": { "urlString": token_url_string(&block.block_token) },
        "isCorrupt": block.corrupt,
        "startOffset": block.offset.cast_signed(),
        "block": {
            "blockPoolId": block.b.pool_id,
            "blockId": block.b.block_id.cast_signed(),
            "numBytes": block.b.num_bytes().cast_signed(),
            "generationStamp": block.b.generation_stamp.cast_signed(),
        },
        "storageTypes": types,
        "locations": block.locs.iter().map(datanode).collect::<Vec<_>>(),
        "cachedLocations": cached(block).map(datanode).collect::<Vec<_>>(),
    })
}

/// `{"LocatedBlocks":...}`
#[must_use]
pub fn located_blocks(located: &LocatedBlocksProto) -> Value {
    json!({ "LocatedBlocks": {
        "fileLength": located.file_length.cast_signed(),
        "isUnderConstruction": located.under_construction,
        "locatedBlocks": located.blocks.iter().map(located_block).collect::<Vec<_>>(),
        "lastLocatedBlock": located.last_block.as_ref().map(located_block),
        "isLastBlockComplete": located.is_last_block_complete,
    }})
}

/// `{"BlockLocations":...}`
#[must_use]
pub fn block_locations(located: &LocatedBlocksProto) -> Value {
    let all: Vec<Value> = located
        .blocks
        .iter()
        .map(|block| {
            let of = |text: fn(&DatanodeInfoProto) -> String| block.locs.iter().map(text).collect::<Vec<_>>();
            json!({
                "length": block.b.num_bytes().cast_signed(),
                "offset": block.offset.cast_signed(),
                "corrupt": block.corrupt,
                "storageTypes": block.storage_types.iter().map(|&kind| storage_type(kind)).collect::<Vec<_>>(),
                "cachedHosts": cached(block).map(|node| node.id.host_name.clone()).collect::<Vec<_>>(),
                "hosts": of(|node| node.id.host_name.clone()),
                "names": of(|node| node.id.xfer_address()),
                "topologyPaths": of(|node| format!("{}/{}", node.location(), node.id.xfer_address())),
            })
        })
        .collect();
    json!({ "BlockLocations": { "BlockLocation": all } })
}

fn policy_members(policy: &BlockStoragePolicyProto) -> Value {
    json!({
        "id": policy.policy_id,
        "name": policy.name,
        "storageTypes": storage_types(Some(&policy.creation_policy)),
        "creationFallbacks": storage_types(policy.creation_fallback_policy.as_ref()),
        "replicationFallbacks": storage_types(policy.replication_fallback_policy.as_ref()),
        "copyOnCreateFile": policy.policy_id == LAZY_PERSIST,
    })
}

/// `{"BlockStoragePolicy":...}`
#[must_use]
pub fn storage_policy(policy: &BlockStoragePolicyProto) -> Value {
    json!({ "BlockStoragePolicy": policy_members(policy) })
}

/// `{"BlockStoragePolicies":...}`
#[must_use]
pub fn storage_policies(policies: &[BlockStoragePolicyProto]) -> Value {
    let all: Vec<Value> = policies.iter().map(policy_members).collect();
    json!({ "BlockStoragePolicies": { "BlockStoragePolicy": all } })
}

fn options_of(schema: &EcSchemaProto) -> Map<String, Value> {
    (schema.options.iter())
        .map(|option| (option.key.clone(), option.value.as_str().into()))
        .collect()
}

/// An erasure coding policy, which has no root.
#[must_use]
pub fn ec_policy(policy: &ErasureCodingPolicyProto) -> Value {
    let policy = erasure_coding::whole(policy);
    let schema = policy.schema.clone().unwrap_or_default();
    json!({
        "name": policy.name(),
        "cellSize": policy.cell_size(),
        "id": policy.id,
        "codecName": schema.codec_name,
        "numDataUnits": schema.data_units,
        "numParityUnits": schema.parity_units,
        "replicationPolicy": policy.id == 0,
        "systemPolicy": policy.id < USER_DEFINED_START,
        "schema": {
            "codecName": schema.codec_name,
            "numDataUnits": schema.data_units,
            "numParityUnits": schema.parity_units,
            "extraOptions": options_of(&schema),
        },
    })
}

/// The policy of a status (`JsonUtil.getEcPolicyAsMap`), which is told in another shape.
fn ec_policy_of_status(policy: &ErasureCodingPolicyProto) -> Value {
    let policy = erasure_coding::whole(policy);
    let schema = policy.schema.clone().unwrap_or_default();
    json!({
        "name": policy.name(),
        "cellSize": policy.cell_size(),
        "numDataUnits": schema.data_units,
        "numParityUnits": schema.parity_units,
        "codecName": schema.codec_name,
        "id": policy.id,
        "extraOptions": options_of(&schema),
    })
}

/// `{"ErasureCodingPolicies":...}`
#[must_use]
pub fn ec_policies(policies: &[ErasureCodingPolicyProto]) -> Value {
    let all: Vec<Value> = policies
        .iter()
        .map(|policy| {
            let state = erasure_coding::state_name(policy);
            json!({ "policy": ec_policy(policy), "state": state })
        })
        .collect();
    json!({ "ErasureCodingPolicies": { "ErasureCodingPolicyInfo": all } })
}

/// `{"ErasureCodingCodecs":...}`
#[must_use]
pub fn ec_codecs(codecs: &[CodecProto]) -> Value {
    let all: Map<String, Value> = codecs
        .iter()
        .map(|codec| (codec.codec.clone(), codec.coders.as_str().into()))
        .collect();
    json!({ "ErasureCodingCodecs": all })
}

/// `{"FsServerDefaults":...}`
#[must_use]
pub fn server_defaults(defaults: &FsServerDefaultsProto) -> Value {
    json!({ "FsServerDefaults": {
        "blockSize": defaults.block_size.cast_signed(),
        "bytesPerChecksum": defaults.bytes_per_checksum,
        "writePacketSize": defaults.write_packet_size,
        "replication": defaults.replication,
        "fileBufferSize": defaults.file_buffer_size,
        "encryptDataTransfer": defaults.encrypt_data_transfer(),
        "trashInterval": defaults.trash_interval().cast_signed(),
        // Java's ids of the types, which are the numbers of the message.
        "checksumType": defaults.checksum_type() as i32,
        "keyProviderUri": defaults.key_provider_uri(),
        "defaultStoragePolicyId": defaults.policy_id(),
    }})
}

/// `{"FsStatus":...}`
#[must_use]
pub fn fs_status(stats: &GetFsStatsResponseProto) -> Value {
    json!({ "FsStatus": {
        "used": stats.used.cast_signed(),
        "remaining": stats.remaining.cast_signed(),
        "capacity": stats.capacity.cast_signed(),
    }})
}

/// `{"SnapshottableDirectoryList":...}`; null if there is none.
#[must_use]
pub fn snapshottable_directories(listing: Option<&SnapshottableDirectoryListingProto>) -> Value {
    let all = listing.map(|listing| {
        let each = listing.snapshottable_dir_listing.iter();
        each.map(|directory| {
            json!({
                "snapshotNumber": directory.snapshot_number,
                "snapshotQuota": directory.snapshot_quota,
                "parentFullPath": String::from_utf8_lossy(&directory.parent_fullpath),
                "dirStatus": status_members(&directory.dir_status),
            })
        })
        .collect::<Vec<_>>()
    });
    json!({ "SnapshottableDirectoryList": all })
}

/// `{"SnapshotList":...}`
#[must_use]
pub fn snapshot_list(listing: Option<&SnapshotListingProto>) -> Value {
    let listed = listing.map_or(&[][..], |listing| &listing.snapshot_listing);
    let all = listed.iter().map(|snapshot| {
        json!({
            "snapshotID": snapshot.snapshot_id,
            "deletionStatus": if snapshot.is_deleted { "DELETED" } else { "ACTIVE" },
            "fullPath": String::from_utf8_lossy(&snapshot.parent_fullpath),
            "dirStatus": status_members(&snapshot.dir_status),
        })
    });
    json!({ "SnapshotList": all.collect::<Vec<_>>() })
}

/// `{"SnapshotDiffReport":...}`
#[must_use]
pub fn snapshot_diff(report: &SnapshotDiffReportProto) -> Value {
    let entries = report.diff_report_entries.iter().map(|entry| {
        let kind = match entry.modification_label.as_str() {
            snapshots::CREATED => "CREATE",
            snapshots::DELETED => "DELETE",
            snapshots::RENAMED => "RENAME",
            _ => "MODIFY",
        };
        let mut members = object(json!({
            "type": kind,
            "sourcePath": String::from_utf8_lossy(&entry.fullpath),
        }));
        if let Some(target) = &entry.target_path {
            members.insert("targetPath".into(), String::from_utf8_lossy(target).into());
        }
        Value::Object(members)
    });
    json!({ "SnapshotDiffReport": {
        "snapshotRoot": report.snapshot_root,
        "fromSnapshot": report.from_snapshot,
        "toSnapshot": report.to_snapshot,
        "diffList": entries.collect::<Vec<_>>(),
    }})
}

/// `{"SnapshotDiffReportListing":...}`
#[must_use]
pub fn snapshot_diff_listing(listing: &SnapshotDiffReportListingProto) -> Value {
    let entries = |entries: &[SnapshotDiffReportListingEntryProto]| {
        let each = entries.iter().map(|entry| {
            let mut members = object(json!({
                "dirId": entry.dir_id,
                "fileId": entry.file_id(),
                "sourcePath": String::from_utf8_lossy(&entry.fullpath),
                "isReference": entry.is_reference,
            }));
            if let Some(target) = &entry.target_path {
                members.insert("targetPath".into(), String::from_utf8_lossy(target).into());
            }
            Value::Object(members)
        });
        each.collect::<Vec<_>>()
    };
    let (path, index) = match &listing.cursor {
        Some(cursor) => (String::from_utf8_lossy(&cursor.start_path), cursor.index),
        None => ("".into(), -1),
    };
    json!({ "SnapshotDiffReportListing": {
        "lastPath": path,
        "lastIndex": index,
        "isFromEarlier": listing.is_from_earlier,
        "modifyList": entries(&listing.modified_entries),
        "createList": entries(&listing.created_entries),
        "deleteList": entries(&listing.deleted_entries),
    }})
}

/// `{"FileChecksum":...}` of the checksum's algorithm and bytes.
#[must_use]
pub fn file_checksum(algorithm: &str, bytes: &[u8]) -> Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "FileChecksum": { "algorithm": algorithm, "length": bytes.len(), "bytes": hex } })
}
