//! Tells the other NameNodes which replicas are corrupt.
//!
//! DataNodes report to every NameNode, clients to the active alone. What is marked here only is forgotten at a failover, and
//! the bad replica named to readers again. So the active passes on what it learns, as a DataNode would report it, and
//! repeats all of it from time to time for a NameNode that was away or was restarted. Hadoop's standbys refuse to listen.

use crate::state::NameNode;
use hathi_formats::conf::HostPort;
use hathi_formats::ids::BlockId;
use hathi_formats::proto::datanode::{ReportBadBlocksRequestProto, ReportBadBlocksResponseProto};
use hathi_formats::proto::hdfs::{LocatedBlockProto, ReportBadBlocksResponseProto as ClientResponse};
use hathi_namesystem::Role;
use hathi_net::ipc::{ClientOptions, Responder, RpcError, connect_to, protocols};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A client that found a bad replica waits so long for NameNodes that do not answer.
const TELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How often everything is repeated.
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// Blocks in one message.
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

async fn tell_all(nn: &NameNode, blocks: &[LocatedBlockProto]) {
    let mut peers = JoinSet::new();
    for peer in &nn.settings.peers {
        let (user, address, blocks) = (nn.settings.user.clone(), peer.rpc.clone(), blocks.to_vec());
        peers.spawn(async move {
            if let Err(error) = tell(&user, &address, blocks).await {
                // It is told again.
                tracing::debug!(peer = %address, %error, "cannot tell of corrupt replicas");
            }
        });
    }
    while peers.join_next().await.is_some() {}
}

/// Tells the others of what a client has reported, then answers the client.
pub fn tell_and_answer(nn: &Arc<NameNode>, blocks: Vec<LocatedBlockProto>, responder: Responder) {
    let nn = nn.clone();
    tokio::spawn(async move {
        tell_all(&nn, &blocks).await;
        responder.ok(&ClientResponse {});
    });
}

/// Repeats, while active, what is known, for as long as the process lives.
pub async fn tell_again(nn: Arc<NameNode>) {
    loop {
        tokio::time::sleep(TELL_AGAIN).await;
        let mut after = None;
        while nn.role() == Role::Active {
            let blocks = known(&nn, &mut after);
            if blocks.is_empty() {
                break;
            }
            tell_all(&nn, &blocks).await;
        }
    }
}

fn known(nn: &NameNode, after: &mut Option<BlockId>) -> Vec<LocatedBlockProto> {
    let ns = nn.ns.read();
    let pool = &ns.info.block_pool_id;
    let corrupt = ns.blockmanager.reported_corrupt(*after, MAX_BLOCKS);
    *after = corrupt.last().map(|(block, _)| block.id);
    corrupt
        .into_iter()
        .map(|(block, on)| ns.blockmanager.located_block_on(pool, block, 0, &on))
        .collect()
}
