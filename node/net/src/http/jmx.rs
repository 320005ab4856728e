//! `/jmx` (`JMXJsonServlet`) and Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;

use hyper::StatusCode;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use serde_json::{Map, Value, json};

use super::{HttpResponse, Query};
use crate::ipc::ServerMetrics;

/// One bean: its ObjectName, its `modelerType` and its attributes.
#[derive(Clone, Debug)]
pub struct Bean {
    /// `Hadoop:service=NameNode,name=NameNodeInfo`.
    pub name: String,
    /// The Java class, or the record name of a metrics bean.
    pub modeler_type: String,
    /// Attributes in order.
    pub attributes: Map<String, Value>,
}

impl Bean {
    /// A bean of a service (`NameNode`, `JournalNode`, ...). `attributes` is a JSON object.
    #[must_use]
    pub fn new(service: &str, name: &str, modeler_type: &str, attributes: Value) -> Bean {
        Bean {
            name: format!("Hadoop:service={service},name={name}"),
            modeler_type: modeler_type.to_owned(),
            attributes: match attributes {
                Value::Object(attributes) => attributes,
                _ => Map::new(),
            },
        }
    }

    fn to_json(&self, only: Option<&str>) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), self.name.clone().into());
        object.insert("modelerType".into(), self.modeler_type.clone().into());
        match only {
            None => object.extend(self.attributes.clone()),
            Some(attribute) => match self.attributes.get(attribute) {
                Some(value) => {
                    object.insert(attribute.to_owned(), value.clone());
                }
                None => {
                    object.insert("result".into(), "ERROR".into());
                    let message = format!("No attribute with name {attribute} was found.");
                    object.insert("message".into(), message.into());
                }
            },
        }
        Value::Object(object)
    }
}

/// `RpcActivityForPort<port>` of an RPC server. Calls are served where they are read, so there is no queue. Calls under
/// way wait for their replies.
#[must_use]
pub fn rpc_activity(service: &str, port: u16, metrics: &ServerMetrics) -> Bean {
    let name = format!("RpcActivityForPort{port}");
    let attributes = json!({
        "tag.port": port.to_string(),
        "tag.Context": "rpc",
        "ReceivedBytes": metrics.received_bytes,
        "SentBytes": metrics.sent_bytes,
        "RpcQueueTimeNumOps": metrics.calls,
        "RpcProcessingTimeNumOps": metrics.calls,
        "RpcClientBackoff": metrics.too_busy,
        "NumOpenConnections": metrics.connections,
        "CallQueueLength": 0,
        "TotalRequests": metrics.calls,
        "CallsOutstanding": metrics.outstanding,
        "Exceptions": metrics.exceptions,
        "UnsentBytes": metrics.outbox_bytes,
    });
    Bean::new(service, &name, &name, attributes)
}

/// Answers a `/jmx` request (parameters `qry`, `get`) from all beans of the daemon.
#[must_use]
pub fn respond(query: &Query, beans: impl AsRef<[Bean]>) -> HttpResponse {
    let (status, body) = answer(query, beans.as_ref());
    let text = serde_json::to_string_pretty(&body).unwrap_or_default();
    let mut response = super::bytes(status, "application/json; charset=utf8", text);
    response
        .headers_mut()
        .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn answer(query: &Query, beans: &[Bean]) -> (StatusCode, Value) {
    let error = |message: &str| (StatusCode::BAD_REQUEST, json!({"result": "ERROR", "message": message}));
    if let Some(get) = query.get("get") {
        let Some((name, attribute)) = get.split_once("::").filter(|(_, rest)| !rest.contains("::")) else {
            return error("query format is not as expected.");
        };
        let Some(pattern) = Pattern::parse(name) else {
            return error("Invalid ObjectName");
        };
        let found = beans.iter().find(|bean| pattern.matches(&bean.name));
        let known = found.is_none_or(|bean| bean.attributes.contains_key(attribute));
        let status = if known { StatusCode::OK } else { StatusCode::NOT_FOUND };
        let found: Vec<_> = found.map(|bean| bean.to_json(Some(attribute))).into_iter().collect();
        return (status, json!({ "beans": found }));
    }
    let Some(pattern) = Pattern::parse(query.get("qry").unwrap_or("*:*")) else {
        return error("Invalid ObjectName");
    };
    let found: Vec<_> = beans
        .iter()
        .filter(|bean| pattern.matches(&bean.name))
        .map(|bean| bean.to_json(None))
        .collect();
    (StatusCode::OK, json!({ "beans": found }))
}

/// A `javax.management.ObjectName` pattern: `domain:key=value,...`, with `*` and `?` in the domain and in values, and
/// `*` among the properties for any others.
struct Pattern<'a> {
    domain: &'a str,
    properties: BTreeMap<&'a str, &'a str>,
    others: bool,
}

