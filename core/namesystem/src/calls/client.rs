//! The methods of `ClientProtocol`: the name of each, its handler, and how often it may run.

use super::{admin, attributes, blocks, carried, delete, locations, policies, read, summary, unsupported, write};
use crate::OperationCategory::{self, Journal, Read, Unchecked, Write};
use crate::context::Verb;
use Retry::{AtMostOnce, Idempotent};

/// What happens when a call is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The call runs again, without harm.
    Idempotent,
    /// The call does not run again. The caller gets the first answer from the retry cache.
    AtMostOnce,
}

/// A method of `ClientProtocol`.
#[derive(Clone, Copy)]
pub struct ClientMethod {
    /// Name on the wire (of the protobuf service; Java's interface differs for three of them).
    pub name: &'static str,
    /// Hadoop's annotation of the method.
    pub retry: Retry,
    /// The HA states in which it is served. `setSafeMode` and `rollingUpgrade` decide by their argument.
    pub category: OperationCategory,
    /// The handler.
    pub verb: Verb,
}

const fn method(name: &'static str, retry: Retry, category: OperationCategory, verb: Verb) -> ClientMethod {
    ClientMethod {
        name,
        retry,
        category,
        verb,
    }
}

/// All methods, in the order of the protobuf service.
pub static CLIENT_METHODS: [ClientMethod; 111] = [
    method(
        "getBlockLocations",
        Idempotent,
        Read,
        Verb::ReadThenWrite(
            locations::get_block_locations_read,
            locations::get_block_locations_write,
        ),
    ),
    method(
        "getServerDefaults",
        Idempotent,
        Read,
        Verb::Read(admin::get_server_defaults),
    ),
    method("create", AtMostOnce, Write, Verb::Write(write::create)),
    method("append", AtMostOnce, Write, Verb::Write(write::append)),
    method(
        "setReplication",
        Idempotent,
        Write,
        Verb::Write(attributes::set_replication),
    ),
    method(
        "setStoragePolicy",
        Idempotent,
        Write,
        Verb::Write(policies::set_storage_policy),
    ),
    method(
        "unsetStoragePolicy",
        Idempotent,
        Write,
        Verb::Write(policies::unset_storage_policy),
    ),
    method(
        "getStoragePolicy",
        Idempotent,
        Read,
        Verb::Read(policies::get_storage_policy),
    ),
    method(
        "getStoragePolicies",
        Idempotent,
        Read,
        Verb::Read(policies::get_storage_policies),
    ),
    method(
        "setPermission",
        Idempotent,
        Write,
        Verb::Write(attributes::set_permission),
    ),
    method("setOwner", Idempotent, Write, Verb::Write(attributes::set_owner)),
    method("abandonBlock", Idempotent, Write, Verb::Write(blocks::abandon_block)),
    method("addBlock", Idempotent, Write, Verb::Write(blocks::add_block)),
    method(
        "getAdditionalDatanode",
        Idempotent,
        Write,
        Verb::Write(blocks::get_additional_datanode),
    ),
    method("complete", Idempotent, Write, Verb::Write(blocks::complete)),
    method(
        "reportBadBlocks",
        Idempotent,
        Write,
        Verb::Write(blocks::report_bad_blocks),
    ),
    method("concat", AtMostOnce, Write, Verb::Write(write::concat)),
    method("truncate", Idempotent, Write, Verb::Write(write::truncate)),
    method("rename", AtMostOnce, Write, Verb::Write(write::rename)),
    method("rename2", AtMostOnce, Write, Verb::Write(write::rename2)),
    method("delete", AtMostOnce, Write, Verb::Write(delete::delete)),
    method("mkdirs", Idempotent, Write, Verb::Write(write::mkdirs)),
    method("getListing", Idempotent, Read, Verb::Read(read::get_listing)),
    method(
        "getBatchedListing",
        Idempotent,
        Read,
        Verb::Read(read::get_batched_listing),
    ),
    method("renewLease", Idempotent, Write, Verb::Write(blocks::renew_lease)),
    method("recoverLease", Idempotent, Write, Verb::Write(blocks::recover_lease)),
    method("getFsStats", Idempotent, Read, Verb::Read(admin::get_fs_stats)),
    method(
        "getFsReplicatedBlockStats",
        Idempotent,
        Read,
        Verb::Read(admin::get_fs_replicated_block_stats),
    ),
    method(
        "getFsECBlockGroupStats",
        Idempotent,
        Read,
        Verb::Read(admin::get_fs_ec_block_group_stats),
    ),
    method(
        "getDatanodeReport",
        Idempotent,
        Unchecked,
        Verb::Read(admin::get_datanode_report),
    ),
    method(
        "getDatanodeStorageReport",
        Idempotent,
        Unchecked,
        Verb::Read(admin::get_datanode_storage_report),
    ),
    method(
        "getPreferredBlockSize",
        Idempotent,
        Read,
        Verb::Read(read::get_preferred_block_size),
    ),
    method("setSafeMode", Idempotent, Unchecked, Verb::Write(admin::set_safe_mode)),
    method(
        "saveNamespace",
        AtMostOnce,
        Unchecked,
        Verb::Read(admin::save_namespace),
    ),
    method("rollEdits", Idempotent, Journal, Verb::Write(admin::roll_edits)),
    method(
        "restoreFailedStorage",
        Idempotent,
        Unchecked,
        Verb::Read(admin::restore_failed_storage),
    ),
    method("refreshNodes", Idempotent, Unchecked, Verb::Read(admin::refresh_nodes)),
    method(
        "finalizeUpgrade",
        Idempotent,
        Unchecked,
        Verb::Read(admin::finalize_upgrade),
    ),
    method(
        "upgradeStatus",
        Idempotent,
        Unchecked,
        Verb::Read(admin::upgrade_status),
    ),
    method("rollingUpgrade", Idempotent, Read, Verb::Write(admin::rolling_upgrade)),
    method(
        "listCorruptFileBlocks",
        Idempotent,
        Read,
        Verb::Read(admin::list_corrupt_file_blocks),
    ),
    method("metaSave", Idempotent, Read, Verb::Read(admin::meta_save)),
    method("getFileInfo", Idempotent, Read, Verb::Read(read::get_file_info)),
    method(
        "getLocatedFileInfo",
        Idempotent,
        Read,
        Verb::Read(read::get_located_file_info),
    ),
    method(
        "addCacheDirective",
        AtMostOnce,
        Write,
        Verb::Write(carried::change_cache),
    ),
    method(
        "modifyCacheDirective",
        AtMostOnce,
        Write,
        Verb::Write(carried::change_cache),
    ),
    method(
        "removeCacheDirective",
        AtMostOnce,
        Write,
        Verb::Write(carried::change_cache),
    ),
    method(
        "listCacheDirectives",
        Idempotent,
        Read,
        Verb::Read(carried::list_cache_directives),
    ),
    method("addCachePool", AtMostOnce, Write, Verb::Write(carried::change_cache)),
    method("modifyCachePool", AtMostOnce, Write, Verb::Write(carried::change_cache)),
    method("removeCachePool", AtMostOnce, Write, Verb::Write(carried::change_cache)),
    method(
        "listCachePools",
        Idempotent,
        Read,
        Verb::Read(carried::list_cache_pools),
    ),
    method(
        "getFileLinkInfo",
        Idempotent,
        Read,
        Verb::Read(read::get_file_link_info),
    ),
    method(
        "getContentSummary",
        Idempotent,
        Read,
        Verb::Read(summary::get_content_summary),
    ),
    method("setQuota", Idempotent, Write, Verb::Write(attributes::set_quota)),
    method("fsync", Idempotent, Write, Verb::Write(blocks::fsync)),
    method("setTimes", Idempotent, Write, Verb::Write(attributes::set_times)),
    method("createSymlink", AtMostOnce, Write, Verb::Write(write::create_symlink)),
    method("getLinkTarget", Idempotent, Read, Verb::Read(read::get_link_target)),
    method(
        "updateBlockForPipeline",
        Idempotent,
        Write,
        Verb::Write(blocks::update_block_for_pipeline),
    ),
    method(
        "updatePipeline",
        AtMostOnce,
        Write,
        Verb::Write(blocks::update_pipeline),
    ),
    method(
        "getDelegationToken",
        Idempotent,
        Write,
        Verb::Write(unsupported::get_delegation_token),
    ),
    method(
        "renewDelegationToken",
        Idempotent,
        Write,
        Verb::Write(unsupported::unknown_delegation_token),
    ),
    method(
        "cancelDelegationToken",
        Idempotent,
        Write,
        Verb::Write(unsupported::unknown_delegation_token),
    ),
    method(
        "setBalancerBandwidth",
        Idempotent,
        Write,
        Verb::Write(admin::set_balancer_bandwidth),
    ),
    method(
        "getDataEncryptionKey",
        Idempotent,
        Unchecked,
        Verb::Read(unsupported::get_data_encryption_key),
    ),
    method(
        "createSnapshot",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_snapshot),
    ),
    method(
        "renameSnapshot",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_snapshot),
    ),
    method(
        "allowSnapshot",
        Idempotent,
        Write,
        Verb::Write(unsupported::allow_snapshot),
    ),
    method(
        "disallowSnapshot",
        Idempotent,
        Write,
        Verb::Write(carried::disallow_snapshot),
    ),
    method(
        "getSnapshottableDirListing",
        Idempotent,
        Read,
        Verb::Read(carried::snapshottable_dirs),
    ),
    method(
        "getSnapshotListing",
        Idempotent,
        Read,
        Verb::Read(unsupported::read_snapshot),
    ),
    method(
        "deleteSnapshot",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_snapshot),
    ),
    method(
        "getSnapshotDiffReport",
        Idempotent,
        Read,
        Verb::Read(unsupported::read_snapshot),
    ),
    method(
        "getSnapshotDiffReportListing",
        Idempotent,
        Read,
        Verb::Read(unsupported::read_snapshot),
    ),
    method("isFileClosed", Idempotent, Read, Verb::Read(read::is_file_closed)),
    method(
        "modifyAclEntries",
        Idempotent,
        Write,
        Verb::Write(attributes::modify_acl_entries),
    ),
    method(
        "removeAclEntries",
        Idempotent,
        Write,
        Verb::Write(attributes::remove_acl_entries),
    ),
    method(
        "removeDefaultAcl",
        Idempotent,
        Write,
        Verb::Write(attributes::remove_default_acl),
    ),
    method("removeAcl", Idempotent, Write, Verb::Write(attributes::remove_acl)),
    method("setAcl", Idempotent, Write, Verb::Write(attributes::set_acl)),
    method("getAclStatus", Idempotent, Read, Verb::Read(attributes::get_acl_status)),
    method("setXAttr", AtMostOnce, Write, Verb::Write(attributes::set_xattr)),
    method("getXAttrs", Idempotent, Read, Verb::Read(attributes::get_xattrs)),
    method("listXAttrs", Idempotent, Read, Verb::Read(attributes::list_xattrs)),
    method("removeXAttr", AtMostOnce, Write, Verb::Write(attributes::remove_xattr)),
    method("checkAccess", Idempotent, Read, Verb::Read(read::check_access)),
    method(
        "createEncryptionZone",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::create_encryption_zone),
    ),
    method(
        "listEncryptionZones",
        Idempotent,
        Read,
        Verb::Read(unsupported::list_encryption_zones),
    ),
    method(
        "reencryptEncryptionZone",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::reencrypt_encryption_zone),
    ),
    method(
        "listReencryptionStatus",
        Idempotent,
        Read,
        Verb::Read(unsupported::list_reencryption_status),
    ),
    method(
        "getEZForPath",
        Idempotent,
        Read,
        Verb::Read(unsupported::get_ez_for_path),
    ),
    method(
        "setErasureCodingPolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_erasure_coding),
    ),
    method(
        "unsetErasureCodingPolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::unset_erasure_coding_policy),
    ),
    method(
        "getECTopologyResultForPolicies",
        Idempotent,
        Unchecked,
        Verb::Read(unsupported::get_ec_topology_result),
    ),
    method(
        "getCurrentEditLogTxid",
        Idempotent,
        Read,
        Verb::Read(admin::get_current_edit_log_txid),
    ),
    method(
        "getEditsFromTxid",
        Idempotent,
        Read,
        Verb::Read(read::get_edits_from_txid),
    ),
    method(
        "getErasureCodingPolicies",
        Idempotent,
        Read,
        Verb::Read(carried::erasure_coding_policies),
    ),
    method(
        "addErasureCodingPolicies",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_erasure_coding),
    ),
    method(
        "removeErasureCodingPolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_erasure_coding),
    ),
    method(
        "enableErasureCodingPolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_erasure_coding),
    ),
    method(
        "disableErasureCodingPolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::change_erasure_coding),
    ),
    method(
        "getErasureCodingPolicy",
        Idempotent,
        Read,
        Verb::Read(unsupported::get_erasure_coding_policy),
    ),
    method(
        "getErasureCodingCodecs",
        Idempotent,
        Read,
        Verb::Read(unsupported::get_erasure_coding_codecs),
    ),
    method("getQuotaUsage", Idempotent, Read, Verb::Read(summary::get_quota_usage)),
    method("listOpenFiles", Idempotent, Read, Verb::Read(admin::list_open_files)),
    method("msync", Idempotent, Write, Verb::Read(admin::msync)),
    method(
        "satisfyStoragePolicy",
        AtMostOnce,
        Write,
        Verb::Write(unsupported::satisfy_storage_policy),
    ),
    method(
        "getHAServiceState",
        Idempotent,
        Unchecked,
        Verb::Read(admin::get_ha_service_state),
    ),
    method(
        "getSlowDatanodeReport",
        Idempotent,
        Unchecked,
        Verb::Read(admin::get_slow_datanode_report),
    ),
    method(
        "getEnclosingRoot",
        Idempotent,
        Read,
        Verb::Read(read::get_enclosing_root),
    ),
];

