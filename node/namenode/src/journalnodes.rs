//! Calls to the JournalNodes: requests of the journal core as RPCs, one connection per JournalNode and purpose.

use crate::settings::Settings;
use bytes::{Buf, BufMut, Bytes};
use hathi_formats::conf::{HostPort, JournalUri};
use hathi_formats::qjournal::Envelope;
use hathi_journal::messages::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_net::ipc::{ClientOptions, PendingCall, Protocol, RpcClient, RpcError, connect_to, protocols};
use parking_lot::RwLock;
use prost::encoding::{DecodeContext, WireType};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A connection that is refused or dropped by a firewall must not hold a recovery up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// For the others, when a majority has answered: one that hangs must not hold anybody up.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// For a look who the JournalNodes are.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(3);

fn known(addresses: &[HostPort]) -> Arc<RwLock<Known>> {
    Arc::new(RwLock::new(Known {
        addresses: addresses.to_vec(),
        members: (0..addresses.len()).collect(),
        ..Known::default()
    }))
}

/// An encoded message as a message.
#[derive(Debug, Default)]
struct Encoded(Bytes);

impl prost::Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _tag: u32,
        _wire_type: WireType,
        _buf: &mut impl Buf,
        _ctx: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        // Only ever encoded.
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// Everybody who ever was among the JournalNodes, as far as is known here.
#[derive(Debug, Default)]
struct Known {
    /// Only grows: an index means the same JournalNode for ever.
    addresses: Vec<HostPort>,
    /// Those that count.
    members: Vec<usize>,
    membership: Option<Membership>,
    /// Where their names led last, by index.
    ips: BTreeMap<usize, IpAddr>,
    /// Who was left out of the last recovery of the journal, by address, and why.
    distrusted: BTreeMap<String, String>,
}

impl Known {
    fn index_of(&mut self, address: &HostPort) -> usize {
        let known = self.addresses.iter().position(|known| known == address);
        known.unwrap_or_else(|| {
            self.addresses.push(address.clone());
            self.addresses.len() - 1
        })
    }
}

/// The JournalNodes of the shared edits; copies share what is learnt.
#[derive(Clone, Debug)]
pub struct JournalNodes {
    /// Those of the configuration, in its order.
    pub configured: Vec<HostPort>,
    known: Arc<RwLock<Known>>,
    /// The journal's name.
    pub journal_id: String,
    envelope: Envelope,
    user: String,
    /// Where hosts are that tests move.
    #[cfg(test)]
    moved: Arc<RwLock<BTreeMap<String, String>>>,
}

impl JournalNodes {
    /// Those of the configuration, if there are any.
    #[must_use]
    pub fn new(settings: &Settings) -> Option<JournalNodes> {
        let JournalUri::Quorum {
            journal_nodes: addresses,
            journal_id,
        } = settings.shared.clone()?
        else {
            return None;
        };
        let mut nodes = JournalNodes::at(addresses, &journal_id, &settings.user);
        if !settings.nameservice_id.is_empty() {
            nodes.envelope.name_service_id = Some(settings.nameservice_id.clone());
        }
        Some(nodes)
    }

    /// No JournalNode at all: the shared edits are in a directory.
    #[must_use]
    pub fn none(settings: &Settings) -> JournalNodes {
        JournalNodes::at(Vec::new(), "", &settings.user)
    }

    /// These, for this journal, as this user.
    #[must_use]
    pub fn at(addresses: Vec<HostPort>, journal_id: &str, user: &str) -> JournalNodes {
        JournalNodes {
            known: known(&addresses),
            configured: addresses,
            envelope: Envelope {
                journal_id: journal_id.to_owned(),
                name_service_id: None,
            },
            journal_id: journal_id.to_owned(),
            user: user.to_owned(),
            #[cfg(test)]
            moved: Arc::default(),
        }
    }

