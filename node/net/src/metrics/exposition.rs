//! Values of families, and their text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use hyper::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Family, Kind};
use crate::histogram::HistogramCounts;
use crate::http::{self, HttpResponse, RequestHead};

/// Buckets of a histogram's counts that become one bucket of its family: limits are powers of four.
const STEP: usize = 2;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy, Debug)]
enum Value {
    Number(f64),
    Histogram(HistogramCounts),
}

#[derive(Clone, Debug)]
struct Samples {
    family: &'static Family,
    /// By the values of their labels, so that no series is there twice.
    values: BTreeMap<Vec<String>, Value>,
}

/// The values of a daemon's metrics at one moment.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, Samples>,
}

impl Exposition {
    /// Sets a counter or a gauge. `labels` are the values of the family's labels in their order.
    pub fn put(&mut self, family: &'static Family, labels: &[&str], value: impl Into<Number>) {
        debug_assert!(family.kind != Kind::Histogram, "{} is a histogram", family.name);
        self.set(family, labels, Value::Number(value.into().0));
    }

    /// Sets a gauge that is not always known.
    pub fn put_known(&mut self, family: &'static Family, labels: &[&str], value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.put(family, labels, value);
        }
    }

    /// Sets a gauge to 1 for the present one of several states, and to 0 for the others. The state is the last label.
    pub fn put_state(&mut self, family: &'static Family, labels: &[&str], states: &[&str], present: &str) {
        for state in states {
            let labels: Vec<&str> = labels.iter().chain([state]).copied().collect();
            self.put(family, &labels, *state == present);
        }
    }

    /// Sets a histogram.
    pub fn put_histogram(&mut self, family: &'static Family, labels: &[&str], counts: HistogramCounts) {
        debug_assert!(family.kind == Kind::Histogram, "{} is no histogram", family.name);
        self.set(family, labels, Value::Histogram(counts));
    }

    fn set(&mut self, family: &'static Family, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), family.labels.len(), "labels of {}", family.name);
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        let samples = self.families.entry(family.name).or_insert_with(|| Samples {
            family,
            values: BTreeMap::new(),
        });
        let before = samples.values.insert(labels, value);
        debug_assert!(before.is_none(), "{} is set twice", family.name);
    }

    /// The value of a counter or a gauge.
    #[must_use]
    pub fn get(&self, family: &Family, labels: &[&str]) -> Option<f64> {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        match self.families.get(family.name)?.values.get(&labels)? {
            Value::Number(number) => Some(*number),
            Value::Histogram(_) => None,
        }
    }

    /// The text format of OpenMetrics.
    #[must_use]
    pub fn open_metrics(&self) -> String {
        let mut out = String::new();
        for samples in self.families.values() {
            samples.encode(&mut out);
        }
        // Writing into a text does not fail.
        let _ = text::encode_eof(&mut out);
        out
    }

    /// The text format of Prometheus, version 0.0.4. It names a counter with its `_total`, and knows no units.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        for samples in self.families.values() {
            let mut text = String::new();
            samples.encode(&mut text);
            let name = samples.family.name;
            for line in text.lines() {
                if line.starts_with("# HELP ") {
                    let _ = writeln!(out, "# HELP {name} {}", samples.family.help);
                } else if line.starts_with("# TYPE ") {
                    let _ = writeln!(out, "# TYPE {name} {}", samples.family.kind.name());
                } else if !line.starts_with("# UNIT ") {
                    let _ = writeln!(out, "{line}");
                }
            }
        }
        out
    }

    /// Answers a scrape in the format that it asks for.
    #[must_use]
    pub fn respond(&self, head: &RequestHead) -> HttpResponse {
        let accept = head.header("accept").unwrap_or_default();
        if accept.contains("application/openmetrics-text") {
            http::bytes(StatusCode::OK, OPEN_METRICS, self.open_metrics())
        } else {
            http::bytes(StatusCode::OK, PROMETHEUS, self.prometheus())
        }
    }
}

impl Samples {
    fn encode(&self, out: &mut String) {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.clone()));
        // Writing into a text does not fail.
        let _ = text::encode_registry(out, &registry);
    }
}

impl Collector for Samples {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let family = self.family;
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
            Kind::Histogram => MetricType::Histogram,
        };
        let (name, unit) = family.parts();
        let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
        let mut metric = encoder.encode_descriptor(name, family.help, unit.as_ref(), kind)?;
        for (labels, value) in &self.values {
            let labels: Vec<(&str, &str)> = family
                .labels
                .iter()
                .copied()
                .zip(labels.iter().map(String::as_str))
                .collect();
            if labels.is_empty() {
                value.encode(family.kind, &mut metric)?;
            } else {
                value.encode(family.kind, &mut metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn encode(&self, kind: Kind, metric: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Value::Histogram(counts) => {
                metric.encode_histogram::<NoLabelSet>(counts.sum_seconds(), counts.count(), &counts.buckets(STEP), None)
            }
            Value::Number(number) if kind == Kind::Counter => {
                metric.encode_counter::<NoLabelSet, f64, f64>(number, None)
            }
            Value::Number(number) => metric.encode_gauge(number),
        }
    }
}

/// A value of a counter or a gauge.
#[derive(Clone, Copy, Debug)]
pub struct Number(f64);

macro_rules! numbers {
    ($($integer:ty)+) => {
        $(
            impl From<$integer> for Number {
                fn from(value: $integer) -> Number {
                    // Prometheus has only this type.
                    Number(value as f64)
                }
            }
        )+
    };
}

numbers!(u32 u64 usize i64 f64);

impl From<bool> for Number {
    fn from(value: bool) -> Number {
        Number(f64::from(u8::from(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    crate::families! {
        ALL {
            CALLS: Counter "hathi_calls_total" ["method"] "Calls.";
            FREE: Gauge "hathi_free_bytes" [] "Free.";
            TOOK: Histogram "hathi_took_seconds" [] "Time.";
        }
    }

    fn exposition() -> Exposition {
        assert_eq!(ALL.len(), 3);
        let mut exposition = Exposition::default();
        exposition.put(&CALLS, &["a\"b\\c\n"], 3_u64);
        exposition.put(&FREE, &[], 1.5);
        let histogram = Histogram::default();
        histogram.add_micros(7);
        histogram.add_micros(10_000_000);
        exposition.put_histogram(&TOOK, &[], histogram.counts());
        exposition
    }

    #[test]
    fn both_formats_are_as_their_readers_expect() {
        let text = exposition().prometheus();
        let expected = "# HELP hathi_calls_total Calls.\n# TYPE hathi_calls_total counter\n\
            hathi_calls_total{method=\"a\\\"b\\\\c\\n\"} 3.0\n\
            # HELP hathi_free_bytes Free.\n# TYPE hathi_free_bytes gauge\nhathi_free_bytes 1.5\n\
            # HELP hathi_took_seconds Time.\n# TYPE hathi_took_seconds histogram\n\
            hathi_took_seconds_sum 10.000007\nhathi_took_seconds_count 2\n";
        assert!(text.starts_with(expected), "{text}");
        assert!(
            text.contains("hathi_took_seconds_bucket{le=\"0.000008\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with("hathi_took_seconds_bucket{le=\"+Inf\"} 2\n"), "{text}");

        let text = exposition().open_metrics();
        let expected = "# HELP hathi_calls Calls.\n# TYPE hathi_calls counter\nhathi_calls_total{";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("# UNIT hathi_free_bytes bytes\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }
}
