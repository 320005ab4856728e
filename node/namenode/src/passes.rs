//! How a NameNode proves to another NameNode that it is one.
//!
//! An active believes a standby that passes calls on, so nobody else must be able to claim that it is a standby. Under
//! SIMPLE authentication a user's name proves nothing. But only a NameNode can answer at the address that the
//! configuration names. So the standby asks the active for a pass, with a random number. The active asks back at the
//! standby's configured address whether it was asked with this number, and only then gives the pass. The standby shows
//! the pass in each connection on which it calls in a client's name.
//!
//! A pass is known only to the process that made it and to the NameNodes that received it. It is sent only between
//! configured addresses, is in no file, and ends with the process that made it.

use crate::settings::{Peer, Settings};
use hathi_formats::exceptions::{ACCESS_CONTROL, RETRIABLE, RemoteException};
use hathi_formats::proto::ext::{
    ConfirmPassRequestRequestProto, ConfirmPassRequestResponseProto, RequestPassRequestProto, RequestPassResponseProto,
};
use hathi_net::ipc::{ClientOptions, RpcError, connect_to, protocols};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Number of requests of this process that may wait for a pass. There is one per active.
const ASKED_MAX: usize = 64;
/// Number of passes that are remembered, by the process that made them. The newest are kept.
const KEPT_MAX: usize = 8;
/// Number of callers about which this process asks back at the same time. Each costs a connection.
const CONFIRMING_MAX: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(1);

/// The passes of one process.
#[derive(Debug)]
pub struct Passes {
    /// Of the configuration: the id and the user of this NameNode, and the other ones.
    namenode_id: String,
    user: String,
    peers: Vec<Peer>,
    /// Name of this process.
    instance: String,
    own: String,
    asked: Mutex<Vec<String>>,
    kept: Mutex<Vec<(String, String)>>,
    confirming: Semaphore,
}

