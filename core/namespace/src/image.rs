//! Images: the namespace as an fsimage file and back (`FSImageFormatProtobuf`, `FSImageFormatPBINode`).
//!
//! [`Namespace::freeze`] takes a view in microseconds (pages are shared and copied on write from then on);
//! [`Frozen::save`] writes it on any thread without a lock. [`load()`] reads an image in one go; [`ImageLoader`] lets a
//! caller with threads decode the parts side by side.
//!
//! [`Namespace::freeze`]: crate::Namespace::freeze

mod decode;
mod load;
mod save;
mod verify;

pub use decode::DecodedInodes;
pub use load::{ImageLoader, load};
pub use save::{Frozen, SaveError};
pub use verify::{Verified, verify};

use hathi_formats::editlog::{XAttr, XAttrNamespace};
use hathi_formats::fsimage::ImageError;

/// The attribute in which directories keep their storage policy in images (`BlockStoragePolicySuite.XAttrName`).
const POLICY_XATTR: &str = "hsm.block.storage.policy.id";

fn policy_xattr(policy: u8) -> XAttr {
    XAttr {
        namespace: XAttrNamespace::System,
        name: POLICY_XATTR.to_owned(),
        value: Some(vec![policy]),
    }
}

/// Damage of an image that no offset is known of.
fn bad(problem: impl Into<String>) -> ImageError {
    ImageError::Malformed {
        offset: 0,
        problem: problem.into(),
    }
}
