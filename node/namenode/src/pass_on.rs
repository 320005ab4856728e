//! Passes calls of a standby's clients on to the active, each under its client's own identity.
//!
//! A call whose client has given up must not be applied. The active decides that, by `hathi_namesystem::passed_on`.
//! This side tells it what it needs: the active's own clock, fetched before the client's connection is looked at, and
//! how long the call had been here by then.

use crate::callers::Callers;
use crate::clock::Clock;
use crate::origin::WAITING;
use crate::replies::Replies;
use crate::rpc::Handler;
use crate::settings::{Peer, Settings};
use crate::standby_calls::{Question, Refused, StandbyCall, StandbyCalls};
use hathi_conf::HostPort;
use hathi_formats::exceptions;
use hathi_formats::proto::ext::{GetInstanceRequestProto, GetInstanceResponseProto};
use hathi_nameserver::standby_calls::{Answered, Settled};
use hathi_namesystem::Role;
use hathi_net::auth::VOUCHED_PREFIX;
use hathi_net::ipc::{CallIds, ClientOptions, RpcCall, RpcError, UserInfo, connect_to, protocols};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};

/// Number of connections to the active.
const CONNECTIONS_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// An active that does not tell its clock in this time would not serve the call in time either.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(1);

/// What passes calls on.
pub struct PassOn {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) callers: Arc<Callers>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    pub(crate) handler: Arc<Handler>,
}

impl PassOn {
    /// Settles calls, for as long as the process lives.
    pub async fn settle_all(self: Arc<Self>, mut questions: mpsc::UnboundedReceiver<Question>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Some(question) = questions.recv().await {
            // The semaphore is never closed.
            let connection = connections.clone().acquire_owned().await;
            let pass_on = self.clone();
            tokio::spawn(async move {
                let settled = pass_on.settle(question).await;
                drop(connection);
                match settled {
                    Settled::SendAway(refused) => refused.send_away(),
                    Settled::Answer(refused, Ok(message)) => refused.responder.ok_encoded(&message),
                    Settled::Answer(refused, Err(error)) => refused.responder.error(&error),
                    Settled::Again(kept) => match pass_on.standby_calls.keep(kept) {
                        Ok(()) => {}
                        Err(kept) if pass_on.replies.role() == Role::Active => pass_on.handler.serve(kept),
                        Err(kept) => kept.call.send_away(),
                    },
                }
            });
        }
    }

    /// Asks the active about a call, for as long as it is the active.
    async fn settle(&self, question: Question) -> Settled<Refused, bytes::Bytes> {
        let holder = &question.holder;
        let answered = tokio::select! {
            answer = self.ask_active(&question.kept, holder) => answered(answer, &question),
            () = self.standby_calls.until_not_active(holder) => Answered::NotActive,
        };
        self.standby_calls.settle(question, answered)
    }
}

fn answered(answer: Result<Option<bytes::Bytes>, RpcError>, question: &Question) -> Answered<bytes::Bytes> {
    let (holder, method) = (&question.holder, question.kept.call.call.method.name());
    match answer {
        Ok(None) => Answered::Reached,
        Ok(Some(message)) => Answered::Answer(Ok(message)),
        Err(RpcError::Remote(exception)) => {
            tracing::debug!(%holder, method, %exception, "the active refuses a call that was passed on");
            Answered::Answer(Err(exception))
        }
        Err(error) => {
            tracing::debug!(%holder, method, %error, "the active does not answer");
            Answered::Failed
        }
    }
}

impl PassOn {
    /// The active's answer to a call that stays. For any other call only a connection to the active is tried. The
    /// active is asked in the same way as by the client itself: in the name of its user and with the ids of its call.
    /// The client's address is told in the way of Hadoop's routers (`RouterRpcClient.addClientInfoToCallerContext`).
    async fn ask_active(&self, kept: &StandbyCall, holder: &str) -> Result<Option<bytes::Bytes>, RpcError> {
        let Refused { call, responder, .. } = &kept.call;
        let id = holder.rsplit_once('@').map_or(holder, |(id, _)| id);
        let Some(active) = self.settings.peers.iter().find(|peer| peer.namenode_id == id) else {
            return Err(RpcError::Connect {
                address: holder.to_owned(),
                reason: "no NameNode of this configuration".to_owned(),
            });
        };
        let address = active.rpc.to_string();
        if !kept.is_passed_on() {
            let options = ClientOptions {
                connect_timeout: CONNECT_TIMEOUT,
                ..ClientOptions::new(&self.settings.user)
            };
            connect_to(&address, call.method.protocol(), &options).await?;
            return Ok(None);
        }
        let (asked, pass) = match self.clock_and_pass(active).await {
            Ok(asked) => asked,
            // The active is none of ours, or does not know this NameNode.
            Err(RpcError::Remote(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let age_ms = kept.age_ms(self.clock.ms());
        let waiting = match asked.clock_ms {
            Some(clock_ms) if responder.is_waiting() => {
                format!("{WAITING}:{}.{clock_ms}.{age_ms}", asked.instance_id)
            }
            // The client is gone, or the active can't recognize a late call. So nothing is passed on.
            _ => return Ok(None),
        };
        let client = connect_to(
            &address,
            call.method.protocol(),
            &self.options_for(call, waiting, &pass),
        )
        .await?;
        self.standby_calls.count_passed_on();
        let ids = CallIds {
            client_id: call.client_id,
            call_id: call.call_id,
            // A NameNode that is not active after all returns the call, and does not pass it on once more.
            retry_count: 0,
        };
        let answer = client.call_encoded(call.method.name(), &call.body, Some(ids), None);
        match answer.encoded().await {
            Err(error) if error.is_remote(exceptions::AUTHORIZATION) => {
                self.callers.passes().forget(&pass);
                Ok(None)
            }
            answered => answered.map(Some),
        }
    }

    /// The active's clock, fetched once its pass is known.
    async fn clock_and_pass(&self, active: &Peer) -> Result<(GetInstanceResponseProto, String), RpcError> {
        let asked = self.clock_of(&active.rpc).await?;
        if let Some(pass) = self.callers.passes().kept(&asked.instance_id) {
            return Ok((asked, pass));
        }
        let pass = self.callers.passes().fetch(active, &asked.instance_id).await?;
        Ok((self.clock_of(&active.rpc).await?, pass))
    }

    /// The process that answers at this address, and its clock.
    async fn clock_of(&self, active: &HostPort) -> Result<GetInstanceResponseProto, RpcError> {
        let options = ClientOptions {
            connect_timeout: CONNECT_TIMEOUT,
            call_timeout: CLOCK_TIMEOUT,
            ..ClientOptions::new(&self.settings.user)
        };
        let client = connect_to(&active.to_string(), &protocols::SUPERVISOR_PROTOCOL, &options).await?;
        client.call("getInstance", &GetInstanceRequestProto::default()).await
    }

    /// Options as the client itself would have them, and what is told about the client.
    fn options_for(&self, call: &RpcCall, waiting: String, pass: &str) -> ClientOptions {
        let peer = call.peer;
        let mut context = format!("{waiting},clientIp:{},clientPort:{}", peer.ip(), peer.port());
        if let Some(own) = &call.caller_context {
            context = format!("{},{context}", String::from_utf8_lossy(&own.context));
        }
        ClientOptions {
            user: UserInfo {
                user: call.user.user.clone(),
                real_user: Some(format!("{VOUCHED_PREFIX}{pass}")),
                vouched: false,
            },
            client_id: call.client_id,
            connect_timeout: CONNECT_TIMEOUT,
            caller_context: Some(context),
            ..ClientOptions::new(&self.settings.user)
        }
    }
}
