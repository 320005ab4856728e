//! Writing an image.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use hathi_formats::editlog::{AclEntry, AclEntryType, XAttr};
use hathi_formats::fsimage::{
    AclBits, ImageSummary, ImageWriter, InodeKind, InodeRef, STRING_TABLE_MASK_BITS, SectionName, SerialKind,
    XAttrNameBits, encode_directory_entry,
};
use hathi_formats::ids::{Block, LayoutVersion};
use hathi_formats::proto::fsimage as pb;
use hathi_formats::proto::hdfs::BlockProto;
use prost::Message;

use super::policy_xattr;
use crate::config::ImageOptions;
use crate::feature::{AclFeature, Cache, ErasureCoding, Open, Quota, Secrets, XAttrs};
use crate::namespace::{Counters, Namespace};
use crate::store::children::ChildList;
use crate::store::inode::{BlockRec, InodeRec, flag};
use crate::store::names::FrozenNames;
use crate::store::side::Side;
use crate::store::slab::{FrozenSlab, NONE, Slot};
use crate::store::strings::Strings;
use crate::truncation::Truncation;

/// Number of inodes between two looks at the cancel flag.
const CANCEL_EVERY: u32 = 4096;

/// The namespace at one moment. It can be saved on another thread while the namespace goes on.
#[derive(Debug)]
pub struct Frozen {
    namespace_id: u32,
    counters: Counters,
    genstamp: u64,
    /// An image without it is one that Hadoop made.
    pub(crate) digest_origin: Option<u64>,
    inodes: FrozenSlab<InodeRec, 12>,
    names: FrozenNames,
    lists: FrozenSlab<ChildList, 6>,
    blocks: FrozenSlab<BlockRec, 12>,
    block_lists: FrozenSlab<Vec<Slot>, 6>,
    users: Strings,
    groups: Strings,
    acls: Side<AclFeature>,
    xattrs: Side<XAttrs>,
    quotas: Side<Quota>,
    root_quota: Quota,
    links: Side<Arc<[u8]>>,
    open: Side<Open>,
    truncations: BTreeMap<u64, Truncation>,
    reassigned: BTreeSet<u64>,
    secrets: Secrets,
    cache: Cache,
    erasure_coding: ErasureCoding,
    detached: Vec<Slot>,
    live: usize,
    root: Slot,
    /// Whether the namespace was broken when this view was taken.
    broken: bool,
    options: ImageOptions,
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The file can't be written.
    #[error("can't write the image: {0}")]
    Io(#[from] io::Error),
    /// The caller asked to stop.
    #[error("saving the image was cancelled")]
    Cancelled,
    /// An op had failed to apply, so the state is that of no log ([`Namespace::is_broken`]).
    #[error("the namespace is broken by an op that failed to apply: no image is made of it")]
    Broken,
}

impl Namespace {
    /// A view of everything as it is now. It costs some microseconds per million inodes. As long as the view exists,
    /// pages are copied before they change.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        Frozen {
            namespace_id: self.namespace_id,
            counters: self.counters.clone(),
            genstamp: self.newest_stamp().0,
            digest_origin: Some(self.origin),
            inodes: self.inodes.freeze(),
            names: self.names.freeze(),
            lists: self.lists.freeze(),
            blocks: self.blocks.freeze(),
            block_lists: self.block_lists.freeze(),
            users: self.users.clone(),
            groups: self.groups.clone(),
            acls: self.acls.clone(),
            xattrs: self.xattrs.clone(),
            quotas: self.quotas.clone(),
            root_quota: self.root_quota.clone(),
            links: self.links.clone(),
            open: self.open.clone(),
            truncations: self.truncations.clone(),
            reassigned: self.reassigned.clone(),
            secrets: self.secrets.clone(),
            cache: self.cache.clone(),
            erasure_coding: self.erasure_coding.clone(),
            detached: self.detached.iter().copied().collect(),
            live: self.inodes.live(),
            root: self.root,
            broken: self.is_broken(),
            options: self.config.image,
        }
    }
}

/// Serials of the names of extended attributes, which are given while the inodes are written.
#[derive(Default)]
struct XAttrNames {
    serials: BTreeMap<String, u32>,
}

