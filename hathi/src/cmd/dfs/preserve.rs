//! Attributes that copies keep of their sources with `-p` (`CommandWithDestination.preserveAttributes`).

use super::{Item, RemotePath, Shell, Usage};
use anyhow::{Context, Result, bail, ensure};
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

    /// Takes `-p` or `-p[top]` out of the options of a command.
    pub(super) fn taken_from(words: &mut Vec<String>) -> Result<Preserve> {
        let options = words
            .iter()
            .take_while(|word| word.starts_with('-') && *word != "--")
            .count();
        let is_preserve = |word: &String| word.starts_with("-p");
        let Some(at) = words.iter().take(options).position(is_preserve) else {
            return Ok(Preserve::default());
        };
        let word = words.remove(at);
        let mut preserve = Preserve::default();
        match word.strip_prefix("-p") {
            Some("") => preserve = Preserve::DEFAULT,
            letters => {
                for letter in letters.unwrap_or_default().chars() {
                    match letter {
                        't' => preserve.times = true,
                        'o' => preserve.ownership = true,
                        'p' => preserve.permission = true,
                        'a' | 'x' => bail!(Usage(format!(
                            "-p{letter}: ACLs and extended attributes are not copied"
                        ))),
                        _ => bail!(Usage(format!("Illegal option {word}"))),
                    }
                }
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

impl Shell {
    /// Gives attributes to a path of the file system.
    pub(super) async fn preserve(&mut self, target: &RemotePath, from: &Attributes, which: Preserve) -> Result<()> {
        let fs = self.fs(target)?;
        let src = target.path.clone();
        if which.times {
            let request = hdfs::SetTimesRequestProto {
                src: src.clone(),
                mtime: from.mtime_ms,
                atime: from.atime_ms,
            };
            let _: hdfs::SetTimesResponseProto = fs.call("setTimes", &request, Idempotence::Idempotent).await?;
        }
        if which.ownership {
            let request = hdfs::SetOwnerRequestProto {
                src,
                username: Some(from.owner.clone()),
                groupname: Some(from.group.clone()),
            };
            let _: hdfs::SetOwnerResponseProto = fs.call("setOwner", &request, Idempotence::Idempotent).await?;
        }
        if which.permission {
            self.set_permission(target, from.mode).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(words: &[&str]) -> (Option<Preserve>, Vec<String>) {
        let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        (Preserve::taken_from(&mut words).ok(), words)
    }

    #[test]
    fn what_is_kept_is_said_by_letters() {
        assert_eq!(taken(&["-f", "-p", "/a", "/b"]).0, Some(Preserve::DEFAULT));
        let (preserve, rest) = taken(&["-pt", "-f", "/a", "-pure"]);
        let times = Preserve {
            times: true,
            ..Preserve::default()
        };
        assert_eq!(
            (preserve, rest.as_slice()),
            (Some(times), &["-f", "/a", "-pure"].map(str::to_owned)[..])
        );
        assert_eq!(taken(&["/a", "/b"]).0, Some(Preserve::default()));
        assert_eq!(taken(&["-pa", "/a", "/b"]).0, None);
        assert_eq!(taken(&["-pz", "/a", "/b"]).0, None);
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
