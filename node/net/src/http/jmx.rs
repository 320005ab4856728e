//! `/jmx` (`JMXJsonServlet`).

use std::collections::BTreeMap;

use hyper::StatusCode;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use serde_json::{Map, Value, json};

use super::{HttpResponse, Query};
use crate::histogram::HistogramCounts;
use crate::ipc::RpcMeter;
use crate::metrics::log::LOG;
use crate::metrics::process::ProcessFigures;

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

/// `RpcActivityForPort<port>` and `RpcDetailedActivityForPort<port>` of each listener of an RPC server. Counters that a
/// server has for all of its listeners together stand at the first one. Calls are served where they are read, so their
/// queue is what was read and is not served yet. The averages are of the time since the start.
#[must_use]
pub fn rpc_beans(service: &str, meter: &RpcMeter) -> Vec<Bean> {
    let metrics = meter.metrics();
    let mut beans = Vec::new();
    for (place, (port, methods)) in meter.methods().into_iter().enumerate() {
        let (mut queue, mut processing) = (HistogramCounts::default(), HistogramCounts::default());
        let mut detailed = Map::new();
        detailed.insert("tag.port".into(), port.to_string().into());
        detailed.insert("tag.Context".into(), "rpcdetailed".into());
        for times in &methods {
            queue.merge(&times.queue);
            processing.merge(&times.processing);
            let name = java_metric_name(times.method.name());
            // Of two protocols with a method of this name, Hadoop has one pair of metrics too.
            let known = detailed
                .get(&format!("{name}NumOps"))
                .and_then(Value::as_u64)
                .unwrap_or(0);
            let (count, mean) = (times.processing.count(), times.processing.mean_ms());
            if count >= known {
                detailed.insert(format!("{name}AvgTime"), mean.into());
            }
            detailed.insert(format!("{name}NumOps"), (known + count).into());
        }
        let mut activity = json!({
            "tag.port": port.to_string(),
            "tag.Context": "rpc",
            "RpcQueueTimeNumOps": queue.count(),
            "RpcQueueTimeAvgTime": queue.mean_ms(),
            "RpcProcessingTimeNumOps": processing.count(),
            "RpcProcessingTimeAvgTime": processing.mean_ms(),
            "TotalRequests": queue.count(),
        });
        if let Some(activity) = activity.as_object_mut().filter(|_| place == 0) {
            for (name, value) in [
                ("ReceivedBytes", metrics.received_bytes),
                ("SentBytes", metrics.sent_bytes),
                ("RpcClientBackoff", metrics.too_busy),
                ("NumOpenConnections", metrics.connections),
                ("CallsOutstanding", metrics.outstanding),
                ("Exceptions", metrics.exceptions),
                ("UnsentBytes", metrics.outbox_bytes),
                ("RpcSlowCalls", meter.slow_calls().0),
            ] {
                activity.insert(name.to_owned(), value.into());
            }
        }
        let name = format!("RpcActivityForPort{port}");
        beans.push(Bean::new(service, &name, &name, activity));
        let name = format!("RpcDetailedActivityForPort{port}");
        beans.push(Bean::new(service, &name, &name, Value::Object(detailed)));
    }
    beans
}

/// `getFileInfo` becomes `GetFileInfo`, as in Hadoop's metrics.
fn java_metric_name(method: &str) -> String {
    let mut chars = method.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_ascii_uppercase().to_string() + chars.as_str()
    })
}

/// What of Hadoop's `JvmMetrics` has a meaning without a Java virtual machine: memory, threads and lines of the log.
#[must_use]
pub fn process_bean(service: &str) -> Bean {
    let figures = ProcessFigures::now();
    let [error, warn, info] = LOG.lines();
    let mut attributes = json!({
        "tag.Context": "jvm",
        "tag.ProcessName": service,
        "LogError": error,
        "LogWarn": warn,
        "LogInfo": info,
        "LogLinesLost": LOG.lines_lost(),
    });
    if let Some(attributes) = attributes.as_object_mut() {
        let megabytes = |bytes: u64| Value::from(bytes as f64 / f64::from(1 << 20));
        let known = [
            ("MemNonHeapUsedM", figures.resident_bytes.map(megabytes)),
            ("ThreadsRunnable", figures.threads.map(Value::from)),
        ];
        for (name, value) in known {
            attributes.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    Bean::new(service, "JvmMetrics", "JvmMetrics", attributes)
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
}
