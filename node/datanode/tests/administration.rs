//! Administrative calls of a DataNode.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::Arc;

use hathi_datanode::ipc;
use hathi_formats::exceptions::UNSUPPORTED_OPERATION;
use hathi_formats::proto::hdfs::{RefreshNamenodesRequestProto, RefreshNamenodesResponseProto};
use hathi_net::ipc::protocols::CLIENT_DATANODE_PROTOCOL;
use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, RpcServer, ServerOptions};
use tokio::runtime::Handle;

#[tokio::test(flavor = "multi_thread")]
async fn namenodes_that_are_read_at_the_start_only_are_not_said_to_be_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let node = common::datanode(&[dir.path()]);
    let handler = Arc::new(ipc::Server::new(node, Handle::current()));
    let server = RpcServer::bind("127.0.0.1:0".parse().unwrap(), handler, ServerOptions::default()).unwrap();
    let superuser = ClientOptions::new("tester");
    let client = RpcClient::connect(server.local_addr(), &CLIENT_DATANODE_PROTOCOL, superuser)
        .await
        .unwrap();
    let told: Result<RefreshNamenodesResponseProto, RpcError> =
        client.call("refreshNamenodes", &RefreshNamenodesRequestProto {}).await;
    match told.unwrap_err() {
        RpcError::Remote(refused) => assert!(refused.is(UNSUPPORTED_OPERATION), "{refused:?}"),
        other => panic!("{other}"),
    }
}
