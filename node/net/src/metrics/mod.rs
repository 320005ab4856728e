//! Metrics for Prometheus: tables of families, and an exposition of their values in the text formats of Prometheus and
//! OpenMetrics.
//!
//! A daemon counts where it works (atomics, or one set of counters for each reactor thread) and makes an
//! [`Exposition`] when it is asked. So there is no registry to keep, and nothing is counted twice. Each family stands
//! once in a table ([`families!`](crate::families)), from which docs/metrics.md is made.
//!
//! Rules, which a test holds all tables to: base units (seconds, bytes) at the end of a name, `_total` for counters
//! only, a sentence of help for each. What can't be measured has no family.

mod exposition;
pub mod log;
pub mod process;
pub mod rpc;

pub use exposition::Exposition;

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Grows and falls.
    Gauge,
    /// A distribution of durations in seconds.
    Histogram,
}

impl Kind {
    /// Prometheus's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A family of metrics.
#[derive(Debug)]
pub struct Family {
    /// The name, with the unit and with `_total`.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub help: &'static str,
}

impl Family {
    /// Name without `_total`, and unit.
    fn parts(&self) -> (&'static str, Option<&'static str>) {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        for unit in ["seconds", "bytes"] {
            let before = name.strip_suffix(unit).and_then(|name| name.strip_suffix('_'));
            if let Some(before) = before {
                return (before, Some(unit));
            }
        }
        (name, None)
    }

    /// What is wrong with it by the conventions of Prometheus.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |what: &str| faults.push(format!("{}: {what}", self.name));
        let is_name = |name: &str| {
            name.starts_with(|first: char| first.is_ascii_lowercase())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        if !is_name(self.name) || !(self.name.starts_with("hathi_") || self.name.starts_with("process_")) {
            fault("no name of ours");
        }
        if (self.kind == Kind::Counter) != self.name.ends_with("_total") {
            fault("_total is for counters, and for all of them");
        }
        if self.kind == Kind::Histogram && self.parts().1 != Some("seconds") {
            fault("a histogram is of seconds");
        }
        for reserved in [
            "_count", "_sum", "_bucket", "_created", "_millis", "_ms", "_micros", "_percent",
        ] {
            if self.name.ends_with(reserved) {
                fault("its end is reserved, or no base unit");
            }
        }
        if !self.help.ends_with('.') || self.help.contains(['\n', '\\']) {
            fault("its help is no sentence on one line");
        }
        if !self.labels.iter().all(|label| is_name(label) && *label != "le") {
            fault("a label's name");
        }
        faults
    }
}

/// A table of families: a `static` for each, and one for all of them.
#[macro_export]
macro_rules! families {
    ($(#[$doc:meta])* $all:ident { $($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)+ }) => {
        $(
            #[doc = $help]
            pub static $constant: $crate::metrics::Family = $crate::metrics::Family {
                name: $name,
                kind: $crate::metrics::Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )+
        $(#[$doc])*
        pub static $all: &[&$crate::metrics::Family] = &[$(&$constant),+];
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_families_follow_the_conventions() {
        let all = process::FAMILIES.iter().chain(rpc::FAMILIES).chain(log::FAMILIES);
        let faults: Vec<String> = all.flat_map(|family| family.faults()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn faults_are_found() {
        let family = |name, kind, help| Family {
            name,
            kind,
            labels: &[],
            help,
        };
        for (family, faults) in [
            (family("hathi_calls_total", Kind::Counter, "Calls."), 0),
            (family("hathi_calls", Kind::Counter, "Calls."), 1),
            (family("hathi_calls_total", Kind::Gauge, "Calls."), 1),
            (family("hathi_wait_ms", Kind::Gauge, "Wait."), 1),
            (family("hathi_wait", Kind::Histogram, "Wait."), 1),
            (family("calls", Kind::Gauge, "calls"), 2),
        ] {
            assert_eq!(family.faults().len(), faults, "{:?}", family.faults());
        }
    }
}
