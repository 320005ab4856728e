//! The packed record of an inode. Its size is the memory of the NameNode, so it is asserted here.
//!
//! Everybody may read a record and change its values (mode, times, sizes). Where the inode hangs, its name, what hangs
//! below it and what other parts keep of it changes only through [`super::Tree`].

use hathi_formats::ids::InodeId;

use crate::erasure_coding::policy::ErasureCodingPolicyId;
use crate::store::names::NameRef;
use crate::store::slab::{NONE, Slot};
use crate::types::InodeKind;

/// Bits of [`InodeRec::flags`].
pub(crate) mod flag {
    /// Two bits of kind; 0 is a free record.
    pub(crate) const KIND: u8 = 3;
    pub(crate) const FILE: u8 = 1;
    pub(crate) const DIRECTORY: u8 = 2;
    pub(crate) const SYMLINK: u8 = 3;
    /// An entry in the side table of ACLs.
    pub(crate) const ACL: u8 = 4;
    /// An entry in the side table of extended attributes.
    pub(crate) const XATTR: u8 = 8;
    /// File: under construction. Directory: it has a quota entry.
    pub(crate) const OPEN_OR_QUOTA: u8 = 16;
    /// File: `data` names a block list. Directory: snapshottable.
    pub(crate) const MULTI_OR_SNAPSHOTTABLE: u8 = 32;
    /// The root of a subtree that was deleted and not yet freed.
    pub(crate) const DETACHED: u8 = 64;
    /// During an op: the digest is without this inode until the op ends.
    pub(crate) const CHANGING: u8 = 128;
}

/// One inode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InodeRec {
    id_lo: u32,
    id_hi: u16,
    flags: u8,
    /// Storage policy set on this very inode; 0 = unset.
    pub(crate) storage_policy: u8,
    pub(super) parent: Slot,
    pub(super) name: NameRef,
    perm_lo: u32,
    perm_hi: u32,
    mtime_lo: u32,
    atime_lo: u32,
    mtime_hi: u16,
    atime_hi: u16,
    /// File: its preferred block size. Directory: see [`InodeRec::longest_below`].
    block_size_lo: u32,
    block_size_hi: u16,
    /// Of a file: the number of its replicas, or [`STRIPED`] and the number of its erasure coding policy
    /// (`INodeFile.HeaderFormat`).
    redundancy: u16,
    /// File: its only block, or its block list (flag), or [`NONE`]. Directory: its child list, or [`NONE`].
    pub(super) data: Slot,
}

const _: () = assert!(size_of::<InodeRec>() == 48);

/// Bit of a striped file's redundancy. Numbers of replicas have 15 bits, as in the log.
const STRIPED: u16 = 1 << 15;

/// Numbers of ids, times and sizes that fit the records.
pub(crate) const MAX_48: u64 = (1 << 48) - 1;

impl Default for InodeRec {
    fn default() -> Self {
        InodeRec {
            id_lo: 0,
            id_hi: 0,
            flags: 0,
            storage_policy: 0,
            parent: NONE,
            name: 0,
            perm_lo: 0,
            perm_hi: 0,
            mtime_lo: 0,
            atime_lo: 0,
            mtime_hi: 0,
            atime_hi: 0,
            block_size_lo: 0,
            block_size_hi: 0,
            redundancy: 0,
            data: NONE,
        }
    }
}

impl InodeRec {
    /// A record that hangs nowhere and has no name yet.
    pub(crate) fn new(id: InodeId, kind: u8, perm: Perm, mtime: u64) -> Self {
        debug_assert!(
            kind != 0 && kind & !flag::KIND == 0,
            "a new inode has a kind, and nothing else"
        );
        let mut rec = InodeRec {
            id_lo: id.0 as u32,
            id_hi: (id.0 >> 32) as u16,
            flags: kind,
            ..InodeRec::default()
        };
        rec.set_perm(perm);
        rec.set_mtime(mtime);
        rec
    }

    /// The record as the past of an inode keeps it: what it says by itself, and which features are kept beside it.
    pub(crate) fn kept(&self, acl: bool, xattrs: bool, quota: bool) -> InodeRec {
        let mut rec = *self;
        rec.flags = self.kind_bits();
        rec.set(flag::ACL, acl);
        rec.set(flag::XATTR, xattrs);
        rec.set(flag::OPEN_OR_QUOTA, quota);
        (rec.parent, rec.data) = (NONE, NONE);
        rec
    }

