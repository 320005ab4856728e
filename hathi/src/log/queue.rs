//! The queue of lines that wait to be written. A thread of its own writes them, so that a full disk or a pipe that nobody
//! reads neither ends a daemon nor delays it. Lines that can't be written are dropped and counted, and the next line
//! that can be written is preceded by their number. Hadoop's log4j drops lines too.
//!
//! Invariants:
//! - A caller never waits for the disk or the pipe, and never gets an error.
//! - Lines are written whole and in order, to the place that was the log's when they were logged.
//! - At most [`QUEUE_BYTES`] wait.

use super::file::RotatingFile;
use super::line::{Form, note};
use hathi_net::logging;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Most bytes that wait to be written: some thousand lines, enough for any burst.
const QUEUE_BYTES: usize = 1 << 20;

/// Where lines go.
pub(super) enum Place {
    /// Stderr.
    Stream(Box<dyn Write + Send>),
    /// A file that is rotated.
    File(RotatingFile),
}

impl Place {
    /// Told before each text: a file may be full or old.
    fn before(&mut self, bytes: usize) -> io::Result<()> {
        match self {
            Place::Stream(_) => Ok(()),
            Place::File(file) => file.rotate_if_due(bytes, SystemTime::now()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Place::Stream(stream) => stream.write(bytes),
            Place::File(file) => file.write(bytes),
        }
    }
}

enum Item {
    Line(Vec<u8>),
    /// Lines go there from now on, and notes about dropped lines have this form.
    Place(Place, Form),
}

#[derive(Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    /// Dropped lines that the log does not tell of yet.
    dropped: u64,
    /// Whether an item was taken that is not written yet.
    writing: bool,
}

impl State {
    /// A line could not be written, or there was no place for it in the queue.
    fn drop_line(&mut self) {
        self.dropped += 1;
        logging::count_dropped();
        logging::lost(self.dropped);
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

/// See the module.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

impl Queue {
    /// Starts the thread, which writes to a stream. About every `period` it also writes what `due` returns.
    pub(super) fn to(
        out: impl Write + Send + 'static,
        period: Duration,
        due: impl Fn() -> Vec<String> + Send + 'static,
    ) -> Queue {
        let queue = Queue::default();
        let writer = queue.clone();
        // Without the thread no line is written, and all count as dropped.
        let _ = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_all(Place::Stream(Box::new(out)), period, due));
        queue
    }

    /// Lets the lines that are logged from now on go to another place.
    pub(super) fn go_to(&self, place: Place, form: Form) {
        self.0.state.lock().items.push_back(Item::Place(place, form));
        self.0.filled.notify_one();
    }

    /// Appends a line, which ends with a newline.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.0.state.lock();
        if state.bytes + line.len() > QUEUE_BYTES {
            state.drop_line();
        } else {
            state.bytes += line.len();
            state.items.push_back(Item::Line(line));
            self.0.filled.notify_one();
        }
    }

    pub(super) fn wait_until_written(&self, at_most: Duration) {
        let until = Instant::now() + at_most;
        let mut state = self.0.state.lock();
        while state.writing || !state.items.is_empty() {
            if self.0.emptied.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }

    /// The next item, and the number of dropped lines. `None` when none came for a while.
    fn next(&self, period: Duration) -> Option<(Item, u64)> {
        let mut state = self.0.state.lock();
        state.writing = false;
        loop {
            if let Some(item) = state.items.pop_front() {
                if let Item::Line(line) = &item {
                    state.bytes -= line.len();
                }
                state.writing = true;
                return Some((item, state.dropped));
            }
            self.0.emptied.notify_all();
            if self.0.filled.wait_for(&mut state, period).timed_out() {
                return None;
            }
        }
    }

    /// Writes lines for as long as the process lives.
    fn write_all(&self, mut out: Place, period: Duration, due: impl Fn() -> Vec<String>) {
        let mut form = Form::Text;
        // Whether only a part of the last line was written.
        let mut torn = false;
        // Why the last dropped line could not be written. Without a reason the queue was full.
        let mut reason: Option<io::Error> = None;
        let mut looked = Instant::now();
        loop {
            let next = self.next(period);
            if looked.elapsed() >= period {
                looked = Instant::now();
                due().into_iter().for_each(|line| self.push(line.into_bytes()));
            }
            let (line, dropped) = match next {
                None => continue,
                Some((Item::Place(place, new_form), _)) => {
                    (out, form, torn) = (place, new_form, false);
                    continue;
                }
                Some((Item::Line(line), dropped)) => (line, dropped),
            };
            let mut text = Vec::new();
            if torn {
                text.push(b'\n');
            }
            if dropped > 0 {
                let reason = reason
                    .as_ref()
                    .map_or("it was written too slowly".to_owned(), io::Error::to_string);
                let what = format!("{dropped} lines of this log were dropped: {reason}");
                text.extend_from_slice(note(form, &what).as_bytes());
            }
            text.extend_from_slice(&line);
            match write_whole(&mut out, &text) {
                Ok(()) => {
                    torn = false;
                    reason = None;
                    let mut state = self.0.state.lock();
                    state.dropped -= dropped;
                    logging::lost(state.dropped);
                }
                Err((written, error)) => {
                    torn = torn && written == 0 || written > 0 && text.get(written - 1) != Some(&b'\n');
                    reason = Some(error);
                    self.0.state.lock().drop_line();
                }
            }
        }
    }
}

/// Writes all of `text`. An error says how many bytes were written before it.
fn write_whole(out: &mut Place, text: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    out.before(text.len()).map_err(|error| (0, error))?;
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

    fn never_due(out: impl Write + Send + 'static) -> Queue {
        Queue::to(out, LONG, Vec::new)
    }

    fn say(log: &Queue, line: &str) {
        log.push(line.as_bytes().to_vec());
        log.wait_until_written(LONG);
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let disk = Disk::default();
        let before = logging::dropped();
        let log = never_due(disk.clone());
        disk.0.lock().1 = 8;
        say(&log, "first\n");
        say(&log, "second\n");
        say(&log, "third\n");
        disk.0.lock().1 = 1000;
        say(&log, "fourth\n");
        say(&log, "fifth\n");
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(
            disk.text(),
            format!("first\nse\n2 lines of this log were dropped: {full}\nfourth\nfifth\n")
        );
        // Another test of this process counts as well.
        assert!(logging::dropped() >= before + 2);
    }

    #[test]
    fn nobody_waits_for_a_pipe_that_is_not_emptied() {
        let (mut reader, writer) = io::pipe().unwrap();
        let log = never_due(writer);
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        let lines = 4 * QUEUE_BYTES / line.len();
        for _ in 0..lines {
            log.push(line.clone());
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
