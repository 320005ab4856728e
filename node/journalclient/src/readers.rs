//! Calls to JournalNodes that need no order.

use crate::client::JournalNodeClient;
use crate::journalnodes::JournalNodes;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Request};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A connection to each JournalNode, made when it is needed.
#[derive(Debug)]
pub struct Readers {
    /// The JournalNodes.
    pub nodes: JournalNodes,
    clients: Mutex<BTreeMap<usize, JournalNodeClient>>,
}

impl Readers {
    /// Readers without a connection.
    #[must_use]
    pub fn new(nodes: JournalNodes) -> Self {
        Readers {
            nodes,
            clients: Mutex::default(),
        }
    }

    /// Calls one JournalNode once.
    ///
    /// # Errors
    /// When it can't be reached, refuses, or has not answered in time.
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
        client.send(request, timeout).await
    }

    /// Calls all members at once. Each answer comes with the index of its JournalNode. Once a majority has answered, a
    /// JournalNode that takes much longer counts as silent.
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
    use hathi_conf::HostPort;
    use hathi_formats::qjournal::Envelope;
    use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler, RpcServer, ServerOptions, protocols};
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

    fn nodes(address: &HostPort) -> JournalNodes {
        let envelope = Envelope {
            journal_id: "ns".to_owned(),
            name_service_id: None,
        };
        JournalNodes::new(vec![address.clone()], envelope, "hdfs")
    }

    #[tokio::test]
    async fn one_whose_machine_is_gone_without_a_word_is_found_where_its_name_leads_now() {
        let address = HostPort {
            host: "journalnode.invalid".into(),
            port: 8485,
        };
        let nodes = nodes(&address);
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
        let nodes = nodes(&address);
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
