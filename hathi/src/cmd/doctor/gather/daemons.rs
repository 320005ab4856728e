//! Asks the daemons of a cluster over RPC and HTTP, all at the same time.

use crate::cmd::doctor::facts::{
    Beans, DataNodeAnswer, Facts, JournalNodeAnswer, JournalState, NameNode, NameNodeAnswer, Page, Running,
};
use hathi_conf::{Configuration, Environment, HostPort};
use hathi_formats::exceptions::JOURNAL_NOT_FORMATTED;
use hathi_formats::proto::common::{GetServiceStatusRequestProto, GetServiceStatusResponseProto};
use hathi_formats::qjournal::Envelope;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_journalclient::{JournalNodeClient, RemoteJournalNode};
use hathi_net::http;
use hathi_net::ipc::protocols::HA_SERVICE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcError, connect_to};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How long a daemon has for an answer.
pub(super) const LIMIT: Duration = Duration::from_secs(2);
/// Longest answer of a web server. A NameNode's names every DataNode.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// DataNodes that are asked at the same time.
const DATANODES_AT_ONCE: usize = 100;
/// DataNodes that are asked in all.
const DATANODES_MAX: usize = 2000;
/// Port of ZooKeeper for clients.
const ZOOKEEPER_PORT: u16 = 2181;
/// Web port of a JournalNode (`DFS_JOURNALNODE_HTTP_PORT_DEFAULT`).
const JOURNALNODE_HTTP_PORT: u16 = 8480;

/// Asks every daemon that the configuration names, and then the DataNodes that the NameNodes name.
pub(super) async fn ask(facts: &Facts) -> Running {
    let namenodes = spawn_all(facts.namenodes.iter().cloned().map(namenode));
    let journals = facts.journals().into_iter();
    let members =
        journals.flat_map(|(members, journal)| members.into_iter().map(move |member| (member, journal.clone())));
    let journalnodes = spawn_all(members.map(|(member, journal)| journalnode(member, journal)));
    let addresses = facts
        .namenodes
        .iter()
        .filter_map(|namenode| namenode.controller.clone());
    let controllers = spawn_all(addresses.map(controller));
    let servers = facts.conf.get_list("ha.zookeeper.quorum");
    let zookeepers = spawn_all(servers.into_iter().map(zookeeper));
    let namenodes = joined(namenodes).await;
    let answer = namenodes
        .iter()
        .map(|answer| (answer.is_active(), datanodes_of(&answer.page.known())));
    // A standby knows the DataNodes, too.
    let (_, known) = answer
        .max_by_key(|(active, known)| (*active, known.len()))
        .unwrap_or_default();
    Running {
        namenodes,
        datanodes: datanodes(known).await,
        journalnodes: joined(journalnodes).await,
        controllers: joined(controllers).await,
        zookeepers: joined(zookeepers).await,
        now_ms: jiff::Timestamp::now().as_millisecond(),
    }
}

fn spawn_all<T: Send + 'static>(
    asked: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<JoinHandle<T>> {
    asked.map(tokio::spawn).collect()
}

async fn joined<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut answers = Vec::new();
    for task in tasks {
        // A task ends without an answer only by a panic.
        answers.extend(task.await.ok());
    }
    answers
}

