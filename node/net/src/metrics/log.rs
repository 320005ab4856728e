//! Lines of the daemon's log, counted. The log belongs to the process, so these counters do too.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Exposition;

crate::families! {
    /// Families of the log.
    FAMILIES {
        LOG_LINES: Counter "hathi_log_lines_total" ["level"] "Lines of the log by level: error, warn and info.";
        LOG_LINES_DROPPED: Counter "hathi_log_lines_dropped_total" [] "Lines of the log that were dropped because they could not be written, as on a full disk.";
        LOG_LINES_LOST: Gauge "hathi_log_lines_lost" [] "Lines of the log that were dropped since the last one that could be written: above 0 while the log can't be written.";
    }
}

/// Counters of a log.
#[derive(Debug, Default)]
pub struct LogCounters {
    error: AtomicU64,
    warn: AtomicU64,
    info: AtomicU64,
    dropped: AtomicU64,
    lost: AtomicU64,
}

/// Counters of this process's log.
pub static LOG: LogCounters = LogCounters {
    error: AtomicU64::new(0),
    warn: AtomicU64::new(0),
    info: AtomicU64::new(0),
    dropped: AtomicU64::new(0),
    lost: AtomicU64::new(0),
};

impl LogCounters {
    /// A line was logged. Levels below info are not counted.
    pub fn logged(&self, level: tracing::Level) {
        let counter = match level {
            tracing::Level::ERROR => &self.error,
            tracing::Level::WARN => &self.warn,
            tracing::Level::INFO => &self.info,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A line was dropped.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// So many lines were dropped since the last one that could be written.
    pub fn set_lost(&self, lines: u64) {
        self.lost.store(lines, Ordering::Relaxed);
    }

    /// Number of lines that were dropped since the last one that could be written.
    #[must_use]
    pub fn lines_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Numbers of lines of the levels error, warn and info (`JvmMetrics.LogError` and so on).
    #[must_use]
    pub fn lines(&self) -> [u64; 3] {
        [&self.error, &self.warn, &self.info].map(|counter| counter.load(Ordering::Relaxed))
    }

    /// Number of lines that were dropped.
    #[must_use]
    pub fn lines_dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Puts the values.
    pub fn put(&self, into: &mut Exposition) {
        for (level, lines) in ["error", "warn", "info"].into_iter().zip(self.lines()) {
            into.put(&LOG_LINES, &[level], lines);
        }
        into.put(&LOG_LINES_DROPPED, &[], self.lines_dropped());
        into.put(&LOG_LINES_LOST, &[], self.lines_lost());
    }
}