impl XAttrNames {
    fn serial(&mut self, name: &str) -> u32 {
        if let Some(serial) = self.serials.get(name) {
            return *serial;
        }
        let serial = self.serials.len() as u32 + 1;
        self.serials.insert(name.to_owned(), serial);
        serial
    }
}

/// Inodes that later sections name. Only written inodes are among them, because an inode that waits to be freed is in
/// no section.
#[derive(Default)]
struct Listed {
    /// Open files.
    open: Vec<Slot>,
    /// Ids of snapshottable directories.
    snapshottable: Vec<u64>,
}

impl ImageOptions {
    /// Number of entries in a part of a section, for parts of `inodes` inodes.
    fn per_part(&self, inodes: usize) -> usize {
        if inodes >= self.parts_from_inodes {
            inodes.div_ceil(self.parts.max(1)).max(1)
        } else {
            usize::MAX
        }
    }
}

/// One bit per slot.
struct Bits(Vec<u64>);

impl Bits {
    fn set(&mut self, slot: Slot) {
        self.0[slot as usize / 64] |= 1 << (slot % 64);
    }
    fn get(&self, slot: Slot) -> bool {
        self.0
            .get(slot as usize / 64)
            .is_some_and(|word| word >> (slot % 64) & 1 != 0)
    }
}

impl Frozen {
    /// The image will hold everything up to this transaction.
    #[must_use]
    pub fn txid(&self) -> u64 {
        self.counters.txid
    }

    /// Writes the image. `cancelled` is called now and then. The caller syncs and renames the file.
    pub fn save<W: Write>(
        &self,
        out: W,
        layout: LayoutVersion,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(W, ImageSummary), SaveError> {
        if self.broken {
            return Err(SaveError::Broken);
        }
        let mut w = ImageWriter::new(out, self.options.codec)?;
        let mut names = XAttrNames::default();
        // Strings that only ACLs name get their serials after those of owners and groups.
        let mut users = self.users.clone();
        let mut groups = self.groups.clone();
        self.save_info(&mut w)?;
        w.begin(SectionName::ErasureCoding);
        w.message(&pb::ErasureCodingSection {
            policies: self.erasure_coding.policies.values().cloned().collect(),
        })?;
        w.end();
        let skip = self.detached_slots();
        let Listed { open, snapshottable } =
            self.save_inodes(&mut w, &skip, &mut names, &mut users, &mut groups, cancelled)?;
        self.save_directories(&mut w, &skip, cancelled)?;
        w.begin(SectionName::FilesUnderConstruction);
        for slot in open {
            w.message(&pb::files_under_construction_section::FileUnderConstructionEntry {
                inode_id: Some(self.inodes.get(slot).id().0),
                full_path: Some(self.path(slot)),
            })?;
        }
        w.end();
        w.begin(SectionName::Snapshot);
        w.message(&pb::SnapshotSection {
            snapshot_counter: Some(self.counters.snapshot_counter),
            snapshottable_dir: snapshottable,
            num_snapshots: Some(0),
        })?;
        w.end();
        w.begin(SectionName::InodeReference);
        w.end();
        self.save_secrets(&mut w)?;
        self.save_cache(&mut w)?;
        save_strings(&mut w, &users, &groups, &names)?;
        Ok(w.finish(layout)?)
    }

    fn save_info<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let c = &self.counters;
        w.begin(SectionName::NsInfo);
        w.message(&pb::NameSystemSection {
            namespace_id: Some(self.namespace_id),
            genstamp_v1: Some(c.genstamp_v1),
            genstamp_v2: Some(self.genstamp),
            genstamp_v1_limit: Some(c.genstamp_v1_limit),
            last_allocated_block_id: Some(c.block_id as u64),
            transaction_id: Some(c.txid),
            rolling_upgrade_start_time: (c.rolling_upgrade_start != 0).then_some(c.rolling_upgrade_start),
            last_allocated_striped_block_id: Some(c.striped_block_id as u64),
            digest_origin: self.digest_origin,
        })?;
        w.end();
        Ok(())
    }

