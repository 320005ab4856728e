//! The messages of ClientProtocol that come by the hundred thousand, read and written without intermediate messages.
//!
//! Every answer here is what prost would write for the message of the same name (a test compares them), with the fields
//! set that Hadoop's `PBHelperClient.convert` sets.

use bytes::{BufMut, Bytes};
use prost::Message;

use crate::exceptions::RemoteException;
use crate::fsimage::InodeKind;
use crate::ids::InodeId;
use crate::proto::hdfs::{ErasureCodingPolicyProto, FileEncryptionInfoProto, LocatedBlocksProto};
use crate::wire::{
    Field, Fields, MalformedMessage, delimited_len, put_bytes, put_head, put_number, take_delimited, varint_len,
};

/// `HdfsFileStatusProto.Flags.HAS_ACL`
const HAS_ACL: u64 = 1;
/// `HdfsFileStatusProto.Flags.HAS_CRYPT`
const HAS_CRYPT: u64 = 2;
/// `HdfsFileStatusProto.Flags.HAS_EC`
const HAS_EC: u64 = 4;
/// `HdfsFileStatusProto.Flags.SNAPSHOT_ENABLED`
const SNAPSHOT_ENABLED: u64 = 8;

/// The text of a message that has field 1, a string, and no other. For other messages prost is the way.
#[must_use]
pub fn only_string(body: &[u8]) -> Option<&str> {
    let [0x0A, rest @ ..] = body else { return None };
    let mut rest = rest;
    let text = take_delimited(&mut rest).ok()?;
    rest.is_empty().then(|| std::str::from_utf8(text).ok())?
}

/// An `FsPermissionProto`: its mode, nine bits and the sticky bit.
fn mode(field: Field<'_>) -> Result<u16, MalformedMessage> {
    let mut mode = 0;
    for field in Fields::new(field.bytes()?) {
        if let (1, field) = field? {
            mode = field.number()?;
        }
    }
    Ok((mode & 0o1777) as u16)
}

/// `MkdirsRequestProto`, borrowed.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in Hadoop")]
pub struct MkdirsView<'a> {
    pub src: &'a str,
    pub masked: u16,
    pub create_parent: bool,
    pub unmasked: Option<u16>,
}

impl<'a> MkdirsView<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = MkdirsView::default();
        for field in Fields::new(body) {
            match field? {
                (1, field) => view.src = field.text()?,
                (2, field) => view.masked = mode(field)?,
                (3, field) => view.create_parent = field.number()? != 0,
                (4, field) => view.unmasked = Some(mode(field)?),
                _ => {}
            }
        }
        Ok(view)
    }
}

/// `CreateRequestProto`, borrowed.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in Hadoop")]
pub struct CreateView<'a> {
    pub src: &'a str,
    pub masked: u16,
    pub client_name: &'a str,
    pub flag: u32,
    pub create_parent: bool,
    pub replication: u32,
    pub block_size: u64,
    pub unmasked: Option<u16>,
    pub ec_policy_name: &'a str,
    pub storage_policy: &'a str,
    /// A bit for each version that the client knows. There is one, with the number 2.
    pub crypto_protocol_versions: u64,
}

impl<'a> CreateView<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = CreateView::default();
        for field in Fields::new(body) {
            match field? {
                (1, field) => view.src = field.text()?,
                (2, field) => view.masked = mode(field)?,
                (3, field) => view.client_name = field.text()?,
                (4, field) => view.flag = field.number()? as u32,
                (5, field) => view.create_parent = field.number()? != 0,
                (6, field) => view.replication = field.number()? as u32,
                (7, field) => view.block_size = field.number()?,
                (8, field) => {
                    let version = u32::try_from(field.number()?).unwrap_or(u32::MAX);
                    view.crypto_protocol_versions |= 1_u64.checked_shl(version).unwrap_or(0);
                }
                (9, field) => view.unmasked = Some(mode(field)?),
                (10, field) => view.ec_policy_name = field.text()?,
                (11, field) => view.storage_policy = field.text()?,
                _ => {}
            }
        }
        Ok(view)
    }
}

/// `GetBlockLocationsRequestProto`, borrowed.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields are named as in Hadoop")]
pub struct GetBlockLocationsView<'a> {
    pub src: &'a str,
    pub offset: u64,
    pub length: u64,
}

impl<'a> GetBlockLocationsView<'a> {
    /// Reads the message.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = GetBlockLocationsView::default();
        for field in Fields::new(body) {
            match field? {
                (1, field) => view.src = field.text()?,
                (2, field) => view.offset = field.number()?,
                (3, field) => view.length = field.number()?,
                _ => {}
            }
        }
        Ok(view)
    }
}

/// `HdfsFileStatusProto`, borrowed.
#[derive(Clone, Debug)]
pub struct FileStatusView<'a> {
    /// Its kind.
    pub kind: InodeKind,
    /// The local name: the child's in a listing, empty otherwise.
    pub name: &'a [u8],
    /// Length in bytes; 0 for directories.
    pub length: u64,
    /// Nine permission bits and the sticky bit.
    pub mode: u16,
    /// Owner.
    pub owner: &'a str,
    /// Group.
    pub group: &'a str,
    /// Modification time in ms.
    pub mtime_ms: u64,
    /// Access time in ms; 0 for directories.
    pub atime_ms: u64,
    /// Target of a symlink.
    pub symlink: Option<&'a [u8]>,
    /// Replication; 0 for directories.
    pub replication: u16,
    /// Preferred block size in bytes; 0 for directories.
    pub block_size: u64,
    /// The blocks and where they are, if they were asked for.
    pub locations: Option<&'a LocatedBlocksProto>,
    /// The inode.
    pub id: InodeId,
    /// Number of children; 0 for files.
    pub children: u32,
    /// Storage policy in force; 0 is unspecified.
    pub storage_policy: u8,
    /// Whether there is an ACL.
    pub has_acl: bool,
    /// Whether snapshots may be taken of this directory.
    pub snapshottable: bool,
    /// The erasure coding policy in force.
    pub erasure_coding: Option<&'a ErasureCodingPolicyProto>,
    /// Whether it is in an encryption zone.
    pub encrypted: bool,
    /// How a file is encrypted.
    pub encryption: Option<Box<FileEncryptionInfoProto>>,
}

