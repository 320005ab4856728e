//! Times of calls, by method; slow calls; and who calls most.
//!
//! Each thread that serves calls has a sheet of its own, so that counting costs no atomic step. A reply that leaves
//! later than its handler returns is counted by whoever sends it, on a sheet for all threads.
//!
//! The queue time of a call is that from the end of the read that brought it until its handler begins. Its processing
//! time is that from there until its reply: for a change of the namespace the wait for the JournalNodes is in it.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::table::ProtocolTable;
use crate::histogram::{Histogram, HistogramCounts};
use crate::ipc::Method;

/// Most slow calls that are kept. Older ones make room.
const SLOW_MAX: usize = 100;
/// Most users whose calls are counted apart. Those of others are counted together.
const USERS_MAX: usize = 1000;
/// Name under which the calls of further users are counted.
const OTHER_USERS: &str = "(others)";
/// Ticks that are kept of each user: 25 minutes.
const TICKS_KEPT: usize = 150;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// This thread's sheets, by the id of their [`CallTimes`].
    static SHEETS: RefCell<Vec<(u64, Arc<Sheet>)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Default)]
struct Row {
    queue: Histogram,
    processing: Histogram,
}

/// Times by method. Rows are those of the [`ProtocolTable`].
#[derive(Debug)]
pub(super) struct Sheet(Box<[Row]>);

impl Sheet {
    fn new(rows: usize) -> Sheet {
        Sheet((0..rows).map(|_| Row::default()).collect())
    }

    /// Only on the sheet's own thread.
    pub(super) fn waited(&self, row: u16, took: Duration) {
        if let Some(row) = self.0.get(usize::from(row)) {
            row.queue.add_alone(took);
        }
    }

    /// Only on the sheet's own thread.
    pub(super) fn answered(&self, row: u16, took: Duration) {
        if let Some(row) = self.0.get(usize::from(row)) {
            row.processing.add_alone(took);
        }
    }
}

/// A call under way, as its connection counts it.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallMark {
    /// Number of the call on its connection, from 1.
    pub(super) number: u64,
    /// The row of its method.
    pub(super) row: u16,
    /// When its handler began.
    pub(super) began: Instant,
}

/// A call that took long.
#[derive(Clone, Debug)]
pub struct SlowCall {
    /// When its reply left.
    pub at: SystemTime,
    /// The method.
    pub method: Method,
    /// The caller's name.
    pub user: String,
    /// The caller's address.
    pub peer: SocketAddr,
    /// From the read until the reply, or from the handler until the reply if that came later.
    pub took: Duration,
}

/// Times of the calls of one listener.
#[derive(Debug)]
pub(super) struct CallTimes {
    id: u64,
    /// The method of each row, and whether a call of it may be called slow.
    methods: Vec<(Method, bool)>,
    sheets: Mutex<Vec<Arc<Sheet>>>,
    late: Sheet,
    /// Time from which a call is slow.
    slow_from: Option<Duration>,
    slow_count: AtomicU64,
    slow: Mutex<VecDeque<SlowCall>>,
}

impl CallTimes {
    pub(super) fn new(table: &ProtocolTable, slow_from: Option<Duration>) -> CallTimes {
        let methods: Vec<(Method, bool)> = table
            .methods()
            .map(|method| (method, matches!(method, Method::Client(_) | Method::Datanode(_))))
            .collect();
        CallTimes {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            late: Sheet::new(methods.len()),
            methods,
            sheets: Mutex::default(),
            slow_from,
            slow_count: AtomicU64::new(0),
            slow: Mutex::default(),
        }
    }

    /// The sheet of this thread.
    pub(super) fn sheet(&self) -> Arc<Sheet> {
        SHEETS.with_borrow_mut(|sheets| {
            if let Some((_, sheet)) = sheets.iter().find(|(id, _)| *id == self.id) {
                return sheet.clone();
            }
            // Those of servers that have ended.
            sheets.retain(|(_, sheet)| Arc::strong_count(sheet) > 1);
            let sheet = Arc::new(Sheet::new(self.methods.len()));
            self.sheets.lock().push(sheet.clone());
            sheets.push((self.id, sheet.clone()));
            sheet
        })
    }

    /// A reply left after its handler had returned. From any thread.
    pub(super) fn answered_late(&self, row: u16, took: Duration) {
        if let Some(row) = self.late.0.get(usize::from(row)) {
            row.processing.add(took);
        }
    }