fn first_line(error: &impl Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// The result of a question, within the limit.
async fn within<T, E: Display>(question: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, question).await {
        Ok(answer) => answer.map_err(|error| first_line(&error)),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

async fn namenode(namenode: NameNode) -> NameNodeAnswer {
    let ha = async {
        match (&namenode.id, &namenode.rpc) {
            (Some(_), Some(rpc)) => Some(within(ha_state(rpc)).await),
            _ => None,
        }
    };
    let address = namenode.http.as_ref().map(ToString::to_string).unwrap_or_default();
    let (state, page, settings) = tokio::join!(ha, page(address.clone()), settings(&address));
    NameNodeAnswer {
        state,
        page,
        settings,
        namenode,
    }
}

async fn ha_state(address: &HostPort) -> Result<String, RpcError> {
    let mut options = ClientOptions::new(&crate::cmd::user_name());
    options.connect_timeout = LIMIT;
    options.call_timeout = LIMIT;
    let client = connect_to(&address.to_string(), &HA_SERVICE_PROTOCOL, &options).await?;
    let request = GetServiceStatusRequestProto {};
    let status: GetServiceStatusResponseProto = client.call("getServiceStatus", &request).await?;
    Ok(status.state().as_str_name().to_ascii_lowercase())
}

/// Beans and clock of a web server.
async fn page(address: String) -> Page {
    let url = format!("http://{address}/jmx");
    let mut clock_ahead_ms = None;
    let asked = jiff::Timestamp::now();
    let beans = within(http::get_bytes(&url, LIMIT, PAGE_BYTES_MAX))
        .await
        .and_then(|(headers, body)| {
            let date = headers.get("date").and_then(|date| date.to_str().ok());
            clock_ahead_ms = date.and_then(|date| ahead_ms(date, asked, jiff::Timestamp::now()));
            beans(&body)
        });
    Page {
        address,
        beans,
        clock_ahead_ms,
    }
}

fn beans(body: &[u8]) -> Result<Beans, String> {
    let mut jmx: Value = serde_json::from_slice(body).map_err(|error| format!("/jmx: {error}"))?;
    match jmx.get_mut("beans").map(Value::take) {
        Some(Value::Array(beans)) => Ok(Beans(beans)),
        _ => Err("/jmx has no beans".to_owned()),
    }
}

/// How far a clock is ahead of ours, at least and at most. It has shown this `Date`, of whole seconds, at some time
/// between these two of ours.
fn ahead_ms(date: &str, asked: jiff::Timestamp, answered: jiff::Timestamp) -> Option<(i64, i64)> {
    let told = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    let told_ms = told.as_millisecond();
    let least = told_ms.checked_sub(answered.as_millisecond())?;
    let most = told_ms.checked_add(999)?.checked_sub(asked.as_millisecond())?;
    Some((least, most))
}

/// `/conf` of a daemon, which is a configuration file.
async fn settings(address: &str) -> Option<Configuration> {
    let url = format!("http://{address}/conf");
    let (_, body) = within(http::get_bytes(&url, LIMIT, PAGE_BYTES_MAX)).await.ok()?;
    let mut conf = Configuration::new(Environment::default());
    conf.add_text(&url, std::str::from_utf8(&body).ok()?).ok()?;
    Some(conf)
}

async fn journalnode(address: HostPort, journal_id: String) -> JournalNodeAnswer {
    let mut answer = JournalNodeAnswer {
        address: address.to_string(),
        journal_id: journal_id.clone(),
        ..JournalNodeAnswer::default()
    };
    let remote = RemoteJournalNode {
        envelope: Arc::new(Envelope {
            journal_id,
            name_service_id: None,
        }),
        user: crate::cmd::user_name().into(),
        connect_timeout: LIMIT,
        address: address.clone(),
    };
    let client = match within(remote.connect()).await {
        Ok(client) => client,
        Err(silence) => {
            answer.state = JournalState::Silent(silence);
            return answer;
        }
    };
    let (state, port) = journal_state(&client).await;
    answer.state = state;
    if matches!(answer.state, JournalState::Silent(_)) {
        return answer;
    }
    let web = hathi_conf::host_and_port(&address.host, port);
    let (members, page) = tokio::join!(members(&client), page(web));
    answer.members = members;
    answer.page = Some(page);
    answer
}

/// Whether a JournalNode has the journal, and the port of its web server.
async fn journal_state(client: &JournalNodeClient) -> (JournalState, u16) {
    let refused = |state| (state, JOURNALNODE_HTTP_PORT);
    match client.send(&Request::GetJournalState, LIMIT).await {
        Ok(Answer::JournalState {
            http_port, from_url, ..
        }) => {
            let told = from_url.as_deref().and_then(|url| url.rsplit_once(':'));
            let told = told.and_then(|(_, port)| port.trim_end_matches('/').parse().ok());
            (JournalState::Answered, told.unwrap_or(http_port))
        }
        Ok(_) => refused(JournalState::Refused("it answered something else".to_owned())),
        Err(CallError::Remote(exception)) if exception.class() == Some(JOURNAL_NOT_FORMATTED) => {
            refused(JournalState::NotFormatted)
        }
        Err(CallError::Remote(exception)) => refused(JournalState::Refused(first_line(&exception.message))),
        Err(CallError::Broken(reason)) => refused(JournalState::Silent(first_line(&reason))),
    }
}

/// The members of a journal by the record of a JournalNode of ours.
async fn members(client: &JournalNodeClient) -> Option<Vec<String>> {
    let watch = Request::WatchLease {
        known_counter: None,
        wait_ms: 0,
    };
    match client.send(&watch, LIMIT).await {
        Ok(Answer::LeaseState(lease)) => lease.membership.filter(Membership::is_valid).map(|known| known.members),
        _ => None,
    }
}

/// A controller answers a call that it does not have with an exception.
async fn controller(address: HostPort) -> (String, Option<String>) {
    let asked = async {
        match ha_state(&address).await {
            Ok(_) | Err(RpcError::Remote(_)) => Ok(()),
            Err(error) => Err(error),
        }
    };
    (address.to_string(), within(asked).await.err())
}

async fn zookeeper(server: String) -> (String, Option<String>) {
    let address = HostPort::parse(&server, Some(ZOOKEEPER_PORT));
    let connected = async {
        let address = address.map_err(std::io::Error::other)?;
        TcpStream::connect((address.host.as_str(), address.port)).await
    };
    (server, within(connected).await.err())
}

/// The DataNodes that a NameNode takes for alive: name and web address.
fn datanodes_of(beans: &Beans) -> BTreeMap<String, String> {
    let Some(Value::Object(live)) = beans.json("NameNodeInfo", "LiveNodes") else {
        return BTreeMap::new();
    };
    let each = |(name, node): (String, Value)| Some((name, node["infoAddr"].as_str()?.to_owned()));
    live.into_iter().filter_map(each).take(DATANODES_MAX).collect()
}

async fn datanodes(known: BTreeMap<String, String>) -> Vec<DataNodeAnswer> {
    let places = Arc::new(Semaphore::new(DATANODES_AT_ONCE));
    let tasks = spawn_all(known.into_iter().map(|(name, address)| {
        let places = places.clone();
        async move {
            // Nobody closes the semaphore.
            let _place = places.acquire().await;
            DataNodeAnswer {
                name,
                page: page(address).await,
            }
        }
    }));
    joined(tasks).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_a_web_server_tells_its_clock() {
        let at = |ms| jiff::Timestamp::from_millisecond(ms).unwrap();
        let date = at(1_000_005_700).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let ahead = |date: &str| ahead_ms(date, at(1_000_000_600), at(1_000_000_800));
        assert_eq!(ahead(&date), Some((4200, 5399)), "it is 5 s ahead");
        assert_eq!(ahead("yesterday"), None);
    }

    #[test]
    fn datanodes_are_taken_from_what_the_namenode_knows() {
        let bean = r#"{"beans":[{"name":"Hadoop:service=NameNode,name=NameNodeInfo",
            "LiveNodes":"{\"dn1:9866\":{\"infoAddr\":\"10.0.0.1:9864\"}}"}]}"#;
        let known = datanodes_of(&beans(bean.as_bytes()).unwrap());
        assert_eq!(
            known,
            BTreeMap::from([("dn1:9866".to_owned(), "10.0.0.1:9864".to_owned())])
        );
        assert!(beans(b"{}").is_err());
    }
}