    /// How many make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.known.read().members.len() / 2 + 1
    }

    /// Indices of those that count.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        self.known.read().members.clone()
    }

    /// Those that count.
    #[must_use]
    pub fn addresses(&self) -> Vec<HostPort> {
        let known = self.known.read();
        let address = |index: &usize| known.addresses.get(*index).cloned();
        known.members.iter().filter_map(address).collect()
    }

    /// Where one is, that counts or not.
    #[must_use]
    pub fn address(&self, index: usize) -> Option<HostPort> {
        self.known.read().addresses.get(index).cloned()
    }

    /// Where the name of one led when it was connected to last.
    #[must_use]
    pub fn ip(&self, index: usize) -> Option<IpAddr> {
        self.known.read().ips.get(&index).copied()
    }

    /// The index of one, that counts or not.
    #[must_use]
    pub fn index_of(&self, address: &HostPort) -> usize {
        self.known.write().index_of(address)
    }

    /// Why this one was left out of the last recovery of the journal, if it was.
    #[must_use]
    pub fn distrusted(&self, address: &HostPort) -> Option<String> {
        self.known.read().distrusted.get(&address.to_string()).cloned()
    }

    /// What this one says can't be true.
    pub fn distrust(&self, address: String, why: String) {
        self.known.write().distrusted.insert(address, why);
    }

    /// A recovery begins, in which everybody is heard again.
    pub fn trust_all(&self) {
        self.known.write().distrusted.clear();
    }

    /// The newest membership learnt; `None` when the set was never changed.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.known.read().membership.clone()
    }

    /// Somebody knows of a change of the JournalNodes.
    pub fn learn(&self, membership: &Membership) {
        let mut known = self.known.write();
        if !membership.is_valid() || !membership.is_newer_than(known.membership.as_ref()) {
            return;
        }
        let addresses: Result<Vec<HostPort>, _> = membership
            .members
            .iter()
            .map(|member| HostPort::parse(member, None))
            .collect();
        let Ok(addresses) = addresses else {
            return;
        };
        known.members = addresses.iter().map(|address| known.index_of(address)).collect();
        known.membership = Some(membership.clone());
    }

    /// Asks them for changes until nobody knows a newer one; who does not answer is left out.
    pub async fn discover(&self) {
        loop {
            let before = self.membership();
            let mut calls = JoinSet::new();
            for index in self.members() {
                let nodes = self.clone();
                calls.spawn(async move {
                    let ask = async {
                        let client = nodes.connect(index).await?;
                        nodes.send(&client, &Request::GetJournalState, DISCOVERY_TIMEOUT).await
                    };
                    (index, ask.await)
                });
            }
            for (_, answer) in self.collect(calls).await {
                if let Ok(Answer::JournalState {
                    membership: Some(found),
                    ..
                }) = answer
                {
                    self.learn(&found);
                }
            }
            if self.membership() == before {
                return;
            }
        }
    }

    /// The answers of the members; with those of a majority there, the others get a moment and no more.
    async fn collect(
        &self,
        mut calls: JoinSet<(usize, Result<Answer, CallError>)>,
    ) -> Vec<(usize, Result<Answer, CallError>)> {
        let members = self.members();
        let mut answers: BTreeMap<usize, Result<Answer, CallError>> = BTreeMap::new();
        let answered = |answers: &BTreeMap<usize, Result<Answer, CallError>>| answers.values().flatten().count();
        loop {
            let next = if answered(&answers) >= self.majority() {
                tokio::time::timeout(LAST_ANSWERS, calls.join_next()).await
            } else {
                Ok(calls.join_next().await)
            };
            match next {
                Ok(Some(Ok((index, answer)))) => drop(answers.insert(index, answer)),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let silent = || Err(CallError::Broken("no answer in time".to_owned()));
        let of = |index| (index, answers.remove(&index).unwrap_or_else(silent));
        members.into_iter().map(of).collect()
    }

    /// Connects to one of them.
    pub async fn connect(&self, index: usize) -> Result<RpcClient, CallError> {
        let address = self
            .address(index)
            .ok_or_else(|| CallError::Broken("no such JournalNode".to_owned()))?;
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = CONNECT_TIMEOUT;
        // Resolved anew each time, as a JournalNode may have moved.
        let client = connect_to(&self.place_of(&address), &protocols::QJOURNAL_PROTOCOL, &options)
            .await
            .map_err(|error| CallError::Broken(error.to_string()))?;
        self.known.write().ips.insert(index, client.peer().ip());
        Ok(client)
    }

    fn place_of(&self, address: &HostPort) -> String {
        #[cfg(test)]
        if let Some(moved) = self.moved.read().get(&address.host) {
            return moved.clone();
        }
        address.to_string()
    }

    /// Sends a request on a connection at once; the future gives the answer.
    pub fn send(
        &self,
        client: &RpcClient,
        request: &Request,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        let method = request.method();
        let body = Encoded(self.envelope.encode(request));
        let protocol = protocol(request);
        // The usual calls go without making another handle of the connection.
        let pending: PendingCall<Encoded> = if *protocol == protocols::QJOURNAL_PROTOCOL {
            client.call_with(method, &body, None, Some(timeout))
        } else {
            client
                .with_protocol(protocol)
                .call_with(method, &body, None, Some(timeout))
        };
        async move {
            match pending.encoded().await {
                Ok(answer) => Answer::decode(method, answer).map_err(|error| CallError::Broken(error.to_string())),
                Err(RpcError::Remote(exception)) => Err(CallError::Remote(exception)),
                Err(error) => Err(CallError::Broken(error.to_string())),
            }
        }
    }
}

fn protocol(request: &Request) -> &'static Protocol {
    match request.protocol() {
        JOURNAL_EXTENSION_PROTOCOL => &protocols::JOURNAL_EXTENSION_PROTOCOL,
        INTER_QJOURNAL_PROTOCOL => &protocols::INTER_QJOURNAL_PROTOCOL,
        _ => &protocols::QJOURNAL_PROTOCOL,
    }
}

