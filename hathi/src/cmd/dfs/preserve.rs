//! Attributes that copies keep of their sources with `-p` (`CommandWithDestination.preserveAttributes`).

use super::attributes::set_permission;
use super::{Flags, Item, Misuse, RemotePath};
use anyhow::{Context, Result, bail, ensure};
use hathi_client::FileSystem;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// The attributes to keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preserve {
    times: bool,
    ownership: bool,
    permission: bool,
}

impl Preserve {
    /// `-p`
    pub(super) const DEFAULT: Preserve = Preserve {
        times: true,
        ownership: true,
        permission: true,
    };

    /// What `-p` and `-p[top]` ask for.
    pub(super) fn of(flags: &Flags) -> Result<Preserve> {
        if !flags.has("p") {
            return Ok(Preserve::default());
        }
        let Some(letters) = flags.value("p") else {
            return Ok(Preserve::DEFAULT);
        };
        let mut preserve = Preserve::default();
        for letter in letters.chars() {
            match letter {
                't' => preserve.times = true,
                'o' => preserve.ownership = true,
                'p' => preserve.permission = true,
                'a' | 'x' => bail!(Misuse(format!(
                    "-p{letter}: ACLs and extended attributes are not copied"
                ))),
                _ => bail!(Misuse(format!("Illegal option -p{letters}"))),
            }
        }
        Ok(preserve)
    }
}

/// The attributes of a file or directory.
#[derive(Clone, Debug)]
pub(super) struct Attributes {
    mtime_ms: u64,
    atime_ms: u64,
    owner: String,
    group: String,
    mode: u32,
}

impl Attributes {
    pub(super) fn of(item: &Item) -> Attributes {
        let status = &item.status;
        Attributes {
            mtime_ms: status.modification_time,
            atime_ms: status.access_time,
            owner: status.owner.clone(),
            group: status.group.clone(),
            mode: status.permission.perm & 0o1777,
        }
    }

    pub(super) fn of_local(path: &Path) -> Result<Attributes> {
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        let millis = |seconds: i64, nanos: i64| u64::try_from(seconds * 1000 + nanos / 1_000_000).unwrap_or(0);
        // The machine's tools also know the names in directory services.
        let names = Command::new("stat")
            .args(["-L", "-c", "%U:%G", "--"])
            .arg(path)
            .output()?;
        let names = String::from_utf8_lossy(&names.stdout);
        let (owner, group) = names.trim().split_once(':').context("stat tells no owner")?;
        Ok(Attributes {
            mtime_ms: millis(metadata.mtime(), metadata.mtime_nsec()),
            atime_ms: millis(metadata.atime(), metadata.atime_nsec()),
            owner: owner.to_owned(),
            group: group.to_owned(),
            mode: metadata.permissions().mode() & 0o1777,
        })
    }

    /// Sets the attributes of a local file: the times, then the owner, then the mode. A change of the owner may clear
    /// mode bits.
    pub(super) fn give_to_local(&self, path: &Path) -> Result<()> {
        let at = |millis| UNIX_EPOCH + Duration::from_millis(millis);
        let times = FileTimes::new()
            .set_modified(at(self.mtime_ms))
            .set_accessed(at(self.atime_ms));
        File::open(path)?.set_times(times)?;
        let chown = Command::new("chown")
            .arg("--")
            .arg(format!("{}:{}", self.owner, self.group))
            .arg(path)
            .output()?;
        let problem = String::from_utf8_lossy(&chown.stderr).trim().to_owned();
        ensure!(chown.status.success(), "{problem}");
        std::fs::set_permissions(path, Permissions::from_mode(self.mode))?;
        Ok(())
    }
}

impl Attributes {
    /// Gives attributes to a path of the file system.
    pub(super) async fn give_to(&self, fs: &FileSystem, target: &RemotePath, which: Preserve) -> Result<()> {
        let src = target.path.clone();
        if which.times {
            let request = hdfs::SetTimesRequestProto {
                src: src.clone(),
                mtime: self.mtime_ms,
                atime: self.atime_ms,
            };
            let _: hdfs::SetTimesResponseProto = fs.call("setTimes", &request, Idempotence::Idempotent).await?;
        }
        if which.ownership {
            let request = hdfs::SetOwnerRequestProto {
                src,
                username: Some(self.owner.clone()),
                groupname: Some(self.group.clone()),
            };
            let _: hdfs::SetOwnerResponseProto = fs.call("setOwner", &request, Idempotence::Idempotent).await?;
        }
        if which.permission {
            set_permission(fs, target, self.mode).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_said_by_letters() {
        let of = |letters: Option<&str>| {
            let flags = Flags(vec![("p".to_owned(), letters.map(str::to_owned))]);
            Preserve::of(&flags).ok()
        };
        let times = Preserve {
            times: true,
            ..Preserve::default()
        };
        assert_eq!(of(None), Some(Preserve::DEFAULT));
        assert_eq!(of(Some("t")), Some(times));
        assert_eq!(of(Some("top")), Some(Preserve::DEFAULT));
        assert_eq!(of(Some("a")), None);
        assert_eq!(of(Some("z")), None);
        assert_eq!(Preserve::of(&Flags::default()).ok(), Some(Preserve::default()));
    }

    #[test]
    fn a_local_file_gets_times_and_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, "x").unwrap();
        std::fs::write(&to, "x").unwrap();
        std::fs::set_permissions(&from, Permissions::from_mode(0o640)).unwrap();
        let attributes = Attributes {
            mtime_ms: 1_000_000_123,
            ..Attributes::of_local(&from).unwrap()
        };
        attributes.give_to_local(&to).unwrap();
        let given = Attributes::of_local(&to).unwrap();
        assert_eq!((given.mtime_ms, given.mode), (1_000_000_123, 0o640));
    }
}
