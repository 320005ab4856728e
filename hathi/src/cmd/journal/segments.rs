//! The segments in a directory of a JournalNode or NameNode.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_journal::segments::{SegmentName, Segments};
use hathi_storage::OsDisk;

/// The newest layout whose ops are known here. Layout versions count down.
pub const CURRENT: LayoutVersion = LayoutVersion::NAMENODE_CURRENT;

/// The directories with segments at or below `dir`: itself, its `current`, or the journals in it.
pub fn directories(dir: &Path) -> Result<Vec<PathBuf>> {
    let listed = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let current = |dir: &Path| dir.join("current");
    if current(dir).is_dir() {
        return Ok(vec![current(dir)]);
    }
    let mut below: Vec<PathBuf> = listed
        .flatten()
        .map(|entry| current(&entry.path()))
        .filter(|dir| dir.is_dir())
        .collect();
    below.sort();
    if below.is_empty() {
        below.push(dir.to_owned());
    }
    Ok(below)
}

/// The segments of one directory, in order, with their files.
pub fn of_directory(dir: &Path) -> Result<Vec<(SegmentName, PathBuf)>> {
    let segments = Segments::new(OsDisk, dir.to_owned());
    let names = segments
        .list()
        .with_context(|| format!("cannot list {}", dir.display()))?;
    Ok(names
        .into_iter()
        .map(|name| (name.clone(), segments.path(&name)))
        .collect())
}

/// The segments of a path: a file, or all segments of a directory.
pub fn of_path(path: &Path) -> Result<Vec<(SegmentName, PathBuf)>> {
    if path.is_dir() {
        let mut all = Vec::new();
        for dir in directories(path)? {
            all.extend(of_directory(&dir)?);
        }
        return Ok(all);
    }
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    // A file that was put aside keeps the segment's name in front.
    let name = file_name.split('.').next().and_then(SegmentName::parse);
    if !path.exists() {
        bail!("{} is not there", path.display());
    }
    let name = name.unwrap_or(SegmentName::in_progress(TxId(0)));
    Ok(vec![(name, path.to_owned())])
}
