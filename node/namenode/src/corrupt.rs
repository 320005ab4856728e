//! Tells the other NameNodes which replicas are corrupt.
//!
//! DataNodes report to every NameNode, clients only to the active. A mark that only the active has would be lost in a
//! failover, and the bad replica would be given to readers again. So the active passes every mark on, in the form of a
//! DataNode's report. It also repeats all of them regularly, for a NameNode that was away or was restarted. Hadoop's
//! standbys refuse such reports.

use crate::replies::Replies;
use crate::settings::Settings;
use hathi_conf::HostPort;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::{ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};
use hathi_formats::proto::hdfs::{LocatedBlockProto, ReportBadBlocksResponseProto as ClientResponse};
use hathi_namesystem::{Namesystem, Role};
use hathi_net::ipc::{ClientOptions, Responder, RpcError, connect_to, protocols};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a client that reports a bad replica waits for NameNodes that do not answer.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);
/// Period in which all marks are repeated.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// Number of blocks in one message.
const MAX_BLOCKS: usize = 1000;

async fn tell(user: &str, address: &HostPort, blocks: Vec<LocatedBlockProto>) -> Result<(), RpcError> {
    let options = ClientOptions {
        connect_timeout: TELL_TIMEOUT,
        call_timeout: TELL_TIMEOUT,
        ..ClientOptions::new(user)
    };
    let client = connect_to(&address.to_string(), &protocols::DATANODE_PROTOCOL, &options).await?;
    let request = ReportBadBlocksRequestProto { blocks };
    let _: ReportBadBlocksResponseProto = client.call("reportBadBlocks", &request).await?;
    Ok(())
}

/// The marks of this NameNode, and to whom they are told.
pub struct CorruptMarks {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) replies: Arc<Replies>,
}

impl CorruptMarks {
    async fn tell_all(&self, blocks: &[LocatedBlockProto]) {
        let mut peers = JoinSet::new();
        for peer in &self.settings.peers {
            let (user, address, blocks) = (self.settings.user.clone(), peer.rpc.clone(), blocks.to_vec());
            peers.spawn(async move {
                if let Err(error) = tell(&user, &address, blocks).await {
                    // The marks are sent again later.
                    tracing::debug!(peer = %address, %error, "cannot tell of corrupt replicas");
                }
            });
        }
        while peers.join_next().await.is_some() {}
    }

    /// Passes a client's report on to the other NameNodes, then answers the client.
    pub fn tell_and_answer(self: &Arc<Self>, blocks: Vec<LocatedBlockProto>, responder: Responder) {
        let marks = self.clone();
        tokio::spawn(async move {
            marks.tell_all(&blocks).await;
            responder.ok(&ClientResponse {});
        });
    }

    /// While active, repeats all known marks regularly.
    pub async fn tell_again(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TELL_AGAIN).await;
            let mut after = None;
            while self.replies.role() == Role::Active {
                let blocks = self.known(&mut after);
                if blocks.is_empty() {
                    break;
                }
                self.tell_all(&blocks).await;
            }
        }
    }

    fn known(&self, after: &mut Option<BlockId>) -> Vec<LocatedBlockProto> {
        let ns = self.ns.read();
        let pool = &ns.info().block_pool_id;
        let corrupt = ns.blockmanager().reported_corrupt(*after, MAX_BLOCKS);
        *after = corrupt.last().map(|(block, _)| block.id);
        corrupt
            .into_iter()
            .map(|(block, on)| ns.blockmanager().located_block_on(pool, block, 0, &on))
            .collect()
    }
}
