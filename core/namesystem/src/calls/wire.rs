//! Requests and answers of the calls that come by the hundred thousand, read and written without intermediate messages.
//!
//! Every answer here is what prost would write for the message of the same name (a test compares them), with the fields
//! set that Hadoop's `PBHelperClient.convert` sets.

use bytes::Bytes;
use hathi_formats::amplification::{FIELDS_MAX, is_bounded};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{GetFileInfoRequestProto, LocatedBlocksProto};
use hathi_namespace::{FileStatus, InodeKind};
use prost::Message;
use std::borrow::Cow;

/// `HdfsFileStatusProto.Flags.HAS_ACL`
const HAS_ACL: u64 = 1;
/// `HdfsFileStatusProto.Flags.SNAPSHOT_ENABLED`
const SNAPSHOT_ENABLED: u64 = 8;

/// A request message.
pub(crate) fn decode<M: Message + Default>(body: &[u8]) -> Result<M, RemoteException> {
    decode_with(body, None)
}

/// A request message with a field of its own that is opaque in the sense of [`is_bounded`].
pub(crate) fn decode_with<M: Message + Default>(body: &[u8], opaque: Option<u64>) -> Result<M, RemoteException> {
    if !is_bounded(body, opaque) {
        return Err(malformed(&format!("more than {FIELDS_MAX} fields")));
    }
    M::decode(body).map_err(|error| malformed(&error.to_string()))
}

fn malformed(why: &str) -> RemoteException {
    RemoteException::new(exceptions::RPC_SERVER, format!("malformed request: {why}"))
}

/// `GetFileInfoRequestProto`, borrowed.
pub(crate) fn decode_path(body: &[u8]) -> Result<Cow<'_, str>, RemoteException> {
    match only_string(body) {
        Some(src) => Ok(Cow::Borrowed(src)),
        None => decode::<GetFileInfoRequestProto>(body).map(|request| Cow::Owned(request.src)),
    }
}

/// The first field of a message that has only this one, a string.
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
fn only_string(body: &[u8]) -> Option<&str> {
    let [0x0a, rest @ ..] = body else { return None };
    let (len, used) = match *rest {
        [a, ..] if a < 0x80 => (usize::from(a), 1),
        [a, b, ..] if b < 0x80 => (usize::from(a & 0x7f) | usize::from(b) << 7, 2),
        _ => return None,
    };
    let text = rest.get(used..)?;
    if text.len() != len {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// A field of a message, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// A number, bool or enum.
    Number(u64),
    /// A string, bytes or message.
    Bytes(&'a [u8]),
    /// A fixed-width number, which no request of this module has.
    Fixed,
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
impl<'a> Field<'a> {
    /// As a string.
    pub fn text(self) -> Result<&'a str, RemoteException> {
        match self {
            Field::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8")),
            _ => Err(malformed("not a string")),
        }
    }

    /// As a number.
    pub fn number(self) -> Result<u64, RemoteException> {
        match self {
            Field::Number(number) => Ok(number),
            _ => Err(malformed("not a number")),
        }
    }

    /// As an `FsPermissionProto`: its mode, nine bits and the sticky bit.
    pub fn mode(self) -> Result<u16, RemoteException> {
        let Field::Bytes(bytes) = self else {
            return Err(malformed("not a message"));
        };
        let mut mode = 0;
        for field in fields(bytes) {
            if let (1, field) = field? {
                mode = field.number()?;
            }
        }
        Ok((mode & 0o1777) as u16)
    }
}

/// The fields of a message in order: number and value.
#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
pub(crate) fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), RemoteException>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = take_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| malformed("truncated field")))
    })
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = take_varint(rest)?;
    let field = match tag & 7 {
        0 => Field::Number(take_varint(rest)?),
        2 => {
            let len = usize::try_from(take_varint(rest)?).ok()?;
            Field::Bytes(take(rest, len)?)
        }
        1 => take(rest, 8).map(|_| Field::Fixed)?,
        5 => take(rest, 4).map(|_| Field::Fixed)?,
        _ => return None,
    };
    Some((tag >> 3, field))
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// `MkdirsRequestProto`, borrowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MkdirsView<'a> {
    pub src: &'a str,
    pub masked: u16,
    pub create_parent: bool,
    pub unmasked: Option<u16>,
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
impl<'a> MkdirsView<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = MkdirsView::default();
        for field in fields(body) {
            match field? {
                (1, field) => view.src = field.text()?,
                (2, field) => view.masked = field.mode()?,
                (3, field) => view.create_parent = field.number()? != 0,
                (4, field) => view.unmasked = Some(field.mode()?),
                _ => {}
            }
        }
        Ok(view)
    }
}

