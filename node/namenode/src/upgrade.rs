//! `-upgrade` and `-rollback` of a NameNode without HA (`FSImage.doUpgrade`, `FSImage.doRollback`).
//!
//! An upgrade saves the namespace in our layout, with a new cTime, and keeps what was there in `previous`, until
//! `dfsadmin -finalizeUpgrade` removes it or `-rollback` puts it back. Until then DataNodes are not told to delete what they
//! keep for a rollback.

use crate::format::{ABORTED, confirm_prompt, tell};
use crate::load::Loader;
use crate::offline::{replay, save};
use crate::settings::Settings;
use crate::shared_edits::LocalSegments;
use crate::storage::NameDirs;
use anyhow::{bail, ensure};
use hathi_formats::ids::{LayoutVersion, NamespaceInfo};
use hathi_namesystem::Life;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn check_single(settings: &Settings, option: &str) -> anyhow::Result<()> {
    if settings.is_single() {
        return Ok(());
    }
    bail!(
        "{option} is for a NameNode without HA. With shared edits, let Hadoop's NameNode do it: hdfs namenode {option}, and \
         for an upgrade hdfs dfsadmin -finalizeUpgrade; start this one then"
    )
}

/// `-upgrade`: makes the directories ours. The NameNode is started on them then.
pub fn upgrade(settings: &Settings) -> anyhow::Result<()> {
    check_single(settings, "-upgrade")?;
    let dirs = Arc::new(NameDirs::open_older(settings)?);
    ensure!(
        !dirs.has_previous()?,
        "previous fs state should not exist during upgrade. Finalize or rollback first."
    );
    let mut ns = Loader::new(settings.clone(), dirs.clone()).load(Life::first())?;
    let image = ns.edit_log().applied();
    for (path, last) in LocalSegments::after(dirs.edits_dirs(), image)?.files() {
        replay(&mut ns, path, last)?;
    }
    let txid = ns.note_applied();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let info = NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        ctime: i64::try_from(now_ms)?,
        ..dirs.info.clone()
    };
    tracing::info!(
        old_layout = %dirs.info.layout_version,
        old_ctime = dirs.info.ctime,
        layout = %info.layout_version,
        ctime = info.ctime,
        "starting upgrade of local storage directories"
    );
    dirs.pre_upgrade(txid)?;
    save(&mut ns, &dirs)?;
    dirs.upgrade(&info)?;
    tracing::info!(%txid, "upgrade of the storage directories is complete");
    Ok(())
}

/// `-rollback`: takes the upgrade back and ends.
pub fn rollback(settings: &Settings) -> anyhow::Result<u8> {
    check_single(settings, "-rollback")?;
    tell!("A rollback removes what has changed since the upgrade, for good. No NameNode may run.\n");
    if !confirm_prompt("Roll back file system state?") {
        tell!("Rollback aborted.\n");
        return Ok(ABORTED);
    }
    let directories = NameDirs::roll_back(settings)?;
    ensure!(
        directories > 0,
        "Cannot rollback. None of the storage directories contain previous fs state."
    );
    tracing::info!(directories, "rollback is complete");
    Ok(0)
}
