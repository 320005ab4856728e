//! Re-encryption: which files of a zone have keys that are encrypted with an old version of the zone's key, and what is
//! logged when they have new ones (`ReencryptionHandler`, `ReencryptionUpdater`).
//!
//! Files are visited depth first in the byte order of names, so a path says how far the walk is. It is logged with the zone
//! after each batch, and the next active goes on behind it. Only keys change: what is on the DataNodes stays as it is.

use std::sync::Arc;

use hathi_formats::editlog::{EditOp, RpcIds};
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{PerFileEncryptionInfoProto, ReencryptionInfoProto};
use prost::Message;
use smallvec::SmallVec;

use super::{EncryptedKey, Encryption, Zone, file_key, key_xattr};
use crate::namespace::Namespace;
use crate::store::slab::Slot;
use crate::types::Plan;
use crate::view::View;

/// Position in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReencryptionWalk {
    zone: InodeId,
    /// The version that keys shall have.
    version: String,
    /// When it was asked for, in ms since 1970. Who cancels and asks again wants all files looked at again, because files may
    /// have moved meanwhile.
    submitted: u64,
    /// Directories from the zone's root down, and the child of each behind which the walk goes on.
    stack: Vec<(InodeId, Vec<u8>)>,
}

impl ReencryptionWalk {
    /// The root of the zone.
    #[must_use]
    pub fn zone(&self) -> InodeId {
        self.zone
    }
}

/// The key of a file as it was when the walk came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOfFile {
    /// The file.
    pub file: InodeId,
    /// Its key.
    pub key: EncryptedKey,
}

impl Namespace {
    /// The zone that is to be re-encrypted next (`getNextUnprocessedZone`): the one with the lowest id that is submitted and
    /// not in `but_not`.
    #[must_use]
    pub fn next_reencryption(&self, but_not: &[InodeId]) -> Option<ReencryptionWalk> {
        if !self.has_zones() {
            return None;
        }
        let waiting = self
            .attributes
            .zones()
            .after(0)
            .filter(|(_, zone)| zone.is_reencrypted());
        let mut live = waiting.filter_map(|(id, zone)| Some((self.slot(id)?, id, zone)));
        let (slot, id, zone) = live.find(|(_, id, _)| !but_not.contains(id))?;
        let info = zone.reencryption()?;
        Some(ReencryptionWalk {
            zone: id,
            version: info.ez_key_version_name.clone(),
            submitted: info.submission_time,
            stack: self.stack_behind(slot, info.last_file.as_deref()),
        })
    }

    /// Where a walk goes on behind a file. If the directories above it are not there any more, behind where they were.
    fn stack_behind(&self, zone: Slot, file: Option<&str>) -> Vec<(InodeId, Vec<u8>)> {
        let mut stack = vec![(self.rec(zone).id(), Vec::new())];
        let root = self.path_of_slot(zone);
        let below = file.and_then(|file| file.strip_prefix(root.trim_end_matches('/')));
        let Some(below) = below.and_then(|below| below.strip_prefix('/')) else {
            return stack;
        };
        let mut at = zone;
        for name in below.split('/') {
            if let Some(last) = stack.last_mut() {
                last.1 = name.as_bytes().to_vec();
            }
            match self
                .child(at, name.as_bytes())
                .filter(|child| self.rec(*child).is_dir())
            {
                Some(child) => {
                    stack.push((self.rec(child).id(), Vec::new()));
                    at = child;
                }
                None => break,
            }
        }
        debug_assert!(!stack.is_empty(), "a walk begins at the root of its zone");
        stack
    }

    /// Whether this zone is still to be re-encrypted: it is there, and nobody has cancelled.
    #[must_use]
    pub fn is_reencryption_wanted(&self, walk: &ReencryptionWalk) -> bool {
        let zone = self.slot(walk.zone).and_then(|slot| self.zone_at(slot));
        let info = zone.as_ref().filter(|zone| zone.is_reencrypted());
        info.and_then(|zone| zone.reencryption())
            .is_some_and(|info| (&info.ez_key_version_name, info.submission_time) == (&walk.version, walk.submitted))
    }

