//! `-expunge` (`TrashPolicyDefault`): a trash of a user has checkpoints, directories that are named by the time at
//! which they were closed, and the open one, `Current`.

use super::{Arguments, RemotePath, Shell};
use anyhow::Result;
use hathi_client::TRASH;
use hathi_conf::TimeUnit;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::time::Duration;

/// The open checkpoint.
pub(super) const CURRENT: &str = "Current";
/// Form of a checkpoint's name, in local time (`TrashPolicyDefault.CHECKPOINT`).
const CHECKPOINT: &str = "%y%m%d%H%M%S";
/// Length of such a name. A number may follow it after a hyphen.
const CHECKPOINT_LEN: usize = 12;

/// When a checkpoint was closed, in ms since 1970.
fn closed_at(name: &str) -> Option<i64> {
    let (digits, rest) = name.split_at_checked(CHECKPOINT_LEN)?;
    let numbered = rest
        .strip_prefix('-')
        .is_some_and(|number| number.parse::<u32>().is_ok());
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) || !(rest.is_empty() || numbered) {
        return None;
    }
    let time = DateTime::strptime(CHECKPOINT, digits).ok()?;
    Some(time.to_zoned(TimeZone::system()).ok()?.timestamp().as_millisecond())
}

impl Shell {
    pub(super) async fn expunge(&mut self, Arguments { flags, .. }: Arguments) -> Result<()> {
        let root = match flags.value("fs") {
            Some(word) => self.path(word)?.root(),
            None => self.path("/")?,
        };
        let interval = self
            .conf
            .get_duration("fs.trash.interval", Duration::ZERO, TimeUnit::Minutes)?;
        let now = Timestamp::now();
        let keep_after = now.as_millisecond() - i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        for trash in self.trash_roots(&root).await? {
            let trash = trash.split('/').fold(root.clone(), |path, name| path.join(name));
            self.expunge_one(&trash, flags.has("immediate"), now, keep_after)
                .await?;
        }
        Ok(())
    }

    /// The user's trash directories: that of the home, those of snapshottable directories, and those of encryption zones, of
    /// which only a superuser is told (`DistributedFileSystem.getTrashRoots`).
    async fn trash_roots(&mut self, root: &RemotePath) -> Result<Vec<String>> {
        let mut roots = vec![self.trash()];
        let fs = self.fs(root)?;
        if fs.has_snapshot_trash().await? {
            let dirs = fs.snapshottable_dirs().await?;
            roots.extend(
                dirs.iter()
                    .map(|dir| format!("{}/{TRASH}/{}", dir.trim_end_matches('/'), self.user)),
            );
        }
        if !fs.may_have_zones().await? {
            return Ok(roots);
        }
        match fs.zones().await {
            Ok(zones) => roots.extend(zones.iter().map(|zone| self.trash_of_zone(&zone.path))),
            Err(error) => tracing::warn!(%error, "Cannot get all encrypted trash roots"),
        }
        Ok(roots)
    }

    /// Deletes the checkpoints of a trash directory that were closed before `keep_after`, in ms since 1970, or all of them.
    /// Otherwise the open one is closed now.
    async fn expunge_one(
        &mut self,
        trash: &RemotePath,
        immediate: bool,
        now: Timestamp,
        keep_after: i64,
    ) -> Result<()> {
        if self.status(trash).await?.is_none() {
            return Ok(());
        }
        let fs = self.fs(trash)?;
        let mut open: Option<RemotePath> = None;
        for child in self.children(trash).await? {
            if child.path.name() == CURRENT {
                open = Some(child.path);
                continue;
            }
            // As in Hadoop, what has another name stays.
            let Some(closed) = closed_at(child.path.name()) else {
                continue;
            };
            if immediate || closed < keep_after {
                fs.delete(&child.path.path, true).await?;
            }
        }
        if let Some(open) = open.filter(|_| !immediate) {
            let name = now.to_zoned(TimeZone::system()).strftime(CHECKPOINT).to_string();
            fs.rename(&open.path, &trash.join(&name).path, false).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::closed_at;

    #[test]
    fn names_of_checkpoints_are_times() {
        let day = closed_at("200102030405").unwrap() - closed_at("200101030405-3").unwrap();
        assert_eq!(day, 86_400_000);
        for other in [
            "Current",
            "2001020304",
            "200102030405x",
            "201302030405",
            "200102030405-",
        ] {
            assert_eq!(closed_at(other), None, "{other}");
        }
    }
}
