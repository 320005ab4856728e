//! Features that other NameNodes keep in a namespace and that this one does not have.
//!
//! A record of such a feature is never loaded or applied. Otherwise files below it would be written or read as if the
//! feature did not exist, which would leave plain text in an encryption zone, or a file without its parity.

use hathi_formats::editlog::{XAttr, XAttrNamespace};

/// A feature that an image or an edit may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    EncryptionZone,
    ErasureCodedFile,
}

/// Prefix of all attributes of encryption zones and encrypted files (`HdfsServerConstants.CRYPTO_XATTR_*`).
const CRYPTO_XATTRS: &str = "hdfs.crypto.";

impl Feature {
    /// The unsupported feature that an attribute belongs to, if any.
    pub(crate) fn of_xattr(xattr: &XAttr) -> Option<Feature> {
        match xattr.namespace {
            XAttrNamespace::Raw if xattr.name.starts_with(CRYPTO_XATTRS) => Some(Feature::EncryptionZone),
            _ => None,
        }
    }

    /// The refusal: what, where, and what can be done about it.
    pub(crate) fn refused_at(self, place: &str) -> String {
        let (what, advice) = match self {
            Feature::EncryptionZone => (
                "encryption zones are not supported",
                "copy the files out of the zone and delete it",
            ),
            Feature::ErasureCodedFile => (
                "erasure coded files are not supported",
                "copy the file into a directory of replicated files and delete it",
            ),
        };
        format!("{place}: {what}. With Hadoop's NameNode, {advice}; save the namespace, and start this one then")
    }
}
