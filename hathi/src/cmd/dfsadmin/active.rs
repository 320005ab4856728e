//! Commands to the active NameNode.

use super::quota::parse_quota;
use super::report::date;
use crate::cmd::dfs::full_path;
use crate::cmd::namenodes::active_page;
use crate::cmd::table::{Flags, Misuse};
use anyhow::{Context, Result, bail};
use hathi_client::{FileSystem, TRASH};
use hathi_conf::Configuration;
use hathi_formats::exceptions;
use hathi_formats::proto::hdfs::hdfs_file_status_proto::FileType;
use hathi_formats::proto::hdfs::{self, OpenFilesTypeProto, RollingUpgradeActionProto};
use hathi_net::http::client::{get, next_piece};
use hathi_net::ipc::Idempotence;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long the NameNode may send nothing of its image.
const IMAGE_SILENCE: Duration = Duration::from_secs(60);
/// `HdfsAdmin.TRASH_PERMISSION`: everybody has a trash there, and nobody another's.
const TRASH_PERMISSION: u32 = 0o1777;

pub(super) async fn roll_edits(fs: &FileSystem) -> Result<()> {
    let request = hdfs::RollEditsRequestProto {};
    let answer: hdfs::RollEditsResponseProto = fs.call("rollEdits", &request, Idempotence::AtMostOnce).await?;
    println!("Successfully rolled edit logs.");
    println!("New segment starts at txid {}", answer.new_segment_tx_id);
    Ok(())
}

pub(super) async fn set_balancer_bandwidth(fs: &FileSystem, word: &str) -> Result<()> {
    let bandwidth = if word == "0" { Some(0) } else { parse_quota(word, true) };
    let Some(bandwidth) = bandwidth.and_then(|bandwidth| i64::try_from(bandwidth).ok()) else {
        bail!("Bandwidth should be a non-negative integer");
    };
    // Only the active commands DataNodes. Standbys refuse the call, as Hadoop's do.
    let request = hdfs::SetBalancerBandwidthRequestProto { bandwidth };
    let _: hdfs::SetBalancerBandwidthResponseProto = fs
        .call("setBalancerBandwidth", &request, Idempotence::Idempotent)
        .await?;
    println!("Balancer bandwidth is set to {bandwidth}");
    Ok(())
}

pub(super) async fn rolling_upgrade(fs: &FileSystem, word: Option<&str>) -> Result<()> {
    let (action, name) = match word.map(str::to_ascii_lowercase).as_deref() {
        None | Some("query") => (RollingUpgradeActionProto::Query, "QUERY"),
        Some("prepare") => (RollingUpgradeActionProto::Start, "PREPARE"),
        Some("finalize") => (RollingUpgradeActionProto::Finalize, "FINALIZE"),
        Some(other) => bail!(Misuse(format!("Failed to convert \"{other}\" to RollingUpgradeAction"))),
    };
    println!("{name} rolling upgrade ...");
    let request = hdfs::RollingUpgradeRequestProto { action: action.into() };
    let answer: hdfs::RollingUpgradeResponseProto =
        fs.call("rollingUpgrade", &request, Idempotence::AtMostOnce).await?;
    let Some(info) = answer.rolling_upgrade_info.filter(|info| info.start_time > 0) else {
        println!("There is no rolling upgrade in progress or rolling upgrade has already been finalized.");
        return Ok(());
    };
    if info.finalize_time > 0 {
        println!("Rolling upgrade is finalized.");
    } else if info.created_rollback_images {
        println!("Proceed with rolling upgrade:");
    } else {
        println!(
            "Preparing for upgrade. Data is being saved for rollback.\n\
             Run \"dfsadmin -rollingUpgrade query\" to check the status\n\
             for proceeding with rolling upgrade"
        );
    }
    let time = |millis: u64, none: &str| match millis {
        0 => none.to_owned(),
        millis => format!("{} (={millis})", date(millis)),
    };
    println!("  Block Pool ID: {}", info.status.block_pool_id);
    println!("     Start Time: {}", time(info.start_time, "<NOT STARTED>"));
    println!("  Finalize Time: {}", time(info.finalize_time, "<NOT FINALIZED>"));
    Ok(())
}

pub(super) async fn list_open_files(fs: &FileSystem, flags: &Flags) -> Result<()> {
    let kind = if flags.has("blockingDecommission") {
        OpenFilesTypeProto::BlockingDecommission
    } else {
        OpenFilesTypeProto::AllOpenFiles
    };
    println!("{:<20}\t{:<20}\t{}", "Client Host", "Client Name", "Open File Path");
    let mut id = 0;
    loop {
        let request = hdfs::ListOpenFilesRequestProto {
            id,
            types: vec![kind.into()],
            path: Some(flags.value("path").unwrap_or("/").to_owned()),
        };
        let answer: hdfs::ListOpenFilesResponseProto =
            fs.call("listOpenFiles", &request, Idempotence::Idempotent).await?;
        for file in &answer.entries {
            println!("{:<20}\t{:<20}\t{}", file.client_machine, file.client_name, file.path);
        }
        match answer.entries.last() {
            Some(last) if answer.has_more => id = last.id,
            _ => return Ok(()),
        }
    }
}

