//! `-mkdir`, `-touchz`, `-touch`.

use super::{Arguments, Flags, Misuse, RemotePath, Shell};
use anyhow::{Result, bail};
use hathi_client::CreateOptions;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// Time that `setTimes` leaves as it is.
const UNCHANGED: u64 = u64::MAX;

/// Ms since 1970 of `yyyyMMdd:HHmmss` in local time. A month or hour beyond the last one counts on in the next year or day,
/// as in Java's `SimpleDateFormat`.
fn parse_time(text: &str) -> Result<u64, Misuse> {
    lenient_time(text).ok_or_else(|| {
        Misuse(format!(
            "Unable to parse the specified timestamp {text}. The expected format is yyyyMMdd:HHmmss"
        ))
    })
}

fn lenient_time(text: &str) -> Option<u64> {
    let (date, time) = text
        .split_once(':')
        .filter(|(date, time)| date.len() == 8 && time.len() == 6)?;
    let digits = date.chars().chain(time.chars()).all(|digit| digit.is_ascii_digit());
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok().filter(|_| digits);
    let year = i16::try_from(number(date, 0, 4)?).ok()?;
    let span = jiff::Span::new()
        .try_months(number(date, 4, 6)? - 1)
        .and_then(|span| span.try_hours(number(time, 0, 2).unwrap_or_default()))
        .and_then(|span| span.try_minutes(number(time, 2, 4).unwrap_or_default()))
        .and_then(|span| span.try_seconds(number(time, 4, 6).unwrap_or_default()))
        .ok()?;
    let days = jiff::Span::new().try_days(number(date, 6, 8)? - 1).ok()?;
    let first = jiff::civil::DateTime::new(year, 1, 1, 0, 0, 0, 0).ok()?;
    let time = first.checked_add(span).ok()?.checked_add(days).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

impl Shell {
    pub(super) async fn mkdir(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        for (path, item) in self.expand_or_new(&words).await? {
            let result = async {
                match item {
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
        for (path, item) in self.expand_or_new(&words).await? {
            let result = async {
                match item {
                    Some(item) if item.is_dir() => bail!("`{path}': Is a directory"),
                    Some(item) if item.status.length > 0 => bail!("`{path}': Not a zero-length file"),
                    _ => {}
                }
                self.check_parent(&path).await?;
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
        for (path, item) in self.expand_or_new(&words).await? {
            if let Some(item) = item {
                self.set_times(&item.path, &flags, given.as_deref()).await?;
                continue;
            }
            if flags.has("c") {
                continue;
            }
            let created = async {
                self.check_parent(&path).await?;
                self.create_empty(&path).await
            }
            .await;
            match created {
                Ok(()) if given.is_some() => self.set_times(&path, &flags, given.as_deref()).await?,
                Ok(()) => {}
                Err(error) => self.fail(&path, &error),
            }
        }
        Ok(())
    }

    /// Sets the times of a file to the given one, or to now.
    async fn set_times(&mut self, path: &RemotePath, flags: &Flags, given: Option<&str>) -> Result<()> {
        let time = match given {
            Some(given) => parse_time(given)?,
            None => u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default(),
        };
        // Both options together mean what none means.
        let only = |flag: &str| flags.has(flag) && flags.has("a") != flags.has("m");
        let request = hdfs::SetTimesRequestProto {
            src: path.path.clone(),
            mtime: if only("a") { UNCHANGED } else { time },
            atime: if only("m") { UNCHANGED } else { time },
        };
        let fs = self.fs(path)?;
        let done: Result<hdfs::SetTimesResponseProto, _> = fs.call("setTimes", &request, Idempotence::Idempotent).await;
        if let Err(error) = done {
            self.fail(path, &error.into());
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
        assert_eq!(parse_time("20201301:000000"), parse_time("20210101:000000"));
        assert_eq!(parse_time("20200101:250000"), parse_time("20200102:010000"));
        for wrong in ["x", "2020-01-02", "2020010:0000000", "202001+1:000000", ""] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }
}
