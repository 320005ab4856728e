//! The terms of the digest: one hash for each fact of the state.
//!
//! The functions are the same on every machine and in every version of Hathi with the same [`DIGEST_VERSION`], because
//! NameNodes of different versions compare their sums. So they hash numbers and bytes that are defined here, and no
//! memory layout, serial or slot. They find what a bug or a fault changes; they are no defence against somebody who
//! looks for two states with the same sum.

use std::collections::BTreeMap;

use hathi_formats::editlog::{AclEntry, XAttr};
use hathi_formats::ids::{Block, InodeId};

use crate::files::block::BlockRec;
use crate::tree::inode::InodeRec;

/// Counts up whenever a state gets another digest than before. Only digests of the same version are compared.
pub const DIGEST_VERSION: u32 = 1;

/// What a term is about, so that equal numbers in different roles have different terms.
#[derive(Clone, Copy)]
pub(crate) enum Fact {
    Inode = 1,
    Parent,
    Block,
    Place,
    Acl,
    XAttrs,
    Quota,
    Open,
    Truncation,
    Link,
    Snapshottable,
    Counters,
    Secrets,
    MasterKey,
    Token,
    NextDirective,
    Pool,
    Directive,
    Policy,
    Name,
    Foreign,
    Adjusted,
    Snapshot,
    DirDiff,
    FileDiff,
    Created,
    Deleted,
}

/// Odd numbers without a pattern (of the golden ratio, and of MurmurHash3's and SplitMix64's finalizers).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
const FINISH: [u64; 2] = [0xFF51_AFD7_ED55_8CCD, 0xC4CE_B9FE_1A85_EC53];

/// A term that is being hashed. Each word changes the state by a bijection, so two facts that differ in one word have
/// different terms.
#[derive(Clone, Copy)]
pub(crate) struct Term(u64);

impl Term {
    #[inline]
    pub(crate) fn of(fact: Fact) -> Term {
        Term(MIX.wrapping_mul(fact as u64))
    }

    #[inline]
    pub(crate) fn word(self, word: u64) -> Term {
        let mixed = (self.0 ^ word).wrapping_mul(MIX);
        Term(mixed ^ mixed >> 32)
    }

    #[inline]
    pub(crate) fn signed(self, word: i64) -> Term {
        self.word(word.cast_unsigned())
    }

    #[inline]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Term {
        let mut term = self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            term = term.word(u64::from_le_bytes(*word));
        }
        if rest.is_empty() {
            return term;
        }
        // The first byte lowest, as in the whole words.
        term.word(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
    }

    /// Nothing is another value than the empty one.
    fn optional(self, bytes: Option<&[u8]>) -> Term {
        match bytes {
            Some(bytes) => self.word(1).bytes(bytes),
            None => self.word(0),
        }
    }

    #[inline]
    pub(crate) fn end(self) -> u64 {
        let x = (self.0 ^ self.0 >> 33).wrapping_mul(FINISH[0]);
        let x = (x ^ x >> 33).wrapping_mul(FINISH[1]);
        x ^ x >> 33
    }
}

/// A user or group, as the term of an inode has it.
pub(crate) fn name(name: &str) -> u64 {
    Term::of(Fact::Name).bytes(name.as_bytes()).end()
}

/// What the record of an inode says by itself. `user` and `group` are of [`name()`]. Ids, times and sizes have 48 bits, so
/// that a word has room for something small beside each.
#[inline]
pub(crate) fn inode(rec: &InodeRec, name: &[u8], user: u64, group: u64) -> u64 {
    let kind_and_policy = u64::from(rec.kind_bits()) | u64::from(rec.storage_policy) << 8;
    let (redundancy, block_size) = match rec.is_file() {
        true => (rec.redundancy(), rec.block_size()),
        // The same fields of a directory have another meaning.
        false => (0, 0),
    };
    // No image has the access time of a directory.
    let atime = if rec.is_dir() { 0 } else { rec.atime() };
    Term::of(Fact::Inode)
        .word(rec.id().0 | u64::from(redundancy) << 48)
        .word(rec.mtime() | u64::from(rec.perm().mode()) << 48)
        .word(atime | kind_and_policy << 48)
        .word(block_size)
        .word(user.wrapping_add(group.rotate_left(32)))
        .bytes(name)
        .end()
}

