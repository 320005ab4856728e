//! Encryption zones: directories below which every file has a key of its own, encrypted with the zone's key.
//!
//! A zone is an extended attribute of its directory, and what a reader needs of a file's key is one of the file. So
//! images and edits carry zones as Hadoop's do, and only a map of them by inode id is kept beside: it is what makes the
//! question cheap, and free where there is no zone.
//!
//! Invariant ([`crate::attributes::Attributes::check`]): the map has exactly the inodes that have the zone's attribute. Hadoop never takes that
//! attribute away, so a directory that a snapshot shows as a zone is in the map as well.
//!
//! Keys come from outside: a plan gets them as an argument, and nothing here knows one in the clear.
//!
//! Mirrors `EncryptionZoneManager` and the parts of `FSDirEncryptionZoneOp` that read.

mod plan;
mod reencrypt;

use std::sync::Arc;

use hathi_formats::exceptions as ex;
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::FileEncryptionInfoProto;

pub use crate::zone_map::Zone;
pub(crate) use crate::zone_map::file_key;
use crate::zone_map::{FILE_XATTR, ZONE_XATTR, raw_xattr};
pub(crate) use crate::zone_view::Encryption;
pub use hathi_formats::kms::EncryptedKey;
pub(crate) use plan::key_xattr;
pub use plan::{Crypto, FileKeys};
pub use reencrypt::{KeyOfFile, ReencryptionWalk};

use crate::namespace::Namespace;
use crate::path::{DirOp, InodesInPath, refuse};
use crate::permission::action;
use crate::types::{Caller, FileStatus, Refused};
use crate::view::View;

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
