//! Images on the disk of this machine that are not whole yet, or not proven to be good.

use hathi_formats::ids::TxId;
use hathi_nameserver::image_files;
use hathi_storage::OsDisk;
use std::ops::Deref;
use std::path::PathBuf;

/// [`image_files::Unpublished`] on this disk.
pub struct Unpublished(image_files::Unpublished<OsDisk>);

impl Unpublished {
    /// An image that is saved or fetched, in each of these directories.
    #[must_use]
    pub fn of(images_dirs: Vec<PathBuf>, txid: TxId) -> Unpublished {
        Unpublished(image_files::Unpublished::of(OsDisk, &images_dirs, txid))
    }

    /// An image that a peer sends.
    #[must_use]
    pub fn uploaded(images_dirs: Vec<PathBuf>, txid: TxId) -> Unpublished {
        Unpublished(image_files::Unpublished::uploaded(OsDisk, &images_dirs, txid))
    }
}

impl Deref for Unpublished {
    type Target = image_files::Unpublished<OsDisk>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}
