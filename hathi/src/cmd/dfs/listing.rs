//! `-ls`, `-stat`, `-test`.

use super::{Arguments, Item, Misuse, Shell, at_least};
use anyhow::{Result, bail};
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;

/// `rwxr-xr-x`, with `t` or `T` for the sticky bit.
pub(in crate::cmd) fn permission_text(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for shift in [6, 3, 0] {
        for (bit, letter) in [(4, 'r'), (2, 'w'), (1, 'x')] {
            text.push(if mode >> shift & bit != 0 { letter } else { '-' });
        }
    }
    if mode & 0o1000 != 0 {
        let last = if text.ends_with('x') { 't' } else { 'T' };
        text.pop();
        text.push(last);
    }
    text
}

/// A size as `-h` shows it (`TraditionalBinaryPrefix.long2String` with one decimal).
pub(super) fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Formats ms since 1970 in local time.
pub(in crate::cmd) fn local_time(millis: u64, format: &str) -> String {
    let timestamp = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or_default();
    timestamp
        .to_zoned(jiff::tz::TimeZone::system())
        .strftime(format)
        .to_string()
}

impl Shell {
    pub(super) async fn ls(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        if words.is_empty() {
            words.push(".".to_owned());
        }
        let options = LsOptions {
            policies: flags.has("e"),
            paths_only: flags.has("C"),
            directories: flags.has("d"),
            human: flags.has("h"),
            recursive: flags.has("R"),
            by_time: flags.has("t"),
            by_size: flags.has("S"),
            reverse: flags.has("r"),
            access_time: flags.has("u"),
        };
        for item in self.expand(&words).await? {
            if item.is_dir() && !options.directories {
                if let Err(error) = self.ls_directory(&item, &options).await {
                    self.fail(&item.path, &error);
                }
            } else if let Err(error) = self.print(&options, std::slice::from_ref(&item)).await {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    /// Prints items, with their erasure coding policies if they are asked for.
    async fn print(&mut self, options: &LsOptions, items: &[Item]) -> Result<()> {
        let mut policies = Vec::new();
        if options.policies && !options.paths_only {
            for item in items {
                policies.push(
                    self.content_summary(&item.path)
                        .await?
                        .erasure_coding_policy()
                        .to_owned(),
                );
            }
        }
        options.print(items, &policies);
        Ok(())
    }

    async fn ls_directory(&mut self, directory: &Item, options: &LsOptions) -> Result<()> {
        if options.recursive {
            self.ls_recursive(&directory.path, options).await;
            return Ok(());
        }
        let mut items = self.children(&directory.path).await?;
        options.sort(&mut items);
        if !items.is_empty() && !options.paths_only {
            println!("Found {} items", items.len());
        }
        self.print(options, &items).await
    }

    /// Lists depth first: the content of a directory follows the directory.
    async fn ls_recursive(&mut self, path: &super::RemotePath, options: &LsOptions) {
        let mut items = match self.children(path).await {
            Ok(items) => items,
            Err(error) => return self.fail(path, &error),
        };
        options.sort(&mut items);
        for item in items {
            let (is_dir, path) = (item.is_dir(), item.path.clone());
            if let Err(error) = self.print(options, &[item]).await {
                self.fail(&path, &error);
            }
            if is_dir {
                Box::pin(self.ls_recursive(&path, options)).await;
            }
        }
    }

    pub(super) async fn stat(&mut self, Arguments { mut words, .. }: Arguments) -> Result<()> {
        let format = if words[0].contains('%') {
            words.remove(0)
        } else {
            "%y".to_owned()
        };
        at_least(&words, 1)?;
        for item in self.expand(&words).await? {
            println!("{}", stat_text(&format, &item));
        }
        Ok(())
    }

    pub(super) async fn test(&mut self, Arguments { flags, words }: Arguments) -> Result<()> {
        let flag = match flags.0.as_slice() {
            [] => bail!(Misuse("No test flag given".to_owned())),
            [(flag, _)] => flag.as_str(),
            _ => bail!(Misuse("Only one test flag is allowed".to_owned())),
        };
        let word = words.first().map_or("", String::as_str);
        let path = self.path(word)?;
        let found = self.matches(&path).await?;
        if found.is_empty() {
            if path.is_glob() {
                self.complain(&format!("`{word}': No such file or directory"));
            }
            self.exit_code = 1;
        }
        for item in found {
            if !self.holds(flag, &item).await? {
                self.exit_code = 1;
            }
        }
        Ok(())
    }

    /// Whether a flag of `-test` is true for a file.
    async fn holds(&mut self, flag: &str, Item { path, status }: &Item) -> Result<bool> {
        let fs = self.fs(path)?;
        let is_file = status.file_type == 2;
        Ok(match flag {
            "d" => status.file_type == 1,
            "f" => is_file,
            "s" => status.length > 0,
            "z" => status.length == 0,
            "w" | "r" => {
                let mode = if flag == "w" {
                    hdfs::acl_entry_proto::FsActionProto::Write
                } else {
                    hdfs::acl_entry_proto::FsActionProto::Read
                };
                let request = hdfs::CheckAccessRequestProto {
                    path: path.path.clone(),
                    mode: mode.into(),
                };
                let answer: Result<hdfs::CheckAccessResponseProto, _> =
                    fs.call("checkAccess", &request, Idempotence::Idempotent).await;
                answer.is_ok()
            }
            _ => true,
        })
    }
}

struct LsOptions {
    paths_only: bool,
    directories: bool,
    human: bool,
    recursive: bool,
    by_time: bool,
    by_size: bool,
    reverse: bool,
    access_time: bool,
    policies: bool,
}

impl LsOptions {
    fn time(&self, item: &Item) -> u64 {
        if self.access_time {
            item.status.access_time
        } else {
            item.status.modification_time
        }
    }

    fn sort(&self, items: &mut [Item]) {
        // Equal items keep the order of their names, also in reverse.
        match (self.by_time, self.by_size, self.reverse) {
            (true, _, false) => items.sort_by_key(|item| std::cmp::Reverse(self.time(item))),
            (true, _, true) => items.sort_by_key(|item| self.time(item)),
            (false, true, false) => items.sort_by_key(|item| std::cmp::Reverse(item.status.length)),
            (false, true, true) => items.sort_by_key(|item| item.status.length),
            (false, false, true) => items.reverse(),
            (false, false, false) => {}
        }
    }

    /// Prints one line for each item. Columns are as wide as the widest of these items. `policies` is empty, or has one
    /// erasure coding policy for each item.
    fn print(&self, items: &[Item], policies: &[String]) {
        if self.paths_only {
            for item in items {
                println!("{}", item.path);
            }
            return;
        }
        let size = |item: &Item| {
            if self.human {
                human_size(item.status.length)
            } else {
                item.status.length.to_string()
            }
        };
        let replication = |item: &Item| {
            if item.is_dir() {
                "-".to_owned()
            } else {
                item.status.block_replication().to_string()
            }
        };
        let width = |text: &dyn Fn(&Item) -> usize, least: usize| items.iter().map(text).max().unwrap_or(0).max(least);
        let replication_width = width(&|item| replication(item).len(), 3);
        let owner_width = width(&|item| item.status.owner.len(), 0);
        let group_width = width(&|item| item.status.group.len(), 0);
        let size_width = width(&|item| size(item).len(), 10);
        let policy_width = policies.iter().map(String::len).max().unwrap_or(0);
        for (at, item) in items.iter().enumerate() {
            let policy = policies.get(at).filter(|_| policy_width > 0);
            let policy = policy.map_or_else(String::new, |policy| format!("{policy:<policy_width$} "));
            let kind = match item.status.file_type {
                1 => 'd',
                3 => 'l',
                _ => '-',
            };
            let acl = if item.status.flags() & 1 != 0 { "+" } else { " " };
            println!(
                "{kind}{}{acl}{:>replication_width$} {:<owner_width$} {:<group_width$} {policy}{:>size_width$} {} {}",
                permission_text(item.status.permission.perm),
                replication(item),
                item.status.owner,
                item.status.group,
                size(item),
                local_time(self.time(item), "%Y-%m-%d %H:%M"),
                item.path
            );
        }
    }
}

fn stat_text(format: &str, item: &Item) -> String {
    let status = &item.status;
    let utc = |millis: u64| {
        let timestamp = i64::try_from(millis)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
        timestamp.unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S").to_string()
    };
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => text.push_str(&format!("{:o}", status.permission.perm)),
            Some('A') => text.push_str(&permission_text(status.permission.perm)),
            Some('b') => text.push_str(&status.length.to_string()),
            Some('F') => text.push_str(match status.file_type {
                1 => "directory",
                3 => "symlink",
                _ => "regular file",
            }),
            Some('g') => text.push_str(&status.group),
            Some('n') => text.push_str(item.path.name()),
            Some('o') => text.push_str(&status.blocksize().to_string()),
            Some('r') => text.push_str(&status.block_replication().to_string()),
            Some('u') => text.push_str(&status.owner),
            Some('x') => text.push_str(&utc(status.access_time)),
            Some('X') => text.push_str(&status.access_time.to_string()),
            Some('y') => text.push_str(&utc(status.modification_time)),
            Some('Y') => text.push_str(&status.modification_time.to_string()),
            Some(other) => text.push(other),
            // A single one at the end is nothing.
            None => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_as_hadoop_prints_them() {
        assert_eq!(permission_text(0o755), "rwxr-xr-x");
        assert_eq!(permission_text(0o1777), "rwxrwxrwt");
        assert_eq!(permission_text(0o1776), "rwxrwxrwT");
        assert_eq!(human_size(1023), "1023");
        assert_eq!(human_size(1024), "1 K");
        assert_eq!(human_size(1_500_000), "1.4 M");
        assert_eq!(human_size(1 << 40), "1 T");
    }
}