    /// The slots of deleted inodes that are not freed. They are no part of the state.
    fn detached_slots(&self) -> (Bits, usize) {
        if self.detached.is_empty() {
            return (Bits(Vec::new()), 0);
        }
        let mut bits = Bits(vec![0; self.inodes.used() as usize / 64 + 1]);
        let mut count = 0;
        let mut stack = self.detached.clone();
        while let Some(slot) = stack.pop() {
            bits.set(slot);
            count += 1;
            stack.extend(self.children(slot));
        }
        (bits, count)
    }

    fn last_block(&self, file: &InodeRec) -> Option<&BlockRec> {
        let slot = match (file.data, file.has(flag::MULTI_OR_SNAPSHOTTABLE)) {
            (NONE, _) => None,
            (list, true) => self.block_lists.get(list).last().copied(),
            (only, false) => Some(only),
        };
        slot.map(|slot| self.blocks.get(slot))
    }

    fn children(&self, slot: Slot) -> impl Iterator<Item = Slot> + '_ {
        static EMPTY: ChildList = ChildList::Empty;
        let rec = self.inodes.get(slot);
        let list = if rec.is_dir() && rec.data != NONE {
            self.lists.get(rec.data)
        } else {
            &EMPTY
        };
        list.iter()
    }

    fn path(&self, slot: Slot) -> String {
        let mut chain = Vec::new();
        let mut at = slot;
        while at != self.root && at != NONE {
            chain.push(at);
            at = self.inodes.get(at).parent;
        }
        let mut out = String::new();
        for slot in chain.iter().rev() {
            out.push('/');
            out.push_str(&String::from_utf8_lossy(self.names.get(self.inodes.get(*slot).name)));
        }
        if out.is_empty() { "/".to_owned() } else { out }
    }

    fn save_inodes<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, skipped): &(Bits, usize),
        names: &mut XAttrNames,
        users: &mut Strings,
        groups: &mut Strings,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Listed, SaveError> {
        let count = self.live - skipped;
        let per_part = self.options.per_part(count);
        w.begin(SectionName::Inode);
        w.message(&pb::INodeSection {
            last_inode_id: Some(self.counters.inode_id),
            num_inodes: Some(count as u64),
        })?;
        let mut listed = Listed::default();
        let mut blocks: Vec<Block> = Vec::new();
        let mut written = 0usize;
        for slot in 0..self.inodes.used() {
            if slot % CANCEL_EVERY == 0 && cancelled() {
                return Err(SaveError::Cancelled);
            }
            let rec = self.inodes.get(slot);
            if !rec.is_live() || skip.get(slot) {
                continue;
            }
            if rec.is_open() {
                listed.open.push(slot);
            }
            if rec.is_dir() && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                listed.snapshottable.push(rec.id().0);
            }
            self.save_inode(slot, rec, &mut blocks, names, users, groups, w.buffer());
            w.flush_if_full()?;
            written += 1;
            if written.is_multiple_of(per_part) {
                w.sub_section();
            }
        }
        w.end();
        listed.snapshottable.sort_unstable();
        Ok(listed)
    }

    fn save_inode(
        &self,
        slot: Slot,
        rec: &InodeRec,
        blocks: &mut Vec<Block>,
        names: &mut XAttrNames,
        users: &mut Strings,
        groups: &mut Strings,
        out: &mut Vec<u8>,
    ) {
        blocks.clear();
        let acl = self
            .acls
            .get(slot)
            .filter(|_| rec.has(flag::ACL))
            .map(|acl| encode_acl(acl, users, groups));
        let mut xattrs: Option<Vec<u8>> = None;
        let policy_in_xattr = rec.is_dir() && rec.storage_policy != 0;
        if rec.has(flag::XATTR) || policy_in_xattr {
            let own = self.xattrs.get(slot).map_or(&[][..], |all| all);
            let policy = policy_in_xattr.then(|| policy_xattr(rec.storage_policy));
            xattrs = Some(encode_xattrs(own.iter().chain(policy.iter()), names));
        }
        let mut inode = InodeRef::new(InodeKind::File, rec.id().0);
        inode.name = self.names.get(rec.name);
        inode.modification_time = rec.mtime();
        inode.permission = rec.perm().0;
        inode.acl = acl.as_deref();
        inode.xattrs = xattrs.as_deref();
        if rec.is_file() {
            let uc = self
                .open
                .get(slot)
                .filter(|_| rec.is_open())
                .map(|open| self.under_construction(rec, open).encode_to_vec());
            inode.access_time = rec.atime();
            inode.replication = u32::from(rec.replication);
            inode.preferred_block_size = rec.block_size();
            inode.storage_policy_id = u32::from(rec.storage_policy);
            inode.under_construction = uc.as_deref();
            if rec.data != NONE && rec.has(flag::MULTI_OR_SNAPSHOTTABLE) {
                blocks.extend(
                    self.block_lists
                        .get(rec.data)
                        .iter()
                        .map(|b| self.blocks.get(*b).block()),
                );
            } else if rec.data != NONE {
                blocks.push(self.blocks.get(rec.data).block());
            }
            inode.encode(blocks, out);
        } else if rec.is_dir() {
            let quota = if slot == self.root {
                Some(&self.root_quota)
            } else {
                self.quotas.get(slot).filter(|_| rec.has_quota())
            };
            let types = quota.filter(|quota| !quota.types.is_empty()).map(encode_type_quotas);
            inode.kind = InodeKind::Directory;
            inode.ns_quota = quota.map_or(-1, |quota| quota.ns) as u64;
            inode.ds_quota = quota.map_or(-1, |quota| quota.ds) as u64;
            inode.type_quotas = types.as_deref();
            inode.encode(&[], out);
        } else {
            inode.kind = InodeKind::Symlink;
            inode.access_time = rec.atime();
            inode.target = self.links.get(slot).map_or(&[][..], |target| target);
            inode.encode(&[], out);
        }
    }

    fn under_construction(&self, rec: &InodeRec, open: &Open) -> pb::i_node_section::FileUnderConstructionFeature {
        let truncation = self.truncations.get(&rec.id().0);
        let source = truncation.and_then(|truncation| truncation.source);
        let complete = self.last_block(rec).is_some_and(|last| !last.is_open());
        pb::i_node_section::FileUnderConstructionFeature {
            client_name: Some(open.client_name.to_string()),
            client_machine: Some(open.client_machine.to_string()),
            last_block_complete: complete.then_some(true),
            lease_reassigned: self.reassigned.contains(&rec.id().0).then_some(true),
            truncate_length: truncation.map(|truncation| truncation.length),
            truncate_source: source.map(|slot| {
                let block = self.blocks.get(slot).block();
                BlockProto {
                    block_id: block.id.0 as u64,
                    gen_stamp: block.generation_stamp.0,
                    num_bytes: Some(block.num_bytes),
                }
            }),
        }
    }

    fn save_directories<W: Write>(
        &self,
        w: &mut ImageWriter<W>,
        (skip, skipped): &(Bits, usize),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), SaveError> {
        let count = self.live - skipped;
        let per_part = self.options.per_part(count);
        w.begin(SectionName::InodeDir);
        let mut written = 0usize;
        for slot in 0..self.inodes.used() {
            if slot % CANCEL_EVERY == 0 && cancelled() {
                return Err(SaveError::Cancelled);
            }
            let rec = self.inodes.get(slot);
            if !rec.is_dir() || rec.data == NONE || skip.get(slot) || self.lists.get(rec.data).len() == 0 {
                continue;
            }
            let list = self.lists.get(rec.data);
            encode_directory_entry(
                rec.id().0,
                list.iter().map(|child| self.inodes.get(child).id().0),
                w.buffer(),
            );
            w.flush_if_full()?;
            written += list.len();
            if written >= per_part {
                written = 0;
                w.sub_section();
            }
        }
        w.end();
        Ok(())
    }

    fn save_secrets<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let s = &self.secrets;
        w.begin(SectionName::SecretManager);
        w.message(&pb::SecretManagerSection {
            current_id: Some(s.current_key_id as u32),
            token_sequence_number: Some(s.sequence_number as u32),
            num_keys: Some(s.keys.len() as u32),
            num_tokens: Some(s.tokens.len() as u32),
        })?;
        for key in s.keys.values() {
            w.message(&pb::secret_manager_section::DelegationKey {
                id: Some(key.key_id as u32),
                expiry_date: Some(key.expiry_date as u64),
                key: key.key.clone().map(Into::into),
            })?;
        }
        for (token, expiry) in s.tokens.values() {
            w.message(&pb::secret_manager_section::PersistToken {
                version: Some(0),
                owner: Some(token.owner.clone()),
                renewer: Some(token.renewer.clone()),
                real_user: Some(token.real_user.clone()),
                issue_date: Some(token.issue_date as u64),
                max_date: Some(token.max_date as u64),
                sequence_number: Some(token.sequence_number as u32),
                master_key_id: Some(token.master_key_id as u32),
                expiry_date: Some(*expiry as u64),
            })?;
        }
        w.end();
        Ok(())
    }

    fn save_cache<W: Write>(&self, w: &mut ImageWriter<W>) -> io::Result<()> {
        let c = &self.cache;
        w.begin(SectionName::CacheManager);
        w.message(&pb::CacheManagerSection {
            next_directive_id: c.next_directive_id.max(1) as u64,
            num_pools: c.pools.len() as u32,
            num_directives: c.directives.len() as u32,
        })?;
        for pool in c.pools.values() {
            w.message(pool)?;
        }
        for directive in c.directives.values() {
            w.message(directive)?;
        }
        w.end();
        Ok(())
    }
}

