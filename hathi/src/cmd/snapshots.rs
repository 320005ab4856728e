//! `hathi lsSnapshottableDir`, `lsSnapshot` and `snapshotDiff` (`LsSnapshottableDir`, `LsSnapshot`, `SnapshotDiff`).

use super::dfs::{full_path, local_time, permission_text};
use super::invocation::Invocation;
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::{ClientError, FileSystem};
use hathi_formats::proto::hdfs::{
    GetSnapshotDiffReportListingRequestProto, GetSnapshotDiffReportListingResponseProto,
    GetSnapshotListingRequestProto, GetSnapshotListingResponseProto, GetSnapshottableDirListingRequestProto,
    GetSnapshottableDirListingResponseProto, HdfsFileStatusProto, SnapshotDiffReportCursorProto,
    SnapshotDiffReportListingProto,
};
use hathi_formats::snapshots::{RENAMED, report};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::process::ExitCode;

/// How `lsSnapshottableDir` is used.
pub fn ls_dirs_usage() -> String {
    "Usage: hdfs lsSnapshottableDir: \n\
     \tGet the list of snapshottable directories that are owned by the current user.\n\
     \tReturn all the snapshottable directories if the current user is a super user.\n"
        .to_owned()
}

/// How `lsSnapshot` is used.
pub fn ls_snapshot_usage() -> String {
    "Usage: \n\
     hdfs lsSnapshot <snapshotDir>: \n\
     \tGet the list of snapshots for a snapshottable directory.\n"
        .to_owned()
}

/// How `snapshotDiff` is used.
pub fn diff_usage() -> String {
    "Usage: \n\
     hdfs snapshotDiff <snapshotDir> <from> <to>:\n\
     \tGet the difference between two snapshots, \n\
     \tor between a snapshot and the current tree of a directory.\n\
     \tFor <from>/<to>, users can use \".\" to present the current status,\n\
     \tand use \".snapshot/snapshot_name\" to present a snapshot,\n\
     \twhere \".snapshot/\" can be omitted\n"
        .to_owned()
}

/// A command line of as many words as the command has, or its exit status.
fn words(args: Vec<OsString>, count: usize, usage: &str) -> Result<Result<(Invocation, Vec<String>), ExitCode>> {
    say_what_is_waited_for();
    let mut invocation = Invocation::of(args)?;
    let words = invocation.words()?;
    if words.len() != count {
        eprint!("{usage}");
        return Ok(Err(ExitCode::FAILURE));
    }
    Ok(Ok((invocation, words)))
}

/// Runs a command, and prints what it answers.
fn served(
    invocation: &Invocation,
    command: &str,
    serve: impl AsyncFnOnce(&FileSystem) -> Result<String, ClientError>,
) -> Result<ExitCode> {
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async {
        let fs = FileSystem::new(&conf, "", &super::user_name())?;
        serve(&fs).await
    });
    match answer {
        Ok(text) => {
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            let remote = error.remote().map(|refused| refused.message.clone());
            let text = remote.unwrap_or_else(|| explained(&conf, &error.into()));
            eprintln!("{command}: {}", text.lines().next().unwrap_or_default());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// One line of a table, the columns of which are as wide as the widest word.
struct Line {
    status: HdfsFileStatusProto,
    /// After the time: aligned to the right but for the last one.
    rest: Vec<String>,
}

/// `SnapshottableDirectoryStatus.print`, `SnapshotStatus.print`
fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "\n".to_owned();
    }
    let width = |word: &dyn Fn(&Line) -> usize| lines.iter().map(word).max().unwrap_or(0);
    let owner = width(&|line| line.status.owner.len());
    let group = width(&|line| line.status.group.len());
    let mut text = String::new();
    for Line { status, rest } in lines {
        text.push_str(&format!(
            "d{} 0 {:owner$} {:group$} 0 {}",
            permission_text(status.permission.perm),
            status.owner,
            status.group,
            local_time(status.modification_time, "%Y-%m-%d %H:%M"),
        ));
        for (column, word) in rest.iter().enumerate() {
            let widest = match column + 1 == rest.len() {
                true => 0,
                false => width(&|line| line.rest.get(column).map_or(0, String::len)),
            };
            text.push_str(&format!(" {word:>widest$}"));
        }
        text.push('\n');
    }
    text
}

fn below(parent: &[u8], name: &str) -> String {
    format!("{}/{name}", String::from_utf8_lossy(parent).trim_end_matches('/'))
}

/// Entry point of `lsSnapshottableDir`.
pub fn ls_dirs(args: Vec<OsString>) -> Result<ExitCode> {
    let invocation = match words(args, 0, &ls_dirs_usage())? {
        Ok((invocation, _)) => invocation,
        Err(status) => return Ok(status),
    };
    served(&invocation, "lsSnapshottableDir", async |fs| {
        let request = GetSnapshottableDirListingRequestProto {};
        let answer: GetSnapshottableDirListingResponseProto = fs
            .call("getSnapshottableDirListing", &request, Idempotence::Idempotent)
            .await?;
        let listed = answer.snapshottable_dir_list.unwrap_or_default();
        let lines = listed.snapshottable_dir_listing.into_iter().map(|directory| {
            let name = String::from_utf8_lossy(&directory.dir_status.path).into_owned();
            Line {
                rest: vec![
                    directory.snapshot_number.to_string(),
                    directory.snapshot_quota.to_string(),
                    below(&directory.parent_fullpath, &name),
                ],
                status: directory.dir_status,
            }
        });
        Ok(table(&lines.collect::<Vec<_>>()))
    })
}