/// Connections for reading, made when needed.
pub struct Readers {
    /// Whom they reach.
    pub nodes: JournalNodes,
    clients: parking_lot::Mutex<BTreeMap<usize, RpcClient>>,
}

impl Readers {
    /// No connection yet.
    #[must_use]
    pub fn new(nodes: JournalNodes) -> Self {
        Readers {
            nodes,
            clients: parking_lot::Mutex::default(),
        }
    }

    /// One call to one JournalNode.
    pub async fn call(&self, index: usize, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        let known = self.clients.lock().get(&index).cloned();
        let known = known.filter(|client| !client.is_lost());
        let client = match known {
            Some(client) => client,
            None => {
                let client = self.nodes.connect(index).await?;
                self.clients.lock().insert(index, client.clone());
                client
            }
        };
        self.nodes.send(&client, request, timeout).await
    }

    /// The same call to all that count at once; the answers with the indices of who gave them. Once a majority has
    /// answered, whoever takes much longer counts as not answering.
    pub async fn call_all(
        self: &Arc<Self>,
        request: &Request,
        timeout: Duration,
    ) -> Vec<(usize, Result<Answer, CallError>)> {
        let mut calls = JoinSet::new();
        for index in self.nodes.members() {
            let (readers, request) = (self.clone(), request.clone());
            calls.spawn(async move { (index, readers.call(index, &request, timeout).await) });
        }
        self.nodes.collect(calls).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_net::ipc::{Responder, RpcCall, RpcHandler, RpcServer, ServerOptions};
    use std::net::Ipv4Addr;

    /// Answers whether it is formatted, by which one JournalNode is told from another.
    struct Formatted(bool);

    impl RpcHandler for Formatted {
        fn protocols(&self) -> Vec<&'static Protocol> {
            vec![&protocols::QJOURNAL_PROTOCOL]
        }

        fn call(&self, call: RpcCall, reply: Responder) {
            reply.ok_encoded(&Answer::IsFormatted(self.0).encode(call.method.name()));
        }
    }

    fn journalnode(formatted: bool) -> RpcServer {
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        RpcServer::bind(any, Arc::new(Formatted(formatted)), ServerOptions::default()).unwrap()
    }

    #[tokio::test]
    async fn one_whose_machine_is_gone_without_a_word_is_found_where_its_name_leads_now() {
        let address = HostPort {
            host: "journalnode.invalid".into(),
            port: 8485,
        };
        let nodes = JournalNodes::at(vec![address.clone()], "ns", "hdfs");
        let readers = Readers::new(nodes.clone());
        let move_to = |to: std::net::SocketAddr| nodes.moved.write().insert(address.host.clone(), to.to_string());
        // The system takes connections, and nobody answers.
        let gone = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        move_to(gone.local_addr().unwrap());
        let ask = |timeout| readers.call(0, &Request::IsFormatted, timeout);
        ask(Duration::from_millis(1)).await.unwrap_err();
        let there = journalnode(true);
        move_to(there.local_addr());
        let found = ask(Duration::from_secs(20)).await;
        assert_eq!(found.unwrap(), Answer::IsFormatted(true));
    }

    #[tokio::test]
    async fn one_that_moves_is_found_where_its_name_leads_now() {
        let address = HostPort {
            host: "journalnode.invalid".into(),
            port: 8485,
        };
        let nodes = JournalNodes::at(vec![address.clone()], "ns", "hdfs");
        let readers = Readers::new(nodes.clone());
        let ask = || readers.call(0, &Request::IsFormatted, Duration::from_secs(20));
        let move_to = |server: &RpcServer| {
            let here = server.local_addr().to_string();
            nodes.moved.write().insert(address.host.clone(), here);
        };
        let unknown = ask().await.unwrap_err();
        assert!(
            matches!(&unknown, CallError::Broken(why) if why.contains("journalnode.invalid")),
            "{unknown:?}"
        );

        let here = journalnode(false);
        move_to(&here);
        assert_eq!(ask().await.unwrap(), Answer::IsFormatted(false));
        let there = journalnode(true);
        move_to(&there);
        assert_eq!(
            ask().await.unwrap(),
            Answer::IsFormatted(false),
            "a connection stays where it is"
        );
        drop(here);
        // What was under way or noticed too late fails, and nothing after it.
        let moved = async {
            loop {
                match ask().await {
                    Ok(answer) => break answer,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let moved = tokio::time::timeout(Duration::from_secs(20), moved).await;
        assert_eq!(moved.unwrap(), Answer::IsFormatted(true));
        assert_eq!(nodes.ip(0), Some(Ipv4Addr::LOCALHOST.into()));
    }
}
