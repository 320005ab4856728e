//! JournalNodes over real sockets and files, and a writer that speaks to them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "not every test needs all of it")]

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hathi_conf::{Configuration, Environment};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_formats::qjournal::Envelope;
use hathi_journal::messages::RequestInfo;
use hathi_journal::{Answer, Request};
use hathi_journalnode::JournalNode;
use hathi_net::ipc::protocols::{INTER_QJOURNAL_PROTOCOL, JOURNAL_EXTENSION_PROTOCOL, QJOURNAL_PROTOCOL};
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError};

pub const LIMIT: Duration = Duration::from_secs(20);

pub fn configuration(dir: &Path) -> Configuration {
    let mut conf = Configuration::new(Environment::default());
    conf.set("dfs.journalnode.rpc-address", "127.0.0.1:0");
    conf.set("dfs.journalnode.http-address", "127.0.0.1:0");
    conf.set("dfs.journalnode.edits.dir", dir.display().to_string());
    conf.set("hathi.journalnode.users", "hdfs");
    conf
}

pub fn ns_info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 12345,
        cluster_id: "CID-test".into(),
        ctime: 0,
        block_pool_id: "BP-1".into(),
    }
}

/// An edit log op's frame, with some body.
pub fn frame(txid: u64) -> Vec<u8> {
    let mut bytes = vec![9];
    bytes.extend(15_u32.to_be_bytes());
    bytes.extend(txid.to_be_bytes());
    bytes.extend([1, 2, 3]);
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_be_bytes());
    bytes
}

pub fn frames(first: u64, count: u32) -> Bytes {
    (first..first + u64::from(count)).flat_map(frame).collect()
}

/// A writer's connection to one JournalNode.
pub struct Writer {
    pub client: RpcClient,
    pub envelope: Envelope,
    pub epoch: u64,
    pub serial: u64,
}

impl Writer {
    pub async fn connect(node: &JournalNode, epoch: u64) -> Writer {
        Writer::connect_as("hdfs", node, epoch).await
    }

    pub async fn connect_as(user: &str, node: &JournalNode, epoch: u64) -> Writer {
        let client = RpcClient::connect(node.rpc_address(), &QJOURNAL_PROTOCOL, ClientOptions::new(user))
            .await
            .unwrap();
        Writer {
            client,
            envelope: Envelope {
                journal_id: "ns1".into(),
                name_service_id: Some("ns1".into()),
            },
            epoch,
            serial: 0,
        }
    }

    /// The writer of epoch 3 at a new JournalNode, on which it has finalized the segment 1 to 4.
    pub async fn with_a_finalized_segment(node: &JournalNode) -> Writer {
        let mut writer = Writer::connect(node, 3).await;
        writer.format().await;
        writer.finalize_first_segment().await;
        writer
    }

    /// The same at each of three. All are formatted at once: the last one would join the others before its turn.
    pub async fn with_finalized_segments(nodes: &[JournalNode]) -> Vec<Writer> {
        let mut writers = Vec::new();
        for node in nodes {
            writers.push(Writer::connect(node, 3).await);
        }
        let [one, two, three] = &writers[..] else {
            panic!("{} JournalNodes", nodes.len())
        };
        tokio::join!(one.format(), two.format(), three.format());
        for writer in &mut writers {
            writer.finalize_first_segment().await;
        }
        writers
    }

    async fn finalize_first_segment(&mut self) {
        self.become_writer().await;
        self.start(1, None).await.unwrap();
        self.write(1, 1, 4, None).await.unwrap();
        self.finalize(1, 4, Some(4)).await;
    }

    pub fn info(&mut self, committed: Option<u64>) -> RequestInfo {
        self.serial += 1;
        RequestInfo {
            epoch: Epoch(self.epoch),
            serial: self.serial,
            committed: committed.map(TxId),
            lease: None,
        }
    }

