//! Encryption zones in any view: the present, a frozen namespace, or a snapshot.

use std::sync::Arc;

use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::view::View;
use crate::zone_map::Zone;

/// Zones in any view.
pub(crate) trait Encryption: View {
    /// The zone whose root this directory is.
    fn zone_at(&self, slot: Slot) -> Option<Arc<Zone>> {
        let rec = self.rec(slot);
        if !rec.is_dir() || !rec.has(flag::XATTR) {
            return None;
        }
        let kept = self.attributes().zones().get(rec.id());
        match self.snapshot() {
            None => kept.cloned(),
            // A snapshot may be older than the zone.
            Some(_) => Zone::of_xattrs(self.xattrs_of(slot)).map(Arc::new),
        }
    }

    /// The zone that an inode is in, which may be its own, with the root of the zone (`getEncryptionZoneForPath`).
    #[inline]
    fn zone_over(&self, slot: Slot) -> Option<(Slot, Arc<Zone>)> {
        if self.attributes().zones().is_empty() {
            return None;
        }
        self.find_zone_over(slot)
    }

    #[cold]
    fn find_zone_over(&self, slot: Slot) -> Option<(Slot, Arc<Zone>)> {
        let mut at = slot;
        while at != NONE {
            debug_assert!(
                at == slot || self.rec(at).is_dir(),
                "what is above an inode is a directory"
            );
            if let Some(zone) = self.zone_at(at) {
                return Some((at, zone));
            }
            at = self.parent(at);
        }
        None
    }
}

impl<V: View> Encryption for V {}