/// Entry point of `lsSnapshot`.
pub fn ls_snapshot(args: Vec<OsString>) -> Result<ExitCode> {
    let usage = format!("Invalid no of arguments\n{}", ls_snapshot_usage());
    let (invocation, words) = match words(args, 1, &usage)? {
        Ok(found) => found,
        Err(status) => return Ok(status),
    };
    let snapshot_root = words.iter().map(|word| full_path(word)).collect();
    served(&invocation, "lsSnapshot", async |fs| {
        let request = GetSnapshotListingRequestProto { snapshot_root };
        let answer: GetSnapshotListingResponseProto =
            fs.call("getSnapshotListing", &request, Idempotence::Idempotent).await?;
        let listed = answer.snapshot_list.unwrap_or_default();
        let lines = listed.snapshot_listing.into_iter().map(|snapshot| {
            let name = String::from_utf8_lossy(&snapshot.dir_status.path).into_owned();
            let deletion = if snapshot.is_deleted { "DELETED" } else { "ACTIVE" };
            Line {
                rest: vec![
                    snapshot.snapshot_id.to_string(),
                    deletion.to_owned(),
                    below(&snapshot.parent_fullpath, &format!(".snapshot/{name}")),
                ],
                status: snapshot.dir_status,
            }
        });
        Ok(table(&lines.collect::<Vec<_>>()))
    })
}

/// The name of a snapshot as it was written (`SnapshotDiff.getSnapshotName`). Empty for the present.
fn snapshot_name(word: &str) -> &str {
    match word {
        "." => "",
        word => (word.strip_prefix("./").unwrap_or(word))
            .strip_prefix(".snapshot/")
            .unwrap_or(word),
    }
}

/// Entry point of `snapshotDiff`.
pub fn diff(args: Vec<OsString>) -> Result<ExitCode> {
    let (invocation, words) = match words(args, 3, &diff_usage())? {
        Ok(found) => found,
        Err(status) => return Ok(status),
    };
    let [dir, from, to] = &words[..] else {
        return Ok(ExitCode::FAILURE);
    };
    let (dir, from, to) = (full_path(dir), snapshot_name(from), snapshot_name(to));
    served(&invocation, "snapshotDiff", async |fs| {
        let listing = all_pages(fs, &dir, from, to).await?;
        let moment = |name: &str| match name {
            "" => "current directory".to_owned(),
            name => format!("snapshot {name}"),
        };
        let path = |path: &[u8]| match path {
            [] => ".".to_owned(),
            path => format!("./{}", String::from_utf8_lossy(path)),
        };
        let mut text = format!(
            "Difference between {} and {} under directory {dir}:\n",
            moment(from),
            moment(to)
        );
        for entry in report(&listing) {
            text.push_str(&format!("{}\t{}", entry.modification_label, path(&entry.fullpath)));
            if entry.modification_label == RENAMED {
                text.push_str(&format!(" -> {}", path(&entry.target_path.unwrap_or_default())));
            }
            text.push('\n');
        }
        text.push('\n');
        Ok(text)
    })
}

/// All pages of a listing as one (`DistributedFileSystem.getSnapshotDiffReportInternal`).
async fn all_pages(
    fs: &FileSystem,
    dir: &str,
    from: &str,
    to: &str,
) -> Result<SnapshotDiffReportListingProto, ClientError> {
    let mut all = SnapshotDiffReportListingProto::default();
    let mut cursor = SnapshotDiffReportCursorProto {
        index: -1,
        ..SnapshotDiffReportCursorProto::default()
    };
    loop {
        let request = GetSnapshotDiffReportListingRequestProto {
            snapshot_root: dir.to_owned(),
            from_snapshot: from.to_owned(),
            to_snapshot: to.to_owned(),
            cursor: Some(cursor),
        };
        let answer: GetSnapshotDiffReportListingResponseProto = fs
            .call("getSnapshotDiffReportListing", &request, Idempotence::Idempotent)
            .await?;
        let page = answer.diff_report;
        all.is_from_earlier = page.is_from_earlier;
        all.modified_entries.extend(page.modified_entries);
        all.created_entries.extend(page.created_entries);
        all.deleted_entries.extend(page.deleted_entries);
        match page.cursor {
            Some(next) if !next.start_path.is_empty() || next.index != -1 => cursor = next,
            _ => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_with_and_without_its_directory() {
        for (word, name) in [
            (".", ""),
            ("s", "s"),
            (".snapshot/s", "s"),
            ("./.snapshot/s", "s"),
            ("./s", "./s"),
        ] {
            assert_eq!(snapshot_name(word), name);
        }
    }
}
