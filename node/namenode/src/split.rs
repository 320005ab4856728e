//! What the failover controller beside this NameNode says of another one: that it was fenced, and goes on all the same.
//!
//! It is shown to whoever looks at the metrics, and decides nothing. Losing it is safe: a controller that has something to
//! say says it with each of its probes.

use parking_lot::Mutex;

/// A controller asks ten times a second. One that has been silent for so long has ended, and what it said is out of date.
const LASTS_MS: u64 = 10_000;
/// An id and a configured fencing method. What is longer is cut.
const MAX_CHARS: usize = 1000;

/// The last report, and when it came (ms of a monotonic clock).
#[derive(Debug, Default)]
pub struct SplitReport(Mutex<Option<(u64, String)>>);

impl SplitReport {
    /// Takes a controller's report; an empty one says that nobody goes on.
    pub fn take(&self, report: &str, now_ms: u64) {
        let report: String = report.chars().take(MAX_CHARS).collect();
        *self.0.lock() = Some((now_ms, report)).filter(|(_, report)| !report.is_empty());
    }

    /// Which NameNode goes on, and which method has said that it was fenced.
    #[must_use]
    pub fn current(&self, now_ms: u64) -> Option<String> {
        let report = self.0.lock();
        let (at_ms, report) = report.as_ref()?;
        (now_ms.saturating_sub(*at_ms) < LASTS_MS).then(|| report.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_holds_until_the_controller_says_otherwise_or_nothing_any_more() {
        let split = SplitReport::default();
        assert_eq!(split.current(0), None);
        split.take("nn0 by shell(/bin/true)", 5);
        assert_eq!(
            split.current(5 + LASTS_MS - 1).as_deref(),
            Some("nn0 by shell(/bin/true)")
        );
        assert_eq!(split.current(5 + LASTS_MS), None);
        split.take("", 6);
        assert_eq!(split.current(7), None);
        split.take(&"ü".repeat(MAX_CHARS + 1), 8);
        assert_eq!(split.current(8).map(|report| report.chars().count()), Some(MAX_CHARS));
    }
}