/// Number of slots of the index: a power of two well above the number of methods, so that chains are short.
const SLOTS: usize = 512;
/// A slot without a method.
const FREE: u8 = u8::MAX;
/// Index of methods by the hash of their name, with linear probing. The compiler makes it.
static INDEX: [u8; SLOTS] = index();

const fn slot_of(name: &[u8]) -> usize {
    // FNV-1a of the length, the ends and the middle. That tells the names apart at a fixed cost.
    let mut hash: u32 = 0x811c_9dc5 ^ name.len() as u32;
    let samples = [
        0,
        name.len() / 4,
        name.len() / 2,
        name.len() * 3 / 4,
        name.len().saturating_sub(1),
    ];
    let mut at = 0;
    while at < samples.len() {
        if samples[at] < name.len() {
            hash = (hash ^ name[samples[at]] as u32).wrapping_mul(0x0100_0193);
        }
        at += 1;
    }
    (hash ^ hash >> 15) as usize % SLOTS
}

const fn index() -> [u8; SLOTS] {
    let mut index = [FREE; SLOTS];
    let mut at = 0;
    while at < CLIENT_METHODS.len() {
        let mut slot = slot_of(CLIENT_METHODS[at].name.as_bytes());
        while index[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        index[slot] = at as u8;
        at += 1;
    }
    index
}

/// The method with this name.
#[must_use]
pub fn client_method(name: &str) -> Option<&'static ClientMethod> {
    let mut slot = slot_of(name.as_bytes());
    // The loop ends, because most slots are free.
    loop {
        let method = CLIENT_METHODS.get(usize::from(*INDEX.get(slot)?))?;
        if method.name == name {
            return Some(method);
        }
        slot = (slot + 1) % SLOTS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_found_by_its_name_and_no_other() {
        for method in &CLIENT_METHODS {
            let found = client_method(method.name).unwrap();
            assert!(std::ptr::eq(found, method), "{}", method.name);
        }
        for name in [
            "",
            "g",
            "getFileInf",
            "getFileInfoo",
            "getfileinfo",
            "GetFileInfo",
            "noSuchMethod",
        ] {
            assert!(client_method(name).is_none(), "{name}");
        }
        let mut names: Vec<_> = CLIENT_METHODS.iter().map(|method| method.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 111);
        let at_most_once = CLIENT_METHODS
            .iter()
            .filter(|method| method.retry == AtMostOnce)
            .count();
        assert_eq!(at_most_once, 29);
    }

    #[test]
    fn look_ups_probe_few_slots() {
        let probes = |name: &str| {
            let at = CLIENT_METHODS.iter().position(|method| method.name == name).unwrap();
            let slot = INDEX.iter().position(|&index| usize::from(index) == at).unwrap();
            (slot + SLOTS - slot_of(name.as_bytes())) % SLOTS
        };
        let total: usize = CLIENT_METHODS.iter().map(|method| probes(method.name)).sum();
        assert!(total < 60, "{total} extra probes for all methods");
    }
}