/// `CreateRequestProto`, borrowed.
#[derive(Debug, Default, PartialEq, Eq)]
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
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
impl<'a> CreateView<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = CreateView::default();
        for field in fields(body) {
            match field? {
                (1, field) => view.src = field.text()?,
                (2, field) => view.masked = field.mode()?,
                (3, field) => view.client_name = field.text()?,
                (4, field) => view.flag = field.number()? as u32,
                (5, field) => view.create_parent = field.number()? != 0,
                (6, field) => view.replication = field.number()? as u32,
                (7, field) => view.block_size = field.number()?,
                (9, field) => view.unmasked = Some(field.mode()?),
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
pub struct GetBlockLocationsView<'a> {
    pub src: &'a str,
    pub offset: u64,
    pub length: u64,
}

#[deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
impl<'a> GetBlockLocationsView<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, RemoteException> {
        let mut view = GetBlockLocationsView::default();
        for field in fields(body) {
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

pub(crate) fn varint_len(value: u64) -> usize {
    // One byte for each started group of seven bits.
    (70 - (value | 1).leading_zeros() as usize) / 7
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_number(out: &mut Vec<u8>, tag: u8, value: u64) {
    out.push(tag);
    put_varint(out, value);
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    out.push(tag);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn bytes_len(value: &[u8]) -> usize {
    1 + varint_len(value.len() as u64) + value.len()
}

/// A status as it goes over the wire.
pub(crate) struct WireStatus<'a> {
    /// What the namespace says.
    pub status: &'a FileStatus<'a>,
    /// The local name: the child's in a listing, empty otherwise.
    pub name: &'a [u8],
    /// The length, when it differs from the namespace's.
    pub locations: Option<&'a LocatedBlocksProto>,
}

impl WireStatus<'_> {
    fn flags(&self) -> u64 {
        (if self.status.has_acl { HAS_ACL } else { 0 }) | (if self.status.snapshottable { SNAPSHOT_ENABLED } else { 0 })
    }

    /// Bytes that [`WireStatus::put`] writes.
    pub fn len(&self) -> usize {
        let status = self.status;
        let mode_len = 1 + varint_len(u64::from(status.mode));
        let mut len = 2 // fileType
            + bytes_len(self.name)
            + 1 + varint_len(status.length)
            + 2 + mode_len
            + bytes_len(status.owner.as_bytes())
            + bytes_len(status.group.as_bytes())
            + 1 + varint_len(status.mtime_ms)
            + 1 + varint_len(status.atime_ms)
            + 1 + varint_len(u64::from(status.replication))
            + 1 + varint_len(status.block_size)
            + 1 + varint_len(status.id.0)
            + 1 + varint_len(u64::from(status.children))
            + 2 + varint_len(u64::from(status.storage_policy))
            + 2 + varint_len(self.flags());
        if let Some(target) = status.symlink {
            len += bytes_len(target);
        }
        if let Some(locations) = self.locations {
            let inner = locations.encoded_len();
            len += 1 + varint_len(inner as u64) + inner;
        }
        len
    }

    /// Appends the message `HdfsFileStatusProto`.
    pub fn put(&self, out: &mut Vec<u8>) {
        let status = self.status;
        let kind = match status.kind {
            InodeKind::Directory => 1,
            InodeKind::File => 2,
            InodeKind::Symlink => 3,
        };
        put_number(out, 0x08, kind);
        put_bytes(out, 0x12, self.name);
        put_number(out, 0x18, status.length);
        out.push(0x22);
        out.push(1 + varint_len(u64::from(status.mode)) as u8);
        put_number(out, 0x08, u64::from(status.mode));
        put_bytes(out, 0x2a, status.owner.as_bytes());
        put_bytes(out, 0x32, status.group.as_bytes());
        put_number(out, 0x38, status.mtime_ms);
        put_number(out, 0x40, status.atime_ms);
        if let Some(target) = status.symlink {
            put_bytes(out, 0x4a, target);
        }
        put_number(out, 0x50, u64::from(status.replication));
        put_number(out, 0x58, status.block_size);
        if let Some(locations) = self.locations {
            out.push(0x62);
            put_varint(out, locations.encoded_len() as u64);
            locations.encode_raw(out);
        }
        put_number(out, 0x68, status.id.0);
        put_number(out, 0x70, u64::from(status.children));
        out.push(0x80);
        put_number(out, 0x01, u64::from(status.storage_policy));
        out.push(0x90);
        put_number(out, 0x01, self.flags());
    }
}

/// Appends a field that is a `HdfsFileStatusProto`.
pub(crate) fn put_status_field(out: &mut Vec<u8>, tag: u8, status: &FileStatus<'_>) {
    let wire = WireStatus {
        status,
        name: &[],
        locations: None,
    };
    out.push(tag);
    put_varint(out, wire.len() as u64);
    wire.put(out);
}

/// A response message whose field 1 is a `HdfsFileStatusProto` (`GetFileInfoResponseProto`, `CreateResponseProto`, …).
pub(crate) fn status_response(status: &FileStatus<'_>, locations: Option<&LocatedBlocksProto>) -> Bytes {
    let wire = WireStatus {
        status,
        name: &[],
        locations,
    };
    let len = wire.len();
    let mut out = Vec::with_capacity(1 + varint_len(len as u64) + len);
    out.push(0x0a);
    put_varint(&mut out, len as u64);
    wire.put(&mut out);
    Bytes::from(out)
}

/// Builds a `GetListingResponseProto`, entry by entry.
pub(crate) struct ListingResponse {
    out: Vec<u8>,
}

/// Room in front for the tag and the length of `dirList`, which is known only at the end.
const LISTING_HEADROOM: usize = 6;

impl ListingResponse {
    /// For about so many entries.
    pub fn new(entries: usize) -> ListingResponse {
        let mut out = Vec::with_capacity(LISTING_HEADROOM + 8 + entries * 128);
        out.resize(LISTING_HEADROOM, 0);
        ListingResponse { out }
    }

    /// Appends `partialListing`.
    pub fn push(&mut self, status: &FileStatus<'_>, name: &[u8], locations: Option<&LocatedBlocksProto>) {
        let wire = WireStatus {
            status,
            name,
            locations,
        };
        self.out.push(0x0a);
        put_varint(&mut self.out, wire.len() as u64);
        wire.put(&mut self.out);
    }

    /// The response.
    pub fn finish(mut self, remaining: u32) -> Bytes {
        put_number(&mut self.out, 0x10, u64::from(remaining));
        let inner = (self.out.len() - LISTING_HEADROOM) as u64;
        let start = LISTING_HEADROOM - 1 - varint_len(inner);
        let mut header = Vec::with_capacity(LISTING_HEADROOM);
        put_number(&mut header, 0x0a, inner);
        self.out[start..LISTING_HEADROOM].copy_from_slice(&header);
        Bytes::from(self.out).slice(start..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::InodeId;
    use hathi_formats::proto::hdfs::{
        CreateRequestProto, DirectoryListingProto, FsPermissionProto, GetBlockLocationsRequestProto,
        GetFileInfoResponseProto, GetListingResponseProto, HdfsFileStatusProto, MkdirsRequestProto,
    };

    fn status(kind: InodeKind, symlink: Option<&'static [u8]>) -> FileStatus<'static> {
        FileStatus {
            id: InodeId(16_400),
            kind,
            name: b"name",
            length: 300 << 20,
            mode: 0o1755,
            owner: "alice",
            group: "staff",
            mtime_ms: 1_700_000_000_123,
            atime_ms: 127,
            replication: 3,
            block_size: 128 << 20,
            children: 200,
            symlink,
            storage_policy: 7,
            has_acl: true,
            under_construction: false,
            snapshottable: true,
        }
    }

    fn expected(status: &FileStatus<'_>, name: &'static [u8]) -> HdfsFileStatusProto {
        HdfsFileStatusProto {
            file_type: match status.kind {
                InodeKind::Directory => 1,
                InodeKind::File => 2,
                InodeKind::Symlink => 3,
            },
            path: Bytes::from_static(name),
            length: status.length,
            permission: FsPermissionProto {
                perm: u32::from(status.mode),
            },
            owner: status.owner.to_owned(),
            group: status.group.to_owned(),
            modification_time: status.mtime_ms,
            access_time: status.atime_ms,
            symlink: status.symlink.map(Bytes::copy_from_slice),
            block_replication: Some(u32::from(status.replication)),
            blocksize: Some(status.block_size),
            file_id: Some(status.id.0),
            children_num: Some(status.children as i32),
            storage_policy: Some(u32::from(status.storage_policy)),
            flags: Some(9),
            ..Default::default()
        }
    }

    #[test]
    fn statuses_are_written_as_prost_would() {
        for (kind, symlink) in [
            (InodeKind::File, None),
            (InodeKind::Directory, None),
            (InodeKind::Symlink, Some(&b"/target"[..])),
        ] {
            let status = status(kind, symlink);
            let message = GetFileInfoResponseProto {
                fs: Some(expected(&status, b"")),
            };
            assert_eq!(status_response(&status, None), message.encode_to_vec(), "{kind:?}");
            let locations = LocatedBlocksProto {
                file_length: 1 << 40,
                ..Default::default()
            };
            let mut with = expected(&status, b"");
            with.locations = Some(locations.clone());
            let message = GetFileInfoResponseProto { fs: Some(with) };
            assert_eq!(
                status_response(&status, Some(&locations)),
                message.encode_to_vec(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn listings_are_written_as_prost_would() {
        for count in [0, 1, 2, 300] {
            let mut response = ListingResponse::new(1);
            let mut list = Vec::new();
            for _ in 0..count {
                let status = status(InodeKind::File, None);
                response.push(&status, b"child", None);
                list.push(expected(&status, b"child"));
            }
            let message = GetListingResponseProto {
                dir_list: Some(DirectoryListingProto {
                    partial_listing: list,
                    remaining_entries: 70_000,
                }),
            };
            assert_eq!(response.finish(70_000), message.encode_to_vec(), "{count}");
        }
    }

    #[test]
    fn only_a_lone_string_is_taken_the_short_way() {
        for (body, expected) in [
            (&[0x0a, 2, b'/', b'a'][..], Some("/a")),
            (&[0x0a, 0], Some("")),
            (&[0x0a, 3, b'/', b'a'], None),
            (&[0x0a, 1, b'/', 0x10, 1], None),
            (&[0x0a, 1, 0xff], None),
            (&[0x0a], None),
            (&[0x12, 1, b'/'], None),
            (&[], None),
        ] {
            assert_eq!(only_string(body), expected, "{body:?}");
        }
        let long = "x".repeat(300);
        let mut body = vec![0x0a, 0xac, 0x02];
        body.extend_from_slice(long.as_bytes());
        assert_eq!(only_string(&body), Some(&long[..]));
    }

    #[test]
    fn borrowed_requests_say_what_prost_says() {
        let create = CreateRequestProto {
            src: "/a/ü".to_owned(),
            masked: FsPermissionProto { perm: 0o107_755 },
            client_name: "client".to_owned(),
            create_flag: 3,
            create_parent: true,
            replication: 3,
            block_size: 1 << 40,
            crypto_protocol_version: vec![2],
            unmasked: Some(FsPermissionProto { perm: 0o777 }),
            ec_policy_name: Some("ec".to_owned()),
            storage_policy: Some("HOT".to_owned()),
        };
        let body = create.encode_to_vec();
        let expected = CreateView {
            src: "/a/ü",
            masked: 0o1755,
            client_name: "client",
            flag: 3,
            create_parent: true,
            replication: 3,
            block_size: 1 << 40,
            unmasked: Some(0o777),
            ec_policy_name: "ec",
            storage_policy: "HOT",
        };
        assert_eq!(CreateView::decode(&body).unwrap(), expected);
        let mut errors = 0;
        for len in 0..body.len() {
            // Cut anywhere, it is an error or what was there so far; never a panic.
            errors += usize::from(CreateView::decode(&body[..len]).is_err());
        }
        assert!(errors > body.len() / 2);
        let mkdirs = MkdirsRequestProto {
            src: "/d".to_owned(),
            masked: FsPermissionProto { perm: 0o750 },
            create_parent: true,
            unmasked: None,
        };
        let expected = MkdirsView {
            src: "/d",
            masked: 0o750,
            create_parent: true,
            unmasked: None,
        };
        assert_eq!(MkdirsView::decode(&mkdirs.encode_to_vec()).unwrap(), expected);
        let locations = GetBlockLocationsRequestProto {
            src: "/f".to_owned(),
            offset: 5,
            length: u64::MAX,
        };
        let expected = GetBlockLocationsView {
            src: "/f",
            offset: 5,
            length: u64::MAX,
        };
        assert_eq!(
            GetBlockLocationsView::decode(&locations.encode_to_vec()).unwrap(),
            expected
        );
        assert!(MkdirsView::decode(&[0x0a, 1, 0xff]).is_err());
        assert!(MkdirsView::decode(&[0x08, 1]).is_err());
        assert!(MkdirsView::decode(&[0x0f]).is_err());
        assert!(MkdirsView::decode(&[0xff; 12]).is_err());
    }

    #[test]
    fn lengths_of_varints() {
        for (value, len) in [
            (0, 1),
            (1, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (u64::MAX, 10),
        ] {
            assert_eq!(varint_len(value), len, "{value}");
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), len, "{value}");
        }
    }
}
