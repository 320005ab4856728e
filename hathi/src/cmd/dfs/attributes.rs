//! `-chmod`, `-chown`, `-chgrp`, `-setrep`.

use super::{Arguments, Item, Misuse, RemotePath, Shell};
use anyhow::{Result, bail};
use hathi_client::FileSystem;
use hathi_formats::proto::hdfs;
use hathi_net::ipc::Idempotence;
use std::time::Duration;

/// A mode of `-chmod`: octal, or clauses such as `u+rw,go-x`.
#[derive(Debug, PartialEq, Eq)]
struct Mode(Vec<Clause>);

#[derive(Debug, PartialEq, Eq)]
struct Clause {
    /// The permission bits (and the sticky bit) that the clause changes.
    mask: u32,
    operation: char,
    bits: u32,
    /// `X`: execute only where a user has it already, or on directories.
    conditional_execute: bool,
}

impl Mode {
    fn parse(text: &str) -> Option<Mode> {
        if (3..=4).contains(&text.len())
            && let Ok(octal) = u32::from_str_radix(text, 8)
            && octal <= 0o1777
        {
            return Some(Mode(vec![Clause {
                mask: 0o1777,
                operation: '=',
                bits: octal,
                conditional_execute: false,
            }]));
        }
        text.split(',').map(Self::clause).collect::<Option<Vec<_>>>().map(Mode)
    }

    fn clause(text: &str) -> Option<Clause> {
        let at = text.find(['+', '-', '='])?;
        let (who, rest) = text.split_at(at);
        let mut mask = 0;
        for letter in who.chars() {
            mask |= match letter {
                'u' => 0o700,
                'g' => 0o070,
                'o' => 0o007,
                'a' => 0o777,
                _ => return None,
            };
        }
        if who.is_empty() {
            mask = 0o777;
        }
        let operation = rest.chars().next()?;
        // Hadoop's pattern requires a letter behind the sign (`ChmodParser`).
        rest.chars().nth(1)?;
        let (mut bits, mut conditional_execute) = (0, false);
        for letter in rest.chars().skip(1) {
            match letter {
                'r' => bits |= 0o444 & mask,
                'w' => bits |= 0o222 & mask,
                'x' => bits |= 0o111 & mask,
                'X' => conditional_execute = true,
                't' => {
                    bits |= 0o1000;
                    mask |= 0o1000;
                }
                _ => return None,
            }
        }
        Some(Clause {
            mask,
            operation,
            bits,
            conditional_execute,
        })
    }

    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        self.0.iter().fold(mode, |mode, clause| {
            let execute = clause.conditional_execute && (is_dir || mode & 0o111 != 0);
            let bits = clause.bits | if execute { 0o111 & clause.mask } else { 0 };
            match clause.operation {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !clause.mask | bits,
            }
        })
    }
}

pub(super) async fn set_permission(fs: &FileSystem, path: &RemotePath, mode: u32) -> Result<()> {
    let request = hdfs::SetPermissionRequestProto {
        src: path.path.clone(),
        permission: hdfs::FsPermissionProto { perm: mode },
    };
    let _: hdfs::SetPermissionResponseProto = fs.call("setPermission", &request, Idempotence::Idempotent).await?;
    Ok(())
}

impl Shell {
    /// The items, and with `recursive` everything below them.
    pub(super) async fn with_children(&mut self, words: &[String], recursive: bool) -> Result<Vec<Item>> {
        let mut items = self.expand(words).await?;
        let mut at = 0;
        while recursive && at < items.len() {
            if items[at].is_dir() {
                let path = items[at].path.clone();
                match self.children(&path).await {
                    Ok(children) => items.extend(children),
                    Err(error) => self.fail(&path, &error),
                }
            }
            at += 1;
        }
        Ok(items)
    }

    pub(super) async fn chmod(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let text = words.remove(0);
        let Some(mode) = Mode::parse(&text) else {
            bail!(Misuse(format!(
                "chmod : mode '{text}' does not match the expected pattern."
            )));
        };
        for item in self.with_children(&words, flags.has("R")).await? {
            let old = item.status.permission.perm;
            let new = mode.apply(old, item.is_dir());
            let fs = self.fs(&item.path)?;
            if new != old
                && let Err(error) = set_permission(&fs, &item.path, new).await
            {
                self.fail(&item.path, &error);
            }
        }
        Ok(())
    }

