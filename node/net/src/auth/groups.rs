//! The groups of users, as the operating system knows them (Hadoop: `Groups` with `ShellBasedUnixGroupsMapping`).
//!
//! Groups come from `id`, which asks all sources that the machine is set up to ask: files, LDAP, SSSD. That may take
//! long, so threads of its own do it. Only the call of a user whose groups were never looked up waits for the answer.
//!
//! Invariants:
//! - A user who is known stays known. Groups are looked up again in the background, and the old ones apply until there
//!   is an answer. A failed look-up removes nothing.
//! - That a user is unknown is never remembered for longer than `hadoop.security.groups.negative-cache.secs`.
//! - One look-up per user, and at most [`LOOKUPS_MAX`] in all, are under way at a time.

use super::USER_MAX_BYTES;
use hathi_conf::{ConfError, Configuration, TimeUnit};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most users that are remembered.
const USERS_MAX: usize = 10_000;
/// Number of users that are forgotten at once to make room.
const FORGOTTEN: usize = 1000;
/// Time until the system is asked again about a user whom it does not know, or did not answer for. It is shorter than
/// Hadoop's (30 s): a directory service that was down is back soon, and a user may be created at any time.
const UNKNOWN: Duration = Duration::from_secs(5);
/// Most threads that wait for the system. There are several, because it may hang for one user and answer for the next.
const LOOKUPS_MAX: usize = 16;
/// How long a call waits for the groups of its user. After that its client is told to come again.
const PATIENCE: Duration = Duration::from_secs(20);

/// A user's name, groups (the primary one first) and rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The short name.
    pub user: Arc<str>,
    /// The groups.
    pub groups: Arc<[String]>,
    /// The daemon's own user, or a member of `dfs.permissions.superusergroup`.
    pub superuser: bool,
}

/// Result of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The user's groups.
    Groups(Vec<String>),
    /// The system does not know the user. A directory service that does not answer looks the same.
    Unknown,
}

struct CachedUser {
    /// `None` until the first answer.
    identity: Option<Identity>,
    /// Time from which the groups are looked up again, in monotonic milliseconds. `u64::MAX`: never.
    ask_at_ms: u64,
    /// Whether a look-up is under way.
    asked: bool,
}

/// Settings of the mapping from users to groups.
#[derive(Clone, Debug)]
pub struct GroupsOptions {
    /// `hadoop.user.group.static.mapping.overrides`: `user=group,group;user=`.
    pub overrides: String,
    /// `dfs.permissions.superusergroup`
    pub superuser_group: String,
    /// The daemon's user.
    pub own_user: String,
    /// `hadoop.security.groups.cache.secs`
    pub cache_for: Duration,
    /// `hadoop.security.groups.negative-cache.secs`
    pub unknown_for: Duration,
}

#[derive(Default)]
struct UserCache {
    users: HashMap<String, CachedUser>,
    /// Users whose groups are looked up when a thread is free.
    waiting: VecDeque<String>,
    threads: usize,
}

/// Groups of users. The module says more.
#[derive(Clone)]
pub struct Groups(Arc<Shared>);

