//! Images that are not whole yet, or not proven to be good.

use hathi_formats::ids::TxId;
use std::path::PathBuf;

/// The name of an image that is not complete.
#[must_use]
pub fn checkpoint_name(txid: TxId) -> String {
    format!("fsimage.ckpt_{:019}", txid.0)
}

/// The files of an unfinished image. They are removed when this is dropped, unless the image was published.
pub struct Unpublished {
    txid: TxId,
    paths: Vec<PathBuf>,
}

impl Unpublished {
    /// `fsimage.ckpt_<txid>` in each of these directories.
    #[must_use]
    pub fn of(images_dirs: Vec<PathBuf>, txid: TxId) -> Unpublished {
        Unpublished::named(images_dirs, txid, &checkpoint_name(txid))
    }

    /// Files for an image that a peer sends. They have other names than those of an own image of the same transaction,
    /// which may be saved meanwhile.
    #[must_use]
    pub fn uploaded(images_dirs: Vec<PathBuf>, txid: TxId) -> Unpublished {
        Unpublished::named(images_dirs, txid, &format!("{}.upload", checkpoint_name(txid)))
    }

    fn named(images_dirs: Vec<PathBuf>, txid: TxId, name: &str) -> Unpublished {
        Unpublished {
            txid,
            paths: images_dirs.iter().map(|dir| dir.join(name)).collect(),
        }
    }

    /// The last transaction that the image holds.
    #[must_use]
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// Paths of the files.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        for path in &self.paths {
            // A published image has another name by now.
            let _ = std::fs::remove_file(path);
        }
    }
}
