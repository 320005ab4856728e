//! Evaluates the expressions of dist/alerts.yml over scraped metrics: as much of Prometheus's language as they use.
//!
//! There are two scrapes. An instant vector is of the second one, and `rate` and `increase` are between the two.

use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::time::SystemTime;

pub(super) type Labels = BTreeMap<String, String>;
const NAME: &str = "__name__";

/// A value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub labels: Labels,
    pub value: f64,
    /// When it was scraped, in seconds since 1970.
    pub at: f64,
}

/// All targets at one time.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape(Vec<Sample>);

impl Scrape {
    /// Adds a target: its job and address, and the text of its `/metrics`, if it has answered.
    pub fn add(&mut self, job: &str, instance: &str, text: Option<&str>) -> Result<()> {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
        let target = [("job", job), ("instance", instance), ("cluster", "test")];
        let mut put = |name: &str, own: Labels, value| {
            let mut labels = own;
            labels.extend(target.map(|(key, value)| (key.to_owned(), value.to_owned())));
            labels.insert(NAME.to_owned(), name.to_owned());
            // To Prometheus an empty label is none.
            labels.retain(|_, value| !value.is_empty());
            self.0.push(Sample { labels, value, at });
        };
        put("up", Labels::new(), f64::from(u8::from(text.is_some())));
        for line in text.unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            put(name, labels_of(labels)?, value.parse()?);
        }
        Ok(())
    }
}

/// `a="b",c="d"}`
fn labels_of(text: &str) -> Result<Labels> {
    let mut labels = Labels::new();
    let mut rest = text;
    while let Some((key, more)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = more.char_indices();
        let end = loop {
            match chars.next().with_context(|| text.to_owned())? {
                (_, '\\') => value.extend(chars.next().map(|(_, c)| c)),
                (at, '"') => break at + 1,
                (_, c) => value.push(c),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), value);
        rest = &more[end..];
    }
    Ok(labels)
}

#[derive(Clone, Debug)]
enum Value {
    Scalar(f64),
    Vector(Vec<Sample>),
}

/// The samples for which an expression holds.
pub(super) fn evaluate(expression: &str, before: &Scrape, now: &Scrape) -> Result<Vec<Sample>> {
    let mut parser = Parser {
        tokens: tokens(expression)?,
        at: 0,
        before,
        now,
    };
    let value = parser.binary(0).with_context(|| expression.to_owned())?;
    ensure!(
        parser.at == parser.tokens.len(),
        "{expression}: not all of it was understood"
    );
    match value {
        Value::Vector(samples) => Ok(samples),
        Value::Scalar(_) => bail!("{expression}: a scalar is no alert"),
    }
}

fn tokens(text: &str) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let len = match first {
            _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            '"' => rest[1..].find('"').context("a string without an end")? + 2,
            _ if ["==", "!=", "<=", ">=", "=~"].iter().any(|two| rest.starts_with(two)) => 2,
            _ => first.len_utf8(),
        };
        tokens.push(rest[..len].to_owned());
        rest = rest[len..].trim_start();
    }
    Ok(tokens)
}

/// Operators, the loosest first.
const LEVELS: [&[&str]; 5] = [
    &["or"],
    &["and", "unless"],
    &["==", "!=", "<=", ">=", "<", ">"],
    &["+", "-"],
    &["*", "/"],
];

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    before: &'a Scrape,
    now: &'a Scrape,
}