impl<'a> Pattern<'a> {
    fn parse(text: &'a str) -> Option<Pattern<'a>> {
        let (domain, rest) = text.split_once(':')?;
        let mut properties = BTreeMap::new();
        let mut others = false;
        for property in rest.split(',') {
            if property == "*" {
                others = true;
            } else {
                let (key, value) = property.split_once('=')?;
                properties.insert(key, value);
            }
        }
        Some(Pattern {
            domain,
            properties,
            others,
        })
    }

    fn matches(&self, name: &str) -> bool {
        let Some(name) = Pattern::parse(name) else {
            return false;
        };
        glob(self.domain.as_bytes(), name.domain.as_bytes())
            && (self.others || self.properties.len() == name.properties.len())
            && self.properties.iter().all(|(key, pattern)| {
                name.properties
                    .get(key)
                    .is_some_and(|value| glob(pattern.as_bytes(), value.as_bytes()))
            })
    }
}

/// Matches `*` and `?`. Only the last star is ever retried, so that backtracking does not blow up.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&expected) if expected == b'?' || expected == byte => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((after_star, from)) => {
                    *from += 1;
                    p = *after_star;
                    t = *from;
                }
                None => return false,
            },
        }
    }
    pattern
        .get(p..)
        .is_none_or(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Prometheus text of the numbers, booleans and histograms in beans: `hathi_<attribute>{service="..",name=".."}`. A
/// histogram is an object with `buckets` (pairs of a limit and the count up to it), `sum` and `count`.
#[must_use]
pub fn prometheus(beans: &[Bean]) -> String {
    let mut metrics: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for bean in beans {
        let labels = labels(&bean.name);
        for (attribute, value) in &bean.attributes {
            let value = match value {
                Value::Object(histogram) => {
                    let name = format!("hathi_{}", snake(attribute));
                    put_histogram(&mut metrics, &name, &labels, histogram);
                    continue;
                }
                Value::Number(number) => number.to_string(),
                Value::Bool(flag) => u8::from(*flag).to_string(),
                _ => continue,
            };
            metrics
                .entry(format!("hathi_{}", snake(attribute)))
                .or_default()
                .push(format!("{{{labels}}} {value}"));
        }
    }
    let mut text = String::new();
    for (metric, values) in metrics {
        let _ = writeln!(text, "# TYPE {metric} untyped");
        for value in values {
            let _ = writeln!(text, "{metric}{value}");
        }
    }
    text
}

fn put_histogram(
    metrics: &mut BTreeMap<String, Vec<String>>,
    name: &str,
    labels: &str,
    histogram: &Map<String, Value>,
) {
    let (Some(buckets), Some(sum), Some(count)) = (
        histogram.get("buckets").and_then(Value::as_array),
        histogram.get("sum"),
        histogram.get("count"),
    ) else {
        return;
    };
    let mut put = |suffix: &str, value: String| metrics.entry(format!("{name}{suffix}")).or_default().push(value);
    for bucket in buckets {
        if let (Some(limit), Some(upto)) = (bucket.get(0), bucket.get(1)) {
            put("_bucket", format!("{{{labels},le=\"{limit}\"}} {upto}"));
        }
    }
    put("_bucket", format!("{{{labels},le=\"+Inf\"}} {count}"));
    put("_sum", format!("{{{labels}}} {sum}"));
    put("_count", format!("{{{labels}}} {count}"));
}

fn labels(name: &str) -> String {
    let Some(name) = Pattern::parse(name) else {
        return String::new();
    };
    let mut labels = String::new();
    for (key, value) in name.properties {
        let separator = if labels.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = write!(labels, "{separator}{key}=\"{value}\"");
    }
    labels
}

/// `NumLiveDataNodes` becomes `num_live_data_nodes`.
fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 8);
    let mut lower_before = false;
    for char in name.chars() {
        if !char.is_ascii_alphanumeric() {
            if !out.ends_with('_') {
                out.push('_');
            }
            lower_before = false;
            continue;
        }
        if char.is_ascii_uppercase() && lower_before {
            out.push('_');
        }
        lower_before = !char.is_ascii_uppercase();
        out.push(char.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beans() -> Vec<Bean> {
        vec![
            Bean::new(
                "JournalNode",
                "JournalNodeInfo",
                "class",
                json!({"Version": "1", "Up": true}),
            ),
            Bean::new(
                "JournalNode",
                "Journal-ns1",
                "Journal-ns1",
                json!({"CurrentLagTxns": 3, "tag.Context": "x"}),
            ),
        ]
    }

    fn check(query: &str, status: u16, expected: Value) {
        assert_eq!(
            answer(&Query::parse(query), &beans()),
            (StatusCode::from_u16(status).unwrap(), expected),
            "{query}"
        );
    }

    #[test]
    fn queries_choose_beans() {
        let all = answer(&Query::parse(""), &beans()).1;
        assert_eq!(all["beans"].as_array().unwrap().len(), 2);
        assert_eq!(
            all["beans"][0]["name"],
            "Hadoop:service=JournalNode,name=JournalNodeInfo"
        );
        assert_eq!(all["beans"][1]["CurrentLagTxns"], 3);
        let one = json!({"beans": [{"name": "Hadoop:service=JournalNode,name=Journal-ns1", "modelerType": "Journal-ns1",
            "CurrentLagTxns": 3, "tag.Context": "x"}]});
        check("qry=Hadoop:service=JournalNode,name=Journal-*", 200, one.clone());
        check("qry=Had*:name=Journal-ns?,*", 200, one);
        check("qry=Hadoop:service=JournalNode", 200, json!({"beans": []}));
        check("qry=java.lang:*", 200, json!({"beans": []}));
        assert_eq!(
            answer(&Query::parse("qry=nonsense"), &beans()).0,
            StatusCode::BAD_REQUEST
        );
    }

    #[test]
    fn get_chooses_an_attribute() {
        check(
            "get=Hadoop:service=JournalNode,name=Journal-ns1::CurrentLagTxns",
            200,
            json!({"beans": [{"name": "Hadoop:service=JournalNode,name=Journal-ns1", "modelerType": "Journal-ns1",
                "CurrentLagTxns": 3}]}),
        );
        let (status, body) = answer(
            &Query::parse("get=Hadoop:service=JournalNode,name=Journal-ns1::No"),
            &beans(),
        );
        assert_eq!((status.as_u16(), &body["beans"][0]["result"]), (404, &json!("ERROR")));
        check("get=Hadoop:service=X,name=Y::No", 200, json!({"beans": []}));
        assert_eq!(answer(&Query::parse("get=x"), &beans()).0, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn globs_match() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b", "ab", true),
            ("a*b", "aXbXb", true),
            ("a*b", "aXbX", false),
            ("?", "", false),
            ("a**", "a", true),
            ("*ab*ab", "xabab", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn numbers_become_metrics() {
        assert_eq!(
            prometheus(&beans()),
            "# TYPE hathi_current_lag_txns untyped\n\
             hathi_current_lag_txns{name=\"Journal-ns1\",service=\"JournalNode\"} 3\n\
             # TYPE hathi_up untyped\n\
             hathi_up{name=\"JournalNodeInfo\",service=\"JournalNode\"} 1\n"
        );
        assert_eq!(snake("RpcQueueTime60s.AvgTime"), "rpc_queue_time60s_avg_time");
    }
}
