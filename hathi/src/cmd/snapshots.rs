//! `hathi lsSnapshottableDir`: the directories that may have snapshots (`LsSnapshottableDir`).

use super::dfs::local_time;
use super::invocation::Invocation;
use super::waiting::{explained, say_what_is_waited_for};
use anyhow::Result;
use hathi_client::FileSystem;
use hathi_formats::proto::hdfs::{GetSnapshottableDirListingRequestProto, GetSnapshottableDirListingResponseProto};
use hathi_net::ipc::Idempotence;
use std::ffi::OsString;
use std::process::ExitCode;

/// How the command is used.
pub fn usage() -> String {
    "Usage: hdfs lsSnapshottableDir: \n\
     \tGet the list of snapshottable directories that are owned by the current user.\n\
     \tReturn all the snapshottable directories if the current user is a super user.\n"
        .to_owned()
}

/// Entry point.
pub fn run(args: Vec<OsString>) -> Result<ExitCode> {
    say_what_is_waited_for();
    let invocation = Invocation::of(args)?;
    if !invocation.rest.is_empty() {
        eprint!("{}", usage());
        return Ok(ExitCode::FAILURE);
    }
    let conf = invocation.load()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listed = runtime.block_on(async {
        let fs = FileSystem::new(&conf, "", &super::user_name())?;
        let request = GetSnapshottableDirListingRequestProto {};
        let answer: GetSnapshottableDirListingResponseProto = fs
            .call("getSnapshottableDirListing", &request, Idempotence::Idempotent)
            .await?;
        anyhow::Ok(answer.snapshottable_dir_list.unwrap_or_default())
    });
    let listed = listed.map_err(|error| anyhow::anyhow!(explained(&conf, &error)))?;
    for directory in listed.snapshottable_dir_listing {
        let status = &directory.dir_status;
        let parent = String::from_utf8_lossy(&directory.parent_fullpath).into_owned();
        let name = String::from_utf8_lossy(&status.path).into_owned();
        println!(
            "d{} 0 {} {} 0 {} {} {} {}/{name}",
            super::dfs::permission_text(status.permission.perm),
            status.owner,
            status.group,
            local_time(status.modification_time, "%Y-%m-%d %H:%M"),
            directory.snapshot_number,
            directory.snapshot_quota,
            parent.trim_end_matches('/'),
        );
    }
    Ok(ExitCode::SUCCESS)
}
