//! Encryption zones: directories below which every file has a key of its own, encrypted with the zone's key.
//!
//! A zone is an extended attribute of its directory, and what a reader needs of a file's key is one of the file. So
//! images and edits carry zones as Hadoop's do, and only a map of them by inode id is kept beside: it is what makes the
//! question cheap, and free where there is no zone.
//!
//! Invariant ([`Zones::check`]): the map has exactly the inodes that have the zone's attribute. Hadoop never takes that
//! attribute away, so a directory that a snapshot shows as a zone is in the map as well.
//!
//! Keys come from outside: a plan gets them as an argument, and nothing here knows one in the clear.
//!
//! Mirrors `EncryptionZoneManager` and the parts of `FSDirEncryptionZoneOp` that read.

mod plan;
mod reencrypt;

use std::collections::BTreeMap;
use std::sync::Arc;

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{
    FileEncryptionInfoProto, PerFileEncryptionInfoProto, ReencryptionInfoProto, ZoneEncryptionInfoProto,
};
use prost::Message;

pub use hathi_formats::kms::EncryptedKey;
pub(crate) use plan::key_xattr;
pub use plan::{Crypto, FileKeys};
pub use reencrypt::{KeyOfFile, ReencryptionWalk};

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, refuse};
use crate::permission::action;
use crate::store::slab::{NONE, Slot};
use crate::tree::Tree;
use crate::tree::inode::flag;
use crate::types::{Caller, FileStatus, Refused};
use crate::view::View;

/// `HdfsServerConstants.CRYPTO_XATTR_ENCRYPTION_ZONE`, without its namespace.
const ZONE_XATTR: &str = "hdfs.crypto.encryption.zone";
/// `HdfsServerConstants.CRYPTO_XATTR_FILE_ENCRYPTION_INFO`, without its namespace.
const FILE_XATTR: &str = "hdfs.crypto.file.encryption.info";

/// Whether an attribute makes its directory a zone.
pub(crate) fn is_zone_xattr(xattr: &XAttr) -> bool {
    xattr.namespace == XAttrNamespace::Raw && xattr.name == ZONE_XATTR
}

fn is_file_xattr(xattr: &XAttr) -> bool {
    xattr.namespace == XAttrNamespace::Raw && xattr.name == FILE_XATTR
}

/// The value of the attribute that a file's key is kept in.
pub(crate) fn file_key(xattrs: &[XAttr]) -> Option<&[u8]> {
    xattrs.iter().find(|xattr| is_file_xattr(xattr))?.value.as_deref()
}

/// What is known of a zone (`EncryptionZoneInt`, `ZoneReencryptionStatus`).
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    info: ZoneEncryptionInfoProto,
}

impl Zone {
    /// The zone that an attribute makes. `None` if the attribute is no zone's, or can't be read.
    pub(crate) fn of_xattr(xattr: &XAttr) -> Option<Zone> {
        if !is_zone_xattr(xattr) {
            return None;
        }
        let info = ZoneEncryptionInfoProto::decode(xattr.value.as_deref()?).ok()?;
        Some(Zone { info })
    }

    fn of_xattrs(xattrs: &[XAttr]) -> Option<Zone> {
        xattrs.iter().find_map(Zone::of_xattr)
    }

    /// `CipherSuiteProto`.
    #[must_use]
    pub fn suite(&self) -> i32 {
        self.info.suite
    }

    /// `CryptoProtocolVersionProto`.
    #[must_use]
    pub fn version(&self) -> i32 {
        self.info.crypto_protocol_version
    }

    /// Name of the key.
    #[must_use]
    pub fn key_name(&self) -> &str {
        &self.info.key_name
    }

    /// How far the last re-encryption of the zone is, if there ever was one.
    #[must_use]
    pub fn reencryption(&self) -> Option<&ReencryptionInfoProto> {
        self.info.reencryption_proto.as_ref()
    }

    /// Whether a re-encryption was asked for that has neither ended nor been cancelled (`ReencryptionStatus.hasRunningZone`).
    #[must_use]
    pub fn is_reencrypted(&self) -> bool {
        self.reencryption().is_some_and(|info| info.completion_time.is_none())
    }

    /// What a client needs to read or write a file of this zone. `info` is the file's own attribute; `None` if that can't be
    /// read.
    #[must_use]
    pub fn file_info(&self, info: &[u8]) -> Option<FileEncryptionInfoProto> {
        let file = PerFileEncryptionInfoProto::decode(info).ok()?;
        Some(FileEncryptionInfoProto {
            suite: self.suite(),
            crypto_protocol_version: self.version(),
            key: file.key,
            iv: file.iv,
            key_name: self.key_name().to_owned(),
            ez_key_version_name: file.ez_key_version_name,
        })
    }

