//! Images: what a NameNode publishes, loads and purges edits for is an image that was made whole.

use super::Verdict;
use std::collections::{BTreeMap, BTreeSet};

/// The digest of a file's bytes.
pub type Md5 = [u8; 16];

/// Every image that was made, by its last transaction and its digest.
#[derive(Clone, Debug, Default)]
pub struct Images {
    made: BTreeMap<u64, BTreeSet<Md5>>,
}

impl Images {
    /// A NameNode has made these bytes of its namespace.
    pub fn made(&mut self, txid: u64, md5: Md5) {
        self.made.entry(txid).or_default().insert(md5);
    }

    /// Whether these bytes are an image of this transaction, and all of it.
    #[must_use]
    pub fn is_whole(&self, txid: u64, md5: Md5) -> bool {
        self.made.get(&txid).is_some_and(|made| made.contains(&md5))
    }

    /// A file has the name of an image.
    pub fn published(&self, namenode: usize, txid: u64, md5: Md5) -> Verdict {
        match self.is_whole(txid, md5) {
            true => Ok(()),
            false => Err(format!(
                "NameNode {namenode} published an image of {txid} that is not whole"
            )),
        }
    }

    /// A NameNode serves what was in this file.
    pub fn loaded(&self, namenode: usize, txid: u64, md5: Md5) -> Verdict {
        match self.is_whole(txid, md5) {
            true => Ok(()),
            false => Err(format!(
                "NameNode {namenode} loaded an image of {txid} that is not whole"
            )),
        }
    }

    /// A NameNode deletes the edits before `keep_from`. `durable` are the images that it would have after a loss of power.
    pub fn purged(&self, namenode: usize, keep_from: u64, durable: &[(u64, Md5)]) -> Verdict {
        let covers = |(txid, md5): &&(u64, Md5)| txid + 1 >= keep_from && self.is_whole(*txid, *md5);
        match durable.iter().any(|image| covers(&image)) {
            true => Ok(()),
            false => Err(format!(
                "NameNode {namenode} deletes the edits before {keep_from}, and no image on its disk holds them"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fires() {
        let mut images = Images::default();
        images.made(7, [1; 16]);
        assert!(images.published(0, 7, [1; 16]).is_ok());
        assert!(images.published(0, 7, [2; 16]).is_err());
        assert!(images.published(0, 8, [1; 16]).is_err());
        assert!(images.loaded(0, 7, [1; 16]).is_ok() && images.loaded(0, 7, [2; 16]).is_err());
        assert!(images.purged(0, 8, &[(3, [9; 16]), (7, [1; 16])]).is_ok());
        assert!(images.purged(0, 9, &[(7, [1; 16])]).is_err());
        assert!(images.purged(0, 8, &[(7, [2; 16])]).is_err());
        assert!(images.purged(0, 1, &[]).is_err());
    }
}