/// Downloads the newest image. A half-written file never has the final name.
pub(super) async fn fetch_image(conf: &Configuration, dir: &str) -> Result<()> {
    let url = format!(
        "http://{}/imagetransfer?getimage=1&txid=latest",
        active_page(conf).await?
    );
    let (head, mut body) = get(&url, IMAGE_SILENCE).await?.into_parts();
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let named = header("x-image-edits-name").or(header("x-image-name"));
    // The name of a file comes from outside, and must not lead out of the directory.
    let name = named
        .and_then(|name| Path::new(name).file_name())
        .with_context(|| format!("{url}: the image has no name"))?;
    let target = Path::new(dir);
    let target = if target.is_dir() {
        target.join(name)
    } else {
        target.to_owned()
    };
    let partial = target.with_extension("part");
    let mut file = File::create(&partial).with_context(|| partial.display().to_string())?;
    let got = async {
        while let Some(piece) = next_piece(&url, &mut body, IMAGE_SILENCE).await? {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        let expected = header("content-length").and_then(|len| len.parse::<u64>().ok());
        let len = file.metadata()?.len();
        if expected.is_some_and(|expected| expected != len) {
            bail!("{url}: {len} bytes of {}", expected.unwrap_or_default());
        }
        Ok(std::fs::rename(&partial, &target)?)
    }
    .await;
    if got.is_err() {
        // The earlier error is the one to report.
        let _ = std::fs::remove_file(&partial);
    }
    got
}

pub(super) async fn allow_snapshot(fs: &FileSystem, word: &str) -> Result<()> {
    let request = hdfs::AllowSnapshotRequestProto {
        snapshot_root: full_path(word),
    };
    let _: hdfs::AllowSnapshotResponseProto = fs.call("allowSnapshot", &request, Idempotence::Idempotent).await?;
    if fs.has_snapshot_trash().await? {
        provision_trash(fs, &full_path(word)).await?;
    }
    println!("Allowing snapshot on {word} succeeded");
    Ok(())
}

pub(super) async fn disallow_snapshot(fs: &FileSystem, word: &str) -> Result<()> {
    remove_empty_trash(fs, &full_path(word)).await?;
    let request = hdfs::DisallowSnapshotRequestProto {
        snapshot_root: full_path(word),
    };
    let _: hdfs::DisallowSnapshotResponseProto = fs.call("disallowSnapshot", &request, Idempotence::Idempotent).await?;
    println!("Disallowing snapshot on {word} succeeded");
    Ok(())
}

/// An empty trash of a directory goes with its snapshots; one that is not empty is left
/// (`DistributedFileSystem.checkTrashRootAndRemoveIfEmpty`).
async fn remove_empty_trash(fs: &FileSystem, dir: &str) -> Result<()> {
    if fs.may_have_zones().await? && fs.zone_of(dir).await?.is_some_and(|zone| zone.path == dir) {
        return Ok(());
    }
    let trash = format!("{}/{TRASH}", dir.trim_end_matches('/'));
    let is_dir = |status: &hdfs::HdfsFileStatusProto| status.file_type() == FileType::IsDir;
    match fs.status(&trash).await {
        Ok(Some(status)) if is_dir(&status) => {}
        Ok(_) => return Ok(()),
        Err(error)
            if error
                .remote()
                .is_some_and(|refused| refused.is(exceptions::ACCESS_CONTROL)) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    match fs.list(&trash).await {
        Ok(found) if found.is_empty() => {
            fs.delete(&trash, false).await?;
            Ok(())
        }
        Ok(_) => bail!("Found non-empty trash root at {trash}. Rename or delete it, then try again."),
        Err(error)
            if error
                .remote()
                .is_some_and(|refused| refused.is(exceptions::ACCESS_CONTROL)) =>
        {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn provision_snapshot_trash(fs: &FileSystem, words: &[String]) -> Result<()> {
    let wanted = match words.iter().any(|word| word == "-all") {
        true => fs.snapshottable_dirs().await?,
        false => words.iter().map(|word| full_path(word)).collect(),
    };
    for path in wanted {
        let trash = provision_trash(fs, &path).await?;
        println!("Successfully provisioned snapshot trash at {trash}");
    }
    Ok(())
}

/// `DistributedFileSystem.provisionSnapshotTrash`. Gives the path of the trash.
async fn provision_trash(fs: &FileSystem, dir: &str) -> Result<String> {
    let status = fs
        .status(dir)
        .await?
        .with_context(|| format!("File does not exist: {dir}"))?;
    if status.flags() & hdfs::hdfs_file_status_proto::Flags::SnapshotEnabled as u32 == 0 {
        bail!(Misuse(format!("{dir} is not a snapshottable directory.")));
    }
    let trash = format!("{}/{TRASH}", dir.trim_end_matches('/'));
    if let Some(there) = fs.status(&trash).await? {
        let mut problem = String::new();
        if there.file_type() != FileType::IsDir {
            problem = format!("\r\nWARNING: {trash} is not a directory.");
        } else if there.permission.perm != TRASH_PERMISSION {
            problem = format!("\r\nWARNING: Permission of {trash} differs from provided permission rwxrwxrwt");
        }
        bail!(
            "Can't provision trash for snapshottable directory {dir} because trash path {trash} already exists.{problem}"
        );
    }
    fs.mkdirs(&trash, TRASH_PERMISSION as u16, false).await?;
    // Not as the umask of this client has it.
    let request = hdfs::SetPermissionRequestProto {
        src: trash.clone(),
        permission: hdfs::FsPermissionProto { perm: TRASH_PERMISSION },
    };
    let _: hdfs::SetPermissionResponseProto = fs.call("setPermission", &request, Idempotence::Idempotent).await?;
    if !fs.has_snapshot_trash().await? {
        eprintln!(
            "New trash is provisioned, but the snapshot trash root feature is disabled. This new trash but won't be \
             automatically utilized unless the feature is enabled on the NameNode."
        );
    }
    Ok(trash)
}
