//! Compares the namespace of this standby with the active's about once a second, and answers standbys that do. What
//! follows is decided by [`hathi_namesystem::divergence`] and [`hathi_nameserver::comparing`].
//!
//! A NameNode of Hadoop's does not know the call, so there is nothing to compare with while one is active.

use crate::callers::Callers;
use crate::clock::Clock;
use crate::health::Health;
use crate::image_place::ImagePlace;
use crate::replies::Replies;
use crate::settings::{Peer, Settings};
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::TxId;
use hathi_formats::proto::ext::{DigestMarkProto, GetDigestMarksRequestProto, GetDigestMarksResponseProto};
use hathi_nameserver::comparing::{Comparing, News, PAUSE_MS, Rhythm, counting, judge};
use hathi_namespace::{Attestation, MARKS_TOLD, Mark};
use hathi_namesystem::divergence::Verdict;
use hathi_namesystem::{Namesystem, Role};
use hathi_net::ipc::{ClientOptions, RpcCall, RpcClient, RpcError, connect_to, protocols};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

const COMPARE_EVERY: Duration = Duration::from_millis(PAUSE_MS);
/// An active that does not answer in this time is asked again.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Serves `getDigestMarks`: what the active says of its namespace, and nothing on a NameNode that is not active.
pub fn tell_digest_marks(
    callers: &Callers,
    ns: &RwLock<Namesystem>,
    call: &RpcCall,
) -> Result<GetDigestMarksResponseProto, RemoteException> {
    callers.check_superuser(call)?;
    let request: GetDigestMarksRequestProto = call.decode()?;
    let mut ns = ns.write();
    // Who asks for another namespace finds out about that in other ways.
    let is_of_this = request.block_pool_id == ns.info().block_pool_id;
    let attestation = is_of_this.then(|| ns.attest(TxId(request.known_tx_id))).flatten();
    Ok(
        attestation.map_or_else(Default::default, |attestation| GetDigestMarksResponseProto {
            version: Some(attestation.version),
            origin: Some(attestation.origin),
            marks: attestation.marks.iter().map(told).collect(),
        }),
    )
}

fn told(mark: &Mark) -> DigestMarkProto {
    DigestMarkProto {
        tx_id: mark.txid,
        digest: mark.digest,
    }
}

/// The attestation in an answer. An active of ours names no more marks than the limit.
fn attestation(answer: GetDigestMarksResponseProto) -> Option<Attestation> {
    if answer.marks.len() > MARKS_TOLD {
        return None;
    }
    let mark = |mark: DigestMarkProto| Mark {
        txid: mark.tx_id,
        digest: mark.digest,
    };
    Some(Attestation {
        version: answer.version?,
        origin: answer.origin?,
        marks: answer.marks.into_iter().map(mark).collect(),
    })
}

/// Another NameNode, and the connection to it.
struct Other {
    peer: Peer,
    client: Option<RpcClient>,
    rhythm: Rhythm,
}

impl Other {
    async fn ask(&mut self, user: &str, request: &GetDigestMarksRequestProto, now_ms: u64) -> Option<Attestation> {
        if !self.rhythm.asks(now_ms) {
            return None;
        }
        match self.try_to_ask(user, request).await {
            Ok(answer) => attestation(answer),
            Err(error) => {
                self.client = None;
                if let RpcError::Remote(exception) = &error {
                    self.rhythm.refused(exception, now_ms);
                }
                tracing::debug!(namenode = self.peer.namenode_id, %error, "it does not say what its digest is");
                None
            }
        }
    }

    async fn try_to_ask(
        &mut self,
        user: &str,
        request: &GetDigestMarksRequestProto,
    ) -> Result<GetDigestMarksResponseProto, RpcError> {
        let client = match &self.client {
            Some(client) => client,
            None => {
                let options = ClientOptions {
                    connect_timeout: TIMEOUT,
                    call_timeout: TIMEOUT,
                    ..ClientOptions::new(user)
                };
                let address = self.peer.rpc.to_string();
                let client = connect_to(&address, &protocols::SUPERVISOR_PROTOCOL, &options).await?;
                self.client.insert(client)
            }
        };
        client.call("getDigestMarks", request).await
    }
}

/// The namespace of this standby, and what follows from a comparison.
pub struct Comparison {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) health: Arc<Health>,
    pub(crate) images: Arc<ImagePlace>,
}

impl Comparison {
    /// Compares, until the process ends. `unusable` is told when the namespace has to be loaded anew.
    pub async fn run(self, unusable: Arc<Notify>) {
        let other = |peer: &Peer| Other {
            peer: peer.clone(),
            client: None,
            rhythm: Rhythm::default(),
        };
        let mut others: Vec<Other> = self.settings.peers.iter().map(other).collect();
        let mut comparing = Comparing::default();
        loop {
            tokio::time::sleep(COMPARE_EVERY).await;
            if self.replies.role() != Role::Standby {
                // An active is not compared with anybody, and what is loading has nothing yet.
                continue;
            }
            let attestation = self.ask_all(&mut others).await;
            let verdict = self.judge(attestation.as_ref());
            self.images.look_again();
            let next = comparing.after(verdict, &mut self.health.lock(), self.clock.ms());
            next.news.iter().for_each(say);
            if next.cancels_image {
                self.images.cancel_checkpoint();
            }
            if next.loads {
                unusable.notify_one();
            }
        }
    }

    /// What the active attests.
    async fn ask_all(&self, others: &mut Vec<Other>) -> Option<Attestation> {
        let request = {
            let ns = self.ns.read();
            GetDigestMarksRequestProto {
                block_pool_id: ns.info().block_pool_id.clone(),
                known_tx_id: ns.edit_log().applied().0,
            }
        };
        let mut asked = JoinSet::new();
        for mut other in others.drain(..) {
            let (request, user, now_ms) = (request.clone(), self.settings.user.clone(), self.clock.ms());
            asked.spawn(async move {
                let attestation = other.ask(&user, &request, now_ms).await;
                (other, attestation)
            });
        }
        let mut all = Vec::new();
        for (other, attestation) in asked.join_all().await {
            others.push(other);
            all.extend(attestation);
        }
        counting(all)
    }

    fn judge(&self, attestation: Option<&Attestation>) -> Verdict {
        let mut ns = self.ns.write();
        judge(
            &mut ns,
            &mut self.health.lock().divergence,
            attestation,
            self.clock.ms(),
            self.clock.wall_ms(),
        )
    }
}

fn say(news: &News) {
    match news {
        News::Differs(known) => tracing::error!(
            problem = known.what,
            txid = known.txid,
            since_ms = known.since_ms,
            "this standby's namespace is not the active's"
        ),
        News::Over => {
            tracing::info!("this standby may become active again: its namespace was loaded anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_attestation_only_if_it_is_whole_and_bounded() {
        let mark = DigestMarkProto { tx_id: 1, digest: 2 };
        let answer = |version, marks| GetDigestMarksResponseProto {
            version,
            origin: Some(0),
            marks: vec![mark; marks],
        };
        assert_eq!(attestation(answer(None, 0)), None, "who is not active attests nothing");
        assert_eq!(
            attestation(answer(Some(1), 2)).map(|attestation| attestation.marks.len()),
            Some(2)
        );
        assert_eq!(attestation(answer(Some(1), MARKS_TOLD + 1)), None);
    }
}
