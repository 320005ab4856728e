//! The groups of users, as Hadoop's `Groups` with `ShellBasedUnixGroupsMapping` finds them, cached.
//!
//! Users of the local files are answered at once. Others (of a directory service) are asked for through `id` on a
//! thread; the first call of such a user waits for nothing and has no groups yet.

use parking_lot::Mutex;
use std::collections::HashMap as Map;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `hadoop.security.groups.cache.secs`.
const CACHE_FOR: Duration = Duration::from_secs(300);
/// Users remembered at most.
const USERS_MAX: usize = 10_000;

struct Entry {
    groups: Arc<[String]>,
    at: Instant,
}

/// See the module.
pub struct Groups {
    overrides: Map<String, Arc<[String]>>,
    cache: Arc<Mutex<Map<String, Entry>>>,
    passwd: PathBuf,
    group: PathBuf,
}

impl Groups {
    /// `overrides` is the value of `hadoop.user.group.static.mapping.overrides`: `user=group,group;user=`.
    #[must_use]
    pub fn new(overrides: &str) -> Self {
        let overrides = overrides
            .split(';')
            .filter_map(|item| item.trim().split_once('='))
            .map(|(user, groups)| (user.trim().to_owned(), list(groups)))
            .collect();
        Groups {
            overrides,
            cache: Arc::default(),
            passwd: PathBuf::from("/etc/passwd"),
            group: PathBuf::from("/etc/group"),
        }
    }

    /// The user's groups, the primary one first.
    #[must_use]
    pub fn of(&self, user: &str) -> Arc<[String]> {
        if let Some(groups) = self.overrides.get(user) {
            return groups.clone();
        }
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if let Some(entry) = cache.get(user)
            && now.duration_since(entry.at) < CACHE_FOR
        {
            return entry.groups.clone();
        }
        if cache.len() >= USERS_MAX {
            cache.clear();
        }
        let (groups, known) = match self.read_files(user) {
            Some(groups) => (groups, true),
            None => (
                cache.get(user).map_or_else(|| Arc::from([]), |old| old.groups.clone()),
                false,
            ),
        };
        cache.insert(
            user.to_owned(),
            Entry {
                groups: groups.clone(),
                at: now,
            },
        );
        drop(cache);
        if !known {
            self.ask(user);
        }
        groups
    }

    /// Forgets what was cached (`refreshUserToGroupsMappings`).
    pub fn refresh(&self) {
        self.cache.lock().clear();
    }

    fn read_files(&self, user: &str) -> Option<Arc<[String]>> {
        let passwd = std::fs::read_to_string(&self.passwd).ok()?;
        let primary_id = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(user))
                .then(|| fields.nth(2).map(str::to_owned))
                .flatten()
        })?;
        let group = std::fs::read_to_string(&self.group).ok()?;
        let mut primary = Vec::new();
        let mut others = Vec::new();
        for line in group.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, id, members] = fields[..] else { continue };
            if id == primary_id {
                primary.push(name.to_owned());
            } else if members.split(',').any(|member| member == user) {
                others.push(name.to_owned());
            }
        }
        primary.extend(others);
        Some(primary.into())
    }

    fn ask(&self, user: &str) {
        // A name that the tool could take for an option is no user's.
        if user.is_empty() || user.starts_with('-') {
            return;
        }
        let (user, cache) = (user.to_owned(), self.cache.clone());
        let spawned = std::thread::Builder::new().name("groups".to_owned()).spawn(move || {
            let Ok(output) = Command::new("id").args(["-Gn", "--", &user]).output() else {
                return;
            };
            if output.status.success() {
                let groups = String::from_utf8_lossy(&output.stdout)
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect();
                cache.lock().insert(
                    user,
                    Entry {
                        groups,
                        at: Instant::now(),
                    },
                );
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot look up the groups of a user");
        }
    }
}

fn list(groups: &str) -> Arc<[String]> {
    groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_win_and_files_name_the_primary_group_first() {
        let dir = tempfile::tempdir().unwrap();
        let mut groups = Groups::new("dr.who=;alice=staff, ops");
        groups.passwd = dir.path().join("passwd");
        groups.group = dir.path().join("group");
        std::fs::write(&groups.passwd, "root:x:0:0::/:/bin/sh\nbob:x:7:70::/:/bin/sh\n").unwrap();
        std::fs::write(&groups.group, "ops:x:5:bob,root\nbobs:x:70:\n").unwrap();
        assert!(groups.of("dr.who").is_empty());
        assert_eq!(*groups.of("alice"), ["staff", "ops"]);
        assert_eq!(*groups.of("bob"), ["bobs", "ops"]);
        assert_eq!(*groups.of("bob"), ["bobs", "ops"]);
    }
}