fn random() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Passes {
    /// Passes of the process `instance`.
    #[must_use]
    pub fn new(settings: &Settings, instance: &str) -> Passes {
        Passes {
            namenode_id: settings.namenode_id.clone(),
            user: settings.user.clone(),
            peers: settings.peers.clone(),
            instance: instance.to_owned(),
            own: random(),
            asked: Mutex::default(),
            kept: Mutex::default(),
            confirming: Semaphore::new(CONFIRMING_MAX),
        }
    }

    /// Name of this process.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Whether this is the pass of this process. The comparison takes the same time whatever is shown.
    #[must_use]
    pub fn is_own(&self, said: &str) -> bool {
        let differences = self.own.bytes().zip(said.bytes()).map(|(one, other)| one ^ other);
        said.len() == self.own.len() && differences.fold(0, |all, difference| all | difference) == 0
    }

    /// Notes a request of this process and returns the number that identifies it. `None` when there are too many.
    fn ask(&self) -> Option<String> {
        let mut asked = self.asked.lock();
        if asked.len() >= ASKED_MAX {
            return None;
        }
        let nonce = random();
        asked.push(nonce.clone());
        Some(nonce)
    }

    fn end(&self, nonce: &str) {
        self.asked.lock().retain(|asked| asked != nonce);
    }

    /// Whether this process has asked with this number and still waits.
    #[must_use]
    pub fn has_asked(&self, nonce: &str) -> bool {
        self.asked.lock().iter().any(|asked| asked == nonce)
    }

    /// The pass of an active's process, if it is known already.
    #[must_use]
    pub fn kept(&self, instance: &str) -> Option<String> {
        let kept = self.kept.lock();
        let (_, pass) = kept.iter().find(|(of, _)| of == instance)?;
        Some(pass.clone())
    }

    fn keep(&self, instance: &str, pass: &str) {
        let mut kept = self.kept.lock();
        kept.retain(|(of, _)| of != instance);
        if kept.len() >= KEPT_MAX {
            kept.remove(0);
        }
        kept.push((instance.to_owned(), pass.to_owned()));
    }

    /// Forgets a pass that was not accepted.
    pub fn forget(&self, pass: &str) {
        self.kept.lock().retain(|(_, kept)| kept != pass);
    }

    /// Asks an active for its pass.
    pub async fn fetch(&self, active: &Peer, instance: &str) -> Result<String, RpcError> {
        let busy = || RemoteException::new(RETRIABLE, "too many passes are asked for");
        let nonce = self.ask().ok_or_else(|| RpcError::Remote(busy()))?;
        let asked = self.request_pass(active, &nonce).await;
        self.end(&nonce);
        let pass = asked?.pass;
        self.keep(instance, &pass);
        Ok(pass)
    }

    async fn request_pass(&self, active: &Peer, nonce: &str) -> Result<RequestPassResponseProto, RpcError> {
        let client = connect_to(
            &active.rpc.to_string(),
            &protocols::SUPERVISOR_PROTOCOL,
            &self.peer_options(),
        )
        .await?;
        let request = RequestPassRequestProto {
            namenode_id: self.namenode_id.clone(),
            nonce: nonce.to_owned(),
        };
        client.call("requestPass", &request).await
    }

    fn peer_options(&self) -> ClientOptions {
        ClientOptions {
            connect_timeout: TIMEOUT,
            call_timeout: TIMEOUT,
            ..ClientOptions::new(&self.user)
        }
    }

    /// Serves `requestPass`: asks back whether that NameNode has asked.
    pub async fn give(&self, request: &RequestPassRequestProto) -> Result<RequestPassResponseProto, RemoteException> {
        let refused = |why: &str| RemoteException::new(ACCESS_CONTROL, format!("NameNode {}: {why}", self.instance));
        let peer = self
            .peers
            .iter()
            .find(|peer| peer.namenode_id == request.namenode_id)
            .ok_or_else(|| refused("no NameNode of this configuration has that id"))?;
        let Ok(_turn) = self.confirming.try_acquire() else {
            return Err(RemoteException::new(RETRIABLE, "too many passes are asked for"));
        };
        let asked = self.confirm(peer, &request.nonce).await;
        match asked {
            Ok(true) => Ok(RequestPassResponseProto { pass: self.own.clone() }),
            Ok(false) => Err(refused("it did not ask")),
            Err(error) => {
                tracing::info!(namenode = peer.namenode_id, %error, "cannot ask whether it asked for a pass");
                Err(refused("it does not answer whether it asked"))
            }
        }
    }

    async fn confirm(&self, peer: &Peer, nonce: &str) -> Result<bool, RpcError> {
        let client = connect_to(
            &peer.rpc.to_string(),
            &protocols::SUPERVISOR_PROTOCOL,
            &self.peer_options(),
        )
        .await?;
        let request = ConfirmPassRequestRequestProto {
            nonce: nonce.to_owned(),
        };
        let answer: ConfirmPassRequestResponseProto = client.call("confirmPassRequest", &request).await?;
        Ok(answer.asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_a_process() -> Passes {
        Passes::new(&crate::testing::active().shared.nn.settings, "this-process")
    }

    #[test]
    fn only_what_was_given_away_is_a_pass() {
        let passes = of_a_process();
        let other = of_a_process();
        assert!(passes.is_own(&passes.own));
        for wrong in [
            "",
            "x",
            other.own.as_str(),
            &passes.own[1..],
            &format!("{}0", passes.own),
        ] {
            assert!(!passes.is_own(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_request_is_confirmed_only_while_it_waits() {
        let passes = of_a_process();
        let nonce = passes.ask().unwrap();
        assert!(passes.has_asked(&nonce) && !passes.has_asked(""));
        passes.end(&nonce);
        assert!(!passes.has_asked(&nonce));
        let all: Vec<_> = std::iter::from_fn(|| passes.ask()).collect();
        assert_eq!(all.len(), ASKED_MAX);
    }

    #[test]
    fn the_pass_of_another_process_is_another_one() {
        let passes = of_a_process();
        for process in 0..20 {
            passes.keep(&format!("process {process}"), &format!("pass {process}"));
        }
        assert_eq!(passes.kept("process 19").as_deref(), Some("pass 19"));
        assert_eq!(passes.kept("process 1"), None);
        passes.forget("pass 19");
        assert_eq!(passes.kept("process 19"), None);
    }

    #[tokio::test]
    async fn who_is_not_at_the_address_of_a_namenode_gets_no_pass() {
        let passes = of_a_process();
        let request = |namenode_id: &str| RequestPassRequestProto {
            namenode_id: namenode_id.to_owned(),
            nonce: "made up".to_owned(),
        };
        // Nothing listens at the address of nn1.
        for id in ["nn1", "nn9", ""] {
            assert!(passes.give(&request(id)).await.unwrap_err().is(ACCESS_CONTROL), "{id}");
        }
    }
}
