//! The story of each change of this NameNode to active: from whom and why, who asked, how long each step took. It is one
//! line of the log, and a value for metrics and pages.
//!
//! The cause is found by asking the former active while this one becomes active. So it delays nothing, and decides
//! nothing.

use crate::settings::{Peer, Settings};
use crate::standby_calls::StandbyCalls;
use hathi_formats::ids::{Epoch, TxId};
use hathi_formats::proto::common::{MonitorHealthRequestProto, MonitorHealthResponseProto};
use hathi_formats::proto::ext::{GetInstanceRequestProto, GetInstanceResponseProto};
use hathi_net::ipc::{ClientOptions, RpcError, connect_to, protocols};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long the former active may be silent until it counts as frozen or cut off.
const SILENT: Duration = Duration::from_secs(1);

/// What a story is made of.
#[derive(Clone)]
pub struct Failovers {
    pub(crate) settings: Arc<Settings>,
    /// Name of this process at the JournalNodes.
    pub(crate) holder: Arc<str>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
}

/// A change that is under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    from: Option<String>,
    cause: JoinHandle<String>,
    asked_by: String,
    applied_before: TxId,
    steps: Vec<(&'static str, u64)>,
}

impl UnderWay {
    /// Somebody asked for the change. To be called within a runtime.
    pub(crate) fn begin(parts: &Failovers, applied_before: TxId, asked_by: String) -> UnderWay {
        let from = parts.standby_calls.former_active();
        let (former, asking) = (from.clone(), parts.clone());
        UnderWay {
            cause: tokio::spawn(async move { cause(&asking, former.as_deref()).await }),
            from: from.map(|holder| holder.to_string()),
            asked_by,
            applied_before,
            steps: Vec::new(),
        }
    }

    /// A step has ended, which began then.
    pub(crate) fn step(&mut self, step: &'static str, began: Instant) {
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.steps.push((step, took_us));
    }

    /// This NameNode is active. The story is told as soon as the cause is known.
    pub(crate) fn tell(self, parts: &Failovers, epoch: Epoch, first: TxId, took_us: u64) {
        parts.standby_calls.this_one_is_active(&parts.holder);
        let parts = parts.clone();
        tokio::spawn(async move {
            let cause = self.cause.await.unwrap_or_else(|_| "not found out".to_owned());
            // The first transaction of an active is its own.
            let edits = first.0.saturating_sub(1).saturating_sub(self.applied_before.0);
            tracing::info!(
                from = self.from.as_deref().unwrap_or("nobody"),
                to = &*parts.holder,
                cause,
                asked_by = self.asked_by,
                epoch = epoch.0,
                first = first.0,
                edits,
                steps = steps_in_words(&self.steps),
                took_ms = %millis(took_us),
                "failover"
            );
        });
    }
}

/// `recovery 1.2 ms, catch up 0.3 ms`, of what was done and the time that it took in µs.
fn steps_in_words(steps: &[(&'static str, u64)]) -> String {
    let words = steps
        .iter()
        .map(|(step, took_us)| format!("{step} {} ms", millis(*took_us)));
    words.collect::<Vec<_>>().join(", ")
}

/// Milliseconds with one digit behind the point.
fn millis(us: u64) -> String {
    format!("{}.{}", us / 1000, us / 100 % 10)
}

/// Why the former active is not active any more.
async fn cause(parts: &Failovers, former: Option<&str>) -> String {
    let Some(former) = former else {
        return "no NameNode was active since this one began".to_owned();
    };
    if former == &*parts.holder {
        return "this NameNode was active before, and nobody since".to_owned();
    }
    let (id, instance) = former.rsplit_once('@').unwrap_or((former, ""));
    let Some(peer) = parts.settings.peers.iter().find(|peer| peer.namenode_id == id) else {
        return format!("{id} is in no configuration here");
    };
    match ask(&parts.settings.user, peer).await {
        Ok(answer) => in_words(id, instance, &answer),
        Err(error) => silence_in_words(id, &error),
    }
}

/// What the former active says.
struct Answer {
    instance: String,
    /// Why it is not healthy.
    problem: Option<String>,
}

async fn ask(user: &str, peer: &Peer) -> Result<Answer, RpcError> {
    let options = ClientOptions {
        connect_timeout: SILENT,
        call_timeout: SILENT,
        ..ClientOptions::new(user)
    };
    let client = connect_to(&peer.rpc.to_string(), &protocols::SUPERVISOR_PROTOCOL, &options).await?;
    let answer: GetInstanceResponseProto = client.call("getInstance", &GetInstanceRequestProto::default()).await?;
    let health = client.with_protocol(&protocols::HA_SERVICE_PROTOCOL);
    let checked: Result<MonitorHealthResponseProto, RpcError> =
        health.call("monitorHealth", &MonitorHealthRequestProto {}).await;
    let problem = match checked {
        Err(RpcError::Remote(exception)) => Some(exception.message.lines().next().unwrap_or_default().to_owned()),
        Ok(_) | Err(_) => None,
    };
    Ok(Answer {
        instance: answer.instance_id,
        problem,
    })
}

fn in_words(id: &str, instance: &str, answer: &Answer) -> String {
    if answer.instance != instance {
        return format!("the process of {id} has ended, and another one has begun");
    }
    match &answer.problem {
        Some(problem) => format!("{id} is not healthy: {problem}"),
        None => format!("{id} has stepped down: it was asked to, or its lease had run out"),
    }
}

fn silence_in_words(id: &str, error: &RpcError) -> String {
    match error {
        RpcError::Timeout { .. } => format!("{id} does not answer: it is frozen or cut off, and its lease has run out"),
        RpcError::Remote(exception) => format!("{id} can't be asked: {}", exception.message),
        RpcError::Connect { reason, .. } if !reason.contains("refused") => {
            format!("{id} can't be reached ({reason}): its machine is down or cut off, and its lease has run out")
        }
        RpcError::Connect { .. } | RpcError::Broken { .. } | RpcError::Decode(_) => {
            format!("the process of {id} has ended: {error}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_follows_from_what_the_former_active_says() {
        let answer = |instance: &str, problem: Option<&str>| Answer {
            instance: instance.to_owned(),
            problem: problem.map(str::to_owned),
        };
        let said = |answer: &Answer| in_words("nn0", "a", answer);
        assert!(said(&answer("b", None)).contains("has ended"));
        assert!(said(&answer("a", Some("no space"))).contains("not healthy: no space"));
        assert!(said(&answer("a", None)).contains("stepped down"));

        let silent = |error: &RpcError| silence_in_words("nn0", error);
        let connect = |reason: &str| RpcError::Connect {
            address: "nn0:8020".to_owned(),
            reason: reason.to_owned(),
        };
        assert!(silent(&connect("Connection refused (os error 111)")).contains("the process of nn0 has ended"));
        assert!(silent(&connect("no connection within 1s")).contains("its machine is down or cut off"));
        let timeout = RpcError::Timeout {
            address: "nn0:8020".to_owned(),
            timeout: SILENT,
        };
        assert!(silent(&timeout).contains("frozen or cut off"));
    }

    #[test]
    fn steps_are_told_in_milliseconds() {
        let steps = [("recovery", 12_345), ("first edit", 90)];
        assert_eq!(steps_in_words(&steps), "recovery 12.3 ms, first edit 0.0 ms");
    }
}
