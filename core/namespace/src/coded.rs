//! Erasure coding policies of directories and files in any view: the present, a frozen namespace, or a snapshot.

use hathi_formats::editlog::XAttr;
use hathi_formats::erasure_coding::{REPLICATION, xattr_name};

use crate::erasure_coding::policy::Policy;
use crate::erasure_coding::{is_policy_xattr, is_replication};
use crate::store::slab::{NONE, Slot};
use crate::tree::inode::flag;
use crate::view::View;

/// Which policy is in force where, in any view.
pub(crate) trait Coded: View {
    /// The attribute of this inode itself that names a policy.
    fn own_policy_xattr(&self, slot: Slot) -> Option<&XAttr> {
        debug_assert!(self.rec(slot).is_live(), "what has a policy is there");
        let marked = self.rec(slot).has(flag::XATTR);
        let xattrs = if marked { self.xattrs_of(slot) } else { &[] };
        xattrs.iter().find(|xattr| is_policy_xattr(xattr))
    }

    /// The name of the policy of the nearest directory that has one, from this inode upwards. A name may be
    /// [`REPLICATION`], which ends the force of the policies above.
    fn policy_name_above(&self, slot: Slot) -> Option<&str> {
        let mut at = slot;
        while at != NONE {
            if let Some(xattr) = self.own_policy_xattr(at) {
                return xattr.value.as_deref().and_then(xattr_name);
            }
            at = self.parent(at);
        }
        None
    }

    /// The policy of an inode: a directory's own or inherited one, and that of a striped file (`FSDirErasureCodingOp.getErasureCodingPolicyForPath`).
    /// `None` stands for replication.
    fn erasure_coding_of(&self, slot: Slot) -> Option<&Policy> {
        let rec = self.rec(slot);
        match rec.is_dir() {
            true => self
                .policy_name_above(slot)
                .and_then(|name| self.erasure_coding().named(name)),
            // A symlink has none, and a file has that with which it was written.
            false => self.erasure_coding().with_id(rec.erasure_coding_policy()?),
        }
    }

    /// How a file is kept, or the name of a directory's policy; empty without one
    /// (`ContentSummaryComputationContext.getErasureCodingPolicyName`).
    fn erasure_coding_text_of(&self, slot: Slot) -> &str {
        let rec = self.rec(slot);
        match self.erasure_coding_of(slot) {
            Some(policy) => &policy.name,
            None if rec.is_file() => "Replicated",
            None if rec.is_dir() && self.policy_name_above(slot).is_some_and(is_replication) => REPLICATION,
            None => "",
        }
    }
}

impl<V: View> Coded for V {}
