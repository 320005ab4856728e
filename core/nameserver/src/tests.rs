//! What the tests of several modules have in common.

pub(crate) mod scripts;

use hathi_blockmanager::{BlockManagerConfig, Now};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo, TxId};
use hathi_namespace::Namespace;
use hathi_namesystem::loader::{NamesystemParts, assemble};
use hathi_namesystem::retry_cache::RetryCacheOptions;
use hathi_namesystem::{Life, Namesystem, Role};

/// An empty namespace whose image covers `applied`.
pub(crate) fn namesystem(applied: u64, life: Life) -> Namesystem {
    let parts = NamesystemParts {
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

/// The same in a role, into which it came by the usual ways. The segment that an active begins is one transaction more,
/// which a quorum has.
pub(crate) fn in_role(role: Role, applied: u64) -> Namesystem {
    let mut ns = namesystem(applied, Life::first());
    let ways = [
        Role::Initializing,
        Role::Standby,
        Role::BecomingActive,
        Role::Active,
        Role::SteppingDown,
    ];
    for step in ways.into_iter().skip(1) {
        if ns.role() == role {
            break;
        }
        match step {
            Role::Standby => ns.become_standby().unwrap(),
            Role::BecomingActive => ns.begin_activation().unwrap(),
            Role::Active => {
                let first = ns.start_active(Now::default()).unwrap();
                ns.take_logged();
                ns.life().acknowledge(first).unwrap();
            }
            _ => ns.begin_stepping_down().unwrap(),
        }
    }
    assert_eq!(ns.role(), role);
    ns
}
