//! Requests as bytes, and the namespace's answers in the messages of [`client_protocol`].

use bytes::Bytes;
use hathi_formats::amplification::{FIELDS_MAX, is_bounded};
use hathi_formats::client_protocol::{self, FileStatusView, only_string};
pub use hathi_formats::client_protocol::{CreateView, GetBlockLocationsView, MkdirsView};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::fsimage::InodeKind as Kind;
use hathi_formats::proto::hdfs::{GetFileInfoRequestProto, LocatedBlocksProto};
use hathi_namespace::{FileStatus, InodeKind, Policy};
use prost::Message;
use std::borrow::Cow;

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

/// A status as it goes over the wire.
pub(crate) struct WireStatus<'a> {
    /// What the namespace says.
    pub status: &'a FileStatus<'a>,
    /// The local name: the child's in a listing, empty otherwise.
    pub name: &'a [u8],
    /// The blocks and where they are, if they were asked for.
    pub locations: Option<&'a LocatedBlocksProto>,
}

impl WireStatus<'_> {
    /// Calls `with` with the form that is encoded.
    fn encode<R>(&self, with: impl FnOnce(&FileStatusView<'_>) -> R) -> R {
        let status = self.status;
        let erasure_coding = status.erasure_coding.map(Policy::to_wire);
        with(&FileStatusView {
            kind: match status.kind {
                InodeKind::Directory => Kind::Directory,
                InodeKind::File => Kind::File,
                InodeKind::Symlink => Kind::Symlink,
            },
            name: self.name,
            length: status.length,
            mode: status.mode,
            owner: status.owner,
            group: status.group,
            mtime_ms: status.mtime_ms,
            atime_ms: status.atime_ms,
            symlink: status.symlink,
            replication: status.replication,
            block_size: status.block_size,
            locations: self.locations,
            id: status.id,
            children: status.children,
            storage_policy: status.storage_policy,
            has_acl: status.has_acl,
            snapshottable: status.snapshottable,
            erasure_coding: erasure_coding.as_ref(),
            encrypted: status.zone.is_some(),
            encryption: status.encryption_info().map(Box::new),
        })
    }

    /// Appends the message `HdfsFileStatusProto`.
    pub fn put(&self, out: &mut Vec<u8>) {
        self.encode(|view| view.put(out));
    }
}

/// The status of the very path that was asked for.
fn of_path<'a>(status: &'a FileStatus<'a>, locations: Option<&'a LocatedBlocksProto>) -> WireStatus<'a> {
    let name = &[];
    WireStatus {
        status,
        name,
        locations,
    }
}

/// Appends a field that is a `HdfsFileStatusProto`.
pub(crate) fn append_status(out: &mut Vec<u8>, number: u64, status: &FileStatus<'_>) {
    of_path(status, None).encode(|view| view.put_field(number, out));
}

/// A response message whose field 1 is a `HdfsFileStatusProto` (`GetFileInfoResponseProto`, `CreateResponseProto`, …).
pub(crate) fn status_response(status: &FileStatus<'_>, locations: Option<&LocatedBlocksProto>) -> Bytes {
    of_path(status, locations).encode(|view| view.response())
}

/// Builds a `GetListingResponseProto`, entry by entry.
pub(crate) struct ListingBuilder(client_protocol::ListingResponse);

impl ListingBuilder {
    /// For about so many entries.
    pub fn new(entries: usize) -> ListingBuilder {
        ListingBuilder(client_protocol::ListingResponse::new(entries))
    }

    /// Appends `partialListing`.
    pub fn push(&mut self, status: &FileStatus<'_>, name: &[u8], locations: Option<&LocatedBlocksProto>) {
        let status = WireStatus {
            status,
            name,
            locations,
        };
        status.encode(|view| self.0.push(view));
    }

    /// The response.
    pub fn finish(self, remaining: u32) -> Bytes {
        self.0.finish(remaining)
    }
}