    /// Continues a walk with up to `max_inodes` inodes, until `found` has `max_files` files with old keys. Returns true at
    /// the end of the zone.
    pub fn reencryption_step(
        &self,
        walk: &mut ReencryptionWalk,
        found: &mut Vec<KeyOfFile>,
        max_files: usize,
        max_inodes: usize,
    ) -> bool {
        for _ in 0..max_inodes.max(1) {
            if found.len() >= max_files {
                return false;
            }
            let Some((dir, after)) = walk.stack.last_mut() else {
                return true;
            };
            let next = self
                .slot(*dir)
                .filter(|slot| self.rec(*slot).is_dir())
                .and_then(|slot| {
                    let (_, mut children) = self.children_after(slot, after);
                    children.next()
                });
            let Some(child) = next else {
                walk.stack.pop();
                continue;
            };
            *after = self.name_of(child).to_vec();
            let rec = self.rec(child);
            if rec.is_dir() {
                // A zone in the zone has a key of its own.
                if self.zone_at(child).is_none() {
                    let id = rec.id();
                    walk.stack.push((id, Vec::new()));
                }
            } else if let Some(key) = self.key_of_file(child).filter(|key| key.version_name != walk.version) {
                found.push(KeyOfFile { file: rec.id(), key });
            }
        }
        false
    }

    fn key_of_file(&self, file: Slot) -> Option<EncryptedKey> {
        let (_, zone) = self.zone_over(file)?;
        let info = PerFileEncryptionInfoProto::decode(file_key(self.xattrs_of(file))?).ok()?;
        Some(EncryptedKey {
            key_name: zone.key_name().to_owned(),
            version_name: info.ez_key_version_name,
            iv: info.iv.to_vec(),
            material: info.key.to_vec(),
        })
    }

    /// What is logged when a batch of files has new keys: each file's, and how far the zone is. A file that has got another
    /// key meanwhile, or is not there any more, keeps what it has. `failures`: files that keep their old keys because the key
    /// provider did not answer. Empty if nobody wants the re-encryption any more.
    #[must_use]
    pub fn plan_reencrypted(
        &self,
        walk: &ReencryptionWalk,
        batch: &[(KeyOfFile, EncryptedKey)],
        failures: usize,
    ) -> Plan<usize> {
        let mut ops = SmallVec::new();
        let Some((root, zone)) = self.zone_of_walk(walk) else {
            return Plan::nothing(0);
        };
        let mut last_file = None;
        for (old, new) in batch {
            let Some(slot) = self.slot(old.file).filter(|slot| self.is_below(*slot, root)) else {
                continue;
            };
            last_file = Some(self.path_of_slot(slot));
            if self.key_of_file(slot).as_ref() != Some(&old.key) || new.version_name == old.key.version_name {
                continue;
            }
            ops.push(EditOp::SetXAttr {
                src: self.path_of_slot(slot),
                xattrs: vec![key_xattr(new)],
                rpc_ids: RpcIds::NONE,
            });
        }
        let changed = ops.len();
        let Some(info) = zone.reencryption() else {
            return Plan::nothing(0);
        };
        let progress = ReencryptionInfoProto {
            num_reencrypted: info.num_reencrypted + changed as i64,
            num_failures: info.num_failures + failures as i64,
            last_file: last_file.or_else(|| info.last_file.clone()),
            ..info.clone()
        };
        ops.push(self.zone_op(root, &zone, progress));
        Plan { ops, reply: changed }
    }

    /// What is logged at the end of a zone (`updateReencryptionFinish`).
    #[must_use]
    pub fn plan_reencryption_done(&self, walk: &ReencryptionWalk, now_ms: u64) -> Plan<()> {
        let Some((root, zone)) = self.zone_of_walk(walk) else {
            return Plan::nothing(());
        };
        let Some(info) = zone.reencryption() else {
            return Plan::nothing(());
        };
        let done = ReencryptionInfoProto {
            completion_time: Some(now_ms),
            last_file: None,
            ..info.clone()
        };
        Plan::one(self.zone_op(root, &zone, done), ())
    }

    fn zone_of_walk(&self, walk: &ReencryptionWalk) -> Option<(Slot, Arc<Zone>)> {
        if !self.is_reencryption_wanted(walk) {
            return None;
        }
        let root = self.slot(walk.zone)?;
        Some((root, self.zone_at(root)?))
    }

    fn zone_op(&self, root: Slot, zone: &Zone, state: ReencryptionInfoProto) -> EditOp {
        debug_assert!(self.rec(root).is_dir(), "the root of a zone is a directory");
        EditOp::SetXAttr {
            src: self.path_of_slot(root),
            xattrs: vec![zone.xattr_with(Some(state))],
            rpc_ids: RpcIds::NONE,
        }
    }
}
