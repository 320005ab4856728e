//! Shares of users: who has cost most lately is served less often (`DecayRpcScheduler`, `FairCallQueue`).
//!
//! Hadoop sorts calls into queues by what their users have cost, and takes from the queues by turns of different lengths.
//! Here every connection has turns anyway. So a connection of a user that has cost much lets turns of its own pass, and a
//! call of such a user is refused earlier when the server is overloaded.
//!
//! Costs are halved at regular intervals, and levels follow from them. Nothing here reads a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hathi_conf::{ConfError, Configuration, TimeUnit};
use parking_lot::Mutex;

/// Most users that are known at a time. The others have one share together.
const USERS_MAX: usize = 1000;
/// Name of the share of all others. No user has it.
const OTHERS: &str = "";
/// Most levels.
const LEVELS_MAX: u32 = 16;

const QUEUES: [&str; 2] = [
    "java.util.concurrent.LinkedBlockingQueue",
    "org.apache.hadoop.ipc.FairCallQueue",
];
const SCHEDULERS: [&str; 2] = [
    "org.apache.hadoop.ipc.DefaultRpcScheduler",
    "org.apache.hadoop.ipc.DecayRpcScheduler",
];
const COSTS: [&str; 2] = [
    "org.apache.hadoop.ipc.DefaultCostProvider",
    "org.apache.hadoop.ipc.WeightedTimeCostProvider",
];

/// How users share a server. Level 0 is the best.
#[derive(Clone, Debug, PartialEq)]
pub struct SharesOptions {
    /// Costs decay at this interval (`decay-scheduler.period-ms`).
    pub period: Duration,
    /// Part of a cost that is left then (`decay-scheduler.decay-factor`).
    factor: f64,
    /// A user has the level of the number of these parts of all costs that its own reaches
    /// (`decay-scheduler.thresholds`). Ascending.
    thresholds: Vec<f64>,
    /// Turns of each level in the same time (`faircallqueue.multiplexer.weights`).
    weights: Vec<u32>,
    /// A call costs its time in ns, and not 1 (`cost-provider.impl`).
    by_time: bool,
    /// Whether calls are refused before the server is full (`backoff.enable`).
    backoff: bool,
    /// Mean times from which calls of a level and of worse ones are refused
    /// (`decay-scheduler.backoff.responsetime.thresholds`).
    response_limits: Option<Vec<Duration>>,
    /// They are always of level 0 (`decay-scheduler.service-users`).
    service_users: Vec<String>,
}

/// Which of two classes a key names; `None` if it names none.
fn choice(conf: &Configuration, key: &str, classes: [&str; 2]) -> Result<Option<bool>, ConfError> {
    let Some(class) = conf.get(key) else { return Ok(None) };
    match classes.iter().position(|known| *known == class.trim()) {
        Some(at) => Ok(Some(at == 1)),
        None => Err(refused(
            conf,
            key,
            &class,
            format!("neither {} nor {}", classes[0], classes[1]),
        )),
    }
}

fn refused(conf: &Configuration, key: &str, value: &str, problem: String) -> ConfError {
    ConfError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        origin: conf.origin(key).to_owned(),
        problem,
    }
}

