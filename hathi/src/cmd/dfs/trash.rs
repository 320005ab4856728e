//! `-expunge` (`TrashPolicyDefault`): a trash of a user has checkpoints, directories that are named by the time at
//! which they were closed, and the open one, `Current`.

use super::{Arguments, RemotePath, Shell};
use anyhow::Result;
use hathi_client::TRASH;
use hathi_conf::TimeUnit;
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
        let now = jiff::Timestamp::now();
        let keep_after = now.as_millisecond() - i64::try_from(interval.as_millis()).unwrap_or(i64::MAX);
        let fs = self.fs(&root)?;
        let mut roots = vec![self.trash()];
        if fs.has_snapshot_trash().await? {
            let dirs = fs.snapshottable_dirs().await?;
            roots.extend(
                dirs.iter()
                    .map(|dir| format!("{}/{TRASH}/{}", dir.trim_end_matches('/'), self.user)),
            );
        }
        for trash in roots {
            let trash = trash.split('/').fold(root.clone(), |path, name| path.join(name));
            if self.status(&trash).await?.is_some() {
                self.expunge_one(&trash, now, (!flags.has("immediate")).then_some(keep_after))
                    .await?;
            }
        }
        Ok(())
    }

    /// Deletes the checkpoints of a trash that were closed before `keep_after`, in ms since 1970, and closes the open one.
    /// `None`: deletes all of them.
    async fn expunge_one(&mut self, trash: &RemotePath, now: jiff::Timestamp, keep_after: Option<i64>) -> Result<()> {
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
            if keep_after.is_none_or(|keep_after| closed < keep_after) {
                fs.delete(&child.path.path, true).await?;
            }
        }
        if let Some(open) = open.filter(|_| keep_after.is_some()) {
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
