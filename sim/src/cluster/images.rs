//! Images outside of the processes that make and keep them: on their way to another NameNode, and in the world's eyes.

/// An image as it is sent to another NameNode.
#[derive(Clone, Debug)]
pub struct SentImage {
    /// Last transaction.
    pub txid: u64,
    /// The bytes that come.
    pub bytes: Vec<u8>,
    /// The digest of what was sent.
    pub md5: [u8; 16],
}

/// What the world hears of images, to judge it.
#[derive(Debug)]
pub enum ImageNews {
    /// Bytes with this digest were made of a namespace.
    Made(u64, [u8; 16]),
    /// A file has the name of an image of this transaction.
    Published(u64),
    /// A file with this digest was loaded.
    Loaded(u64, [u8; 16]),
    /// None was loaded.
    NoneWhole(String),
    /// The edits before this transaction are deleted.
    Purged(u64),
}
