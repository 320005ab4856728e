//! What clients are told of snapshots: default names, and reports that are put together from listings.

use crate::fsimage::civil_from_days;
use crate::proto::hdfs::{
    SnapshotDiffReportEntryProto, SnapshotDiffReportListingEntryProto, SnapshotDiffReportListingProto,
};
use bytes::Bytes;
use std::collections::BTreeMap;

/// How an entry of a report is marked (`SnapshotDiffReport.DiffType`).
pub const CREATED: &str = "+";
/// See [`CREATED`].
pub const MODIFIED: &str = "M";
/// See [`CREATED`].
pub const DELETED: &str = "-";
/// See [`CREATED`].
pub const RENAMED: &str = "R";

/// The name of a snapshot without one (`Snapshot.generateDefaultSnapshotName`), of a time in ms since 1970. Hadoop shows
/// the time in the zone of the NameNode's machine; here it is UTC, whatever the machine.
#[must_use]
pub fn default_name(now_ms: u64) -> String {
    let (days, of_day) = (now_ms / 86_400_000, now_ms % 86_400_000);
    let (year, month, day) = civil_from_days(days.cast_signed());
    let (seconds, ms) = (of_day / 1000, of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("s{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}.{ms:03}")
}

/// The entries of a report (`SnapshotDiffReportGenerator`) from all pages of a listing, put together into one. By path,
/// and below each directory first what came and then what went.
#[must_use]
pub fn report(listing: &SnapshotDiffReportListingProto) -> Vec<SnapshotDiffReportEntryProto> {
    let is_from_earlier = listing.is_from_earlier;
    let (came, went) = if is_from_earlier {
        (CREATED, DELETED)
    } else {
        (DELETED, CREATED)
    };
    // What moved, by its id: where it was.
    let moved: BTreeMap<u64, &Bytes> = (listing.deleted_entries.iter())
        .filter(|entry| entry.target_path.is_some())
        .map(|entry| (entry.file_id(), &entry.fullpath))
        .collect();
    let created = by_directory(&listing.created_entries);
    let deleted = by_directory(&listing.deleted_entries);
    let mut modified: Vec<_> = listing.modified_entries.iter().collect();
    modified.sort_by(|one, other| one.fullpath.split(is_slash).cmp(other.fullpath.split(is_slash)));
    let mut all = Vec::new();
    for entry in modified {
        all.push(told(MODIFIED, &entry.fullpath, None));
        if !entry.is_reference {
            continue;
        }
        for child in created.get(&entry.dir_id).into_iter().flatten() {
            if !(child.is_reference && moved.contains_key(&child.file_id())) {
                all.push(told(came, &child.fullpath, None));
            }
        }
        for child in deleted.get(&entry.dir_id).into_iter().flatten() {
            all.push(match &child.target_path {
                Some(target) if is_from_earlier => told(RENAMED, &child.fullpath, Some(target)),
                Some(target) => told(RENAMED, target, Some(&child.fullpath)),
                None => told(went, &child.fullpath, None),
            });
        }
    }
    all
}

fn is_slash(byte: &u8) -> bool {
    *byte == b'/'
}

type Entries<'a> = Vec<&'a SnapshotDiffReportListingEntryProto>;

/// Sorted by name.
fn by_directory(entries: &[SnapshotDiffReportListingEntryProto]) -> BTreeMap<u64, Entries<'_>> {
    let mut all: BTreeMap<u64, Entries<'_>> = BTreeMap::new();
    for entry in entries {
        all.entry(entry.dir_id).or_default().push(entry);
    }
    for entries in all.values_mut() {
        entries.sort_by(|one, other| one.fullpath.cmp(&other.fullpath));
    }
    all
}

fn told(label: &str, path: &Bytes, target: Option<&Bytes>) -> SnapshotDiffReportEntryProto {
    SnapshotDiffReportEntryProto {
        fullpath: path.clone(),
        modification_label: label.to_owned(),
        target_path: target.cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_name_is_the_time() {
        assert_eq!(default_name(0), "s19700101-000000.000");
        assert_eq!(default_name(1_709_210_096_007), "s20240229-123456.007");
    }

    fn entry(dir: u64, file: u64, path: &str, target: Option<&str>) -> SnapshotDiffReportListingEntryProto {
        SnapshotDiffReportListingEntryProto {
            fullpath: Bytes::copy_from_slice(path.as_bytes()),
            dir_id: dir,
            is_reference: dir == file || target.is_some() || path == "d/new",
            target_path: target.map(|target| Bytes::copy_from_slice(target.as_bytes())),
            file_id: Some(file),
        }
    }

    #[test]
    fn a_report_tells_what_moved_once_and_in_both_directions() {
        let mut listing = SnapshotDiffReportListingProto {
            modified_entries: vec![entry(2, 2, "d", None), entry(1, 1, "", None)],
            created_entries: vec![
                entry(2, 7, "d/new", None),
                entry(1, 8, "b", None),
                entry(1, 9, "a", None),
            ],
            deleted_entries: vec![entry(1, 6, "gone", None), entry(1, 7, "old", Some("d/new"))],
            is_from_earlier: true,
            cursor: None,
        };
        let text = |listing: &SnapshotDiffReportListingProto| {
            let lines = report(listing).into_iter().map(|entry| {
                let target = entry.target_path.unwrap_or_default();
                let words = [&entry.fullpath[..], &target[..]].map(String::from_utf8_lossy);
                format!("{} {}>{}", entry.modification_label, words[0], words[1])
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            text(&listing),
            ["M >", "+ a>", "+ b>", "- gone>", "R old>d/new", "M d>"]
        );
        listing.is_from_earlier = false;
        assert_eq!(
            text(&listing),
            ["M >", "- a>", "- b>", "+ gone>", "R d/new>old", "M d>"]
        );
    }
}
