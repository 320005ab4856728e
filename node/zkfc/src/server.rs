//! `ZKFCProtocol`: `cedeActive` and `gracefulFailover`, for administrators and for other controllers.

use hathi_formats::exceptions::{ACCESS_CONTROL, RETRIABLE, RPC_NO_SUCH_METHOD, RemoteException};
use hathi_formats::proto::common;
use hathi_net::auth::Administrators;
use hathi_net::ipc::protocols::{ZKFC_PROTOCOL, ZkfcMethod};
use hathi_net::ipc::{Method, Protocol, Responder, RpcCall, RpcHandler};
use tokio::sync::{mpsc, oneshot};

/// Longest time for which a NameNode can be kept out of the election. Moving the active role takes a minute. In Hadoop
/// a number that is too large keeps it out until its controller is restarted.
const CEDE_MAX_MS: i64 = 600_000;
/// Number of requests that may wait for the controller's loop, which takes one in microseconds.
pub(crate) const REQUESTS_MAX: usize = 16;

/// A request of an administrator or another controller. It is answered with an exception or nothing.
#[derive(Debug)]
pub(crate) enum ZkfcRequest {
    /// Make the local NameNode a standby and keep it out of the election for this time in ms. 0 or less ends the ban.
    CedeActive(i64),
    /// Make the local NameNode active.
    GracefulFailover,
}

impl ZkfcRequest {
    /// Name of its call.
    fn name(&self) -> &'static str {
        match self {
            ZkfcRequest::CedeActive(_) => "cedeActive",
            ZkfcRequest::GracefulFailover => "gracefulFailover",
        }
    }
}

/// A request with the way to answer it.
pub(crate) type Asked = (ZkfcRequest, oneshot::Sender<Result<(), RemoteException>>);

/// Passes requests to the controller's loop.
pub(crate) struct ZkfcRpcServer {
    pub(crate) requests: mpsc::Sender<Asked>,
    pub(crate) runtime: tokio::runtime::Handle,
    /// Allowed callers: `dfs.cluster.administrators`, and the user of this process, which other controllers run as.
    pub(crate) administrators: Administrators,
}

impl ZkfcRpcServer {
    /// Serves an administrator's request (`DFSZKFailoverController.checkRpcAdminAccess`).
    fn ask(&self, call: &RpcCall, request: ZkfcRequest, reply: Responder, answer: fn(Responder)) {
        let (requests, administrators) = (self.requests.clone(), self.administrators.clone());
        let (caller, peer) = (call.user.clone(), call.peer.ip().to_canonical());
        self.runtime.spawn(async move {
            let user = &caller.user;
            if !administrators.ask(user).await {
                let refusal = format!(
                    "Disallowed RPC access from {user} (auth:SIMPLE) at {peer}. Not listed in dfs.cluster.administrators"
                );
                tracing::warn!("{refusal}");
                return reply.error(&RemoteException::new(ACCESS_CONTROL, refusal));
            }
            tracing::info!(user, %peer, request = request.name(), "allowed RPC access");
            let (sender, receiver) = oneshot::channel();
            match requests.try_send((request, sender)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return reply.error(&RemoteException::new(RETRIABLE, "too many requests wait"));
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return reply.reset(),
            }
            match receiver.await {
                Ok(Ok(())) => answer(reply),
                Ok(Err(exception)) => reply.error(&exception),
                Err(_) => reply.reset(),
            }
        });
    }
}

impl RpcHandler for ZkfcRpcServer {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&ZKFC_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method {
            Method::Zkfc(ZkfcMethod::CedeActive) => match call.decode::<common::CedeActiveRequestProto>() {
                Ok(request) => {
                    // Java sends its signed int in this unsigned field.
                    let millis = i64::from(request.millis_to_cede.cast_signed());
                    let millis = millis.min(CEDE_MAX_MS);
                    self.ask(&call, ZkfcRequest::CedeActive(millis), reply, |reply| {
                        reply.ok(&common::CedeActiveResponseProto {});
                    });
                }
                Err(exception) => reply.error(&exception),
            },
            Method::Zkfc(ZkfcMethod::GracefulFailover) => {
                self.ask(&call, ZkfcRequest::GracefulFailover, reply, |reply| {
                    reply.ok(&common::GracefulFailoverResponseProto {});
                })
            }
            other => reply.error(&RemoteException::new(
                RPC_NO_SUCH_METHOD,
                format!("Unknown method {other} called on {} protocol.", ZKFC_PROTOCOL.name),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_conf::{Configuration, Environment};
    use hathi_net::auth::{Groups, GroupsOptions};
    use hathi_net::ipc::{ClientOptions, RpcClient, RpcError, RpcServer, ServerOptions};
    use std::sync::Arc;

    fn serve() -> (RpcServer, mpsc::Receiver<Asked>) {
        let mut conf = Configuration::new(Environment::default());
        conf.set("dfs.cluster.administrators", "alice ops");
        conf.set("hadoop.user.group.static.mapping.overrides", "bob=ops;nobody=");
        let groups = Groups::start(GroupsOptions::of(&conf, "hdfs").unwrap());
        let (requests, queue) = mpsc::channel(REQUESTS_MAX);
        let handler = ZkfcRpcServer {
            requests,
            runtime: tokio::runtime::Handle::current(),
            administrators: Administrators::of(&conf, "hdfs", groups),
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let server = RpcServer::bind(address, Arc::new(handler), ServerOptions::default()).unwrap();
        (server, queue)
    }

    async fn cede(server: &RpcServer, user: &str, millis: u32) -> Result<(), RpcError> {
        let client = RpcClient::connect(server.local_addr(), &ZKFC_PROTOCOL, ClientOptions::new(user)).await?;
        let request = common::CedeActiveRequestProto { millis_to_cede: millis };
        let _: common::CedeActiveResponseProto = client.call("cedeActive", &request).await?;
        Ok(())
    }

    #[tokio::test]
    async fn only_an_administrator_moves_the_active_role() {
        let (server, mut queue) = serve();
        let refused = cede(&server, "nobody", 1).await.unwrap_err();
        let refused = refused.remote().unwrap();
        assert!(refused.is(ACCESS_CONTROL));
        assert_eq!(
            refused.message,
            "Disallowed RPC access from nobody (auth:SIMPLE) at 127.0.0.1. Not listed in dfs.cluster.administrators"
        );
        let client = RpcClient::connect(server.local_addr(), &ZKFC_PROTOCOL, ClientOptions::new("nobody"));
        let client = client.await.unwrap();
        let refused = client
            .call::<_, common::GracefulFailoverResponseProto>(
                "gracefulFailover",
                &common::GracefulFailoverRequestProto {},
            )
            .await;
        assert!(refused.unwrap_err().is_remote(ACCESS_CONTROL));
        assert!(queue.try_recv().is_err());
        for user in ["hdfs", "alice", "bob"] {
            let loops = async {
                let (request, answer) = queue.recv().await.unwrap();
                assert!(matches!(request, ZkfcRequest::CedeActive(1)));
                answer.send(Ok(())).unwrap();
            };
            let (ceded, ()) = tokio::join!(cede(&server, user, 1), loops);
            ceded.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_keeps_a_namenode_out_of_the_election_for_days() {
        let (server, mut queue) = serve();
        let loops = async {
            let (request, answer) = queue.recv().await.unwrap();
            assert!(matches!(request, ZkfcRequest::CedeActive(CEDE_MAX_MS)));
            answer.send(Ok(())).unwrap();
        };
        let (ceded, ()) = tokio::join!(cede(&server, "hdfs", i32::MAX.cast_unsigned()), loops);
        ceded.unwrap();
    }
}
