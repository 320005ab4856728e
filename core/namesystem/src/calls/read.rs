//! Reads of the namespace.

use super::border::{Answer, OrDeferred, Outcome, Response};
use super::locations::{WholeFile, located_blocks};
use super::{caller, shown_path, wire};
use crate::Namesystem;
use crate::context::{CallContext, Deferred, Reply};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{
    BatchedDirectoryListingProto, CheckAccessRequestProto, CheckAccessResponseProto, GetBatchedListingRequestProto,
    GetBatchedListingResponseProto, GetEditsFromTxidRequestProto, GetEditsFromTxidResponseProto,
    GetFileLinkInfoRequestProto, GetLinkTargetRequestProto, GetLinkTargetResponseProto, GetListingRequestProto,
    GetLocatedFileInfoRequestProto, GetPreferredBlockSizeRequestProto, GetPreferredBlockSizeResponseProto,
    HdfsFileStatusProto, IsFileClosedRequestProto, IsFileClosedResponseProto, LocatedBlocksProto, RemoteExceptionProto,
};
use hathi_namespace::{FileStatus, InodesInPath};
use prost::Message;
use std::borrow::Cow;
use std::ops::ControlFlow;

/// The status of a path: `getFileInfo`, `getFileLinkInfo` and `getLocatedFileInfo`.
pub struct FileInfo<'a> {
    /// `None`: the path does not exist.
    pub status: Option<FileStatus<'a>>,
    /// The locations of its blocks, if they were asked for and it is a file.
    pub locations: Option<Box<LocatedBlocksProto>>,
}

impl Response for FileInfo<'_> {
    fn reply(self, _: &Namesystem) -> Reply {
        Reply::encoded(match self.status {
            None => Bytes::new(),
            Some(status) => wire::status_response(&status, self.locations.as_deref()),
        })
    }
}

/// `getFileInfo`
pub fn get_file_info<'a>(ns: &'a Namesystem, ctx: &CallContext, src: Cow<'_, str>) -> Outcome<FileInfo<'a>> {
    file_info(ns, ctx, &src, Asked::Status)
}

/// `getFileLinkInfo`
pub fn get_file_link_info<'a>(
    ns: &'a Namesystem,
    ctx: &CallContext,
    request: GetFileLinkInfoRequestProto,
) -> Outcome<FileInfo<'a>> {
    file_info(ns, ctx, &request.src, Asked::OfLink)
}

/// `getLocatedFileInfo`
pub fn get_located_file_info<'a>(
    ns: &'a Namesystem,
    ctx: &CallContext,
    request: GetLocatedFileInfoRequestProto,
) -> Outcome<FileInfo<'a>> {
    file_info(ns, ctx, request.src(), Asked::Located)
}

/// What a call asks of a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Status,
    /// Of a symlink at the end of the path its own status.
    OfLink,
    /// The places of a file's blocks as well.
    Located,
}

fn file_info<'a>(ns: &'a Namesystem, ctx: &CallContext, src: &str, asked: Asked) -> Outcome<FileInfo<'a>> {
    let iip = ns.namespace().resolve(src)?;
    let found = match asked {
        Asked::OfLink => ns.namespace().file_link_info(&caller(ctx), &iip),
        Asked::Status | Asked::Located => ns.namespace().file_info(&caller(ctx), &iip),
    };
    let status = match found {
        Ok(status) => status,
        // Hadoop tells a superuser that a path through a file does not exist, and everybody else that access is denied.
        Err(refused) if ctx.superuser && refused.is(exceptions::ACCESS_CONTROL) => None,
        Err(refused) => return Err(refused),
    };
    let locations = status
        .as_ref()
        .filter(|_| asked == Asked::Located)
        .and_then(|status| located_blocks(ns, ctx, status, WholeFile::Yes))
        .map(Box::new);
    Ok(Answer::new(FileInfo { status, locations }, shown_path(ns, &iip)))
}

/// A page of a directory, encoded entry by entry.
pub struct Listing {
    entries: wire::ListingBuilder,
    /// Number of entries after the last one of this page. `None`: the path does not exist.
    pub remaining: Option<u32>,
}

impl Response for Listing {
    fn reply(self, _: &Namesystem) -> Reply {
        Reply::encoded(
            self.remaining
                .map_or_else(Bytes::new, |remaining| self.entries.finish(remaining)),
        )
    }
}