    /// The attribute of this zone, with another state of its re-encryption.
    fn xattr_with(&self, reencryption: Option<ReencryptionInfoProto>) -> XAttr {
        let info = ZoneEncryptionInfoProto {
            reencryption_proto: reencryption,
            ..self.info.clone()
        };
        raw_xattr(ZONE_XATTR, &info)
    }
}

fn raw_xattr(name: &str, value: &impl Message) -> XAttr {
    XAttr {
        namespace: XAttrNamespace::Raw,
        name: name.to_owned(),
        value: Some(value.encode_to_vec()),
    }
}

/// The zones by inode id. A clone is a frozen view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones(Arc<BTreeMap<u64, Arc<Zone>>>);

impl Zones {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn get(&self, id: InodeId) -> Option<&Arc<Zone>> {
        self.0.get(&id.0)
    }

    fn after(&self, id: u64) -> impl Iterator<Item = (InodeId, &Arc<Zone>)> {
        let behind = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.0.range(behind).map(|(id, zone)| (InodeId(*id), zone))
    }

    /// An inode has these attributes from now on.
    pub(crate) fn note(&mut self, id: InodeId, xattrs: &[XAttr]) {
        match Zone::of_xattrs(xattrs) {
            Some(zone) => drop(Arc::make_mut(&mut self.0).insert(id.0, Arc::new(zone))),
            None => self.forget(id),
        }
    }

    /// An inode has no attributes any more.
    pub(crate) fn forget(&mut self, id: InodeId) {
        if self.0.contains_key(&id.0) {
            Arc::make_mut(&mut self.0).remove(&id.0);
        }
    }

    /// Panics when the map is not what the attributes say.
    pub(crate) fn check<'a>(&self, tree: &Tree, xattrs: impl Fn(Slot) -> &'a [XAttr]) {
        let mut found = 0;
        for (slot, rec) in tree.iter().filter(|(_, rec)| rec.has(flag::XATTR)) {
            let id = rec.id();
            let zone = Zone::of_xattrs(xattrs(slot));
            assert_eq!(
                zone.as_ref(),
                self.get(id).map(|zone| &**zone),
                "inode {id}: encryption zone"
            );
            found += usize::from(zone.is_some());
        }
        assert_eq!(found, self.0.len(), "encryption zones found and kept");
    }

    /// Forgets a zone as a bug would.
    #[cfg(test)]
    pub(crate) fn lose(&mut self) {
        Arc::make_mut(&mut self.0).pop_first();
    }
}

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
            if let Some(zone) = self.zone_at(at) {
                return Some((at, zone));
            }
            at = self.parent(at);
        }
        None
    }
}

impl<V: View> Encryption for V {}

/// A zone, and where it is (`EncryptionZone`).
#[derive(Clone, Debug)]
pub struct ZoneAt {
    /// The root directory of the zone.
    pub id: InodeId,
    /// Its path.
    pub path: String,
    /// What is known of it.
    pub zone: Arc<Zone>,
}

/// A page of a list of zones.
#[derive(Clone, Debug)]
pub struct ZonePage {
    /// By ascending id.
    pub zones: Vec<ZoneAt>,
    /// Whether there may be more behind them.
    pub has_more: bool,
}

impl FileStatus<'_> {
    /// Below `/.reserved/raw` a file shows what is on the disks, for which no key is needed.
    pub(crate) fn without_key_if(mut self, raw: bool) -> Self {
        if raw {
            self.file_key = None;
        }
        self
    }

    /// What a client needs to read or write the file. `None` for what is not encrypted.
    #[must_use]
    pub fn encryption_info(&self) -> Option<FileEncryptionInfoProto> {
        self.zone.as_ref()?.file_info(self.file_key?)
    }
}

impl Namespace {
    /// Whether there is any encryption zone (`hasCreatedEncryptionZone`).
    #[inline]
    #[must_use]
    pub fn has_zones(&self) -> bool {
        !self.attributes.zones().is_empty()
    }

    /// Number of encryption zones (`getNumEncryptionZones`).
    #[must_use]
    pub fn zone_count(&self) -> usize {
        self.attributes.zones().0.len()
    }

    /// Names of the keys of all zones, each once.
    #[must_use]
    pub fn zone_keys(&self) -> Vec<String> {
        let zones = self.attributes.zones().0.values();
        let mut keys: Vec<String> = zones.map(|zone| zone.key_name().to_owned()).collect();
        keys.sort();
        keys.dedup();
        keys
    }

