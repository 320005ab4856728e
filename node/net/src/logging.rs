//! The log of this process, for those parts that show or change it. The program that writes the log installs it here.

use crate::auth::Administrators;
use crate::metrics::log::LOG;
use std::fmt::{Debug, Display, Formatter};
use std::str::FromStr;
use std::sync::OnceLock;

static CONTROL: OnceLock<LogControl> = OnceLock::new();

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Somebody has to look.
    Error,
    /// Something is wrong, and may mend itself.
    Warn,
    /// What an operator may want to know later.
    Info,
    /// What a developer may want to know.
    Debug,
    /// All.
    Trace,
}

impl FromStr for LogLevel {
    type Err = ();

    /// By a name of log4j's, in any case. Its FATAL and ALL are the next levels that there are here.
    fn from_str(name: &str) -> Result<LogLevel, ()> {
        match name.to_ascii_uppercase().as_str() {
            "OFF" => Ok(LogLevel::Off),
            "FATAL" | "ERROR" => Ok(LogLevel::Error),
            "WARN" => Ok(LogLevel::Warn),
            "INFO" => Ok(LogLevel::Info),
            "DEBUG" => Ok(LogLevel::Debug),
            "TRACE" | "ALL" => Ok(LogLevel::Trace),
            _ => Err(()),
        }
    }
}

impl Display for LogLevel {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LogLevel::Off => "OFF",
            LogLevel::Error => "ERROR",
            LogLevel::Warn => "WARN",
            LogLevel::Info => "INFO",
            LogLevel::Debug => "DEBUG",
            LogLevel::Trace => "TRACE",
        })
    }
}

/// The levels of the loggers of this process. A logger is named by a crate or module, as in `hathi_namenode::ha`; the
/// empty name stands for all.
pub trait LogLevels: Send + Sync + Debug {
    /// What a logger logs.
    fn level(&self, logger: &str) -> LogLevel;
    /// Changes what a logger logs.
    ///
    /// # Errors
    /// Too many loggers have levels of their own.
    fn set(&self, logger: &str, level: LogLevel) -> Result<(), String>;
}

/// The log's levels, and who may change them.
#[derive(Debug)]
pub struct LogControl {
    /// The levels.
    pub levels: Box<dyn LogLevels>,
    /// Who may see and change them. `None` is everybody, as with Hadoop when `hadoop.security.authorization` is off.
    pub administrators: Option<Administrators>,
}

/// Lets this log be changed. Only the first call counts.
pub fn install(control: LogControl) {
    // The process has one log.
    let _ = CONTROL.set(control);
}

/// What [`install`] was given.
#[must_use]
pub fn control() -> Option<&'static LogControl> {
    CONTROL.get()
}

/// Counts a line that was dropped.
pub fn count_dropped() {
    LOG.dropped();
}

/// So many lines were dropped since the last one that could be written.
pub fn lost(lines: u64) {
    LOG.set_lost(lines);
}

/// Number of lines since the start of the process that were dropped, because the log's disk or pipe was full. It never
/// falls.
#[must_use]
pub fn dropped() -> u64 {
    LOG.lines_dropped()
}
