//! Histograms of durations, for `/jmx` and `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Number of buckets. Their limits are powers of two in microseconds, up to 8 s. Longer durations are in the count
/// only.
const BUCKETS: usize = 24;

/// Counts durations by powers of two, without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    longer: AtomicU64,
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&self, took: Duration) {
        self.add_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a duration in microseconds.
    pub fn add_micros(&self, micros: u64) {
        // The index of the first power of two that is not smaller.
        let index = micros.max(1).next_power_of_two().trailing_zeros() as usize;
        self.buckets
            .get(index)
            .unwrap_or(&self.longer)
            .fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// `{"buckets": [[limit, count up to it], ...], "sum": .., "count": ..}`, in microseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            buckets.push(json!([1_u64 << index, count]));
        }
        count += self.longer.load(Ordering::Relaxed);
        json!({"buckets": buckets, "sum": self.sum_micros.load(Ordering::Relaxed), "count": count})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_include_themselves() {
        let histogram = Histogram::default();
        for micros in [0, 1, 2, 3, 4, 5, u64::MAX >> 1] {
            histogram.add_micros(micros);
        }
        let json = histogram.to_json();
        assert_eq!(json["count"], 7);
        let upto = |index: usize| json["buckets"][index][1].as_u64().unwrap();
        assert_eq!(
            (
                json["buckets"][2][0].as_u64().unwrap(),
                upto(0),
                upto(1),
                upto(2),
                upto(3)
            ),
            (4, 2, 3, 5, 6)
        );
        assert_eq!(upto(BUCKETS - 1), 6);
    }
}
