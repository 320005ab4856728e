//! What the tests of several modules have in common.

pub(crate) mod scripts;

use hathi_blockmanager::BlockManagerConfig;
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_namespace::Namespace;
use hathi_namesystem::loader::{Parts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{Life, Namesystem};

/// An empty namespace whose image covers `applied`.
pub(crate) fn namesystem(applied: u64, life: Life) -> Namesystem {
    let parts = Parts {
        config: hathi_namesystem::NamesystemConfig::default(),
        blockmanager: BlockManagerConfig::default(),
        retry_cache: RetryCacheOptions::default(),
        info: NamespaceInfo {
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            namespace_id: 7,
            cluster_id: "CID-test".to_owned(),
            ctime: 0,
            block_pool_id: "BP-test".to_owned(),
        },
    };
    let namespace = Namespace::new(hathi_namespace::NamespaceConfig::default());
    assemble(parts, namespace, TxId(applied), life)
}
