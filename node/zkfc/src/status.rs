//! What the controller's web server shows: `/metrics`, `/health`, `/jmx`, `/conf` and `/api/controller`.
//!
//! The loop writes it down as things happen, and the web server's thread reads it. It decides nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hathi_conf::Configuration;
use hathi_conf::keys::Program;
use hathi_failover::{Health, HealthState, QuorumLease, ServiceState};
use hathi_net::http::health::Health as Readiness;
use hathi_net::http::jmx::{self, Bean};
use hathi_net::http::{self, HttpHandler, HttpRequest, HttpResponse, StatusCode};
use hathi_net::ipc::RpcMeter;
use hathi_net::metrics::{Exposition, process, rpc};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Failovers and events that are kept.
const KEPT: usize = 50;
/// What its page links to.
const ABOUT: [&str; 5] = ["/api/controller", "/health", "/jmx", "/metrics", "/conf"];

hathi_net::families! {
    /// Families of a failover controller, beside those of its process and its RPC server.
    FAMILIES {
        READY: Gauge "hathi_zkfc_ready" [] "1 if /health/ready answers 200: the NameNode here is well, and the elector answers.";
        HEALTH: Gauge "hathi_zkfc_namenode_health" ["state"] "1 for the health of the NameNode here by the last probe (healthy, unhealthy, not_responding, down), 0 for the others.";
        NAMENODE: Gauge "hathi_zkfc_namenode_state" ["state"] "1 for the HA state that the NameNode here reported last (initializing, standby, active, observer), 0 for the others.";
        ELECTED: Gauge "hathi_zkfc_elected" [] "1 if the NameNode here holds the lease of a majority of the JournalNodes.";
        LEASE: Gauge "hathi_zkfc_lease" ["state"] "1 for what a majority of the JournalNodes says of the lease (unknown, free, held, written), 0 for the others.";
        SPLIT: Gauge "hathi_zkfc_split" [] "1 if a NameNode goes on which was said to be fenced.";
        FAILOVERS: Counter "hathi_zkfc_failovers_total" [] "How often this controller made its NameNode active.";
        FAILED: Counter "hathi_zkfc_failed_failovers_total" [] "Attempts to make it active, or to fence the former one, that failed.";
        LAST_TIME: Gauge "hathi_zkfc_last_failover_timestamp_seconds" [] "When this controller made its NameNode active last, since 1970.";
        LAST_TOOK: Gauge "hathi_zkfc_last_failover_seconds" [] "From the end of the former lease, as far as it was seen, until its NameNode was active.";
        TXID: Gauge "hathi_zkfc_namenode_applied_transaction" [] "Last transaction that the NameNode here has applied, by the last probe.";
    }
}

/// The local NameNode became active.
#[derive(Clone, Debug)]
struct Failover {
    at_ms: u64,
    from: Option<String>,
    cause: String,
    /// From the end of the former lease, if that was seen.
    took_ms: Option<u64>,
    /// From the request until the NameNode was active.
    transition_ms: u64,
}

/// Something that happened.
#[derive(Clone, Debug)]
struct Event {
    at_ms: u64,
    what: String,
    /// Whether the local NameNode may have lost its role by it.
    is_cause: bool,
}

impl Event {
    fn now(what: impl Into<String>, is_cause: bool) -> Event {
        Event {
            at_ms: now_ms(),
            what: what.into(),
            is_cause,
        }
    }
}

