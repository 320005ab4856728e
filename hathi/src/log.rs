//! The log of a daemon, on its stderr. A thread of its own writes it, so that a full disk or a pipe that nobody reads
//! neither ends a daemon nor delays it. Lines that can't be written are dropped and counted, and the next line that can
//! be written is preceded by their number. Hadoop's log4j drops lines too.
//!
//! Invariants:
//! - A caller never waits for the disk or the pipe, and never gets an error.
//! - Lines are written whole and in order.
//! - At most [`QUEUE_BYTES`] wait.

use crate::log_counter::LogCounter;
use hathi_net::metrics::log::LOG as LOG_COUNTERS;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};

/// Most bytes that wait to be written: some thousand lines, enough for any burst.
const QUEUE_BYTES: usize = 1 << 20;
/// How long the end of the process may wait for the last lines.
const LAST_LINES: Duration = Duration::from_millis(500);

static LOG: OnceLock<Log> = OnceLock::new();

/// Sends the log to stderr, filtered by `HATHI_LOG` (default `info`).
pub fn log_to_stderr() {
    use tracing_subscriber::prelude::*;
    let log = LOG.get_or_init(|| Log::to(io::stderr()));
    let wanted = std::env::var("HATHI_LOG").ok();
    let filter: Option<Result<Targets, ParseError>> = wanted.as_deref().map(str::parse);
    let usual = || Targets::new().with_default(LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| log.clone())
        .log_internal_errors(false)
        .with_ansi(false);
    let used = filter
        .as_ref()
        .and_then(|filter| filter.as_ref().ok())
        .cloned()
        .unwrap_or_else(usual);
    tracing_subscriber::registry()
        .with(lines)
        .with(LogCounter)
        .with(used)
        .init();
    if let Some(Err(error)) = filter {
        let wanted = wanted.unwrap_or_default();
        tracing::warn!(wanted, %error, "HATHI_LOG is no list of levels, as in info,hathi_journal=debug: info is logged");
    }
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // The lines that led to the panic are written before it.
        flush();
        report(panic);
    }));
    crate::output::go_on_without_reader();
}

/// Waits a moment for the last lines to be written.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.wait_until_written(LAST_LINES);
    }
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    /// Whether a line was taken that is not written yet.
    writing: bool,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

/// The writer of the log. Each write is one line. The module says more.
#[derive(Clone, Default)]
struct Log(Arc<Queue>);

impl Log {
    fn to(out: impl Write + Send + 'static) -> Log {
        let log = Log::default();
        let queue = log.0.clone();
        // Without the thread no line is written, and all count as dropped.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(&queue, out));
        log
    }

    fn wait_until_written(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut state = self.0.state.lock();
        while state.writing || !state.lines.is_empty() {
            if self.0.emptied.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.bytes + line.len() > QUEUE_BYTES {
            state.dropped += 1;
            LOG_COUNTERS.dropped();
        } else {
            state.bytes += line.len();
            state.lines.push_back(line.to_vec());
            self.0.filled.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines for as long as the process lives.
fn write_all(queue: &Queue, mut out: impl Write) {
    // Whether only a part of the last line was written.
    let mut torn = false;
    // Why the last dropped line could not be written. Without a reason the queue was full.
    let mut reason = None;
    loop {
        let (line, dropped) = {
            let mut state = queue.state.lock();
            state.writing = false;
            loop {
                if let Some(line) = state.lines.pop_front() {
                    state.bytes -= line.len();
                    state.writing = true;
                    break (line, state.dropped);
                }
                queue.emptied.notify_all();
                queue.filled.wait(&mut state);
            }
        };
        let mut text = Vec::new();
        if torn {
            text.push(b'\n');
        }
        if dropped > 0 {
            let reason = reason
                .as_ref()
                .map_or("it was written too slowly".to_owned(), io::Error::to_string);
            text.extend_from_slice(format!("{dropped} lines of this log were dropped: {reason}\n").as_bytes());
        }
        text.extend_from_slice(&line);
        match write_whole(&mut out, &text) {
            Ok(()) => {
                torn = false;
                reason = None;
                queue.state.lock().dropped -= dropped;
            }
            Err((written, error)) => {
                torn = torn && written == 0 || written > 0 && text.get(written - 1) != Some(&b'\n');
                reason = Some(error);
                queue.state.lock().dropped += 1;
                LOG_COUNTERS.dropped();
            }
        }
    }
}

/// Writes all of `text`. An error says how many bytes were written before it.
fn write_whole(out: &mut impl Write, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < text.len() {
        match out.write(text.get(written..).unwrap_or_default()) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err((written, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A disk with a limited number of bytes.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock();
            let room = bytes.len().min(disk.1);
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.1 -= room;
            disk.0.extend_from_slice(&bytes[..room]);
            Ok(room)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Disk {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().0.clone()).unwrap()
        }
    }

    fn say(log: &mut Log, line: &str) {
        log.write_all(line.as_bytes()).unwrap();
        log.wait_until_written(LONG);
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let disk = Disk::default();
        let mut log = Log::to(disk.clone());
        disk.0.lock().1 = 8;
        say(&mut log, "first\n");
        say(&mut log, "second\n");
        say(&mut log, "third\n");
        disk.0.lock().1 = 1000;
        say(&mut log, "fourth\n");
        say(&mut log, "fifth\n");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(
            disk.text(),
            format!("first\nse\n2 lines of this log were dropped: {full}\nfourth\nfifth\n")
        );
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_emptied() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Log::to(writer);
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        let lines = 4 * QUEUE_BYTES / line.len();
        for _ in 0..lines {
            log.write_all(&line).unwrap();
        }
        let dropped = log.0.state.lock().dropped;
        assert!(dropped > 0);
        assert!(log.0.state.lock().bytes <= QUEUE_BYTES);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            io::Read::read_to_string(&mut reader, &mut text).map(|_| text)
        });
        log.wait_until_written(LONG);
        // Only the end of the process closes the pipe, so the thread is left running.
        assert_eq!(log.0.state.lock().dropped, 0);
        drop(reading);
    }
}
