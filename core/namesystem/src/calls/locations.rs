//! Locations of the blocks of a file: `getBlockLocations`, and the locations in statuses.

use super::border::{Answer, Outcome};
use super::wire::GetBlockLocationsView;
use super::{ClientMachine, caller, no_safe_mode, shown_path};
use crate::context::CallContext;
use crate::{Namesystem, Role};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{Block, InodeId};
use hathi_formats::proto::hdfs::{GetBlockLocationsResponseProto, LocatedBlocksProto};
use hathi_namespace::{FileStatus, InodeKind};
use smallvec::SmallVec;

/// The wanted blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WholeFile {
    /// All blocks.
    Yes,
    /// The blocks that have bytes of this range.
    Range {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        length: u64,
    },
}

/// The located blocks of a file (`BlockManager.createLocatedBlocks`). `None` for anything else than a file.
pub(super) fn located_blocks(
    ns: &Namesystem,
    ctx: &CallContext,
    status: &FileStatus<'_>,
    which: WholeFile,
) -> Option<LocatedBlocksProto> {
    if status.kind != InodeKind::File {
        return None;
    }
    let machine = ClientMachine::of(ctx);
    let client = (!machine.as_str().is_empty()).then(|| machine.as_str());
    let pool = &ns.info.block_pool_id;
    let located = |block: Block, offset: u64| ns.blockmanager().located_block(pool, block, offset, client);

    // The block manager knows a length that a client has committed before the edits know it.
    let blocks: SmallVec<[Block; 8]> = ns
        .namespace()
        .blocks_shown(status)
        .map(|in_file| {
            ns.blockmanager()
                .block(in_file.block.id)
                .map_or(in_file.block, |view| view.block)
        })
        .collect();
    let mut answer = LocatedBlocksProto {
        under_construction: status.under_construction,
        file_encryption_info: status.encryption_info(),
        ec_policy: status.erasure_coding.map(|policy| policy.to_wire()),
        ..Default::default()
    };
    let Some(&last) = blocks.last() else {
        return Some(answer);
    };
    let whole: u64 = blocks.iter().map(|block| block.num_bytes).sum();
    let last_start = whole - last.num_bytes;
    // Of a block that has grown since, a snapshot shows the bytes up to the length that is told.
    let shown = status.snapshot.map(|_| status.length);
    let last_complete = shown.is_some() || ns.blockmanager().is_complete(last.id);
    // Bytes of a block under construction do not count: a reader asks a DataNode for the visible length.
    answer.file_length = match shown {
        Some(shown) => shown,
        None if last_complete || !status.under_construction => whole,
        None => last_start,
    };
    answer.is_last_block_complete = last_complete;
    answer.last_block = Some(located(last, last_start));
    let (offset, end) = match which {
        WholeFile::Yes => (0, whole),
        WholeFile::Range { offset, length } => {
            let end = offset.saturating_add(length);
            (offset, shown.map_or(end, |shown| shown.min(end)))
        }
    };
    let mut start = 0;
    let mut rest = blocks.iter();
    // A file whose first block is empty has only this block. It is in the answer for any range.
    if blocks.first().is_some_and(|first| first.num_bytes > 0) {
        while let Some(block) = rest.as_slice().first()
            && start + block.num_bytes <= offset
        {
            start += block.num_bytes;
            rest.next();
        }
    }
    // At least one block is in the answer, however short the range is.
    for &block in rest {
        answer.blocks.push(located(block, start));
        start += block.num_bytes;
        if start >= end {
            break;
        }
    }
    debug_assert!(
        which != WholeFile::Yes || start == whole,
        "who asks for the whole file is told of each of its blocks"
    );
    Some(answer)
}

struct Located {
    answer: Answer<GetBlockLocationsResponseProto>,
    /// The file that was accessed. A snapshot is not.
    file: Option<InodeId>,
}

/// The reading part of `getBlockLocations`. `None` when the access time must be written, too.
pub fn get_block_locations_read(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetBlockLocationsView<'_>,
) -> Result<Option<Answer<GetBlockLocationsResponseProto>>, RemoteException> {
    let located = block_locations(ns, ctx, &request)?;
    let wants = located.file.is_some_and(|file| wants_access_time(ns, ctx, file));
    Ok((!wants).then_some(located.answer))
}

/// `getBlockLocations` that writes the access time.
pub fn get_block_locations_write(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: GetBlockLocationsView<'_>,
) -> Outcome<GetBlockLocationsResponseProto> {
    let located = block_locations(ns, ctx, &request)?;
    if let Some(file) = located.file
        && wants_access_time(ns, ctx, file)
    {
        let plan = ns.namespace().plan_access_time(file, ctx.now_ms);
        // The answer does not show the access time, so it need not wait for it. A failure to write the access time does
        // not make the read fail (as in `FSNamesystem.getBlockLocations`).
        let _ = ns.commit(&plan.ops);
    }
    Ok(located.answer)
}

fn wants_access_time(ns: &Namesystem, ctx: &CallContext, file: InodeId) -> bool {
    ns.role() == Role::Active && !ns.blockmanager().in_safe_mode() && ns.namespace().wants_access_time(file, ctx.now_ms)
}

fn block_locations(
    ns: &Namesystem,
    ctx: &CallContext,
    request: &GetBlockLocationsView<'_>,
) -> Result<Located, RemoteException> {
    let src = request.src;
    for (value, name) in [(request.offset, "offset"), (request.length, "length")] {
        if i64::try_from(value).is_err() {
            return Err(RemoteException::new(
                exceptions::ILLEGAL_ARGUMENT,
                format!("Negative {name} is not supported. File: {src}"),
            ));
        }
    }
    let iip = ns.namespace().resolve(src)?;
    let status = ns.namespace().open_for_read(&caller(ctx), &iip, src)?;
    let range = WholeFile::Range {
        offset: request.offset,
        length: request.length,
    };
    let locations = located_blocks(ns, ctx, &status, range);
    if ns.blockmanager().in_safe_mode()
        && locations
            .iter()
            .flat_map(|locations| &locations.blocks)
            .any(|block| block.locs.is_empty())
    {
        return Err(zero_locations(ns, src));
    }
    Ok(Located {
        answer: Answer::new(GetBlockLocationsResponseProto { locations }, shown_path(ns, &iip)),
        file: status.snapshot.is_none().then_some(status.id),
    })
}

/// In safe mode DataNodes may not have reported yet, so an active tells its clients to ask again, in every kind of safe
/// mode.
fn zero_locations(ns: &Namesystem, src: &str) -> RemoteException {
    match no_safe_mode(ns, || format!("Zero blocklocations for {src}")) {
        Err(refused) if refused.is(exceptions::SAFE_MODE) && ns.config.ha_enabled && ns.role() == Role::Active => {
            RemoteException::new(exceptions::RETRIABLE, refused.to_string())
        }
        Err(refused) => refused,
        Ok(()) => RemoteException::new(exceptions::RETRIABLE, format!("Zero blocklocations for {src}")),
    }
}