    #[inline]
    pub(crate) fn id(&self) -> InodeId {
        InodeId(u64::from(self.id_lo) | u64::from(self.id_hi) << 32)
    }
    /// The directory that it hangs in, or hung in until it was cut off. [`NONE`] for the root.
    #[inline]
    pub(crate) fn parent(&self) -> Slot {
        self.parent
    }
    /// See the field.
    #[inline]
    pub(crate) fn data(&self) -> Slot {
        self.data
    }
    /// [`InodeRec::data`] as the list of one block.
    #[inline]
    pub(crate) fn only_block(&self) -> &[Slot] {
        std::slice::from_ref(&self.data)
    }
    /// The bits of [`flag::KIND`].
    #[inline]
    pub(crate) fn kind_bits(&self) -> u8 {
        self.flags & flag::KIND
    }
    #[inline]
    pub(crate) fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }
    pub(super) fn set(&mut self, bit: u8, on: bool) {
        if on {
            self.flags |= bit;
        } else {
            self.flags &= !bit;
        }
    }
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        self.flags & flag::KIND != 0
    }
    #[inline]
    pub(crate) fn is_file(&self) -> bool {
        self.flags & flag::KIND == flag::FILE
    }
    #[inline]
    pub(crate) fn is_dir(&self) -> bool {
        self.flags & flag::KIND == flag::DIRECTORY
    }
    #[inline]
    pub(crate) fn is_symlink(&self) -> bool {
        self.flags & flag::KIND == flag::SYMLINK
    }
    pub(crate) fn kind(&self) -> InodeKind {
        match self.flags & flag::KIND {
            flag::FILE => InodeKind::File,
            flag::SYMLINK => InodeKind::Symlink,
            _ => InodeKind::Directory,
        }
    }
    /// A file under construction.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.is_file() && self.has(flag::OPEN_OR_QUOTA)
    }
    #[inline]
    pub(crate) fn has_quota(&self) -> bool {
        self.is_dir() && self.has(flag::OPEN_OR_QUOTA)
    }
    #[inline]
    pub(crate) fn perm(&self) -> Perm {
        Perm(u64::from(self.perm_lo) | u64::from(self.perm_hi) << 32)
    }
    pub(crate) fn set_perm(&mut self, perm: Perm) {
        self.perm_lo = perm.0 as u32;
        self.perm_hi = (perm.0 >> 32) as u32;
    }
    #[inline]
    pub(crate) fn mtime(&self) -> u64 {
        u64::from(self.mtime_lo) | u64::from(self.mtime_hi) << 32
    }
    pub(crate) fn set_mtime(&mut self, ms: u64) {
        let ms = ms.min(MAX_48);
        self.mtime_lo = ms as u32;
        self.mtime_hi = (ms >> 32) as u16;
    }
    #[inline]
    pub(crate) fn atime(&self) -> u64 {
        u64::from(self.atime_lo) | u64::from(self.atime_hi) << 32
    }
    pub(crate) fn set_atime(&mut self, ms: u64) {
        let ms = ms.min(MAX_48);
        self.atime_lo = ms as u32;
        self.atime_hi = (ms >> 32) as u16;
    }
    /// Of a file: the number of its replicas; 1 if it is striped (`INodeFile.getFileReplication`).
    #[inline]
    pub(crate) fn replication(&self) -> u16 {
        match self.redundancy & STRIPED {
            0 => self.redundancy,
            _ => 1,
        }
    }
    pub(crate) fn set_replication(&mut self, replication: u16) {
        debug_assert!(!self.is_striped(), "a striped file has no replicas");
        self.redundancy = replication & !STRIPED;
    }
    /// Whether the blocks of this file are block groups (`INodeFile.isStriped`).
    #[inline]
    pub(crate) fn is_striped(&self) -> bool {
        self.redundancy & STRIPED != 0
    }
    /// The policy of a striped file.
    #[inline]
    pub(crate) fn erasure_coding_policy(&self) -> Option<ErasureCodingPolicyId> {
        self.is_striped()
            .then_some(ErasureCodingPolicyId(self.redundancy as u8))
    }
    pub(crate) fn set_striped(&mut self, policy: ErasureCodingPolicyId) {
        debug_assert!(self.is_file(), "what has no blocks is not striped");
        self.redundancy = STRIPED | u16::from(policy.0);
    }
    /// Number of replicas or policy, in 16 bits that no two files share that differ in either.
    #[inline]
    pub(crate) fn redundancy(&self) -> u16 {
        self.redundancy
    }
    /// No path below this directory is longer than this, counted from it in UTF-16 units: a bound that only rises, so it
    /// stays when what was longest is gone. 0 for what has no children.
    #[inline]
    pub(crate) fn longest_below(&self) -> u32 {
        if self.is_dir() { self.block_size_lo } else { 0 }
    }
    /// Of a directory.
    pub(super) fn set_longest_below(&mut self, units: u32) {
        debug_assert!(self.is_dir(), "in a file's record this is its block size");
        self.block_size_lo = units;
    }
    /// Of a file.
    #[inline]
    pub(crate) fn block_size(&self) -> u64 {
        u64::from(self.block_size_lo) | u64::from(self.block_size_hi) << 32
    }
    pub(crate) fn set_block_size(&mut self, bytes: u64) {
        let bytes = bytes.min(MAX_48);
        self.block_size_lo = bytes as u32;
        self.block_size_hi = (bytes >> 32) as u16;
    }
}

/// Mode (bits 0-15), group serial (16-39) and user serial (40-63): the image's own packing
/// (`INodeWithAdditionalFields.PermissionStatusFormat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Perm(pub(crate) u64);

impl Perm {
    pub(crate) fn new(user: u32, group: u32, mode: u16) -> Self {
        debug_assert!(user < 1 << 24 && group < 1 << 24, "a serial would run into the other");
        Perm(u64::from(mode) | u64::from(group) << 16 | u64::from(user) << 40)
    }
    #[inline]
    pub(crate) fn mode(self) -> u16 {
        self.0 as u16
    }
    #[inline]
    pub(crate) fn group(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }
    #[inline]
    pub(crate) fn user(self) -> u32 {
        (self.0 >> 40) as u32
    }
    pub(crate) fn with_mode(self, mode: u16) -> Self {
        Perm::new(self.user(), self.group(), mode)
    }
}