    pub async fn ask(&self, request: &Request) -> Result<Answer, RemoteException> {
        let client = match request.protocol() {
            hathi_journal::messages::INTER_QJOURNAL_PROTOCOL => self.client.with_protocol(&INTER_QJOURNAL_PROTOCOL),
            hathi_journal::messages::JOURNAL_EXTENSION_PROTOCOL => {
                self.client.with_protocol(&JOURNAL_EXTENSION_PROTOCOL)
            }
            _ => self.client.clone(),
        };
        let body = self.envelope.encode(request);
        match client.call_encoded(request.method(), &body, None, None).encoded().await {
            Ok(answer) => Ok(Answer::decode(request.method(), answer).unwrap()),
            Err(RpcError::Remote(exception)) => Err(exception),
            Err(other) => panic!("{other}"),
        }
    }

    pub async fn become_writer(&mut self) {
        let request = Request::NewEpoch {
            ns_info: ns_info(),
            epoch: Epoch(self.epoch),
            lease: None,
            established: false,
        };
        self.ask(&request).await.unwrap();
    }

    pub async fn format(&self) {
        let request = Request::Format {
            ns_info: ns_info(),
            force: false,
        };
        self.ask(&request).await.unwrap();
    }

    pub async fn start(&mut self, txid: u64, committed: Option<u64>) -> Result<Answer, RemoteException> {
        let request = Request::StartLogSegment {
            info: self.info(committed),
            txid: TxId(txid),
            layout_version: Some(LayoutVersion::NAMENODE_CURRENT),
        };
        self.ask(&request).await
    }

    pub async fn write(
        &mut self,
        segment: u64,
        first: u64,
        count: u32,
        committed: Option<u64>,
    ) -> Result<Answer, RemoteException> {
        let request = Request::Journal {
            info: self.info(committed),
            segment: TxId(segment),
            first: TxId(first),
            count,
            records: frames(first, count),
        };
        self.ask(&request).await
    }

    pub async fn finalize(&mut self, start: u64, end: u64, committed: Option<u64>) {
        let request = Request::FinalizeLogSegment {
            info: self.info(committed),
            start: TxId(start),
            end: TxId(end),
        };
        self.ask(&request).await.unwrap();
    }
}

pub fn edits_request(since: u64, wait_ms: u32) -> Request {
    Request::GetJournaledEdits {
        since: TxId(since),
        max_txns: 1000,
        wait_ms,
        committed_only: false,
    }
}

pub fn count(answer: Result<Answer, RemoteException>) -> u32 {
    match answer.unwrap() {
        Answer::JournaledEdits { count, .. } => count,
        other => panic!("{other:?}"),
    }
}

/// Three JournalNodes that know of each other, at an address where nobody else is: their ports stay free for them
/// while they are down.
pub fn quorum(dir: &Path) -> (Vec<Configuration>, Vec<u16>) {
    let [_, _, a, b, c, ..] = RandomState::new().hash_one("address").to_be_bytes();
    let host = Ipv4Addr::new(127, a | 1, b, c);
    // For RPC and then for the web: any free port here may be that of the next of them.
    let listeners: Vec<_> = (0..6)
        .map(|_| std::net::TcpListener::bind((host, 0)).unwrap())
        .collect();
    let ports: Vec<_> = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap().port())
        .collect();
    let uri = format!(
        "qjournal://{host}:{};{host}:{};{host}:{}/ns1",
        ports[0], ports[1], ports[2]
    );
    let (ports, web) = ports.split_at(3);
    let confs = ports
        .iter()
        .zip(web)
        .map(|(port, web)| {
            let mut conf = configuration(&dir.join(port.to_string()));
            conf.set("dfs.journalnode.rpc-address", format!("{host}:{port}"));
            conf.set("dfs.journalnode.http-address", format!("{host}:{web}"));
            conf.set("dfs.namenode.shared.edits.dir", uri.clone());
            conf
        })
        .collect();
    (confs, ports.to_vec())
}

pub async fn until<T>(mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), found)
        .await
        .expect("it takes too long")
}