/// A list of `count` values. `None` if the key is not set.
fn list<T>(
    conf: &Configuration,
    key: &str,
    count: usize,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<Vec<T>>, ConfError> {
    if !conf.is_set(key) {
        return Ok(None);
    }
    let words = conf.get_list(key);
    let values: Option<Vec<T>> = words.iter().map(|word| parse(word.trim())).collect();
    match values.filter(|values| values.len() == count) {
        Some(values) => Ok(Some(values)),
        None => Err(refused(
            conf,
            key,
            &words.join(","),
            format!("not {count} values for the levels"),
        )),
    }
}

impl SharesOptions {
    /// What the keys of a port say. `None` if all users share it as they come, which is Hadoop's default.
    ///
    /// # Errors
    /// When a class is not one of Hadoop's two, or a list has not a value for each level.
    pub fn of(conf: &Configuration, port: u16) -> Result<Option<SharesOptions>, ConfError> {
        let fair = choice(conf, &format!("ipc.{port}.callqueue.impl"), QUEUES)?.unwrap_or(false);
        let decays = choice(conf, &format!("ipc.{port}.scheduler.impl"), SCHEDULERS)?.unwrap_or(fair);
        let backoff = conf.get_flag(&format!("ipc.{port}.backoff.enable"), false)?;
        if !decays {
            if fair || backoff {
                let name = format!("ipc.{port}.scheduler.impl");
                let value = conf.get_or(&name, SCHEDULERS[0]);
                let what = match fair {
                    true => format!("ipc.{port}.callqueue.impl"),
                    false => format!("ipc.{port}.backoff.enable"),
                };
                let problem = format!("{what} works only with {}", SCHEDULERS[1]);
                return Err(refused(conf, &name, &value, problem));
            }
            return Ok(None);
        }
        let name = format!("ipc.{port}.scheduler.priority.levels");
        let levels = conf.get_u32(&name, 4)?;
        if !(1..=LEVELS_MAX).contains(&levels) {
            let problem = format!("not a number from 1 to {LEVELS_MAX}");
            return Err(refused(conf, &name, &levels.to_string(), problem));
        }
        let count = levels as usize;
        let percent = |word: &str| word.parse::<f64>().ok().filter(|value| (0.0..=100.0).contains(value));
        let thresholds = list(
            conf,
            &format!("ipc.{port}.decay-scheduler.thresholds"),
            count - 1,
            percent,
        )?;
        let halves = || {
            (1..levels)
                .map(|level| 100.0 / f64::from(1_u32 << (levels - level)))
                .collect()
        };
        let thresholds: Vec<f64> = thresholds.unwrap_or_else(halves);
        let weight = |word: &str| word.parse::<u32>().ok().filter(|value| *value > 0);
        let weights = list(
            conf,
            &format!("ipc.{port}.faircallqueue.multiplexer.weights"),
            count,
            weight,
        )?;
        let weights = weights.unwrap_or_else(|| (0..levels).rev().map(|level| 1 << level).collect());
        let name = format!("ipc.{port}.decay-scheduler.decay-factor");
        let factor = conf.get_f64(&name, 0.5)?;
        if !(factor > 0.0 && factor < 1.0) {
            return Err(refused(
                conf,
                &name,
                &factor.to_string(),
                "not between 0 and 1".to_owned(),
            ));
        }
        let name = format!("ipc.{port}.decay-scheduler.period-ms");
        let period = conf.get_duration(&name, Duration::from_secs(5), TimeUnit::Millis)?;
        if period.is_zero() {
            return Err(refused(conf, &name, "0", "not positive".to_owned()));
        }
        let by_response = conf.get_flag(
            &format!("ipc.{port}.decay-scheduler.backoff.responsetime.enable"),
            false,
        )?;
        let ms = |word: &str| {
            word.trim_end_matches("ms")
                .parse::<u64>()
                .ok()
                .map(Duration::from_millis)
        };
        let limits = list(
            conf,
            &format!("ipc.{port}.decay-scheduler.backoff.responsetime.thresholds"),
            count,
            ms,
        )?;
        let default_limits = || {
            (1..=u64::from(levels))
                .map(|level| Duration::from_secs(10 * level))
                .collect()
        };
        Ok(Some(SharesOptions {
            period,
            factor,
            thresholds: thresholds.into_iter().map(|percent| percent / 100.0).collect(),
            weights: if fair { weights } else { vec![1; count] },
            by_time: choice(conf, &format!("ipc.{port}.cost-provider.impl"), COSTS)?.unwrap_or(false),
            backoff,
            response_limits: by_response.then(|| limits.unwrap_or_else(default_limits)),
            service_users: conf.get_list(&format!("ipc.{port}.decay-scheduler.service-users")),
        }))
    }

    fn levels(&self) -> usize {
        self.weights.len()
    }
}

/// What a user has cost since the last decay, and its level.
#[derive(Debug, Default)]
pub(super) struct Share {
    cost: AtomicU64,
    level: AtomicUsize,
}

#[derive(Debug, Default)]
struct User {
    share: Arc<Share>,
    /// Cost of the past, decayed.
    past: f64,
}

/// Times of the calls of a level since the last decay.
#[derive(Debug, Default)]
struct LevelTimes {
    calls: AtomicU64,
    us: AtomicU64,
}

/// The shares of all users of a port.
#[derive(Debug)]
pub(super) struct Shares {
    options: SharesOptions,
    users: Mutex<BTreeMap<String, User>>,
    times: Vec<LevelTimes>,
    /// Calls of this level and of worse ones are refused.
    refused_from: AtomicUsize,
}

impl Shares {
    pub(super) fn new(options: SharesOptions) -> Shares {
        let times = (0..options.levels()).map(|_| LevelTimes::default()).collect();
        Shares {
            options,
            users: Mutex::default(),
            times,
            refused_from: AtomicUsize::new(usize::MAX),
        }
    }

    pub(super) fn period(&self) -> Duration {
        self.options.period
    }

    /// The share of a user.
    pub(super) fn of(&self, user: &str) -> Arc<Share> {
        if self.options.service_users.iter().any(|service| service == user) {
            // Nobody decays it, so its level stays.
            return Arc::default();
        }
        let mut users = self.users.lock();
        let full = users.len() >= USERS_MAX && !users.contains_key(user);
        let name = if full { OTHERS } else { user };
        users.entry(name.to_owned()).or_default().share.clone()
    }

    /// The user has been served so many calls in this time. The number of turns that its connection lets pass now.
    pub(super) fn charge(&self, share: &Share, calls: u64, took: Duration) -> u32 {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let cost = if self.options.by_time { ns } else { calls };
        share.cost.fetch_add(cost, Ordering::Relaxed);
        let level = share.level.load(Ordering::Relaxed);
        let weight = |level: usize| self.options.weights.get(level).copied().unwrap_or(1).max(1);
        (weight(0) / weight(level)).saturating_sub(1)
    }

    /// A call of this share was answered after this time.
    pub(super) fn note(&self, share: &Share, took: Duration) {
        if self.options.response_limits.is_none() {
            return;
        }
        if let Some(times) = self.times.get(share.level.load(Ordering::Relaxed)) {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            times.calls.fetch_add(1, Ordering::Relaxed);
            times.us.fetch_add(us, Ordering::Relaxed);
        }
    }

    /// Whether a call is refused now, while `outstanding` of at most `limit` calls wait (`backoff.enable`).
    pub(super) fn refuses(&self, share: &Share, outstanding: u64, limit: u64) -> bool {
        if !self.options.backoff {
            return false;
        }
        let (level, levels) = (share.level.load(Ordering::Relaxed), self.options.levels());
        let room = limit / levels as u64 * levels.saturating_sub(level) as u64;
        outstanding >= room || level >= self.refused_from.load(Ordering::Relaxed)
    }

    /// Ends a period: costs decay, and each user gets the level of its part of all costs.
    pub(super) fn decay(&self) {
        let mut users = self.users.lock();
        for user in users.values_mut() {
            let now = user.share.cost.swap(0, Ordering::Relaxed) as f64;
            user.past = (user.past + now) * self.options.factor;
        }
        users.retain(|_, user| user.past >= 0.5 || Arc::strong_count(&user.share) > 1);
        let total: f64 = users.values().map(|user| user.past).sum();
        // Who is alone takes nothing away from anybody.
        let is_alone = users.values().filter(|user| user.past > 0.0).count() <= 1;
        for user in users.values() {
            let part = if is_alone { 0.0 } else { user.past / total };
            let reached = self.options.thresholds.iter().filter(|threshold| part >= **threshold);
            let level = if part > 0.0 { reached.count() } else { 0 };
            user.share.level.store(level, Ordering::Relaxed);
        }
        drop(users);
        let Some(limits) = &self.options.response_limits else {
            return;
        };
        let is_slow = |(times, limit): (&LevelTimes, &Duration)| {
            let calls = times.calls.swap(0, Ordering::Relaxed);
            let us = times.us.swap(0, Ordering::Relaxed);
            calls > 0 && Duration::from_micros(us / calls) > *limit
        };
        let slow: Vec<bool> = self.times.iter().zip(limits).map(is_slow).collect();
        let from = slow.iter().position(|slow| *slow).unwrap_or(usize::MAX);
        self.refused_from.store(from, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAIR: [(&str, &str); 2] = [
        ("ipc.8020.callqueue.impl", "org.apache.hadoop.ipc.FairCallQueue"),
        ("ipc.8020.backoff.enable", "true"),
    ];

    fn options(settings: &[(&str, &str)]) -> Result<Option<SharesOptions>, ConfError> {
        let mut conf = Configuration::new(hathi_conf::Environment::default());
        for (key, value) in settings {
            conf.set(key, *value);
        }
        SharesOptions::of(&conf, 8020)
    }

    fn shares(more: &[(&str, &str)]) -> Shares {
        Shares::new(options(&[&FAIR, more].concat()).unwrap().unwrap())
    }

    fn pass(shares: &Shares, share: &Share) -> u32 {
        shares.charge(share, 0, Duration::ZERO)
    }

    #[test]
    fn who_costs_most_lets_most_turns_pass_and_recovers() {
        let shares = shares(&[]);
        let (heavy, light) = (shares.of("heavy"), shares.of("light"));
        assert_eq!(shares.charge(&heavy, 1000, Duration::ZERO), 0, "nobody has a level yet");
        shares.charge(&light, 20, Duration::ZERO);
        shares.decay();
        // Weights are 8, 4, 2 and 1.
        assert_eq!((pass(&shares, &heavy), pass(&shares, &light)), (7, 0));
        // 250 of 1000: a quarter, between the second and the third threshold.
        shares.charge(&light, 480, Duration::ZERO);
        shares.charge(&heavy, 250, Duration::ZERO);
        shares.decay();
        assert_eq!((pass(&shares, &heavy), pass(&shares, &light)), (7, 3));
        for _ in 0..12 {
            shares.charge(&light, 100, Duration::ZERO);
            shares.decay();
        }
        assert_eq!((pass(&shares, &heavy), pass(&shares, &light)), (0, 7));
        drop(heavy);
        shares.decay();
        shares.decay();
        assert_eq!(pass(&shares, &light), 0, "it is alone");
    }

    #[test]
    fn service_users_and_those_without_a_cost_have_all_turns() {
        let shares = shares(&[("ipc.8020.decay-scheduler.service-users", "hbase, other")]);
        let (service, idle) = (shares.of("hbase"), shares.of("idle"));
        let alice = shares.of("alice");
        shares.charge(&service, 1000, Duration::ZERO);
        shares.charge(&alice, 10, Duration::ZERO);
        shares.charge(&idle, 0, Duration::ZERO);
        shares.decay();
        for share in [service, idle, alice] {
            assert_eq!(pass(&shares, &share), 0);
        }
    }

    #[test]
    fn an_overloaded_server_refuses_the_worst_levels_first() {
        let shares = shares(&[("ipc.8020.decay-scheduler.backoff.responsetime.enable", "true")]);
        let (heavy, light) = (shares.of("heavy"), shares.of("light"));
        shares.charge(&heavy, 100, Duration::ZERO);
        shares.charge(&light, 1, Duration::ZERO);
        shares.decay();
        let refuses = |share: &Share, outstanding| shares.refuses(share, outstanding, 400);
        assert!(!refuses(&heavy, 99) && refuses(&heavy, 100));
        assert!(!refuses(&light, 399) && refuses(&light, 400));
        // The calls of the best level take more than ten seconds: all are refused but nobody below.
        shares.note(&heavy, Duration::from_secs(41));
        shares.decay();
        assert!(refuses(&heavy, 0) && !refuses(&light, 0));
        shares.note(&light, Duration::from_secs(11));
        shares.decay();
        assert!(refuses(&heavy, 0) && refuses(&light, 0));
        shares.decay();
        assert!(!refuses(&light, 0), "no call was slow in this period");
    }

    #[test]
    fn without_the_keys_all_share_as_they_come() {
        assert_eq!(options(&[]).unwrap(), None);
        let scheduler = [("ipc.8020.scheduler.impl", "org.apache.hadoop.ipc.DecayRpcScheduler")];
        let shared = options(&scheduler).unwrap().unwrap();
        assert_eq!(shared.weights, [1, 1, 1, 1], "the scheduler alone only refuses");
        assert_eq!(shared.thresholds, [0.125, 0.25, 0.5]);
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let levels = "ipc.8020.scheduler.priority.levels";
        for (key, value) in [
            ("ipc.8020.callqueue.impl", "my.Queue"),
            ("ipc.8020.scheduler.impl", "org.apache.hadoop.ipc.DefaultRpcScheduler"),
            ("ipc.8020.cost-provider.impl", "my.Cost"),
            (levels, "0"),
            (levels, "17"),
            ("ipc.8020.decay-scheduler.thresholds", "10,20"),
            ("ipc.8020.decay-scheduler.thresholds", "10,20,101"),
            ("ipc.8020.faircallqueue.multiplexer.weights", "8,4,2,0"),
            ("ipc.8020.decay-scheduler.decay-factor", "1"),
            ("ipc.8020.decay-scheduler.period-ms", "0"),
        ] {
            let error = options(&[&FAIR[..], &[(key, value)]].concat()).unwrap_err().to_string();
            assert!(error.contains(key), "{key} = {value}: {error}");
        }
        let alone = options(&[("ipc.8020.backoff.enable", "true")]).unwrap_err().to_string();
        assert!(alone.contains("ipc.8020.scheduler.impl"), "{alone}");
    }

    #[test]
    fn the_table_of_users_is_bounded() {
        let shares = shares(&[]);
        for user in 0..USERS_MAX + 50 {
            shares.charge(&shares.of(&format!("user{user}")), 1, Duration::ZERO);
        }
        assert_eq!(shares.users.lock().len(), USERS_MAX + 1);
        for _ in 0..10 {
            shares.decay();
        }
        assert!(shares.users.lock().is_empty(), "what has decayed is forgotten");
    }
}