/// `getListing`
pub fn get_listing(ns: &Namesystem, ctx: &CallContext, request: GetListingRequestProto) -> Outcome<Listing> {
    let iip = ns.namespace().resolve(&request.src)?;
    let mut entries = wire::ListingBuilder::new(16);
    let listed = list(
        ns,
        ctx,
        &iip,
        &request.start_after,
        request.need_location,
        ns.config.ls_limit,
        |status, name, locations| {
            entries.push(status, name, locations);
        },
    )?;
    let after = listed.shown.max(shown_path(ns, &iip));
    let listing = Listing {
        entries,
        remaining: listed.remaining,
    };
    Ok(Answer::new(listing, after))
}

struct Listed {
    /// Number of entries after the last one of this answer. `None`: the path does not exist.
    remaining: Option<u32>,
    /// The transaction that the entries show.
    shown: Option<TxId>,
}

/// Passes up to `limit` entries to `visit`. With locations it stops when about as many locations are in the answer.
fn list(
    ns: &Namesystem,
    ctx: &CallContext,
    iip: &InodesInPath<'_>,
    start_after: &[u8],
    need_location: bool,
    limit: usize,
    mut visit: impl FnMut(&FileStatus<'_>, &[u8], Option<&LocatedBlocksProto>),
) -> Result<Listed, RemoteException> {
    let mut shown = None;
    let mut location_budget = limit;
    let mut given = 0;
    let settled = ns.in_flight.is_empty();
    let remaining = ns
        .namespace()
        .list(&caller(ctx), iip, start_after, limit, &mut |status| {
            if !settled {
                shown = shown
                    .max(ns.shown_txid([status.id]))
                    .max(ns.shown_children([status.id]));
            }
            let locations = if need_location {
                located_blocks(ns, ctx, &status, WholeFile::Yes)
            } else {
                None
            };
            visit(&status, status.name, locations.as_ref());
            given += 1;
            if let Some(locations) = &locations {
                let locations = locations.blocks.len() * usize::from(status.replication);
                location_budget = location_budget.saturating_sub(locations);
            }
            if location_budget == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
    debug_assert!(
        given <= limit,
        "nobody waits longer for the lock than for so many entries"
    );
    debug_assert!(
        given > 0 || remaining.unwrap_or(0) == 0,
        "who asks for more from the last entry on would ask for ever"
    );
    let remaining = remaining.map(|remaining| u32::try_from(remaining).unwrap_or(u32::MAX));
    Ok(Listed { remaining, shown })
}

/// Cookie of a batched listing: where to go on, and a checksum of the paths that it belongs to
/// (`FSNamesystem.BatchedListingKey`). Only this NameNode and its peers read its bytes.
#[derive(Clone, PartialEq, Message)]
struct Cookie {
    #[prost(uint64, tag = "1")]
    paths: u64,
    #[prost(uint32, tag = "2")]
    index: u32,
    #[prost(bytes = "vec", tag = "3")]
    start_after: Vec<u8>,
}

/// `getBatchedListing`
pub fn get_batched_listing(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetBatchedListingRequestProto,
) -> Outcome<GetBatchedListingResponseProto> {
    let limit = ns.config.batched_ls_limit;
    if request.paths.len() > limit {
        return Err(RemoteException::new(
            exceptions::ILLEGAL_ARGUMENT,
            format!("Too many source paths ({} > {limit})", request.paths.len()),
        ));
    }
    let checksum = hash_of_paths(&request.paths);
    let mut cookie = Cookie {
        paths: checksum,
        ..Default::default()
    };
    if !request.start_after.is_empty() {
        cookie = wire::decode(&request.start_after)?;
        if cookie.paths != checksum {
            return Err(RemoteException::new(
                exceptions::ILLEGAL_ARGUMENT,
                "The paths of a batched listing changed",
            ));
        }
    }
    let mut response = GetBatchedListingResponseProto::default();
    let mut left = ns.config.ls_limit;
    let mut after = None;
    for (index, path) in request.paths.iter().enumerate().skip(cookie.index as usize) {
        let mut listing = BatchedDirectoryListingProto {
            parent_idx: index as u32,
            ..Default::default()
        };
        let start_after = std::mem::take(&mut cookie.start_after);
        let mut last_name = Vec::new();
        let outcome = ns.namespace().resolve(path).and_then(|iip| {
            after = after.max(shown_path(ns, &iip));
            list(
                ns,
                ctx,
                &iip,
                &start_after,
                request.need_location,
                left,
                |status, name, locations| {
                    let mut bytes = Vec::new();
                    wire::WireStatus {
                        status,
                        name,
                        locations,
                    }
                    .put(&mut bytes);
                    if let Ok(message) = HdfsFileStatusProto::decode(&bytes[..]) {
                        listing.partial_listing.push(message);
                    }
                    last_name = name.to_vec();
                },
            )
        });
        let remaining = match outcome {
            Ok(Listed {
                remaining: Some(remaining),
                shown,
            }) => {
                after = after.max(shown);
                remaining
            }
            Ok(Listed { remaining: None, .. }) => {
                listing.exception = Some(RemoteExceptionProto {
                    class_name: exceptions::FILE_NOT_FOUND.java().to_owned(),
                    message: Some(format!("{path} does not exist")),
                });
                after = after.max(ns.shown_everything());
                0
            }
            Err(refused) => {
                listing.partial_listing.clear();
                listing.exception = Some(RemoteExceptionProto {
                    class_name: refused.class_name().to_owned(),
                    message: Some(refused.message),
                });
                after = after.max(ns.shown_everything());
                0
            }
        };
        left = left.saturating_sub(listing.partial_listing.len());
        response.listings.push(listing);
        if remaining > 0 {
            cookie = Cookie {
                paths: checksum,
                index: index as u32,
                start_after: last_name,
            };
            response.has_more = true;
            break;
        }
        if left == 0 && index + 1 < request.paths.len() {
            cookie = Cookie {
                paths: checksum,
                index: index as u32 + 1,
                start_after: Vec::new(),
            };
            response.has_more = true;
            break;
        }
    }
    if response.has_more {
        response.start_after = Bytes::from(cookie.encode_to_vec());
    }
    Ok(Answer::new(response, after))
}

fn hash_of_paths(paths: &[String]) -> u64 {
    use std::hash::BuildHasher;
    // The peers must get the same number, so the seed is fixed.
    foldhash::fast::FixedState::with_seed(1).hash_one(paths)
}

/// `getPreferredBlockSize`
pub fn get_preferred_block_size(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetPreferredBlockSizeRequestProto,
) -> Outcome<GetPreferredBlockSizeResponseProto> {
    let iip = ns.namespace().resolve(&request.filename)?;
    let bsize = ns
        .namespace()
        .preferred_block_size(&caller(ctx), &iip, &request.filename)?;
    Ok(Answer::new(
        GetPreferredBlockSizeResponseProto { bsize },
        shown_path(ns, &iip),
    ))
}

/// `isFileClosed`
pub fn is_file_closed(
    ns: &Namesystem,
    ctx: &CallContext,
    request: IsFileClosedRequestProto,
) -> Outcome<IsFileClosedResponseProto> {
    let iip = ns.namespace().resolve(&request.src)?;
    let closed = ns.namespace().is_file_closed(&caller(ctx), &iip, &request.src)?;
    Ok(Answer::new(
        IsFileClosedResponseProto { result: closed },
        shown_path(ns, &iip),
    ))
}

/// `getLinkTarget`
pub fn get_link_target(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetLinkTargetRequestProto,
) -> Outcome<GetLinkTargetResponseProto> {
    let iip = ns.namespace().resolve(&request.path)?;
    let target = match ns.namespace().link_target(&caller(ctx), &iip, &request.path) {
        // Of a symlink on the way this is what the client has to resolve next: the target with the rest of the path.
        Err(refused) if refused.is(exceptions::UNRESOLVED_PATH) => refused.message,
        target => target?,
    };
    Ok(Answer::new(
        GetLinkTargetResponseProto {
            target_path: Some(target),
        },
        shown_path(ns, &iip),
    ))
}

/// `checkAccess`
pub fn check_access(
    ns: &Namesystem,
    ctx: &CallContext,
    request: CheckAccessRequestProto,
) -> Outcome<CheckAccessResponseProto> {
    let iip = ns.namespace().resolve(&request.path)?;
    ns.namespace()
        .check_access(&caller(ctx), &iip, request.mode as u8 & 7)?;
    Ok(Answer::new(CheckAccessResponseProto {}, shown_path(ns, &iip)))
}

/// `getEditsFromTxid`: the shell reads the journal, because the edits are in no memory here.
pub(super) fn get_edits_from_txid(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetEditsFromTxidRequestProto,
) -> Outcome<OrDeferred<GetEditsFromTxidResponseProto>> {
    ctx.check_superuser_for(ns, "getEditsFromTxid")?;
    let since = TxId(u64::try_from(request.txid).unwrap_or(0).max(1));
    Ok(Answer::deferred(Deferred::Edits(since)))
}
