//! The last hour of this NameNode, in points of ten seconds, and how far it follows the journal.

use hathi_formats::ids::TxId;
use hathi_net::histogram::HistogramCounts;
use hathi_net::ipc::RpcMeter;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Points that are kept: an hour.
const POINTS: usize = 360;
/// Moments of the journal that are kept until they are applied. When there are more, every second one is forgotten.
const MOMENTS: usize = 512;

/// How far a NameNode follows the journal.
#[derive(Debug, Default)]
pub struct Following {
    /// When a transaction was first seen to be committed (monotonic ms), for those that are not applied here.
    moments: VecDeque<(u64, TxId)>,
    committed: TxId,
    applied: TxId,
}

impl Following {
    /// The JournalNodes know `committed` to be committed, and `applied` is applied here.
    pub fn note(&mut self, now_ms: u64, committed: TxId, applied: TxId) {
        if committed > self.committed {
            self.moments.push_back((now_ms, committed));
            self.committed = committed;
        }
        self.applied = applied;
        while self.moments.front().is_some_and(|(_, txid)| *txid <= applied) {
            self.moments.pop_front();
        }
        if self.moments.len() > MOMENTS {
            let mut place = 0_usize;
            // The oldest one says how long the lag lasts.
            self.moments.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }

    /// Committed transactions that are not applied here.
    #[must_use]
    pub fn lag_transactions(&self) -> u64 {
        self.committed.0.saturating_sub(self.applied.0)
    }

    /// Time in ms since the oldest of them was seen to be committed; 0 without any.
    #[must_use]
    pub fn lag_ms(&self, now_ms: u64) -> u64 {
        self.moments
            .front()
            .map_or(0, |(since, _)| now_ms.saturating_sub(*since))
    }
}

/// One point.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its end, ms since 1970.
    pub time_ms: u64,
    /// The HA state.
    pub state: &'static str,
    /// Its length.
    pub seconds: f64,
    /// Times of calls of clients.
    pub calls: HistogramCounts,
    /// Times of batches of edits until they were durable.
    pub commits: HistogramCounts,
    /// Of a standby.
    pub lag_transactions: u64,
    /// Of a standby, in ms.
    pub lag_ms: u64,
}

impl Point {
    fn to_json(&self) -> Value {
        let ms = |counts: &HistogramCounts, part| counts.quantile_us(part).map(|us| us / 1000.0);
        json!({
            "time": self.time_ms,
            "state": self.state,
            "calls_per_second": self.calls.count() as f64 / self.seconds,
            "call_p50_ms": ms(&self.calls, 0.5),
            "call_p99_ms": ms(&self.calls, 0.99),
            "commits_per_second": self.commits.count() as f64 / self.seconds,
            "commit_p50_ms": ms(&self.commits, 0.5),
            "commit_p99_ms": ms(&self.commits, 0.99),
            "lag_transactions": self.lag_transactions,
            "lag_ms": self.lag_ms,
        })
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
    before: Option<(u64, HistogramCounts, HistogramCounts)>,
}

impl History {
    /// Adds a point whose counts are those since the start of the process; what is shown is their difference.
    pub fn add(&mut self, mut point: Point, now_ms: u64) {
        let (calls, commits) = (point.calls, point.commits);
        let before = self.before.replace((now_ms, calls, commits));
        let Some((then_ms, calls_then, commits_then)) = before else {
            return;
        };
        point.calls = calls.since(&calls_then);
        point.commits = commits.since(&commits_then);
        point.seconds = now_ms.saturating_sub(then_ms).max(1) as f64 / 1000.0;
        if self.points.len() >= POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// As `/api/history` shows it, the oldest point first.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let points: Vec<Value> = self.points.iter().map(Point::to_json).collect();
        json!({"interval_ms": RpcMeter::TICK.as_millis() as u64, "points": points})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_net::histogram::Histogram;

    #[test]
    fn a_lag_lasts_from_when_its_oldest_transaction_was_committed() {
        let mut following = Following::default();
        following.note(1000, TxId(5), TxId(5));
        assert_eq!((following.lag_transactions(), following.lag_ms(2000)), (0, 0));
        following.note(2000, TxId(7), TxId(5));
        following.note(3000, TxId(9), TxId(6));
        assert_eq!((following.lag_transactions(), following.lag_ms(3500)), (3, 1500));
        following.note(4000, TxId(9), TxId(7));
        assert_eq!((following.lag_transactions(), following.lag_ms(4000)), (2, 1000));
        for more in 0..5000 {
            following.note(5000 + more, TxId(10 + more), TxId(7));
        }
        assert!(following.moments.len() <= MOMENTS);
        assert_eq!(following.lag_ms(13_000), 10_000);
    }

    #[test]
    fn points_are_of_their_interval_and_bounded() {
        let (calls, mut history) = (Histogram::default(), History::default());
        for place in 0..(POINTS as u64 + 10) {
            let point = Point {
                time_ms: place,
                state: "active",
                seconds: 0.0,
                calls: calls.counts(),
                commits: HistogramCounts::default(),
                lag_transactions: 0,
                lag_ms: 0,
            };
            history.add(point, place * 10_000);
            for _ in 0..20 {
                calls.add_micros(100);
            }
        }
        let json = history.to_json();
        let points = json["points"].as_array().unwrap();
        assert_eq!(points.len(), POINTS);
        assert_eq!(points[0]["calls_per_second"], 2.0);
        assert!(points[0]["commit_p50_ms"].is_null());
        let p99 = points[0]["call_p99_ms"].as_f64().unwrap();
        assert!((0.064..=0.128).contains(&p99), "{p99}");
    }
}