struct Shared {
    options: GroupsOptions,
    overrides: HashMap<String, Vec<String>>,
    known: Mutex<UserCache>,
    answers: watch::Sender<u64>,
    look_up: Box<dyn Fn(&str) -> Lookup + Send + Sync>,
    /// Clock in monotonic milliseconds.
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl GroupsOptions {
    /// From the keys that [`GroupsOptions`] names.
    pub fn of(conf: &Configuration, own_user: &str) -> Result<GroupsOptions, ConfError> {
        let default = Duration::from_secs(300);
        Ok(GroupsOptions {
            overrides: conf.get_or("hadoop.user.group.static.mapping.overrides", "dr.who=;"),
            superuser_group: conf.get_or("dfs.permissions.superusergroup", "supergroup"),
            own_user: own_user.to_owned(),
            cache_for: conf.get_duration("hadoop.security.groups.cache.secs", default, TimeUnit::Seconds)?,
            unknown_for: conf.get_duration("hadoop.security.groups.negative-cache.secs", UNKNOWN, TimeUnit::Seconds)?,
        })
    }
}

impl Groups {
    /// Starts without any known user, on the clock of the process.
    #[must_use]
    pub fn start(options: GroupsOptions) -> Groups {
        let started = Instant::now();
        Groups::new(options, move || {
            u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// As [`Groups::start`], on a clock of the caller's. `now_ms` is monotonic.
    #[must_use]
    pub fn new(options: GroupsOptions, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Groups {
        Groups::with(options, now_ms, ask_the_system)
    }

    fn with(
        options: GroupsOptions,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        look_up: impl Fn(&str) -> Lookup + Send + Sync + 'static,
    ) -> Groups {
        let overrides = options
            .overrides
            .split(';')
            .filter_map(|item| item.trim().split_once('='))
            .map(|(user, groups)| (user.trim().to_owned(), list(groups)))
            .collect();
        Groups(Arc::new(Shared {
            options,
            overrides,
            known: Mutex::default(),
            answers: watch::Sender::new(0),
            look_up: Box::new(look_up),
            now_ms: Box::new(now_ms),
        }))
    }

    /// The identity of a user if it is known. Otherwise a look-up is begun.
    #[must_use]
    pub fn get(&self, user: &str, now_ms: u64) -> Option<Identity> {
        if user.len() > USER_MAX_BYTES {
            // No user has such a name. Nothing is remembered, and the system is not asked.
            return Some(self.identity(user, Vec::new()));
        }
        let mut known = self.0.known.lock();
        if let Some(entry) = known.users.get_mut(user) {
            let identity = entry.identity.clone();
            if now_ms >= entry.ask_at_ms && !entry.asked {
                entry.asked = true;
                self.ask(known, user);
            }
            return identity;
        }
        make_room(&mut known.users);
        let identity = self.without_asking(user);
        let entry = CachedUser {
            // An override never expires.
            ask_at_ms: identity.as_ref().map_or(now_ms, |_| u64::MAX),
            asked: identity.is_none(),
            // The daemon's own user may do anything, so no call of it waits for its groups.
            identity: identity
                .clone()
                .or_else(|| (user == self.0.options.own_user).then(|| self.identity(user, Vec::new()))),
        };
        let answer = entry.identity.clone();
        known.users.insert(user.to_owned(), entry);
        if identity.is_none() {
            self.ask(known, user);
        }
        answer
    }

    /// As [`Groups::get`], by the clock of this value.
    #[must_use]
    pub fn get_now(&self, user: &str) -> Option<Identity> {
        self.get(user, (self.0.now_ms)())
    }

    /// Waits until the identity of a user is known. `None` when that takes too long.
    pub async fn resolve(&self, user: &str) -> Option<Identity> {
        let mut answers = self.0.answers.subscribe();
        let known = async {
            loop {
                answers.borrow_and_update();
                if let Some(identity) = self.get(user, (self.0.now_ms)()) {
                    return Some(identity);
                }
                if answers.changed().await.is_err() {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, known).await.ok().flatten()
    }

    /// Looks up everybody's groups again (`refreshUserToGroupsMappings`). Until there are answers the old groups apply.
    pub fn refresh(&self) {
        for entry in self.0.known.lock().users.values_mut() {
            if entry.ask_at_ms != u64::MAX {
                entry.ask_at_ms = 0;
            }
        }
    }

    fn without_asking(&self, user: &str) -> Option<Identity> {
        let groups = self.0.overrides.get(user)?;
        Some(self.identity(user, groups.clone()))
    }

    fn identity(&self, user: &str, groups: Vec<String>) -> Identity {
        let options = &self.0.options;
        Identity {
            user: user.into(),
            superuser: user == options.own_user || groups.contains(&options.superuser_group),
            groups: groups.into(),
        }
    }

    fn ask(&self, mut known: parking_lot::MutexGuard<'_, UserCache>, user: &str) {
        known.waiting.push_back(user.to_owned());
        if known.threads >= LOOKUPS_MAX {
            return;
        }
        known.threads = known.threads.saturating_add(1);
        drop(known);
        let groups = self.clone();
        let spawned = std::thread::Builder::new()
            .name("groups".to_owned())
            .spawn(move || groups.look_up());
        if let Err(error) = spawned {
            tracing::warn!(%error, "cannot look up the groups of a user");
            let mut known = self.0.known.lock();
            known.threads = known.threads.saturating_sub(1);
            // The next call of this user tries again.
            known.waiting.retain(|waiting| waiting != user);
            if let Some(entry) = known.users.get_mut(user) {
                entry.asked = false;
            }
        }
    }

    /// Looks up all waiting users.
    fn look_up(&self) {
        let next = || {
            let mut known = self.0.known.lock();
            let user = known.waiting.pop_front();
            if user.is_none() {
                known.threads = known.threads.saturating_sub(1);
            }
            user
        };
        while let Some(user) = next() {
            let found = (self.0.look_up)(&user);
            let now_ms = (self.0.now_ms)();
            let mut known = self.0.known.lock();
            if let Some(entry) = known.users.get_mut(&user) {
                entry.asked = false;
                let after = |wait: Duration| {
                    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                    now_ms.saturating_add(wait_ms).min(u64::MAX - 1)
                };
                match found {
                    Lookup::Groups(groups) => {
                        entry.ask_at_ms = after(self.0.options.cache_for);
                        entry.identity = Some(self.identity(&user, groups));
                    }
                    Lookup::Unknown => {
                        entry.ask_at_ms = after(self.0.options.unknown_for);
                        if entry.identity.is_none() {
                            entry.identity = Some(self.identity(&user, Vec::new()));
                        }
                    }
                }
            }
            drop(known);
            self.0.answers.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
}

fn make_room(users: &mut HashMap<String, CachedUser>) {
    if users.len() < USERS_MAX {
        return;
    }
    let mut left = FORGOTTEN;
    users.retain(|_, entry| {
        let stays = entry.asked || left == 0;
        left = left.saturating_sub(usize::from(!stays));
        stays
    });
}

fn list(groups: &str) -> Vec<String> {
    groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(str::to_owned)
        .collect()
}

/// `id` is asked rather than the C library, for three reasons. It works with every libc. A directory service's module
/// that crashes or hangs takes no thread of the daemon with it. And it is what Hadoop asks.
fn ask_the_system(user: &str) -> Lookup {
    // A name that `id` could take for an option is no user's.
    if user.is_empty() || user.starts_with('-') {
        return Lookup::Unknown;
    }
    // Names of groups may have blanks, and not every `id` can separate them by a zero byte.
    for (option, separator) in [("-Gnz", '\0'), ("-Gn", ' ')] {
        let ran = Command::new("id")
            .args([option, "--", user])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        match ran {
            // When one group has no name, `id` fails, but still prints the others.
            Ok(output) if !output.stdout.is_empty() => {
                let text = String::from_utf8_lossy(&output.stdout);
                let names = text.split(separator).map(|name| name.trim_end_matches('\n'));
                return Lookup::Groups(names.filter(|name| !name.is_empty()).map(str::to_owned).collect());
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    match read_files(Path::new("/etc/passwd"), Path::new("/etc/group"), user) {
        Some(groups) => Lookup::Groups(groups),
        None => Lookup::Unknown,
    }
}

/// Reads the local files, for machines without `id`.
fn read_files(passwd: &Path, group: &Path, user: &str) -> Option<Vec<String>> {
    let passwd = std::fs::read_to_string(passwd).ok()?;
    let primary_id = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(user))
            .then(|| fields.nth(2).map(str::to_owned))
            .flatten()
    })?;
    let group = std::fs::read_to_string(group).ok()?;
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
    Some(primary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A system whose answers the test gives, and a clock that the test moves.
    struct World {
        groups: Groups,
        now_ms: Arc<AtomicU64>,
        answers: std::sync::mpsc::Sender<Lookup>,
        asked: std::sync::mpsc::Receiver<String>,
    }

    fn world() -> World {
        let options = GroupsOptions {
            overrides: "dr.who=;carol=staff, ops".to_owned(),
            superuser_group: "supergroup".to_owned(),
            own_user: "hdfs".to_owned(),
            cache_for: Duration::from_secs(300),
            unknown_for: Duration::from_secs(7),
        };
        let now_ms = Arc::new(AtomicU64::new(1000));
        let (answers, to_give) = std::sync::mpsc::channel();
        let (asking, asked) = std::sync::mpsc::channel();
        let (to_give, asking) = (Mutex::new(to_give), Mutex::new(asking));
        let clock = now_ms.clone();
        let groups = Groups::with(
            options,
            move || clock.load(Ordering::SeqCst),
            move |user| {
                asking.lock().send(user.to_owned()).unwrap();
                to_give.lock().recv().unwrap_or(Lookup::Unknown)
            },
        );
        World {
            groups,
            now_ms,
            answers,
            asked,
        }
    }

    impl World {
        fn get(&self, user: &str) -> Option<Vec<String>> {
            let identity = self.groups.get(user, self.now_ms.load(Ordering::SeqCst))?;
            Some(identity.groups.to_vec())
        }

        /// The system answers the pending look-up, and the answer applies from then on.
        fn answer(&self, user: &str, found: Lookup) {
            assert_eq!(self.asked.recv().unwrap(), user);
            let before = *self.groups.0.answers.borrow();
            self.answers.send(found).unwrap();
            while *self.groups.0.answers.borrow() == before {
                std::thread::yield_now();
            }
        }

        fn after(&self, ms: u64) {
            self.now_ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    fn groups(names: &[&str]) -> Lookup {
        Lookup::Groups(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn a_user_is_unknown_until_the_system_has_answered() {
        let world = world();
        assert_eq!(world.get("alice"), None);
        assert_eq!(world.get("alice"), None, "and is asked about once");
        world.answer("alice", groups(&["staff", "supergroup"]));
        assert_eq!(world.get("alice").unwrap(), ["staff", "supergroup"]);
        assert!(world.groups.get("alice", 0).unwrap().superuser);
        assert!(world.asked.try_recv().is_err());
    }

    #[test]
    fn known_groups_count_until_there_are_newer_ones() {
        let world = world();
        assert_eq!(world.get("alice"), None);
        world.answer("alice", groups(&["staff"]));
        world.after(299_999);
        assert_eq!(world.get("alice").unwrap(), ["staff"]);
        assert!(world.asked.try_recv().is_err());
        world.after(1);
        assert_eq!(world.get("alice").unwrap(), ["staff"]);
        // The directory service is down, which looks as if the user did not exist.
        world.answer("alice", Lookup::Unknown);
        assert_eq!(world.get("alice").unwrap(), ["staff"]);
        world.after(7000);
        assert_eq!(world.get("alice").unwrap(), ["staff"]);
        world.answer("alice", groups(&["ops"]));
        assert_eq!(world.get("alice").unwrap(), ["ops"]);
        world.groups.refresh();
        assert_eq!(world.get("alice").unwrap(), ["ops"]);
        world.answer("alice", groups(&["lab"]));
        assert_eq!(world.get("alice").unwrap(), ["lab"]);
    }

    #[test]
    fn that_a_user_is_unknown_is_not_remembered_for_long() {
        let world = world();
        assert_eq!(world.get("bob"), None);
        world.answer("bob", Lookup::Unknown);
        assert_eq!(world.get("bob").unwrap(), [""; 0]);
        world.after(7000);
        assert_eq!(world.get("bob").unwrap(), [""; 0]);
        world.answer("bob", groups(&["staff"]));
        assert_eq!(world.get("bob").unwrap(), ["staff"]);
    }

    #[test]
    fn overrides_and_the_own_user_wait_for_nobody() {
        let world = world();
        assert_eq!(world.get("dr.who").unwrap(), [""; 0]);
        assert_eq!(world.get("carol").unwrap(), ["staff", "ops"]);
        assert!(world.asked.try_recv().is_err());
        let own = world.groups.get("hdfs", 1000).unwrap();
        assert!(own.superuser && own.groups.is_empty());
        world.answer("hdfs", groups(&["hadoop"]));
        assert_eq!(world.get("hdfs").unwrap(), ["hadoop"]);
    }

    #[tokio::test]
    async fn who_waits_goes_on_with_the_answer() {
        let world = world();
        let waiting = tokio::spawn({
            let groups = world.groups.clone();
            async move { groups.resolve("alice").await }
        });
        let (found, world) = tokio::task::spawn_blocking(move || {
            world.answer("alice", groups(&["staff"]));
            (world.get("alice"), world)
        })
        .await
        .unwrap();
        assert_eq!(found.unwrap(), ["staff"]);
        let identity = waiting.await.unwrap().unwrap();
        assert_eq!(*identity.groups, ["staff"]);
        drop(world);
    }

    #[test]
    fn files_name_the_primary_group_first() {
        let dir = tempfile::tempdir().unwrap();
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        std::fs::write(&passwd, "root:x:0:0::/:/bin/sh\nbob:x:7:70::/:/bin/sh\n").unwrap();
        std::fs::write(&group, "ops:x:5:bob,root\nbobs:x:70:\n").unwrap();
        assert_eq!(read_files(&passwd, &group, "bob").unwrap(), ["bobs", "ops"]);
        assert_eq!(read_files(&passwd, &group, "carol"), None);
    }
}
