//! The encryption zones by their inodes, and the attributes that they and their files have.

use std::collections::BTreeMap;
use std::sync::Arc;

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::ids::InodeId;
use hathi_formats::proto::hdfs::{
    FileEncryptionInfoProto, PerFileEncryptionInfoProto, ReencryptionInfoProto, ZoneEncryptionInfoProto,
};
use prost::Message;

/// `HdfsServerConstants.CRYPTO_XATTR_ENCRYPTION_ZONE`, without its namespace.
pub(crate) const ZONE_XATTR: &str = "hdfs.crypto.encryption.zone";
/// `HdfsServerConstants.CRYPTO_XATTR_FILE_ENCRYPTION_INFO`, without its namespace.
pub(crate) const FILE_XATTR: &str = "hdfs.crypto.file.encryption.info";

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
    pub(crate) info: ZoneEncryptionInfoProto,
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

    pub(crate) fn of_xattrs(xattrs: &[XAttr]) -> Option<Zone> {
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
    pub(crate) fn xattr_with(&self, reencryption: Option<ReencryptionInfoProto>) -> XAttr {
        let info = ZoneEncryptionInfoProto {
            reencryption_proto: reencryption,
            ..self.info.clone()
        };
        raw_xattr(ZONE_XATTR, &info)
    }
}

pub(crate) fn raw_xattr(name: &str, value: &impl Message) -> XAttr {
    XAttr {
        namespace: XAttrNamespace::Raw,
        name: name.to_owned(),
        value: Some(value.encode_to_vec()),
    }
}

/// The zones by inode id. A clone is a frozen view.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zones(pub(crate) Arc<BTreeMap<u64, Arc<Zone>>>);

impl Zones {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn get(&self, id: InodeId) -> Option<&Arc<Zone>> {
        self.0.get(&id.0)
    }

    pub(crate) fn after(&self, id: u64) -> impl Iterator<Item = (InodeId, &Arc<Zone>)> {
        let behind = (std::ops::Bound::Excluded(id), std::ops::Bound::Unbounded);
        self.0.range(behind).map(|(id, zone)| (InodeId(*id), zone))
    }

    /// An inode has these attributes from now on.
    pub(crate) fn note(&mut self, id: InodeId, xattrs: &[XAttr]) {
        debug_assert!(
            xattrs.iter().filter(|xattr| is_zone_xattr(xattr)).count() <= 1,
            "an inode has an attribute once"
        );
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

    /// Number of zones.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets a zone as a bug would.
    #[cfg(test)]
    pub(crate) fn lose(&mut self) {
        Arc::make_mut(&mut self.0).pop_first();
    }
}
