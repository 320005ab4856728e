//! `NameNodeActivity`, `StartupProgress` and `TopUserOpCounts`.

use crate::pages::Pages;
use hathi_namesystem::Namesystem;
use hathi_net::histogram::HistogramCounts;
use hathi_net::http::jmx::Bean;
use hathi_net::ipc::MethodTimes;
use hathi_net::metrics::rpc::{TOP_USERS, TOP_WINDOWS_MINUTES};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Counters of operations (`NameNodeMetrics`), and the calls that they count here. Hadoop counts some of them only when
/// they succeed; here every call counts.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("CreateFileOps", &["create"]),
    ("FilesAppended", &["append"]),
    ("FilesTruncated", &["truncate"]),
    ("FilesRenamed", &["rename", "rename2"]),
    ("DeleteFileOps", &["delete"]),
    (
        "FileInfoOps",
        &["getFileInfo", "getFileLinkInfo", "getLocatedFileInfo", "isFileClosed"],
    ),
    ("GetListingOps", &["getListing"]),
    ("GetBlockLocations", &["getBlockLocations"]),
    ("AddBlockOps", &["addBlock"]),
    ("GetAdditionalDatanodeOps", &["getAdditionalDatanode"]),
    ("CreateSymlinkOps", &["createSymlink"]),
    ("GetLinkTargetOps", &["getLinkTarget"]),
    ("BlockReceivedAndDeletedOps", &["blockReceivedAndDeleted"]),
    ("StorageBlockReportNumOps", &["blockReport"]),
];
/// Those that `TotalFileOps` is the sum of (`NameNodeMetrics.totalFileOps`).
const FILE_OPERATIONS: &[&str] = &[
    "GetBlockLocations",
    "CreateFileOps",
    "FilesAppended",
    "AddBlockOps",
    "GetAdditionalDatanodeOps",
    "FilesTruncated",
    "FilesRenamed",
    "DeleteFileOps",
    "GetListingOps",
    "FileInfoOps",
    "GetLinkTargetOps",
    "CreateSymlinkOps",
];

/// Times of all calls of some methods.
fn times_of(methods: &[MethodTimes], names: &[&str]) -> HistogramCounts {
    let mut times = HistogramCounts::default();
    for method in methods.iter().filter(|times| names.contains(&times.method.name())) {
        times.merge(&method.processing);
    }
    times
}

/// `NameNodeActivity`.
pub(super) fn bean(pages: &Pages, ns: &Namesystem) -> Bean {
    let observed = &pages.nn.observed;
    let syncs = observed.commits();
    let mut attributes = json!({
        "tag.Context": "dfs",
        "SyncsNumOps": syncs.count(),
        "SyncsAvgTime": syncs.mean_ms(),
        "SyncsLatencyMicros": observed.commits_json(),
        "TransactionsNumOps": ns.edit_log().ops_total(),
        "PendingEditsCount": ns.edit_log().applied().0.saturating_sub(ns.edit_log().synced().0),
        "FsImageLoadTime": observed.load_ms(),
    });
    if let (Some(attributes), Some(meter)) = (attributes.as_object_mut(), observed.rpc.get()) {
        put_operations(attributes, &all_methods(meter.methods()));
    }
    super::bean("NameNodeActivity", "NameNodeActivity", attributes)
}

fn all_methods(listeners: Vec<(u16, Vec<MethodTimes>)>) -> Vec<MethodTimes> {
    listeners.into_iter().flat_map(|(_, methods)| methods).collect()
}

fn put_operations(attributes: &mut Map<String, Value>, methods: &[MethodTimes]) {
    let mut total = 0;
    for (name, calls) in OPERATIONS {
        let count = times_of(methods, calls).count();
        if FILE_OPERATIONS.contains(name) {
            total += count;
        }
        attributes.insert((*name).to_owned(), count.into());
    }
    attributes.insert("TotalFileOps".to_owned(), total.into());
    let reports = times_of(methods, &["blockReport"]);
    attributes.insert("StorageBlockReportAvgTime".to_owned(), reports.mean_ms().into());
}

/// `FSNamesystemState.TopUserOpCounts` (`TopMetrics`). Calls are counted by user, not by user and operation.
pub(super) fn top_users(pages: &Pages) -> String {
    let windows = TOP_WINDOWS_MINUTES.iter().map(|minutes| {
        let window = Duration::from_secs(60 * minutes);
        let top = pages
            .nn
            .observed
            .rpc
            .get()
            .map(|meter| meter.top_users(window, TOP_USERS));
        let top = top.unwrap_or_default();
        let users: Vec<Value> = top
            .iter()
            .map(|(user, count)| json!({"user": user, "count": count}))
            .collect();
        let total: u64 = top.iter().map(|(_, count)| count).sum();
        let ops = if users.is_empty() {
            json!([])
        } else {
            json!([{"opType": "*", "topUsers": users, "totalCount": total}])
        };
        json!({"windowLenMs": window.as_millis() as u64, "ops": ops})
    });
    json!({"timestamp": timestamp(pages), "windows": windows.collect::<Vec<_>>()}).to_string()
}

/// As Hadoop writes it: ISO 8601 with the zone.
fn timestamp(pages: &Pages) -> String {
    let now = jiff::Timestamp::from_millisecond(pages.nn.clock.wall_ms().cast_signed()).unwrap_or_default();
    let zoned = now.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%z").to_string()
}

/// `StartupProgress`: each attribute of each phase has the phase before its name.
pub(super) fn startup(pages: &Pages, ns: &Namesystem) -> Bean {
    let progress = startup_json(pages, ns);
    let mut attributes = Map::new();
    attributes.insert("tag.Context".into(), "dfs".into());
    attributes.insert("ElapsedTime".into(), progress["elapsedTime"].clone());
    attributes.insert("PercentComplete".into(), progress["percentComplete"].clone());
    for phase in progress["phases"].as_array().into_iter().flatten() {
        let name = phase["name"].as_str().unwrap_or_default();
        for (key, attribute) in [
            ("count", "Count"),
            ("elapsedTime", "ElapsedTime"),
            ("total", "Total"),
            ("percentComplete", "PercentComplete"),
        ] {
            attributes.insert(format!("{name}{attribute}"), phase[key].clone());
        }
    }
    super::bean("StartupProgress", "StartupProgress", Value::Object(attributes))
}

/// `/startupProgress`, in Hadoop's form.
#[must_use]
pub fn startup_json(pages: &Pages, ns: &Namesystem) -> Value {
    pages.nn.observed.startup.to_json(ns, pages.nn.clock.ms())
}
