//! One JournalNode, and a connection to it.

use hathi_conf::HostPort;
use hathi_formats::qjournal::Envelope;
use hathi_journal::messages::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use hathi_net::ipc::{ClientOptions, Protocol, RpcClient, RpcError, connect_to, protocols};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A journal on one JournalNode, and how it is called.
#[derive(Clone, Debug)]
pub struct RemoteJournalNode {
    /// Address of its RPC server.
    pub address: HostPort,
    /// The journal.
    pub envelope: Arc<Envelope>,
    /// The user that calls.
    pub user: Arc<str>,
    /// Time limit for each address that the name of the host leads to.
    pub connect_timeout: Duration,
}

impl RemoteJournalNode {
    /// Opens a connection. The name of the host is resolved each time, because a JournalNode may have moved.
    ///
    /// # Errors
    /// [`CallError::Broken`] when no address of the host answers in time.
    pub async fn connect(&self) -> Result<JournalNodeClient, CallError> {
        self.connect_at(&self.address.to_string()).await
    }

    /// As [`RemoteJournalNode::connect`], to a `host:port` where the JournalNode is at the moment.
    pub(crate) async fn connect_at(&self, place: &str) -> Result<JournalNodeClient, CallError> {
        let mut options = ClientOptions::new(&self.user);
        options.connect_timeout = self.connect_timeout;
        let rpc = connect_to(place, &protocols::QJOURNAL_PROTOCOL, &options)
            .await
            .map_err(|error| CallError::Broken(error.to_string()))?;
        Ok(JournalNodeClient {
            rpc,
            envelope: self.envelope.clone(),
        })
    }
}

/// A connection to a JournalNode, for calls to one journal. Clones share the connection.
#[derive(Clone, Debug)]
pub struct JournalNodeClient {
    rpc: RpcClient,
    envelope: Arc<Envelope>,
}

impl JournalNodeClient {
    /// Sends a request at once, in the order of the calls to this method. The future gives the answer.
    pub fn send(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        let method = request.method();
        let body = self.envelope.encode(request);
        let protocol = protocol(request);
        let call = |rpc: &RpcClient| rpc.call_encoded(method, &body, None, Some(timeout));
        // The usual calls need no second handle of the connection.
        let pending = if *protocol == protocols::QJOURNAL_PROTOCOL {
            call(&self.rpc)
        } else {
            call(&self.rpc.with_protocol(protocol))
        };
        async move {
            match pending.encoded().await {
                Ok(answer) => Answer::decode(method, answer).map_err(|error| CallError::Broken(error.to_string())),
                Err(RpcError::Remote(exception)) => Err(CallError::Remote(exception)),
                Err(error) => Err(CallError::Broken(error.to_string())),
            }
        }
    }

    /// Whether the next call should use a new connection ([`RpcClient::is_lost`]).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.rpc.is_lost()
    }

    /// The address that the name of the host led to.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.rpc.peer()
    }
}

fn protocol(request: &Request) -> &'static Protocol {
    match request.protocol() {
        JOURNAL_EXTENSION_PROTOCOL => &protocols::JOURNAL_EXTENSION_PROTOCOL,
        INTER_QJOURNAL_PROTOCOL => &protocols::INTER_QJOURNAL_PROTOCOL,
        _ => &protocols::QJOURNAL_PROTOCOL,
    }
}

/// The addresses of all members. `None` if one of them is no address: a majority of only some members would be too
/// small.
#[must_use]
pub fn member_addresses(membership: &Membership) -> Option<Vec<HostPort>> {
    let members = membership.members.iter();
    members.map(|member| HostPort::parse(member, None).ok()).collect()
}
