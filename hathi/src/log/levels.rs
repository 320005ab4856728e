//! The levels of the log, which `/logLevel` shows and changes while the daemon runs.

use hathi_net::logging::{LogLevel, LogLevels};
use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

/// Most loggers that have a level of their own.
const LOGGERS_MAX: usize = 100;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Levels(Handle<Targets, Registry>);

impl Levels {
    pub(super) fn of(handle: Handle<Targets, Registry>) -> Levels {
        Levels(handle)
    }
}

impl LogLevels for Levels {
    fn level(&self, logger: &str) -> LogLevel {
        let levels = [
            (Level::TRACE, LogLevel::Trace),
            (Level::DEBUG, LogLevel::Debug),
            (Level::INFO, LogLevel::Info),
            (Level::WARN, LogLevel::Warn),
            (Level::ERROR, LogLevel::Error),
        ];
        let known = self.0.with_current(|targets| {
            let is_logged = |(level, _): &&(Level, LogLevel)| match logger {
                "" => targets.default_level().is_some_and(|most| *level <= most),
                logger => targets.would_enable(logger, level),
            };
            levels.iter().find(is_logged).map(|(_, level)| *level)
        });
        // The filter is gone only when the process ends.
        known.ok().flatten().unwrap_or(LogLevel::Off)
    }

    fn set(&self, logger: &str, level: LogLevel) -> Result<(), String> {
        let filter = match level {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        let mut result = Ok(());
        let changed = self.0.modify(|targets| {
            if targets.iter().count() >= LOGGERS_MAX && !targets.iter().any(|(known, _)| known == logger) {
                result = Err(format!("{LOGGERS_MAX} loggers have levels of their own already"));
                return;
            }
            *targets = match logger {
                "" => targets.clone().with_default(filter),
                logger => targets.clone().with_target(logger, filter),
            };
        });
        changed.map_err(|error| error.to_string()).and(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::reload;

    #[test]
    fn a_level_that_is_set_counts_for_the_logger_and_what_is_within() {
        let (filter, handle) = reload::Layer::new(Targets::new().with_default(LevelFilter::INFO));
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(subscriber, || {
            let levels = Levels::of(handle);
            assert_eq!(levels.level("hathi_zkfc::run"), LogLevel::Info);
            levels.set("hathi_zkfc", LogLevel::Debug).unwrap();
            assert_eq!(levels.level("hathi_zkfc::run"), LogLevel::Debug);
            assert_eq!(levels.level("hathi_net"), LogLevel::Info);
            assert!(tracing::enabled!(target: "hathi_zkfc::run", Level::DEBUG));
            assert!(!tracing::enabled!(target: "hathi_net", Level::DEBUG));
            levels.set("", LogLevel::Off).unwrap();
            assert_eq!(levels.level(""), LogLevel::Off);
            assert_eq!(levels.level("hathi_net"), LogLevel::Off);
            for number in 0..LOGGERS_MAX {
                let _ = levels.set(&format!("logger{number}"), LogLevel::Warn);
            }
            assert!(levels.set("one_more", LogLevel::Warn).is_err());
            levels.set("hathi_zkfc", LogLevel::Warn).unwrap();
        });
    }
}
