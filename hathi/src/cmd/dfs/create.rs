//! `-mkdir`, `-touchz`, `-touch`.

use super::{Arguments, Misuse, RemotePath, Shell};
use anyhow::{Result, bail};
use hathi_client::CreateOptions;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// Time that `setTimes` leaves as it is.
const UNCHANGED: u64 = u64::MAX;

/// Ms since 1970 of `yyyyMMdd:HHmmss` in local time.
fn parse_time(text: &str) -> Result<u64, Misuse> {
    let time = jiff::civil::DateTime::strptime("%Y%m%d:%H%M%S", text);
    let zoned = time.and_then(|time| time.to_zoned(jiff::tz::TimeZone::system()));
    zoned
        .ok()
        .and_then(|zoned| u64::try_from(zoned.timestamp().as_millisecond()).ok())
        .ok_or_else(|| Misuse(format!("Unable to parse the specified timestamp {text}")))
}

impl Shell {
    pub(super) async fn mkdir(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        for word in &words {
            let path = self.path(word)?;
            let result = async {
                match self.status(&path).await? {
                    Some(item) if item.is_dir() && flags.has("p") => return Ok(()),
                    Some(item) if item.is_dir() => bail!("`{path}': File exists"),
                    Some(_) => bail!("`{path}': Is not a directory"),
                    None => {}
                }
                let parent = path.parent();
                if !flags.has("p") && self.status(&parent).await?.is_none() {
                    bail!("`{}': No such file or directory", self.shown_qualified(&parent));
                }
                let fs = self.fs(&path)?;
                if !fs.mkdirs(&path.path, 0o777, true).await? {
                    bail!("`{path}': Input/output error");
                }
                Ok(())
            }
            .await;
            if let Err(error) = result {
                self.fail(&path, &error);
            }
        }
        Ok(())
    }

    pub(super) async fn touchz(&mut self, Arguments { words, .. }: Arguments) -> Result<()> {
        for word in &words {
            let path = self.path(word)?;
            let result = async {
                match self.status(&path).await? {
                    Some(item) if item.is_dir() => bail!("`{path}': Is a directory"),
                    Some(item) if item.status.length > 0 => bail!("`{path}': Not a zero-length file"),
                    _ => {}
                }
                if self.status(&path.parent()).await?.is_none() {
                    bail!("`{path}': No such file or directory: `{}'", self.shown_qualified(&path));
                }
                self.create_empty(&path).await
            }
            .await;
            if let Err(error) = result {
                self.fail(&path, &error);
            }
        }
        Ok(())
    }
    pub(super) async fn touch(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let given = flags.value("t").map(str::to_owned);
        for word in &words {
            let path = self.path(word)?;
            let mut found = match self.matches(&path).await {
                Ok(found) => found,
                Err(error) => {
                    self.fail(&path, &error);
                    continue;
                }
            };
            let created = found.is_empty();
            if created {
                if flags.has("c") {
                    continue;
                }
                if let Err(error) = self.create_empty(&path).await {
                    self.fail(&path, &error);
                    continue;
                }
                found.extend(self.status(&path).await?);
            }
            if created && given.is_none() {
                continue;
            }
            let time = match &given {
                Some(given) => parse_time(given)?,
                None => u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default(),
            };
            // Both options together mean what none means.
            let only = |flag: &str| flags.has(flag) && flags.has("a") != flags.has("m");
            for item in found {
                let request = hdfs::SetTimesRequestProto {
                    src: item.path.path.clone(),
                    mtime: if only("a") { UNCHANGED } else { time },
                    atime: if only("m") { UNCHANGED } else { time },
                };
                let fs = self.fs(&item.path)?;
                let done: Result<hdfs::SetTimesResponseProto, _> =
                    fs.call("setTimes", &request, Idempotence::Idempotent).await;
                if let Err(error) = done {
                    self.fail(&item.path, &error.into());
                }
            }
        }
        Ok(())
    }

    async fn create_empty(&mut self, path: &RemotePath) -> Result<()> {
        let options = CreateOptions {
            overwrite: true,
            ..CreateOptions::default()
        };
        let mut writer = self.fs(path)?.create(&path.path, &options).await?;
        Ok(writer.close().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_hadoop_reads_them() {
        let day = parse_time("20200102:030405").unwrap() - parse_time("20200101:030405").unwrap();
        assert_eq!(day, 86_400_000);
        for wrong in ["x", "2020-01-02", "20201301:000000", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
