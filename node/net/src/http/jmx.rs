//! `/jmx` (`JMXJsonServlet`) and Prometheus text.

use serde_json::{Map, Value};

use super::{HttpResponse, Query};

/// One bean: its ObjectName, its `modelerType`, its attributes.
#[derive(Clone, Debug)]
pub struct Bean {
    /// `Hadoop:service=NameNode,name=NameNodeInfo`.
    pub name: String,
    /// The Java class, or the record name of a metrics bean.
    pub modeler_type: String,
    /// Attributes in order.
    pub attributes: Map<String, Value>,
}

/// Answers a `/jmx` request (`qry`, `get`) from all beans of the daemon.
#[must_use]
pub fn respond(_query: &Query, _beans: Vec<Bean>) -> HttpResponse {
    unimplemented!()
}

/// Prometheus text (`PrometheusMetricsSink`) of the numbers in beans, `hathi_<bean>_<attribute>{..}`.
#[must_use]
pub fn prometheus(_beans: &[Bean]) -> String {
    unimplemented!()
}
