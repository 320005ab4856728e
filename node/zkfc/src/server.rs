//! `ZKFCProtocol`: `cedeActive` and `gracefulFailover`, for administrators and for other controllers.

use hathi_formats::exceptions::{RPC_NO_SUCH_METHOD, RemoteException};
use hathi_formats::proto::common;
use hathi_net::ipc::protocols::ZKFC_PROTOCOL;
use hathi_net::ipc::{Protocol, Responder, RpcCall, RpcHandler};
use tokio::sync::{mpsc, oneshot};

/// What an administrator or another controller asks; the answer goes back as an exception or nothing.
#[derive(Debug)]
pub(crate) enum Request {
    /// Make the local NameNode standby and stay out of the election for so many ms; 0 or less ends the ban.
    CedeActive(i64),
    /// Make the local NameNode active.
    GracefulFailover,
}

/// A request with the way back for its answer.
pub(crate) type Asked = (Request, oneshot::Sender<Result<(), RemoteException>>);

/// Hands requests to the controller's loop.
pub(crate) struct Handler {
    pub(crate) requests: mpsc::UnboundedSender<Asked>,
    pub(crate) runtime: tokio::runtime::Handle,
}

impl Handler {
    fn ask(&self, request: Request, reply: Responder, answer: fn(Responder)) {
        let (sender, receiver) = oneshot::channel();
        if self.requests.send((request, sender)).is_err() {
            return reply.reset();
        }
        self.runtime.spawn(async move {
            match receiver.await {
                Ok(Ok(())) => answer(reply),
                Ok(Err(exception)) => reply.error(&exception),
                Err(_) => reply.reset(),
            }
        });
    }
}

impl RpcHandler for Handler {
    fn protocols(&self) -> Vec<&'static Protocol> {
        vec![&ZKFC_PROTOCOL]
    }

    fn call(&self, call: RpcCall, reply: Responder) {
        match call.method {
            "cedeActive" => match call.decode::<common::CedeActiveRequestProto>() {
                Ok(request) => {
                    // Java sends its signed int in this unsigned field.
                    let millis = i64::from(request.millis_to_cede.cast_signed());
                    self.ask(Request::CedeActive(millis), reply, |reply| {
                        reply.ok(&common::CedeActiveResponseProto {});
                    });
                }
                Err(exception) => reply.error(&exception),
            },
            "gracefulFailover" => self.ask(Request::GracefulFailover, reply, |reply| {
                reply.ok(&common::GracefulFailoverResponseProto {});
            }),
            other => reply.error(&RemoteException::new(
                RPC_NO_SUCH_METHOD,
                format!("Unknown method {other} called on {} protocol.", ZKFC_PROTOCOL.name),
            )),
        }
    }
}