    /// Whether a call that took this long is slow.
    #[inline]
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        self.slow_from.is_some_and(|from| took >= from)
    }

    /// Keeps a slow call, unless its method is meant to wait.
    pub(super) fn note_slow(&self, row: u16, user: &str, peer: SocketAddr, took: Duration) {
        let Some((method, true)) = self.methods.get(usize::from(row)).copied() else {
            return;
        };
        self.slow_count.fetch_add(1, Ordering::Relaxed);
        let mut slow = self.slow.lock();
        if slow.len() >= SLOW_MAX {
            slow.pop_front();
        }
        slow.push_back(SlowCall {
            at: SystemTime::now(),
            method,
            user: user.to_owned(),
            peer,
            took,
        });
    }

    pub(super) fn slow(&self) -> (u64, Vec<SlowCall>) {
        (
            self.slow_count.load(Ordering::Relaxed),
            self.slow.lock().iter().cloned().collect(),
        )
    }

    /// The times of every method that was called.
    pub(super) fn methods(&self) -> Vec<MethodTimes> {
        let sheets = self.sheets.lock().clone();
        let all = self.methods.iter().enumerate().map(|(row, (method, _))| {
            let mut times = MethodTimes {
                method: *method,
                queue: HistogramCounts::default(),
                processing: HistogramCounts::default(),
            };
            for sheet in sheets.iter().map(|sheet| &**sheet).chain([&self.late]) {
                if let Some(row) = sheet.0.get(row) {
                    times.queue.merge(&row.queue.counts());
                    times.processing.merge(&row.processing.counts());
                }
            }
            times
        });
        all.filter(|times| times.queue.count() > 0).collect()
    }
}

/// Times of the calls of one method.
#[derive(Clone, Debug)]
pub struct MethodTimes {
    /// The method.
    pub method: Method,
    /// From the read until the handler began. Its count is that of the calls.
    pub queue: HistogramCounts,
    /// From there until the reply. Its count is that of the replies.
    pub processing: HistogramCounts,
}

impl MethodTimes {
    /// `ClientProtocol.getFileInfo`: several protocols have a method of the same name.
    #[must_use]
    pub fn qualified_name(&self) -> String {
        let protocol = self.method.protocol().name;
        let short = protocol.rsplit_once('.').map_or(protocol, |(_, short)| short);
        format!("{short}.{}", self.method.name())
    }
}

/// Calls of one user.
#[derive(Debug)]
struct UserTicks {
    calls: Arc<AtomicU64>,
    /// Calls up to the last tick.
    before: u64,
    /// Calls of each tick, the newest last.
    ticks: VecDeque<u64>,
}

/// Numbers of calls by user, over the windows of Hadoop's `nntop`.
#[derive(Debug, Default)]
pub(super) struct UserCalls(Mutex<BTreeMap<String, UserTicks>>);

impl UserCalls {
    /// The counter of a user's calls.
    pub(super) fn of(&self, user: &str) -> Arc<AtomicU64> {
        let mut users = self.0.lock();
        let full = users.len() >= USERS_MAX && !users.contains_key(user);
        let name = if full { OTHER_USERS } else { user };
        let ticks = users.entry(name.to_owned()).or_insert_with(|| UserTicks {
            calls: Arc::default(),
            before: 0,
            ticks: VecDeque::new(),
        });
        ticks.calls.clone()
    }

    /// Ends an interval of ten seconds.
    pub(super) fn tick(&self) {
        let mut users = self.0.lock();
        for ticks in users.values_mut() {
            let calls = ticks.calls.load(Ordering::Relaxed);
            ticks.ticks.push_back(calls.wrapping_sub(ticks.before));
            ticks.before = calls;
            if ticks.ticks.len() > TICKS_KEPT {
                ticks.ticks.pop_front();
            }
        }
        users.retain(|_, ticks| Arc::strong_count(&ticks.calls) > 1 || ticks.ticks.iter().any(|calls| *calls > 0));
    }

    /// The users with the most calls in the last `ticks` intervals and the present one, with their numbers of calls.
    pub(super) fn top(&self, ticks: usize, users: usize) -> Vec<(String, u64)> {
        let all = self.0.lock();
        let mut top: Vec<(String, u64)> = all
            .iter()
            .map(|(user, counted)| {
                let present = counted.calls.load(Ordering::Relaxed).wrapping_sub(counted.before);
                let past: u64 = counted.ticks.iter().rev().take(ticks).sum();
                (user.clone(), past + present)
            })
            .filter(|(_, calls)| *calls > 0)
            .collect();
        top.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        top.truncate(users);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_counted_by_windows_and_forgotten_when_they_are_gone() {
        let users = UserCalls::default();
        let (alice, bob) = (users.of("alice"), users.of("bob"));
        alice.fetch_add(5, Ordering::Relaxed);
        users.tick();
        for _ in 0..6 {
            bob.fetch_add(1, Ordering::Relaxed);
            users.tick();
        }
        alice.fetch_add(1, Ordering::Relaxed);
        assert_eq!(users.top(6, 10), [("bob".to_owned(), 6), ("alice".to_owned(), 1)]);
        assert_eq!(users.top(30, 1), [("alice".to_owned(), 6)]);
        drop((alice, bob));
        for _ in 0..=TICKS_KEPT {
            users.tick();
        }
        assert!(users.0.lock().is_empty());
    }

    #[test]
    fn the_table_of_users_is_bounded() {
        let users = UserCalls::default();
        for user in 0..USERS_MAX + 50 {
            users.of(&format!("user{user}")).fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(users.0.lock().len(), USERS_MAX + 1);
        assert_eq!(users.top(6, 1), [(OTHER_USERS.to_owned(), 50)]);
    }
}
