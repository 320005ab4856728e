//! Calls to the JournalNodes: requests of the journal core as RPCs, one connection per JournalNode and purpose.

use crate::settings::{Settings, resolve};
use bytes::{Buf, BufMut, Bytes};
use hathi_formats::conf::HostPort;
use hathi_journal::messages::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL};
use hathi_journal::wire::Envelope;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use hathi_net::ipc::{ClientOptions, PendingCall, Protocol, RpcClient, RpcError, protocols};
use prost::encoding::{DecodeContext, WireType};
use std::time::Duration;

/// A connection that is refused or dropped by a firewall must not hold a recovery up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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

/// The JournalNodes of the shared edits.
#[derive(Clone, Debug)]
pub struct JournalNodes {
    /// In the order of the configuration.
    pub addresses: Vec<HostPort>,
    /// The journal's name.
    pub journal_id: String,
    envelope: Envelope,
    user: String,
}

impl JournalNodes {
    /// Those of the configuration, if there are any.
    #[must_use]
    pub fn new(settings: &Settings) -> Option<JournalNodes> {
        let (addresses, journal_id) = settings.shared.clone()?;
        let name_service_id = (!settings.nameservice_id.is_empty()).then(|| settings.nameservice_id.clone());
        Some(JournalNodes {
            addresses,
            envelope: Envelope {
                journal_id: journal_id.clone(),
                name_service_id,
            },
            journal_id,
            user: settings.user.clone(),
        })
    }

    /// How many make a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.addresses.len() / 2 + 1
    }

    /// Connects to one of them.
    pub async fn connect(&self, index: usize) -> Result<RpcClient, CallError> {
        let address = &self.addresses[index];
        let to = resolve(address).map_err(|error| CallError::Broken(error.to_string()))?;
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = CONNECT_TIMEOUT;
        RpcClient::connect(to, &protocols::QJOURNAL_PROTOCOL, options)
            .await
            .map_err(|error| CallError::Broken(error.to_string()))
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
        let pending: PendingCall<Encoded> = if std::ptr::eq(protocol, &protocols::QJOURNAL_PROTOCOL) {
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
    clients: parking_lot::Mutex<Vec<Option<RpcClient>>>,
}

impl Readers {
    /// No connection yet.
    #[must_use]
    pub fn new(nodes: JournalNodes) -> Self {
        let clients = vec![None; nodes.addresses.len()];
        Readers {
            nodes,
            clients: parking_lot::Mutex::new(clients),
        }
    }

    /// One call to one JournalNode.
    pub async fn call(&self, index: usize, request: &Request, timeout: Duration) -> Result<Answer, CallError> {
        let known = self.clients.lock()[index].clone().filter(|client| !client.is_closed());
        let client = match known {
            Some(client) => client,
            None => {
                let client = self.nodes.connect(index).await?;
                self.clients.lock()[index] = Some(client.clone());
                client
            }
        };
        self.nodes.send(&client, request, timeout).await
    }

    /// The same call to all of them at once; the answers in the order of the configuration.
    pub async fn call_all(
        self: &std::sync::Arc<Self>,
        request: &Request,
        timeout: Duration,
    ) -> Vec<Result<Answer, CallError>> {
        let calls: Vec<_> = (0..self.nodes.addresses.len())
            .map(|index| {
                let (readers, request) = (self.clone(), request.clone());
                tokio::spawn(async move { readers.call(index, &request, timeout).await })
            })
            .collect();
        let mut answers = Vec::new();
        for call in calls {
            answers.push(
                call.await
                    .unwrap_or_else(|error| Err(CallError::Broken(error.to_string()))),
            );
        }
        answers
    }
}