impl FileStatusView<'_> {
    fn flags(&self) -> u64 {
        let flag = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
        flag(self.has_acl, HAS_ACL)
            | flag(self.encrypted, HAS_CRYPT)
            | flag(self.erasure_coding.is_some(), HAS_EC)
            | flag(self.snapshottable, SNAPSHOT_ENABLED)
    }

    /// Bytes that [`FileStatusView::put`] writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        // Keys below 16 take one byte.
        let number = |value: u64| varint_len(value).saturating_add(1);
        let bytes = |len: usize| delimited_len(len).saturating_add(1);
        [
            2, // fileType
            bytes(self.name.len()),
            number(self.length),
            bytes(number(u64::from(self.mode))),
            bytes(self.owner.len()),
            bytes(self.group.len()),
            number(self.mtime_ms),
            number(self.atime_ms),
            self.symlink.map_or(0, |target| bytes(target.len())),
            number(u64::from(self.replication)),
            number(self.block_size),
            self.locations.map_or(0, |locations| bytes(locations.encoded_len())),
            number(self.id.0),
            number(u64::from(self.children)),
            self.encryption.as_ref().map_or(0, |info| bytes(info.encoded_len())),
            number(u64::from(self.storage_policy)),
            // A key of two bytes.
            (self.erasure_coding).map_or(0, |policy| bytes(policy.encoded_len()).saturating_add(1)),
            number(self.flags()),
            2, // the second bytes of the keys of the storage policy and the flags
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        let kind = match self.kind {
            InodeKind::Directory => 1,
            InodeKind::File => 2,
            InodeKind::Symlink => 3,
        };
        put_number(out, 1, kind);
        put_bytes(out, 2, self.name);
        put_number(out, 3, self.length);
        let mode = u64::from(self.mode);
        put_head(out, 4, varint_len(mode).saturating_add(1));
        put_number(out, 1, mode);
        put_bytes(out, 5, self.owner.as_bytes());
        put_bytes(out, 6, self.group.as_bytes());
        put_number(out, 7, self.mtime_ms);
        put_number(out, 8, self.atime_ms);
        if let Some(target) = self.symlink {
            put_bytes(out, 9, target);
        }
        put_number(out, 10, u64::from(self.replication));
        put_number(out, 11, self.block_size);
        if let Some(locations) = self.locations {
            put_head(out, 12, locations.encoded_len());
            locations.encode_raw(out);
        }
        put_number(out, 13, self.id.0);
        put_number(out, 14, u64::from(self.children));
        if let Some(info) = &self.encryption {
            put_head(out, 15, info.encoded_len());
            info.encode_raw(out);
        }
        put_number(out, 16, u64::from(self.storage_policy));
        if let Some(policy) = self.erasure_coding {
            put_head(out, 17, policy.encoded_len());
            policy.encode_raw(out);
        }
        put_number(out, 18, self.flags());
    }

    /// Appends a field that is this message.
    pub fn put_field(&self, number: u64, out: &mut Vec<u8>) {
        put_head(out, number, self.encoded_len());
        self.put(out);
    }

    /// A response message whose field 1 is this message (`GetFileInfoResponseProto`, `CreateResponseProto`, …).
    #[must_use]
    pub fn response(&self) -> Bytes {
        let len = delimited_len(self.encoded_len()).saturating_add(1);
        let mut out = Vec::with_capacity(len);
        self.put_field(1, &mut out);
        debug_assert_eq!(out.len(), len, "the length is what is written");
        Bytes::from(out)
    }
}

/// Builds a `GetListingResponseProto`, entry by entry.
#[derive(Debug)]
pub struct ListingResponse {
    out: Vec<u8>,
}

/// Room in front for the key and the length of `dirList`, which is known only at the end.
const LISTING_HEADROOM: usize = 6;

impl ListingResponse {
    /// For about so many entries.
    #[must_use]
    pub fn new(entries: usize) -> ListingResponse {
        let expected_bytes = entries.saturating_mul(128).saturating_add(LISTING_HEADROOM + 8);
        let mut out = Vec::with_capacity(expected_bytes);
        out.resize(LISTING_HEADROOM, 0);
        ListingResponse { out }
    }

    /// Appends `partialListing`.
    pub fn push(&mut self, status: &FileStatusView<'_>) {
        status.put_field(1, &mut self.out);
    }

    /// The response.
    #[must_use]
    pub fn finish(mut self, remaining: u32) -> Bytes {
        put_number(&mut self.out, 2, u64::from(remaining));
        let inner = self.out.len().saturating_sub(LISTING_HEADROOM);
        let start = (LISTING_HEADROOM - 1).saturating_sub(varint_len(inner as u64));
        if let Some(mut place) = self.out.get_mut(start..LISTING_HEADROOM) {
            put_head(&mut place, 1, inner);
            debug_assert!(!place.has_remaining_mut(), "the head fills its place");
        }
        Bytes::from(self.out).slice(start..)
    }
}

#[cfg(test)]
mod tests;
