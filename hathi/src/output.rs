//! What this program prints. Rust's own macros panic when what they print to takes nothing more; a daemon must not end
//! because its log's disk is full, and a command whose reader has gone (`hathi ... | head`) ends quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// As a shell names the end of a command by SIGPIPE: what other programs end with here.
pub const READER_GONE: u8 = 128 + 13;

/// What is printed goes on after an error: set by who has more to do than to print.
static GOES_ON: AtomicBool = AtomicBool::new(false);

/// From now on nothing ends because it can't be printed.
pub fn go_on_without_reader() {
    GOES_ON.store(true, Ordering::Relaxed);
}

/// Prints to stdout. A command ends here when it can't.
pub fn print(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_fmt(text) {
        end_at(&error);
    }
}

/// Writes what is left of stdout's last line, at the end.
pub fn flush() {
    if let Err(error) = std::io::stdout().lock().flush() {
        end_at(&error);
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

/// Prints to stderr; nothing can be told when that fails.
pub fn print_error(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_fmt(text);
}

/// As the standard one, but never panics. See the module.
macro_rules! print {
    ($($arg:tt)*) => { $crate::output::print(format_args!($($arg)*)) };
}

/// As the standard one, but never panics. See the module.
macro_rules! println {
    () => { $crate::output::print(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::print(format_args!("{}\n", format_args!($($arg)*))) };
}

/// As the standard one, but never panics. See the module.
macro_rules! eprint {
    ($($arg:tt)*) => { $crate::output::print_error(format_args!($($arg)*)) };
}

/// As the standard one, but never panics. See the module.
macro_rules! eprintln {
    () => { $crate::output::print_error(format_args!("\n")) };
    ($($arg:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($arg)*))) };
}