#[derive(Debug)]
struct State {
    health: Health,
    health_state: HealthState,
    lease: QuorumLease,
    /// The last holder of the lease, and when it ceased to hold it.
    former: Option<String>,
    ended_ms: Option<u64>,
    /// When the local NameNode was asked to become active.
    asked_ms: Option<u64>,
    /// Whether a person asked for it.
    graceful: bool,
    split: Option<String>,
    failovers: VecDeque<Failover>,
    events: VecDeque<Event>,
    count: u64,
    failed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Status {
    conf: Arc<Configuration>,
    nameservice: String,
    namenode_id: String,
    elector: &'static str,
    rpc: Mutex<Option<RpcMeter>>,
    state: Mutex<State>,
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

fn id_of(holder: &str) -> &str {
    holder.split('@').next().unwrap_or(holder)
}

impl Status {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(conf: Arc<Configuration>, nameservice: &str, namenode_id: &str, elector: &'static str) -> Status {
        Status {
            conf,
            nameservice: nameservice.to_owned(),
            namenode_id: namenode_id.to_owned(),
            elector,
            rpc: Mutex::default(),
            state: Mutex::new(State {
                health: Health::Down,
                health_state: HealthState::Initializing,
                lease: QuorumLease::Unknown,
                former: None,
                ended_ms: None,
                asked_ms: None,
                graceful: false,
                split: None,
                failovers: VecDeque::new(),
                events: VecDeque::new(),
                count: 0,
                failed: 0,
            }),
        }
    }

    /// The RPC server listens.
    pub fn serves(&self, meter: RpcMeter) {
        *self.rpc.lock() = Some(meter);
    }

    /// Something by which the local NameNode may lose its role.
    pub fn cause(&self, what: impl Into<String>) {
        push(&mut self.state.lock().events, Event::now(what, true));
    }

    /// Something that a person who looks for the course of a failover wants to know.
    pub fn event(&self, what: impl Into<String>) {
        push(&mut self.state.lock().events, Event::now(what, false));
    }

    /// The NameNode's health by a probe.
    pub fn health(&self, health: &Health) {
        self.state.lock().health = health.clone();
    }

    /// The NameNode's health as it counts for the election.
    pub fn health_state(&self, health: HealthState) {
        let mut state = self.state.lock();
        state.health_state = health;
        let what = format!("the NameNode counts as {}", health.name());
        push(&mut state.events, Event::now(what, health == HealthState::Unhealthy));
    }

    /// What a majority of the JournalNodes says of the lease.
    pub fn lease(&self, lease: &QuorumLease) {
        let mut state = self.state.lock();
        match lease {
            QuorumLease::Held { holder, .. } => {
                let is_own = id_of(holder) == self.namenode_id;
                if !is_own {
                    state.former = Some(holder.clone());
                    state.ended_ms = None;
                }
            }
            QuorumLease::Free => {
                let before = match &state.lease {
                    QuorumLease::Held { holder, .. } => Some(holder.clone()),
                    _ => None,
                };
                if before.is_some() {
                    state.former = before;
                    state.ended_ms = Some(now_ms());
                }
            }
            QuorumLease::Unknown | QuorumLease::Written { .. } => {}
        }
        state.lease = lease.clone();
    }

    /// A NameNode goes on which was said to be fenced.
    pub fn split(&self, split: Option<&str>) {
        self.state.lock().split = split.map(str::to_owned);
    }

    /// A person asked for a failover to the local NameNode.
    pub fn asked_for(&self) {
        self.state.lock().graceful = true;
    }

    /// The failover that a person asked for has ended, well or not.
    pub fn asking_ended(&self) {
        self.state.lock().graceful = false;
    }

    /// The local NameNode is asked to become active.
    pub fn promoting(&self) {
        self.state.lock().asked_ms = Some(now_ms());
    }

    /// The local NameNode is active, or did not become so.
    pub fn promoted(&self, failure: Option<&str>) {
        let mut state = self.state.lock();
        let now_ms = now_ms();
        let asked_ms = state.asked_ms.take().unwrap_or(now_ms);
        if let Some(failure) = failure {
            state.failed += 1;
            let what = format!("the NameNode did not become active: {failure}");
            return push(&mut state.events, Event::now(what, false));
        }
        state.count += 1;
        let from = state.former.take().map(|holder| id_of(&holder).to_owned());
        let cause = match (&from, state.graceful) {
            (_, true) => "an administrator asked for it".to_owned(),
            (None, false) => "no NameNode was active".to_owned(),
            (Some(from), false) if *from == self.namenode_id => "it held the role before".to_owned(),
            (Some(from), false) => format!("the lease of {from} has ended"),
        };
        let failover = Failover {
            at_ms: now_ms,
            from,
            cause,
            took_ms: state.ended_ms.take().map(|ended| now_ms.saturating_sub(ended)),
            transition_ms: now_ms.saturating_sub(asked_ms),
        };
        push(&mut state.failovers, failover);
    }

    /// The former active could not be fenced.
    pub fn not_fenced(&self, why: &str) {
        let mut state = self.state.lock();
        state.failed += 1;
        let what = format!("the former active is not fenced: {why}");
        push(&mut state.events, Event::now(what, false));
    }

    /// Answers a request.
    #[must_use]
    pub async fn respond(&self, request: &HttpRequest) -> HttpResponse {
        let head = &request.head;
        if head.method != http::Method::GET {
            return http::error(StatusCode::METHOD_NOT_ALLOWED, "only GET is served");
        }
        if let Some(response) = http::health::respond(head, || self.readiness()) {
            return response;
        }
        match head.path.as_str() {
            "/metrics" => self.exposition().respond(head),
            "/jmx" => jmx::respond(&head.query, self.beans()),
            "/logLevel" => http::log_level::respond(head).await,
            "/api/controller" => http::json(StatusCode::OK, self.to_json().to_string()),
            _ => http::pages::daemon(&self.conf, Program::Zkfc, &ABOUT, head)
                .unwrap_or_else(|| http::error(StatusCode::NOT_FOUND, "no such page")),
        }
    }

    /// Ready is a controller whose NameNode is well, and that hears of the lease.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let mut reasons = Vec::new();
        let health = health_word(&state.health);
        if health != "healthy" {
            reasons.push(format!("the NameNode is {}", health.replace('_', " ")));
        }
        if self.elector == "journal" && state.lease == QuorumLease::Unknown {
            reasons.push("no majority of the JournalNodes tells who holds the lease".to_owned());
        }
        Readiness {
            state: service_word(&state.health).unwrap_or("unknown").to_owned(),
            reasons,
        }
    }

    /// The metrics now.
    #[must_use]
    pub fn exposition(&self) -> Exposition {
        let mut all = Exposition::default();
        process::put("zkfc", &mut all);
        if let Some(meter) = &*self.rpc.lock() {
            rpc::put(meter, &mut all);
        }
        all.put(&READY, &[], self.readiness().reasons.is_empty());
        let state = self.state.lock();
        let healths = ["healthy", "unhealthy", "not_responding", "down"];
        all.put_state(&HEALTH, &[], &healths, health_word(&state.health));
        let states = ["initializing", "standby", "active", "observer"];
        all.put_state(&NAMENODE, &[], &states, service_word(&state.health).unwrap_or(""));
        all.put(&ELECTED, &[], self.is_elected(&state));
        all.put_state(
            &LEASE,
            &[],
            &["unknown", "free", "held", "written"],
            lease_word(&state.lease),
        );
        all.put(&SPLIT, &[], state.split.is_some());
        all.put(&FAILOVERS, &[], state.count);
        all.put(&FAILED, &[], state.failed);
        if let Some(last) = state.failovers.back() {
            all.put(&LAST_TIME, &[], last.at_ms as f64 / 1e3);
            let took_ms = last.took_ms.unwrap_or(last.transition_ms);
            all.put(&LAST_TOOK, &[], took_ms as f64 / 1e3);
        }
        if let Health::Healthy { last_applied_txid, .. } = &state.health {
            all.put(&TXID, &[], *last_applied_txid);
        }
        all
    }

    fn is_elected(&self, state: &State) -> bool {
        matches!(&state.lease, QuorumLease::Held { holder, .. } if id_of(holder) == self.namenode_id)
    }

    /// `/api/controller`
    #[must_use]
    pub fn to_json(&self) -> Value {
        let readiness = self.readiness();
        let state = self.state.lock();
        let holder = match &state.lease {
            QuorumLease::Held { holder, .. } => Some(holder.as_str()),
            _ => None,
        };
        let failovers = state.failovers.iter().map(|failover| {
            json!({
                "time": failover.at_ms,
                "from": failover.from,
                "to": self.namenode_id,
                "cause": failover.cause,
                "duration_ms": failover.took_ms,
                "transition_ms": failover.transition_ms,
            })
        });
        let events = state.events.iter();
        let events = events.map(|event| json!({"time": event.at_ms, "what": event.what, "cause": event.is_cause}));
        json!({
            "nameservice": self.nameservice,
            "namenode": self.namenode_id,
            "elector": self.elector,
            "ready": readiness.reasons.is_empty(),
            "reasons": readiness.reasons,
            "state": readiness.state,
            "namenode_health": health_word(&state.health),
            "health_as_it_counts": state.health_state.name(),
            "lease": lease_word(&state.lease),
            "lease_holder": holder,
            "elected": holder.map(id_of),
            "is_elected": self.is_elected(&state),
            "split": state.split,
            "failovers": failovers.collect::<Vec<_>>(),
            "events": events.collect::<Vec<_>>(),
        })
    }

    fn beans(&self) -> Vec<Bean> {
        let mut beans = vec![
            Bean::new("ZKFC", "FailoverController", "FailoverController", self.to_json()),
            jmx::process_bean("ZKFC"),
        ];
        if let Some(meter) = &*self.rpc.lock() {
            beans.extend(jmx::rpc_beans("ZKFC", meter));
        }
        beans
    }
}

fn push<T>(list: &mut VecDeque<T>, what: T) {
    if list.len() >= KEPT {
        list.pop_front();
    }
    list.push_back(what);
}

fn health_word(health: &Health) -> &'static str {
    match health {
        Health::Healthy { .. } => "healthy",
        Health::Unhealthy { .. } => "unhealthy",
        Health::NotResponding => "not_responding",
        Health::Down => "down",
    }
}