    /// Up to `limit` zones behind this id (`listEncryptionZones`). Those that only snapshots show are left out.
    #[must_use]
    pub fn zones_after(&self, id: u64, limit: usize) -> ZonePage {
        self.zone_page(id, limit, |_| true)
    }

    /// Up to `limit` zones behind this id of which a re-encryption was ever asked for (`listReencryptionStatus`).
    #[must_use]
    pub fn reencrypted_zones_after(&self, id: u64, limit: usize) -> ZonePage {
        self.zone_page(id, limit, |zone| zone.reencryption().is_some())
    }

    fn zone_page(&self, id: u64, limit: usize, wanted: impl Fn(&Zone) -> bool) -> ZonePage {
        let all = self.attributes.zones().after(id).filter(|(_, zone)| wanted(zone));
        let mut shown = all.filter_map(|(id, zone)| {
            let slot = self.slot(id).filter(|slot| self.rec(*slot).is_dir())?;
            Some(ZoneAt {
                id,
                path: self.path_of_slot(slot),
                zone: zone.clone(),
            })
        });
        ZonePage {
            zones: shown.by_ref().take(limit).collect(),
            has_more: shown.next().is_some(),
        }
    }

    /// The zone that a path is in, as of the snapshot that it names. A path that does not exist is in the zone in which it
    /// would be.
    #[must_use]
    pub fn zone_of(&self, iip: &InodesInPath<'_>) -> Option<ZoneAt> {
        let deepest = *iip.slots.last()?;
        let (root, zone, path) = match self.past(iip) {
            None => {
                let (root, zone) = self.zone_over(deepest)?;
                (root, zone, self.path_of_slot(root))
            }
            Some(past) => {
                let (root, zone) = past.zone_over(deepest)?;
                let id = self.rec(root).id();
                let present = self.path_of(id);
                (root, zone, present.unwrap_or_else(|| past.path_of_slot(root)))
            }
        };
        Some(ZoneAt {
            id: self.rec(root).id(),
            path,
            zone,
        })
    }

    /// `getEZForPath`: as [`Namespace::zone_of`], for callers who may read the path.
    pub fn zone_for_path(&self, caller: &Caller<'_>, iip: &InodesInPath<'_>) -> Result<Option<ZoneAt>, Refused> {
        self.check_traverse_for(caller, iip, DirOp::Read)?;
        if iip.exists() {
            self.check_path_access(caller, iip, action::READ)?;
        }
        Ok(self.zone_of(iip))
    }

    /// Refuses to move anything from one zone to another, or across the border of one (`checkMoveValidity`). Where the
    /// source is itself the root of a zone, the zone around it counts.
    pub(crate) fn check_move_between_zones(
        &self,
        src: &InodesInPath<'_>,
        dst: &InodesInPath<'_>,
    ) -> Result<(), Refused> {
        if !self.has_zones() {
            return Ok(());
        }
        let around = |iip: &InodesInPath<'_>| {
            let parents = iip.slots.len().min(iip.depth.saturating_sub(1));
            let parent = iip.slots.get(..parents)?.last()?;
            self.zone_over(*parent)
        };
        let path = src.path();
        let problem = match (around(src), around(dst)) {
            (None, None) => return Ok(()),
            (Some(_), None) => format!("{path} can't be moved from an encryption zone."),
            (None, Some(_)) => format!("{path} can't be moved into an encryption zone."),
            (Some((from, _)), Some((to, _))) if from != to => format!(
                "{path} can't be moved from encryption zone {} to encryption zone {}.",
                self.path_of_slot(from),
                self.path_of_slot(to)
            ),
            (Some((root, zone)), Some(_)) if zone.is_reencrypted() => format!(
                "{path} can't be moved because encryption zone {} is currently under re-encryption",
                self.path_of_slot(root)
            ),
            _ => return Ok(()),
        };
        Err(refuse(ex::IO, problem))
    }

    /// `FSDirConcatOp.verifyTargetFile`: each file of a zone has a key of its own.
    pub(crate) fn check_concat_outside_of_zones(&self, target: &InodesInPath<'_>) -> Result<(), Refused> {
        if !self.has_zones() || self.zone_of(target).is_none() {
            return Ok(());
        }
        Err(refuse(
            ex::HADOOP_ILLEGAL_ARGUMENT,
            "concat can not be called for files in an encryption zone.",
        ))
    }
}
