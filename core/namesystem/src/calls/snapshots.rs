//! Snapshots (`FSNamesystem`, `FSDirSnapshotOp`).

use super::border::{Answer, Once, Outcome};
use super::wire::WireStatus;
use super::{ClientMachine, caller, commit, commit_void, commit_void_once, io, no_safe_mode, plan_context};
use crate::Namesystem;
use crate::context::CallContext;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::{
    AllowSnapshotRequestProto, AllowSnapshotResponseProto, CreateSnapshotRequestProto, CreateSnapshotResponseProto,
    DeleteSnapshotRequestProto, DeleteSnapshotResponseProto, DisallowSnapshotRequestProto,
    DisallowSnapshotResponseProto, GetSnapshotDiffReportListingRequestProto, GetSnapshotDiffReportListingResponseProto,
    GetSnapshotDiffReportRequestProto, GetSnapshotDiffReportResponseProto, GetSnapshotListingRequestProto,
    GetSnapshotListingResponseProto, GetSnapshottableDirListingRequestProto, GetSnapshottableDirListingResponseProto,
    HdfsFileStatusProto, RenameSnapshotRequestProto, RenameSnapshotResponseProto, SnapshotDiffReportCursorProto,
    SnapshotDiffReportListingEntryProto, SnapshotDiffReportListingProto, SnapshotDiffReportProto, SnapshotListingProto,
    SnapshotStatusProto, SnapshottableDirectoryListingProto, SnapshottableDirectoryStatusProto,
};
use hathi_formats::snapshots::{default_name, report};
use hathi_namespace::{DiffCursor, DiffEntry, DiffPage, DiffQuestion, FileStatus};
use prost::Message;

/// Number of snapshots that a directory may have (`DirectorySnapshottableFeature.SNAPSHOT_QUOTA_DEFAULT`).
const SNAPSHOT_QUOTA: u32 = 1 << 16;
/// Pages of a report that is asked for as a whole. Clients since Hadoop 3.1 ask for pages, which have no such limit.
const REPORT_PAGES_MAX: usize = 128;
/// Entries of each of these pages.
const REPORT_PAGE: usize = 1000;

/// `allowSnapshot`
pub fn allow_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: AllowSnapshotRequestProto,
) -> Outcome<AllowSnapshotResponseProto> {
    ctx.check_superuser_for(ns, "allowSnapshot")?;
    no_safe_mode(ns, || format!("Cannot allow snapshot for {}", request.snapshot_root))?;
    let plan = ns
        .namespace()
        .plan_allow_snapshot(&caller(ctx), &request.snapshot_root)?;
    commit_void(ns, plan)
}

/// `disallowSnapshot`
pub fn disallow_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: DisallowSnapshotRequestProto,
) -> Outcome<DisallowSnapshotResponseProto> {
    ctx.check_superuser_for(ns, "disallowSnapshot")?;
    no_safe_mode(ns, || format!("Cannot disallow snapshot for {}", request.snapshot_root))?;
    let plan = ns
        .namespace()
        .plan_disallow_snapshot(&caller(ctx), &request.snapshot_root)?;
    commit_void(ns, plan)
}

/// `createSnapshot`
pub fn create_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: CreateSnapshotRequestProto,
) -> Result<Once<CreateSnapshotResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot create snapshot for {}", request.snapshot_root))?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_create_snapshot(
        &plan_context(ctx, &machine),
        &request.snapshot_root,
        request.snapshot_name(),
        &|| default_name(ctx.now_ms),
    )?;
    let (snapshot_path, after) = commit(ns, plan)?;
    Ok(Once {
        answer: Answer::new(CreateSnapshotResponseProto { snapshot_path }, after),
        keep: true,
    })
}

/// `renameSnapshot`
pub fn rename_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RenameSnapshotRequestProto,
) -> Result<Once<RenameSnapshotResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot rename snapshot for {}", request.snapshot_root))?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_rename_snapshot(
        &plan_context(ctx, &machine),
        &request.snapshot_root,
        &request.snapshot_old_name,
        &request.snapshot_new_name,
    )?;
    commit_void_once(ns, plan)
}

/// `deleteSnapshot`
pub fn delete_snapshot(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: DeleteSnapshotRequestProto,
) -> Result<Once<DeleteSnapshotResponseProto>, RemoteException> {
    no_safe_mode(ns, || format!("Cannot delete snapshot for {}", request.snapshot_root))?;
    let machine = ClientMachine::default();
    let plan = ns.namespace().plan_delete_snapshot(
        &plan_context(ctx, &machine),
        &request.snapshot_root,
        &request.snapshot_name,
    )?;
    commit_void_once(ns, plan)
}

fn status_message(status: &FileStatus<'_>, name: &[u8]) -> Option<HdfsFileStatusProto> {
    let mut encoded = Vec::new();
    let locations = None;
    WireStatus {
        status,
        name,
        locations,
    }
    .put(&mut encoded);
    HdfsFileStatusProto::decode(&*encoded).ok()
}

