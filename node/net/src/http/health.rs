//! `/health`, `/health/live` and `/health/ready`, for load balancers, Kubernetes and people.
//!
//! A daemon that answers at all is live. Whether it is ready, it says itself, with its reasons.

use hyper::StatusCode;
use serde_json::json;

use super::{HttpResponse, RequestHead};

/// Whether a daemon does what it is there for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Its state in a word, as `active`.
    pub state: String,
    /// Why it is not ready. Empty: it is.
    pub reasons: Vec<String>,
}

/// Answers a request for one of the three pages; `None` for all others. `health` is asked only when it is needed.
///
/// With `?role=STATE` a daemon in another state is not ready: `/health/ready?role=active` leads a load balancer to the
/// active NameNode.
pub fn respond(head: &RequestHead, health: impl FnOnce() -> Health) -> Option<HttpResponse> {
    match head.path.as_str() {
        "/health/live" => Some(super::json(StatusCode::OK, json!({"status": "ok"}).to_string())),
        "/health" | "/health/ready" => Some(ready(health(), head.query.get("role"))),
        _ => None,
    }
}

fn ready(health: Health, role: Option<&str>) -> HttpResponse {
    let Health { state, mut reasons } = health;
    if let Some(role) = role
        && role != state
    {
        reasons.push(format!("the state is {state}, not {role}"));
    }
    let (status, word) = if reasons.is_empty() {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    super::json(
        status,
        json!({"status": word, "state": state, "reasons": reasons}).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{HeaderMap, Method, Uri};

    #[test]
    fn a_role_that_is_asked_for_counts() {
        let check = |uri: &'static str, reasons: &[&str], expected: Option<u16>| {
            let head = RequestHead::new(
                Method::GET,
                &Uri::from_static(uri),
                HeaderMap::new(),
                ([127, 0, 0, 1], 1).into(),
            );
            let health = || Health {
                state: "standby".to_owned(),
                reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
            };
            let status = respond(&head, health).map(|response| response.status().as_u16());
            assert_eq!(status, expected, "{uri}");
        };
        check("/health", &[], Some(200));
        check("/health/ready", &["it lags"], Some(503));
        check("/health/live", &["it lags"], Some(200));
        check("/health/ready?role=active", &[], Some(503));
        check("/health/ready?role=standby", &[], Some(200));
        check("/healthy", &[], None);
    }
}
