//! What is told of an inode (`HdfsFileStatus`), in any view.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::coded::Coded;
use crate::erasure_coding::policy::Policy;
use crate::store::slab::Slot;
use crate::tree::inode::flag;
use crate::types::FileStatus;
use crate::view::View;
use crate::zone_map::{Zone, file_key};
use crate::zone_view::Encryption;

/// What children inherit from their directory.
#[derive(Clone, Debug)]
pub(crate) struct Inherited<'v> {
    storage_policy: u8,
    erasure_coding: Option<&'v Policy>,
    zone: Option<Arc<Zone>>,
}

/// What a view shows of its inodes.
pub(crate) trait Statuses: View {
    /// `inherited`: what is in force in the parent, if known.
    fn status_of<'v>(&'v self, slot: Slot, inherited: Option<&Inherited<'v>>) -> FileStatus<'v> {
        let rec = self.rec(slot);
        let perm = rec.perm();
        let (file, dir) = (rec.is_file(), rec.is_dir());
        let zone = match inherited {
            None => self.zone_over(slot).map(|(_, zone)| zone),
            Some(above) if above.zone.is_none() && !dir => None,
            Some(above) => self.zone_at(slot).or_else(|| above.zone.clone()),
        };
        FileStatus {
            id: rec.id(),
            kind: rec.kind(),
            name: &[],
            length: if file { self.file_length(slot) } else { 0 },
            mode: perm.mode(),
            owner: self.attributes().user(perm),
            group: self.attributes().group(perm),
            mtime_ms: rec.mtime(),
            // An image has no access time of a directory, and a snapshot keeps none (`INodeDirectoryAttributes`).
            atime_ms: if dir && self.snapshot().is_some() {
                0
            } else {
                rec.atime()
            },
            replication: if file { rec.replication() } else { 0 },
            block_size: if file { rec.block_size() } else { 0 },
            children: if dir { self.child_count(slot) as u32 } else { 0 },
            symlink: match rec.is_symlink() {
                true => self.attributes().link(slot),
                false => None,
            },
            storage_policy: match self.own_policy(slot) {
                _ if rec.is_symlink() => 0,
                0 => inherited.map_or_else(
                    || self.effective_policy(self.parent(slot)),
                    |inherited| inherited.storage_policy,
                ),
                own => own,
            },
            has_acl: rec.has(flag::ACL),
            // A snapshot is written to by nobody, and is taken of none.
            under_construction: rec.is_open() && self.snapshot().is_none(),
            snapshottable: dir && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) && self.snapshot().is_none(),
            snapshot: self.snapshot(),
            erasure_coding: match inherited {
                Some(inherited) if dir && self.own_policy_xattr(slot).is_none() => inherited.erasure_coding,
                _ => self.erasure_coding_of(slot),
            },
            file_key: match &zone {
                Some(_) if file => file_key(self.xattrs_of(slot)),
                _ => None,
            },
            zone,
        }
    }

    /// Calls `visit` for up to `limit` children of a directory behind the name `after`, and returns how many more there
    /// are. `visit` may stop earlier; the child at which it stops counts as visited.
    fn list_children<'v>(
        &'v self,
        dir: Slot,
        after: &[u8],
        limit: usize,
        visit: &mut dyn FnMut(FileStatus<'v>) -> ControlFlow<()>,
    ) -> usize {
        let inherited = Inherited {
            storage_policy: self.effective_policy(dir),
            erasure_coding: self.erasure_coding_of(dir),
            zone: self.zone_over(dir).map(|(_, zone)| zone),
        };
        let (count, children) = self.children_after(dir, after);
        let mut shown = 0;
        for child in children.take(limit) {
            shown += 1;
            let mut status = self.status_of(child, Some(&inherited));
            status.name = self.name_of(child);
            if visit(status).is_break() {
                break;
            }
        }
        count - shown
    }
}

impl<V: View> Statuses for V {}