impl Parser<'_> {
    fn peek(&self) -> &str {
        self.tokens.get(self.at).map_or("", String::as_str)
    }

    fn take(&mut self) -> String {
        let token = self.peek().to_owned();
        self.at += 1;
        token
    }

    fn take_if(&mut self, token: &str) -> bool {
        let is_it = self.peek() == token;
        self.at += usize::from(is_it);
        is_it
    }

    fn expect(&mut self, token: &str) -> Result<()> {
        let found = self.take();
        ensure!(found == token, "{found} instead of {token}");
        Ok(())
    }

    fn binary(&mut self, level: usize) -> Result<Value> {
        let Some(operators) = LEVELS.get(level) else {
            return self.primary();
        };
        let mut left = self.binary(level + 1)?;
        while operators.contains(&self.peek()) {
            let operator = self.take();
            let on = if self.take_if("on") { Some(self.names()?) } else { None };
            if self.take_if("group_left") {
                ensure!(self.names()?.is_empty(), "labels of group_left");
            }
            let right = self.binary(level + 1)?;
            left = combine(&operator, on.as_deref(), left, right)?;
        }
        Ok(left)
    }

    /// `(a, b)`
    fn names(&mut self) -> Result<Vec<String>> {
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.take_if(")") {
            names.push(self.take());
            self.take_if(",");
        }
        Ok(names)
    }

    fn primary(&mut self) -> Result<Value> {
        let token = self.take();
        if let Ok(number) = token.parse() {
            return Ok(Value::Scalar(number));
        }
        match token.as_str() {
            "(" => {
                let value = self.binary(0)?;
                self.expect(")")?;
                Ok(value)
            }
            "sum" | "min" | "max" | "count" => {
                ensure!(self.take_if("by"), "an aggregation without by");
                let by = self.names()?;
                Ok(Value::Vector(aggregate(&token, &by, self.argument()?)?))
            }
            "abs" => self.each(f64::abs),
            "floor" => self.each(f64::floor),
            "time" => {
                self.expect("(")?;
                self.expect(")")?;
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
                Ok(Value::Scalar(now.as_secs_f64()))
            }
            "timestamp" => {
                let mut samples = self.argument()?;
                for sample in &mut samples {
                    sample.value = sample.at;
                    sample.labels.remove(NAME);
                }
                Ok(Value::Vector(samples))
            }
            "rate" | "increase" => {
                self.expect("(")?;
                let series = self.take();
                let value = self.between(&series, token == "rate")?;
                self.expect(")")?;
                Ok(value)
            }
            "histogram_quantile" => {
                self.expect("(")?;
                let part: f64 = self.take().parse()?;
                self.expect(",")?;
                let buckets = self.binary(0)?;
                self.expect(")")?;
                match buckets {
                    Value::Vector(buckets) => quantile(part, buckets),
                    Value::Scalar(_) => bail!("a quantile of a scalar"),
                }
            }
            _ => {
                let now = self.now;
                Ok(Value::Vector(self.select(&token, now)?))
            }
        }
    }

    /// The vector in the parentheses that follow.
    fn argument(&mut self) -> Result<Vec<Sample>> {
        self.expect("(")?;
        let value = self.binary(0)?;
        self.expect(")")?;
        match value {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar(_) => bail!("a scalar where a vector is needed"),
        }
    }

    fn each(&mut self, change: impl Fn(f64) -> f64) -> Result<Value> {
        let mut samples = self.argument()?;
        for sample in &mut samples {
            sample.value = change(sample.value);
            sample.labels.remove(NAME);
        }
        Ok(Value::Vector(samples))
    }

    /// The series of this name, with the matchers that follow.
    fn select(&mut self, name: &str, scrape: &Scrape) -> Result<Vec<Sample>> {
        let mut found: Vec<Sample> = scrape
            .0
            .iter()
            .filter(|sample| sample.labels[NAME] == name)
            .cloned()
            .collect();
        if self.take_if("{") {
            while !self.take_if("}") {
                let (key, operator, value) = (self.take(), self.take(), self.take());
                let value = value.trim_matches('"').to_owned();
                found.retain(|sample| {
                    let own = sample.labels.get(&key).map_or("", String::as_str);
                    match (operator.as_str(), value.strip_suffix(".*")) {
                        ("=~", Some(start)) => own.starts_with(start),
                        _ => own == value,
                    }
                });
                self.take_if(",");
            }
        }
        Ok(found)
    }

    /// By how much a counter has grown, or by how much in a second. One that is smaller than before has begun anew.
    fn between(&mut self, name: &str, per_second: bool) -> Result<Value> {
        let at = self.at;
        let (earlier, now) = (self.before, self.now);
        let before: BTreeMap<Labels, (f64, f64)> = self
            .select(name, earlier)?
            .into_iter()
            .map(|sample| (sample.labels, (sample.value, sample.at)))
            .collect();
        self.at = at;
        let mut samples = self.select(name, now)?;
        self.expect("[")?;
        self.take();
        self.expect("]")?;
        samples.retain_mut(|sample| {
            let Some((then, then_at)) = before.get(&sample.labels).copied() else {
                return false;
            };
            let grown = if sample.value < then {
                sample.value
            } else {
                sample.value - then
            };
            sample.value = if per_second {
                grown / (sample.at - then_at).max(1e-3)
            } else {
                grown
            };
            sample.labels.remove(NAME);
            true
        });
        Ok(Value::Vector(samples))
    }
}

