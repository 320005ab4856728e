//! Output of this program. Rust's own macros panic when the output can't be written. But a daemon must not end because
//! its log's disk is full, and a command whose reader has gone (`hathi ... | head`) must end quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Exit code when the reader has gone. A shell reports the same for a program that SIGPIPE has ended.
pub const READER_GONE: u8 = 128 + 13;

/// Whether the program goes on when its output can't be written. A program that has more to do than print sets this.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// From now on an output error does not end the program.
pub fn go_on_without_reader() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Prints to stdout. If that fails, the program ends here.
pub fn print(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_fmt(text) {
        end_at(&error);
    }
}

/// Writes the last line of stdout, at the end.
pub fn flush() {
    if let Err(error) = std::io::stdout().lock().flush() {
        end_at(&error);
    }
}

/// Stdout for bytes. As with [`print`], the program ends here if it can't be written.
#[derive(Clone, Copy, Debug)]
pub struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = std::io::stdout().lock().write(bytes);
        if let Err(error) = &written {
            end_at(error);
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        flush();
        Ok(())
    }
}

fn end_at(error: &std::io::Error) {
    if GOES_ON.load(Ordering::Relaxed) {
        return;
    }
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(i32::from(READER_GONE));
    }
    print_error(format_args!("hathi: cannot write the output: {error}\n"));
    std::process::exit(1);
}

/// Prints to stderr. An error is ignored: it can't be reported.
pub fn print_error(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// As the standard macro, but never panics. The module says more.
macro_rules! print {
    ($($arg:tt)*) => { $crate::output::print(format_args!($($arg)*)) };
}

/// As the standard macro, but never panics. The module says more.
macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($arg)*))) };
}

/// As the standard macro, but never panics. The module says more.
macro_rules! eprint {
    ($($arg:tt)*) => { $crate::output::print_error(format_args!($($arg)*)) };
}

/// As the standard macro, but never panics. The module says more.
macro_rules! eprintln {
    () => { $crate::output::print_error(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($arg)*))) };
}