    pub(super) async fn chown(&mut self, Arguments { flags, mut words }: Arguments, group_only: bool) -> Result<()> {
        let text = words.remove(0);
        let trimmed = text.trim();
        let (user, group) = if group_only {
            ("", trimmed)
        } else {
            trimmed.split_once(':').unwrap_or((trimmed, ""))
        };
        // `FsShellPermissions.Chown`, `Chgrp`
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "-+_./@".contains(c));
        let pattern = if group_only { "group" } else { "[owner][:group]." };
        if !is_name(user) || !is_name(group) {
            bail!(Misuse(format!(
                "'{text}' does not match expected pattern for {pattern}"
            )));
        }
        if user.is_empty() && group.is_empty() {
            bail!(Misuse(if group_only {
                format!("'{text}' does not match expected pattern for {pattern}")
            } else {
                format!("'{text}' does not specify owner or group.")
            }));
        }
        let some = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        for item in self.with_children(&words, flags.has("R")).await? {
            let request = hdfs::SetOwnerRequestProto {
                src: item.path.path.clone(),
                username: some(user),
                groupname: some(group),
            };
            let fs = self.fs(&item.path)?;
            let answer: Result<hdfs::SetOwnerResponseProto, _> =
                fs.call("setOwner", &request, Idempotence::Idempotent).await;
            if let Err(error) = answer {
                let reason = error
                    .remote()
                    .map_or_else(|| error.to_string(), |remote| remote.message.clone());
                self.complain(&format!("changing ownership of '{}': {reason}", item.path));
            }
        }
        Ok(())
    }

    pub(super) async fn setrep(&mut self, Arguments { flags, mut words }: Arguments) -> Result<()> {
        let text = words.remove(0);
        let Ok(replication) = text.parse::<u16>() else {
            self.complain("Illegal replication, a positive integer expected");
            bail!(Misuse(format!("For input string: \"{text}\"")));
        };
        if replication == 0 {
            bail!(Misuse("replication must be >= 1".to_owned()));
        }
        let mut changed = Vec::new();
        for item in self.with_children(&words, true).await? {
            if item.is_dir() {
                continue;
            }
            let fs = self.fs(&item.path)?;
            let request = hdfs::SetReplicationRequestProto {
                src: item.path.path.clone(),
                replication: u32::from(replication),
            };
            let answer: Result<hdfs::SetReplicationResponseProto, _> =
                fs.call("setReplication", &request, Idempotence::Idempotent).await;
            match answer {
                Ok(answer) if answer.result => {
                    println!("Replication {replication} set: {}", item.path);
                    changed.push(item);
                }
                Ok(_) => self.complain(&format!("`{}': Could not set replication", item.path)),
                Err(error) => self.fail(&item.path, &error.into()),
            }
        }
        if flags.has("w") {
            for item in changed {
                print!("Waiting for {} ...", item.path);
                self.wait_for_replication(&item, usize::from(replication)).await?;
                println!(" done");
            }
        }
        Ok(())
    }

    async fn wait_for_replication(&mut self, item: &Item, replication: usize) -> Result<()> {
        let fs = self.fs(&item.path)?;
        let request = hdfs::GetBlockLocationsRequestProto {
            src: item.path.path.clone(),
            offset: 0,
            length: u64::MAX >> 1,
        };
        loop {
            let answer: hdfs::GetBlockLocationsResponseProto =
                fs.call("getBlockLocations", &request, Idempotence::Idempotent).await?;
            let blocks = answer.locations.map(|located| located.blocks).unwrap_or_default();
            if blocks.iter().all(|block| block.locs.len() == replication) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn modes_change_what_they_name() {
        for (text, mode, is_dir, expected) in [
            ("640", 0o777, false, 0o640),
            ("1777", 0, true, 0o1777),
            ("u+x,go-w", 0o666, false, 0o744),
            ("a=r", 0o777, false, 0o444),
            ("+x", 0o644, false, 0o755),
            ("g+X", 0o644, false, 0o644),
            ("g+X", 0o644, true, 0o654),
            ("+t", 0o755, true, 0o1755),
        ] {
            assert_eq!(Mode::parse(text).unwrap().apply(mode, is_dir), expected, "{text}");
        }
        for bad in ["", "9", "u", "o=", "q+x", "u+q"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
