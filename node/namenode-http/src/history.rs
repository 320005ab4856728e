//! The last hour of this NameNode, in points of ten seconds.

use hathi_net::histogram::HistogramCounts;
use hathi_net::ipc::RpcMeter;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// Points that are kept: an hour.
const POINTS: usize = 360;

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