/// The directory in which an inode is.
#[inline]
pub(crate) fn parent(inode: InodeId, parent: InodeId) -> u64 {
    Term::of(Fact::Parent).word(inode.0).word(parent.0).end()
}

/// A block by itself.
#[inline]
pub(crate) fn block(rec: &BlockRec) -> u64 {
    Term::of(Fact::Block)
        .signed(rec.id().0)
        .word(rec.len())
        .word(rec.generation_stamp().0 << 1 | u64::from(rec.is_open()))
        .end()
}

/// Which block is the how manieth of a file.
#[inline]
pub(crate) fn place(file: InodeId, index: usize, block: &BlockRec) -> u64 {
    Term::of(Fact::Place)
        .word(file.0)
        .word(index as u64)
        .signed(block.id().0)
        .end()
}

pub(crate) fn acl(inode: InodeId, entries: &[AclEntry]) -> u64 {
    let mut term = Term::of(Fact::Acl).word(inode.0).word(entries.len() as u64);
    for entry in entries {
        let packed = entry.scope as u64 | (entry.entry_type as u64) << 8 | u64::from(entry.permission) << 16;
        term = term.word(packed).optional(entry.name.as_deref().map(str::as_bytes));
    }
    term.end()
}

pub(crate) fn xattrs(inode: InodeId, xattrs: &[XAttr]) -> u64 {
    let mut term = Term::of(Fact::XAttrs).word(inode.0).word(xattrs.len() as u64);
    for xattr in xattrs {
        // An image knows no attribute without a value, and Hadoop shows both alike.
        let value = xattr.value.as_deref().unwrap_or_default();
        term = term
            .word(xattr.namespace as u64)
            .bytes(xattr.name.as_bytes())
            .bytes(value);
    }
    term.end()
}

/// The limits of a directory; 0 for those that limit nothing, as the root's do unless somebody has set them.
pub(crate) fn quota(inode: InodeId, ns: i64, ds: i64, types: &BTreeMap<i32, i64>) -> u64 {
    if (ns < 0 || ns == i64::MAX) && ds < 0 && types.is_empty() {
        return 0;
    }
    let mut term = Term::of(Fact::Quota).word(inode.0).signed(ns).signed(ds);
    for (kind, limit) in types {
        term = term.signed(i64::from(*kind)).signed(*limit);
    }
    term.end()
}

pub(crate) fn open(inode: InodeId, client_name: &str, client_machine: &str, is_reassigned: bool) -> u64 {
    Term::of(Fact::Open)
        .word(inode.0)
        .bytes(client_name.as_bytes())
        .bytes(client_machine.as_bytes())
        .word(u64::from(is_reassigned))
        .end()
}

pub(crate) fn truncation(inode: InodeId, length: u64, source: Option<&Block>) -> u64 {
    let term = Term::of(Fact::Truncation).word(inode.0).word(length);
    match source {
        Some(source) => term.word(1).signed(source.id.0).end(),
        None => term.word(0).end(),
    }
}

pub(crate) fn link(inode: InodeId, target: &[u8]) -> u64 {
    Term::of(Fact::Link).word(inode.0).bytes(target).end()
}

/// A snapshot of the directory with this inode id.
pub(crate) fn snapshot(root: u64, id: u32, name: &str) -> u64 {
    let term = Term::of(Fact::Snapshot).word(root).word(u64::from(id));
    term.bytes(name.as_bytes()).end()
}

pub(crate) fn snapshottable(inode: InodeId) -> u64 {
    Term::of(Fact::Snapshottable).word(inode.0).end()
}
