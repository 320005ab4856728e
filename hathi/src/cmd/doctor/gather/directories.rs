//! Storage directories of the daemons that belong to this machine.

use crate::cmd::doctor::facts::{Contents, Directory, Found, Role};
use hathi_conf::{Configuration, HostPort};
use hathi_storage::{OsDisk, StorageDirectory, VersionFile};
use rustix::fs::{Access, access, statvfs};
use std::fs::Metadata;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Longest file of names and numbers that is read.
const SMALL_BYTES: u64 = 64 << 10;

/// The directories of each daemon that the configuration places on this machine.
pub(super) fn look(conf: &Configuration, journals: &[(Vec<HostPort>, String)]) -> Vec<Directory> {
    let mut found = Vec::new();
    let configured = !conf.nameservices().is_empty() || conf.is_set("dfs.namenode.name.dir");
    if configured && let Ok(identity) = conf.who_am_i(is_local) {
        let own = conf.for_namenode(&identity);
        let images = own.name_dirs().unwrap_or_default();
        let edits = own.edits_dirs().unwrap_or_default();
        found.extend(
            images
                .iter()
                .map(|path| at(Role::Image, "dfs.namenode.name.dir", path, path)),
        );
        let apart = edits.iter().filter(|path| !images.contains(path));
        found.extend(apart.map(|path| at(Role::Edits, "dfs.namenode.edits.dir", path, path)));
    }
    for (members, journal) in journals {
        const KEY: &str = "dfs.journalnode.edits.dir";
        let here = members.iter().filter(|member| is_local(member)).count();
        // Several on one machine each have a directory, which only their own configurations name.
        if (here == 1 || (here > 1 && conf.is_set(KEY)))
            && let Ok(path) = conf.journalnode_edits_dir(Some(journal))
        {
            found.push(at(Role::Journal, KEY, &path, &path.join(journal)));
        }
    }
    // Nothing else says which machines have DataNodes.
    const BLOCKS: &str = "dfs.datanode.data.dir";
    if conf.is_set(BLOCKS) {
        let dirs = conf.data_dirs().unwrap_or_default();
        found.extend(dirs.iter().map(|dir| at(Role::Blocks, BLOCKS, &dir.path, &dir.path)));
    }
    found
}

/// Whether an address is one of this machine's.
fn is_local(address: &HostPort) -> bool {
    TcpListener::bind((address.host.as_str(), 0)).is_ok()
}

fn at(role: Role, key: &'static str, path: &Path, storage: &Path) -> Directory {
    Directory {
        role,
        key,
        path: path.to_owned(),
        storage: storage.to_owned(),
        state: state(path, storage),
    }
}

fn state(path: &Path, storage: &Path) -> Found {
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Missing,
        Err(error) => return Found::Unreadable(error.to_string()),
    };
    if !metadata.is_dir() {
        return Found::NoDirectory;
    }
    if let Err(error) = std::fs::read_dir(path) {
        return Found::Unreadable(error.to_string());
    }
    match contents(path, storage, &metadata) {
        Ok(contents) => Found::There(Box::new(contents)),
        Err(error) => Found::Unreadable(error.to_string()),
    }
}

fn contents(path: &Path, storage: &Path, metadata: &Metadata) -> std::io::Result<Contents> {
    let space = statvfs(path)?;
    let current = storage.join("current");
    let version = current.join("VERSION");
    let mut contents = Contents {
        uid: metadata.uid(),
        version_uid: std::fs::metadata(&version).ok().map(|version| version.uid()),
        writable: access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
        device: metadata.dev(),
        free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
        size_bytes: space.f_blocks.saturating_mul(space.f_frsize),
        state: StorageDirectory::new(OsDisk, storage)
            .analyze()
            .map_err(|error| error.to_string()),
        has_previous: storage.join("previous").exists(),
        version: small(&version).map(|text| VersionFile::parse(&text)),
        holder: holder(&storage.join("in_use.lock")),
        images: Vec::new(),
        segments: Vec::new(),
        seen_txid: small(&current.join("seen_txid")).and_then(|text| text.trim().parse().ok()),
    };
    let names: Vec<PathBuf> = match std::fs::read_dir(&current) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    for file in names {
        take_file(&file, &mut contents);
    }
    contents.images.sort_unstable();
    contents.segments.sort_unstable();
    Ok(contents)
}

