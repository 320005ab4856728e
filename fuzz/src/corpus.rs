//! Inputs that once broke a target: `corpus/<target>/<name>`, kept for good.

use std::io;
use std::path::{Path, PathBuf};

use crate::Target;

/// Folder of the corpora.
#[must_use]
pub fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The kept inputs of a target, by name. Empty when it has no folder.
///
/// # Errors
/// When they can't be read.
pub fn read(dir: &Path, target: &Target) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let dir = dir.join(target.name);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut paths = std::fs::read_dir(&dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), std::fs::read(&path)?)))
        .collect()
}

/// Keeps an input that broke a target, under a name made of its content.
///
/// # Errors
/// When it can't be written.
pub fn keep(dir: &Path, target: &Target, input: &[u8]) -> io::Result<PathBuf> {
    let dir = dir.join(target.name);
    std::fs::create_dir_all(&dir)?;
    let path = dir.join(format!("{:08x}", crc32fast::hash(input)));
    std::fs::write(&path, input)?;
    Ok(path)
}