/// `getSnapshottableDirListing`: the caller's own directories, or all of them for a superuser. Null when there are
/// none.
pub fn snapshottable_dirs(
    ns: &Namesystem,
    ctx: &CallContext,
    _: GetSnapshottableDirListingRequestProto,
) -> Outcome<GetSnapshottableDirListingResponseProto> {
    let mut listed: Vec<_> = (ns.namespace().snapshottable_dirs())
        .filter_map(|id| {
            let status = ns.namespace().status(id)?;
            let owned = ctx.superuser || !ns.config.permissions_enabled || status.owner == &*ctx.user;
            let path = owned.then(|| ns.namespace().path_of(id))??;
            let (parent, name) = path.rsplit_once('/')?;
            let listed = SnapshottableDirectoryStatusProto {
                dir_status: status_message(&status, name.as_bytes())?,
                snapshot_quota: SNAPSHOT_QUOTA,
                snapshot_number: ns.namespace().snapshots_of(id).len() as u32,
                parent_fullpath: Bytes::copy_from_slice(if parent.is_empty() { b"/" } else { parent.as_bytes() }),
            };
            Some((path, listed))
        })
        .collect();
    listed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let all = SnapshottableDirectoryListingProto {
        snapshottable_dir_listing: listed.into_iter().map(|(_, listed)| listed).collect(),
    };
    let snapshottable_dir_list = (!all.snapshottable_dir_listing.is_empty()).then_some(all);
    Ok(Answer::new(
        GetSnapshottableDirListingResponseProto { snapshottable_dir_list },
        ns.shown_everything(),
    ))
}

/// `getSnapshotListing`: the snapshots of a directory, by name.
pub fn snapshots(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetSnapshotListingRequestProto,
) -> Outcome<GetSnapshotListingResponseProto> {
    let (dir, path) = ns.namespace().snapshot_root_for(&caller(ctx), &request.snapshot_root)?;
    let parent_fullpath = Bytes::from(path);
    let mut snapshot_listing: Vec<_> = (ns.namespace().snapshots_of(dir).into_iter())
        .filter_map(|snapshot| {
            Some(SnapshotStatusProto {
                dir_status: status_message(&snapshot.status, snapshot.name.as_bytes())?,
                snapshot_id: snapshot.id,
                parent_fullpath: parent_fullpath.clone(),
                is_deleted: snapshot.is_deleted,
            })
        })
        .collect();
    snapshot_listing.sort_by(|one, other| one.dir_status.path.cmp(&other.dir_status.path));
    Ok(Answer::new(
        GetSnapshotListingResponseProto {
            snapshot_list: Some(SnapshotListingProto { snapshot_listing }),
        },
        ns.shown_everything(),
    ))
}

/// `getSnapshotDiffReport`: the whole report, as long as it is no longer than [`REPORT_PAGES_MAX`] pages.
pub fn snapshot_diff_report(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetSnapshotDiffReportRequestProto,
) -> Outcome<GetSnapshotDiffReportResponseProto> {
    let mut question = DiffQuestion {
        path: &request.snapshot_root,
        from: &request.from_snapshot,
        to: &request.to_snapshot,
        cursor: None,
        limit: REPORT_PAGE,
    };
    let mut all = DiffPage::default();
    for _ in 0..REPORT_PAGES_MAX {
        let page = ns.namespace().snapshot_diff(&caller(ctx), &question)?;
        all.is_from_earlier = page.is_from_earlier;
        all.modified.extend(page.modified);
        all.created.extend(page.created);
        all.deleted.extend(page.deleted);
        all.next = page.next;
        if all.next.is_none() {
            break;
        }
        question.cursor = all.next;
    }
    if all.next.is_some() {
        return Err(io(format!(
            "More has changed in {} than one answer holds: ask for it in pages (getSnapshotDiffReportListing)",
            request.snapshot_root
        )));
    }
    let diff_report = SnapshotDiffReportProto {
        diff_report_entries: report(&listing(all)),
        snapshot_root: request.snapshot_root,
        from_snapshot: request.from_snapshot,
        to_snapshot: request.to_snapshot,
    };
    Ok(Answer::new(
        GetSnapshotDiffReportResponseProto { diff_report },
        ns.shown_everything(),
    ))
}

/// `getSnapshotDiffReportListing`: a page of a report.
pub fn snapshot_diff_listing(
    ns: &Namesystem,
    ctx: &CallContext,
    request: GetSnapshotDiffReportListingRequestProto,
) -> Outcome<GetSnapshotDiffReportListingResponseProto> {
    // The first page is asked for with an empty path, or without a cursor.
    let cursor = request.cursor.filter(|cursor| !cursor.start_path.is_empty());
    let cursor = cursor.map(|cursor| {
        let path = std::str::from_utf8(&cursor.start_path).ok();
        let place = path.and_then(|path| DiffCursor::from_wire(path, cursor.index));
        place.ok_or_else(|| {
            let path = String::from_utf8_lossy(&cursor.start_path).into_owned();
            RemoteException::new(exceptions::ILLEGAL_ARGUMENT, format!("no page ends with {path}"))
        })
    });
    let question = DiffQuestion {
        path: &request.snapshot_root,
        from: &request.from_snapshot,
        to: &request.to_snapshot,
        cursor: cursor.transpose()?,
        limit: ns.config.snapshot_diff_limit,
    };
    let page = ns.namespace().snapshot_diff(&caller(ctx), &question)?;
    Ok(Answer::new(
        GetSnapshotDiffReportListingResponseProto {
            diff_report: listing(page),
        },
        ns.shown_everything(),
    ))
}

fn listing(page: DiffPage) -> SnapshotDiffReportListingProto {
    let entries = |entries: Vec<DiffEntry>| {
        let each = entries.into_iter().map(|entry| SnapshotDiffReportListingEntryProto {
            fullpath: Bytes::from(entry.path),
            dir_id: entry.dir.0,
            is_reference: entry.is_reference,
            target_path: entry.target.map(Bytes::from),
            file_id: Some(entry.inode.0),
        });
        each.collect()
    };
    let (start_path, index) = page.next.map_or((String::new(), -1), DiffCursor::to_wire);
    SnapshotDiffReportListingProto {
        modified_entries: entries(page.modified),
        created_entries: entries(page.created),
        deleted_entries: entries(page.deleted),
        is_from_earlier: page.is_from_earlier,
        cursor: Some(SnapshotDiffReportCursorProto {
            start_path: Bytes::from(start_path),
            index,
        }),
    }
}