fn service_word(health: &Health) -> Option<&'static str> {
    let (Health::Healthy { state, .. } | Health::Unhealthy { state, .. }) = health else {
        return None;
    };
    Some(match state {
        ServiceState::Initializing => "initializing",
        ServiceState::Active => "active",
        ServiceState::Standby => "standby",
        ServiceState::Observer => "observer",
    })
}

fn lease_word(lease: &QuorumLease) -> &'static str {
    match lease {
        QuorumLease::Unknown => "unknown",
        QuorumLease::Free => "free",
        QuorumLease::Held { .. } => "held",
        QuorumLease::Written { .. } => "written",
    }
}

/// Answers requests from what the loop has written down.
pub(crate) fn handler(status: Arc<Status>) -> impl HttpHandler {
    move |request: HttpRequest| {
        let status = status.clone();
        async move { status.respond(&request).await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(holder: &str) -> QuorumLease {
        QuorumLease::Held {
            holder: holder.to_owned(),
            epoch: 1,
        }
    }

    #[test]
    fn the_families_follow_the_conventions() {
        let faults: Vec<String> = FAMILIES.iter().flat_map(|family| family.faults()).collect();
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn a_failover_names_the_former_active_and_why() {
        let status = Status::new(
            Arc::new(Configuration::new(hathi_conf::Environment::default())),
            "ns",
            "nn1",
            "journal",
        );
        status.lease(&held("nn0@a"));
        status.lease(&QuorumLease::Free);
        status.promoting();
        status.promoted(None);
        status.lease(&held("nn1@b"));
        let json = status.to_json();
        let failover = &json["failovers"][0];
        assert_eq!((&failover["from"], &failover["to"]), (&json!("nn0"), &json!("nn1")));
        assert_eq!(failover["cause"], "the lease of nn0 has ended");
        assert!(failover["duration_ms"].is_u64());
        assert_eq!(json["elected"], "nn1");
        assert_eq!(status.exposition().get(&ELECTED, &[]), Some(1.0));

        status.lease(&held("nn2@c"));
        status.asked_for();
        status.promoting();
        status.promoted(Some("it refused"));
        status.promoted(None);
        let all = status.exposition();
        assert_eq!(
            (all.get(&FAILOVERS, &[]), all.get(&FAILED, &[])),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(
            status.to_json()["failovers"][1]["cause"],
            "an administrator asked for it"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let status = Status::new(
            Arc::new(Configuration::new(hathi_conf::Environment::default())),
            "ns",
            "nn1",
            "journal",
        );
        for number in 0..500 {
            status.event(format!("{number}"));
            status.promoted(None);
        }
        let json = status.to_json();
        for list in ["failovers", "events"] {
            assert_eq!(json[list].as_array().unwrap().len(), KEPT);
        }
        assert_eq!(json["events"][KEPT - 1]["what"], "499");
    }
}