fn save_strings<W: Write>(
    w: &mut ImageWriter<W>,
    users: &Strings,
    groups: &Strings,
    names: &XAttrNames,
) -> io::Result<()> {
    let users = users.iter().map(|(serial, name)| (SerialKind::User, serial, name));
    let groups = groups.iter().map(|(serial, name)| (SerialKind::Group, serial, name));
    let xattrs = names
        .serials
        .iter()
        .map(|(name, serial)| (SerialKind::XAttr, *serial, name.as_str()));
    let all: Vec<(SerialKind, u32, &str)> = users.chain(groups).chain(xattrs).collect();
    w.begin(SectionName::StringTable);
    w.message(&pb::StringTableSection {
        num_entry: Some(all.len() as u32),
        mask_bits: Some(STRING_TABLE_MASK_BITS),
    })?;
    for (kind, serial, name) in all {
        w.message(&pb::string_table_section::Entry {
            id: Some(kind.table_id(serial)),
            str: Some(name.to_owned()),
        })?;
    }
    w.end();
    Ok(())
}

fn encode_acl(acl: &[AclEntry], users: &mut Strings, groups: &mut Strings) -> Vec<u8> {
    let entries = acl
        .iter()
        .map(|entry| {
            let name = match (&entry.name, entry.entry_type) {
                (Some(name), AclEntryType::User) => users.intern(name),
                (Some(name), AclEntryType::Group) => groups.intern(name),
                _ => 0,
            };
            AclBits {
                scope: entry.scope,
                entry_type: entry.entry_type,
                permission: entry.permission,
                name,
            }
            .pack()
        })
        .collect();
    pb::i_node_section::AclFeatureProto { entries }.encode_to_vec()
}

fn encode_xattrs<'a>(xattrs: impl Iterator<Item = &'a XAttr>, names: &mut XAttrNames) -> Vec<u8> {
    let x_attrs = xattrs
        .map(|xattr| pb::i_node_section::XAttrCompactProto {
            name: XAttrNameBits {
                namespace: xattr.namespace,
                name: names.serial(&xattr.name),
            }
            .pack(),
            value: xattr.value.clone().map(Into::into),
        })
        .collect();
    pb::i_node_section::XAttrFeatureProto { x_attrs }.encode_to_vec()
}

fn encode_type_quotas(quota: &Quota) -> Vec<u8> {
    let quotas = quota
        .types
        .iter()
        .filter_map(|(ordinal, bytes)| {
            Some(pb::i_node_section::QuotaByStorageTypeEntryProto {
                storage_type: crate::ops::storage_type_number(*ordinal)?,
                quota: *bytes as u64,
            })
        })
        .collect();
    pb::i_node_section::QuotaByStorageTypeFeatureProto { quotas }.encode_to_vec()
}
