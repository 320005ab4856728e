//! Histograms of durations, for `/jmx`, `/metrics` and the history of a daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

/// Number of buckets. Their limits are powers of two in microseconds, up to 8 s. Longer durations are in the count
/// only.
pub const BUCKETS: usize = 24;

/// Counts durations by powers of two, without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    longer: AtomicU64,
    sum_nanos: AtomicU64,
}

/// The bucket of a duration: that of the first power of two that is not smaller.
fn bucket_of(micros: u64) -> usize {
    micros.max(1).next_power_of_two().trailing_zeros() as usize
}

fn nanos_of(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}

/// Microseconds of whole and begun ones, so that a duration is never in a bucket whose limit is shorter.
fn micros_up(nanos: u64) -> u64 {
    nanos.div_ceil(1000)
}

impl Histogram {
    /// Adds a duration.
    pub fn add(&self, took: Duration) {
        let nanos = nanos_of(took);
        self.of(nanos).fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Adds a duration in microseconds.
    pub fn add_micros(&self, micros: u64) {
        self.add(Duration::from_micros(micros));
    }

    /// Adds a duration. Only for the one thread that adds to this histogram: without an atomic step it costs a fifth of
    /// [`Histogram::add`].
    pub fn add_alone(&self, took: Duration) {
        let nanos = nanos_of(took);
        let add = |counter: &AtomicU64, more: u64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(self.of(nanos), 1);
        add(&self.sum_nanos, nanos);
    }

    fn of(&self, nanos: u64) -> &AtomicU64 {
        self.buckets.get(bucket_of(micros_up(nanos))).unwrap_or(&self.longer)
    }

    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        let mut counts = HistogramCounts {
            longer: self.longer.load(Ordering::Relaxed),
            sum_nanos: self.sum_nanos.load(Ordering::Relaxed),
            ..HistogramCounts::default()
        };
        for (into, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *into = bucket.load(Ordering::Relaxed);
        }
        counts
    }

    /// `{"buckets": [[limit, count up to it], ...], "sum": .., "count": ..}`, in microseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let counts = self.counts();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS);
        for (index, bucket) in counts.buckets.iter().enumerate() {
            count += bucket;
            buckets.push(json!([1_u64 << index, count]));
        }
        json!({"buckets": buckets, "sum": counts.sum_nanos / 1000, "count": counts.count()})
    }
}

/// What a [`Histogram`] has counted at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistogramCounts {
    buckets: [u64; BUCKETS],
    longer: u64,
    sum_nanos: u64,
}

impl HistogramCounts {
    /// Number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum::<u64>().wrapping_add(self.longer)
    }

    /// Their sum in seconds.
    #[must_use]
    pub fn sum_seconds(&self) -> f64 {
        self.sum_nanos as f64 / 1e9
    }

    /// Their mean in milliseconds, as Hadoop's `AvgTime` attributes; 0 without any.
    #[must_use]
    pub fn mean_ms(&self) -> f64 {
        match self.count() {
            0 => 0.0,
            count => self.sum_nanos as f64 / 1e6 / count as f64,
        }
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &HistogramCounts) {
        for (into, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *into = into.wrapping_add(*more);
        }
        self.longer = self.longer.wrapping_add(other.longer);
        self.sum_nanos = self.sum_nanos.wrapping_add(other.sum_nanos);
    }

    /// What was added since `earlier`, a moment of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &HistogramCounts) -> HistogramCounts {
        let mut counts = *self;
        for (into, before) in counts.buckets.iter_mut().zip(&earlier.buckets) {
            *into = into.saturating_sub(*before);
        }
        counts.longer = self.longer.saturating_sub(earlier.longer);
        counts.sum_nanos = self.sum_nanos.saturating_sub(earlier.sum_nanos);
        counts
    }

    /// The duration in microseconds below which a part `part` (from 0 to 1) of all lies, within the accuracy of a
    /// bucket. `None` without any.
    #[must_use]
    pub fn quantile_us(&self, part: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = part * count as f64;
        let mut below = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            if *bucket > 0 && (below + bucket) as f64 >= rank {
                let upper = (1_u64 << index) as f64;
                let lower = if index == 0 { 0.0 } else { upper / 2.0 };
                let within = ((rank - below as f64) / *bucket as f64).clamp(0.0, 1.0);
                return Some(lower + (upper - lower) * within);
            }
            below += bucket;
        }
        Some((1_u64 << (BUCKETS - 1)) as f64)
    }

    /// Limits in seconds and the number of durations in each bucket, the last one without a limit. Of `step` buckets
    /// one is made.
    #[must_use]
    pub fn buckets(&self, step: usize) -> Vec<(f64, u64)> {
        let step = step.max(1);
        let mut buckets = Vec::with_capacity(BUCKETS / step + 1);
        for (place, some) in self.buckets.chunks(step).enumerate() {
            let limit_us = 1_u64 << (place * step + some.len() - 1);
            buckets.push((limit_us as f64 / 1e6, some.iter().sum()));
        }
        buckets.push((f64::INFINITY, self.longer));
        buckets
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

    #[test]
    fn a_duration_beyond_a_limit_is_in_the_next_bucket() {
        let histogram = Histogram::default();
        histogram.add_alone(Duration::from_nanos(2001));
        assert_eq!(histogram.counts().buckets(1)[1..3], [(2e-6, 0), (4e-6, 1)]);
        assert!((histogram.counts().sum_seconds() - 2.001e-6).abs() < 1e-12);
    }

    #[test]
    fn buckets_are_joined_without_a_loss() {
        let histogram = Histogram::default();
        for shift in 0..30 {
            histogram.add_micros(1 << shift);
        }
        let counts = histogram.counts();
        let joined = counts.buckets(2);
        assert_eq!(joined.len(), 13);
        assert_eq!(joined[0], (2e-6, 2));
        assert_eq!(joined.iter().map(|(_, count)| count).sum::<u64>(), 30);
        assert_eq!(joined[12].1, 6, "longer than all limits");
    }

    #[test]
    fn quantiles_and_differences_are_of_what_was_added() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counts().quantile_us(0.5), None);
        histogram.add_micros(1 << 20);
        let before = histogram.counts();
        for _ in 0..99 {
            histogram.add_micros(100);
        }
        histogram.add_micros(5000);
        let since = histogram.counts().since(&before);
        assert_eq!(since.count(), 100);
        let (median, last) = (since.quantile_us(0.5).unwrap(), since.quantile_us(0.999).unwrap());
        assert!((64.0..=128.0).contains(&median), "{median}");
        assert!((4096.0..=8192.0).contains(&last), "{last}");
        assert!((since.mean_ms() - (99.0 * 0.1 + 5.0) / 100.0).abs() < 1e-9);
    }
}