fn key(labels: &Labels, on: Option<&[String]>) -> Labels {
    let mut key = labels.clone();
    key.retain(|name, _| on.map_or(name != NAME, |on| on.contains(name)));
    key
}

fn compute(operator: &str, left: f64, right: f64) -> (f64, bool) {
    let holds = |holds| (left, holds);
    match operator {
        "+" => (left + right, true),
        "-" => (left - right, true),
        "*" => (left * right, true),
        "/" => (left / right, true),
        "==" => holds(left == right),
        "!=" => holds(left != right),
        "<=" => holds(left <= right),
        ">=" => holds(left >= right),
        "<" => holds(left < right),
        _ => holds(left > right),
    }
}

fn combine(operator: &str, on: Option<&[String]>, left: Value, right: Value) -> Result<Value> {
    let is_set = ["and", "or", "unless"].contains(&operator);
    let keeps_name = LEVELS[2].contains(&operator);
    let of_scalar = |samples: Vec<Sample>, value: &dyn Fn(f64) -> (f64, bool)| {
        let each = samples.into_iter().filter_map(|mut sample| {
            let (value, holds) = value(sample.value);
            sample.value = value;
            if !keeps_name {
                sample.labels.remove(NAME);
            }
            holds.then_some(sample)
        });
        Value::Vector(each.collect())
    };
    let (left, right) = match (left, right) {
        (Value::Vector(left), Value::Vector(right)) => (left, right),
        _ if is_set => bail!("{operator} of a scalar"),
        (Value::Scalar(left), Value::Scalar(right)) => return Ok(Value::Scalar(compute(operator, left, right).0)),
        (Value::Vector(left), Value::Scalar(right)) => {
            return Ok(of_scalar(left, &|value| compute(operator, value, right)));
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            return Ok(of_scalar(right, &|value| compute(operator, left, value)));
        }
    };
    let partner = |sample: &Sample, of: &[Sample]| {
        let wanted = key(&sample.labels, on);
        of.iter().find(|other| key(&other.labels, on) == wanted).cloned()
    };
    Ok(match operator {
        "or" => {
            let more: Vec<Sample> = right
                .into_iter()
                .filter(|sample| partner(sample, &left).is_none())
                .collect();
            Value::Vector(left.into_iter().chain(more).collect())
        }
        "and" => Value::Vector(
            left.into_iter()
                .filter(|sample| partner(sample, &right).is_some())
                .collect(),
        ),
        "unless" => Value::Vector(
            left.into_iter()
                .filter(|sample| partner(sample, &right).is_none())
                .collect(),
        ),
        _ => {
            let each = left.into_iter().filter_map(|mut sample| {
                let (value, holds) = compute(operator, sample.value, partner(&sample, &right)?.value);
                sample.value = value;
                if !keeps_name {
                    sample.labels.remove(NAME);
                }
                holds.then_some(sample)
            });
            Value::Vector(each.collect())
        }
    })
}

fn aggregate(how: &str, by: &[String], samples: Vec<Sample>) -> Result<Vec<Sample>> {
    let mut groups: BTreeMap<Labels, Vec<Sample>> = BTreeMap::new();
    for sample in samples {
        groups.entry(key(&sample.labels, Some(by))).or_default().push(sample);
    }
    let of_group = |(labels, samples): (Labels, Vec<Sample>)| {
        let values = samples.iter().map(|sample| sample.value);
        let value = match how {
            "sum" => values.sum(),
            "min" => values.fold(f64::INFINITY, f64::min),
            "max" => values.fold(f64::NEG_INFINITY, f64::max),
            _ => values.count() as f64,
        };
        let at = samples.first().context("no group is empty")?.at;
        Ok(Sample { labels, value, at })
    };
    groups.into_iter().map(of_group).collect()
}