/// Images and segments of edits, by their names.
fn take_file(file: &Path, contents: &mut Contents) {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return;
    };
    if let Some(txid) = name.strip_prefix("fsimage_").and_then(|txid| txid.parse().ok()) {
        let bytes = std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        let has_md5 = file.with_file_name(format!("{name}.md5")).exists();
        contents.images.push((txid, bytes, has_md5));
    } else if let Some(first) = name
        .strip_prefix("edits_inprogress_")
        .and_then(|first| first.parse().ok())
    {
        contents.segments.push((first, None));
    } else if let Some((first, last)) = name.strip_prefix("edits_").and_then(|range| range.split_once('-'))
        && let (Ok(first), Ok(last)) = (first.parse(), last.parse())
    {
        contents.segments.push((first, Some(last)));
    }
}

fn small(path: &Path) -> Option<String> {
    let is_small = std::fs::metadata(path).ok()?.len() <= SMALL_BYTES;
    is_small
        .then(|| std::fs::read(path).ok())?
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// The process that holds a lock on a file. A try to take the lock could make a daemon fail that starts meanwhile.
fn holder(path: &Path) -> Option<u32> {
    let inode = std::fs::metadata(path).ok()?.ino();
    let device = std::fs::metadata(path).ok()?.dev();
    let place = (rustix::fs::major(device), rustix::fs::minor(device), inode);
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| lock_on(line, place))
}

/// The process of a line of `/proc/locks`, if it holds a lock on this file: device numbers and inode.
fn lock_on(line: &str, file: (u32, u32, u64)) -> Option<u32> {
    // `1: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF`; who only waits has an arrow behind the number.
    let mut words = line.split_whitespace().skip(1);
    if words.next()? == "->" {
        return None;
    }
    let pid = words.nth(2)?;
    let mut place = words.next()?.split(':');
    let major = u32::from_str_radix(place.next()?, 16).ok()?;
    let minor = u32::from_str_radix(place.next()?, 16).ok()?;
    let inode = place.next()?.parse().ok()?;
    let held = (major, minor, inode) == file;
    pid.parse().ok().filter(|_| held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF";
        assert_eq!(lock_on(line, (0xfd, 1, 1234)), Some(4711));
        assert_eq!(lock_on(line, (0xfd, 2, 1234)), None);
        assert_eq!(
            lock_on("3: -> FLOCK  ADVISORY  WRITE 4711 fd:01:1234 0 EOF", (0xfd, 1, 1234)),
            None
        );
        assert_eq!(lock_on("", (0, 0, 0)), None);
    }

    #[test]
    fn a_directory_is_read_as_its_daemon_left_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("name");
        assert!(matches!(state(&path, &path), Found::Missing));
        std::fs::create_dir_all(path.join("current")).unwrap();
        let file = |name: &str, text: &str| std::fs::write(path.join("current").join(name), text).unwrap();
        file(
            "VERSION",
            "layoutVersion=-67\nclusterID=CID-1\nnamespaceID=7\ncTime=0\n",
        );
        file("seen_txid", "9\n");
        file("fsimage_0000000000000000005", "image");
        file("fsimage_0000000000000000005.md5", "");
        file("fsimage_0000000000000000003", "");
        file("edits_0000000000000000006-0000000000000000008", "");
        file("edits_inprogress_0000000000000000009", "");
        let Found::There(contents) = state(&path, &path) else {
            panic!("the directory is there");
        };
        assert_eq!(contents.images, [(3, 0, false), (5, 5, true)]);
        assert_eq!(contents.segments, [(6, Some(8)), (9, None)]);
        assert_eq!((contents.seen_txid, contents.holder), (Some(9), None));
        assert_eq!(contents.version.unwrap().get("clusterID"), Some("CID-1"));
        let plain = path.join("current/VERSION");
        assert!(matches!(state(&plain, &plain), Found::NoDirectory));
    }
}
