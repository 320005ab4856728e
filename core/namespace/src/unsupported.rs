//! Features that other NameNodes keep in a namespace and that this one does not have.
//!
//! A record of such a feature is never loaded or applied. Otherwise files below it would be written or read as if the
//! feature did not exist, which would leave a file without its parity, or plain text in an encryption zone whose record
//! can't be read.

use hathi_formats::editlog::{XAttr, XAttrNamespace};

use crate::zone_map::{Zone, is_zone_xattr};

/// A feature that an image or an edit may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// An encryption zone whose attribute can't be read.
    UnreadableZone,
}

impl Feature {
    /// The unsupported feature that an attribute belongs to, if any.
    pub(crate) fn of_xattr(xattr: &XAttr) -> Option<Feature> {
        match xattr.namespace {
            XAttrNamespace::Raw if is_zone_xattr(xattr) && Zone::of_xattr(xattr).is_none() => {
                Some(Feature::UnreadableZone)
            }
            _ => None,
        }
    }

    /// The refusal: what, where, and what can be done about it.
    pub(crate) fn refused_at(self, place: &str) -> String {
        let (what, advice) = match self {
            Feature::UnreadableZone => (
                "the attribute of the encryption zone can't be read",
                "look what it is, and delete the zone",
            ),
        };
        format!("{place}: {what}. With Hadoop's NameNode, {advice}; save the namespace, and start this one then")
    }
}
