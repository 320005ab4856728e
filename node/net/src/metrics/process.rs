//! Metrics of the process, with the names that Prometheus's own libraries give them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Exposition;
use super::log::LOG;

crate::families! {
    /// Families of every daemon.
    FAMILIES {
        BUILD: Gauge "hathi_build_info" ["daemon", "version", "hadoop_version"] "1; the labels say which daemon this is, its version and the version of Hadoop that it speaks as.";
        CPU: Counter "process_cpu_seconds_total" [] "Processor time of the process, its own and the system's for it.";
        RESIDENT: Gauge "process_resident_memory_bytes" [] "Resident memory.";
        VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
        OPEN_FILES: Gauge "process_open_fds" [] "Open file descriptors.";
        MAX_FILES: Gauge "process_max_fds" [] "Limit of open file descriptors.";
        CLOCK: Gauge "hathi_clock_timestamp_seconds" [] "The time of day by the clock of this machine, since 1970. Prometheus compares it with its own.";
        STARTED: Gauge "process_start_time_seconds" [] "When the process started, since 1970.";
        THREADS: Gauge "process_threads" [] "Threads.";
    }
}

/// Clock ticks of a second in `/proc` (`USER_HZ`), which is the same on all machines that Linux runs on today.
const TICKS_PER_SECOND: f64 = 100.0;

/// What the system knows of this process. What it does not tell is `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessFigures {
    /// Seconds of processor time.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<usize>,
    /// Limit of open file descriptors.
    pub max_files: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started_seconds: Option<f64>,
    /// Threads.
    pub threads: Option<u64>,
}

impl ProcessFigures {
    /// The figures now.
    #[must_use]
    pub fn now() -> ProcessFigures {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        // The name of the process may hold blanks and parentheses.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .collect();
        // Numbers of fields as in proc(5); the third is the first here.
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok();
        let kilobytes = |name: &str| number_after(&status, name).map(|kilobytes: u64| kilobytes.saturating_mul(1024));
        let booted: Option<f64> = number_after(&boot, "btime ");
        ProcessFigures {
            cpu_seconds: ticks(14)
                .zip(ticks(15))
                .map(|(own, system)| (own + system) / TICKS_PER_SECOND),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            // The directory that is being read is one of them.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| files.count().saturating_sub(1)),
            max_files: number_after(&limits, "Max open files"),
            started_seconds: booted
                .zip(ticks(22))
                .map(|(booted, since)| booted + since / TICKS_PER_SECOND),
            threads: number_after(&status, "Threads:"),
        }
    }
}

/// The first word after a line's beginning, as a number.
fn number_after<T: std::str::FromStr>(text: &str, beginning: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Puts [`FAMILIES`] and those of the log. `daemon` is the word of its command, as in `hathi namenode`.
pub fn put(daemon: &str, into: &mut Exposition) {
    let version = env!("CARGO_PKG_VERSION");
    into.put(&BUILD, &[daemon, version, hathi_formats::ids::SOFTWARE_VERSION], true);
    let figures = ProcessFigures::now();
    into.put_known(&CPU, &[], figures.cpu_seconds);
    into.put_known(&RESIDENT, &[], figures.resident_bytes);
    into.put_known(&VIRTUAL, &[], figures.virtual_bytes);
    into.put_known(&OPEN_FILES, &[], figures.open_files);
    into.put_known(&MAX_FILES, &[], figures.max_files);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).ok();
    into.put_known(&CLOCK, &[], since_1970.map(|since| since.as_secs_f64()));
    into.put_known(&STARTED, &[], figures.started_seconds);
    into.put_known(&THREADS, &[], figures.threads);
    LOG.put(into);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_about_this_process() {
        let figures = ProcessFigures::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let started = figures.started_seconds.unwrap();
        assert!(started > now - 86_400.0 && started < now + 2.0, "{started} {now}");
        assert!(figures.resident_bytes.unwrap() > 1 << 20);
        assert!(figures.virtual_bytes >= figures.resident_bytes);
        assert!(figures.open_files.unwrap() >= 3);
        assert!(figures.max_files.unwrap() >= 3);
        assert!(figures.threads.unwrap() >= 1);
        // Work until a tick of the clock has gone by.
        let begun = std::time::Instant::now();
        while ProcessFigures::now().cpu_seconds.unwrap() == 0.0 {
            assert!(begun.elapsed().as_secs() < 60, "no processor time is counted");
        }
    }
}