/// Between the bounds of the bucket that holds it.
fn quantile(part: f64, buckets: Vec<Sample>) -> Result<Value> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    let mut at = 0.0;
    for mut bucket in buckets {
        let bound = bucket.labels.remove("le").context("a bucket without le")?.parse()?;
        histograms.entry(bucket.labels).or_default().push((bound, bucket.value));
        at = bucket.at;
    }
    let mut samples = Vec::new();
    for (labels, mut buckets) in histograms {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        let wanted = part * all;
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in buckets {
            if count >= wanted && all > 0.0 {
                let inside = (wanted - below) / (count - below).max(f64::MIN_POSITIVE);
                let value = if bound.is_finite() {
                    low + (bound - low) * inside
                } else {
                    low
                };
                samples.push(Sample { labels, value, at });
                break;
            }
            (low, below) = (bound, count);
        }
    }
    Ok(Value::Vector(samples))
}

/// A rule's text with its labels and value put in.
pub(super) fn render(template: &str, sample: &Sample) -> String {
    let mut text = template.replace("{{ $value }}", &sample.value.to_string());
    for (name, value) in &sample.labels {
        text = text.replace(&format!("{{{{ $labels.{name} }}}}"), value);
    }
    text
}

#[test]
fn expressions_are_evaluated_as_prometheus_evaluates_them() -> Result<()> {
    let scrape = |a: u32, b: u32, ticks: u32| -> Result<Scrape> {
        let mut scrape = Scrape::default();
        let text = |x: u32| {
            format!(
                "# TYPE x gauge\nx{{k=\"v,\\\"1\"}} {x}\nticks_total {ticks}\nh_bucket{{le=\"1\"}} 0\n\
                 h_bucket{{le=\"2\"}} {ticks}\nh_bucket{{le=\"+Inf\"}} {ticks}\n"
            )
        };
        scrape.add("hathi-a", "one", Some(&text(a)))?;
        scrape.add("hathi-a", "two", Some(&text(b)))?;
        scrape.add("hathi-b", "three", None)?;
        Ok(scrape)
    };
    let (before, now) = (scrape(1, 2, 10)?, scrape(1, 3, 20)?);
    let who = |expression: &str| -> Result<Vec<(String, f64)>> {
        let samples = evaluate(expression, &before, &now)?;
        let each = samples.iter().map(|sample| {
            let instance = sample.labels.get("instance").cloned().unwrap_or_default();
            (instance, sample.value)
        });
        Ok(each.collect())
    };
    for (expression, expected) in [
        ("up{job=~\"hathi-.*\"} == 0", &[("three", 0.0)][..]),
        ("x > 1", &[("two", 3.0)]),
        ("x{instance=\"one\"} == 1 or x == 3", &[("one", 1.0), ("two", 3.0)]),
        ("sum by (cluster) (x) + 1", &[("", 5.0)]),
        ("count by (job) (x) * 2", &[("", 4.0)]),
        ("x unless on (instance) (x > 1)", &[("one", 1.0)]),
        ("x and on (instance) x == 3", &[("two", 3.0)]),
        ("x < on (cluster) group_left () max by (cluster) (x)", &[("one", 1.0)]),
        ("increase(ticks_total{instance=\"one\"}[5m]) > 9", &[("one", 10.0)]),
        ("floor(x / 2) == 1", &[("two", 1.0)]),
        (
            "histogram_quantile(0.5, sum by (le) (rate(h_bucket[5m]))) > 1",
            &[("", 1.5)],
        ),
        ("abs(x - timestamp(x)) < 2", &[]),
    ] {
        let expected: Vec<(String, f64)> = expected
            .iter()
            .map(|(who, value)| ((*who).to_owned(), *value))
            .collect();
        assert_eq!(who(expression)?, expected, "{expression}");
    }
    assert_eq!(now.0[1].labels["k"], "v,\"1");
    for wrong in ["x >", "x )", "sum(x)", "x and 1"] {
        assert!(evaluate(wrong, &before, &now).is_err(), "{wrong}");
    }
    Ok(())
}
