//! All JournalNodes of a journal, present and former.

use crate::client::{JournalNodeClient, RemoteJournalNode, member_addresses};
use hathi_conf::HostPort;
use hathi_formats::qjournal::Envelope;
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// A connection that a firewall drops must not delay a recovery for longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the slower JournalNodes are waited for once a majority has answered.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// Time limit for the question who the JournalNodes are.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(3);

/// All present and former JournalNodes of the journal that are known here.
#[derive(Debug, Default)]
struct KnownJournalNodes {
    /// It only grows.
    addresses: Vec<HostPort>,
    /// Indices of the members.
    members: Vec<usize>,
    membership: Option<Membership>,
    /// Where each name led last, by index.
    ips: BTreeMap<usize, IpAddr>,
    /// Reason for each JournalNode that was left out of the last recovery of the journal, by address.
    distrusted: BTreeMap<String, String>,
}

impl KnownJournalNodes {
    fn index_of(&mut self, address: &HostPort) -> usize {
        let known = self.addresses.iter().position(|known| known == address);
        known.unwrap_or_else(|| {
            self.addresses.push(address.clone());
            self.addresses.len() - 1
        })
    }
}

/// The JournalNodes of a journal. Clones share what is learnt.
#[derive(Clone, Debug)]
pub struct JournalNodes {
    /// The JournalNodes of the configuration, in its order.
    pub configured: Vec<HostPort>,
    known: Arc<RwLock<KnownJournalNodes>>,
    envelope: Arc<Envelope>,
    user: Arc<str>,
    connect_timeout: Duration,
    /// The present place of each host that a test moves.
    #[cfg(test)]
    pub(crate) moved: Arc<RwLock<BTreeMap<String, String>>>,
}

impl JournalNodes {
    /// The JournalNodes at these addresses, called as this user for the journal of the envelope. There may be none, when
    /// the shared edits are in a directory.
    #[must_use]
    pub fn new(configured: Vec<HostPort>, envelope: Envelope, user: &str) -> JournalNodes {
        let known = KnownJournalNodes {
            addresses: configured.clone(),
            members: (0..configured.len()).collect(),
            ..KnownJournalNodes::default()
        };
        JournalNodes {
            configured,
            known: Arc::new(RwLock::new(known)),
            envelope: Arc::new(envelope),
            user: user.into(),
            connect_timeout: CONNECT_TIMEOUT,
            #[cfg(test)]
            moved: Arc::default(),
        }
    }

    /// Changes the time limit for connecting.
    #[must_use]
    pub fn with_connect_timeout(self, connect_timeout: Duration) -> JournalNodes {
        JournalNodes {
            connect_timeout,
            ..self
        }
    }

    /// Name of the journal.
    #[must_use]
    pub fn journal_id(&self) -> &str {
        &self.envelope.journal_id
    }

    /// Number of members in a majority.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.known.read().members.len() / 2 + 1
    }

    /// Indices of the members.
    #[must_use]
    pub fn members(&self) -> Vec<usize> {
        self.known.read().members.clone()
    }

    /// Whether this index is a member.
    #[must_use]
    pub fn is_member(&self, index: usize) -> bool {
        self.known.read().members.contains(&index)
    }

    /// Indices of all known JournalNodes, of former members too.
    #[must_use]
    pub fn all(&self) -> std::ops::Range<usize> {
        0..self.known.read().addresses.len()
    }

    /// Addresses of the members.
    #[must_use]
    pub fn addresses(&self) -> Vec<HostPort> {
        let known = self.known.read();
        let address = |index: &usize| known.addresses.get(*index).cloned();
        known.members.iter().filter_map(address).collect()
    }

    /// Address of a JournalNode, member or not.
    #[must_use]
    pub fn address(&self, index: usize) -> Option<HostPort> {
        self.known.read().addresses.get(index).cloned()
    }

    /// Where the name of a JournalNode led at the last connection.
    #[must_use]
    pub fn ip(&self, index: usize) -> Option<IpAddr> {
        self.known.read().ips.get(&index).copied()
    }

    /// The index of a JournalNode, member or not. An unknown one gets an index.
    #[must_use]
    pub fn index_of(&self, address: &HostPort) -> usize {
        self.known.write().index_of(address)
    }

    /// Why this JournalNode was left out of the last recovery of the journal, if it was.
    #[must_use]
    pub fn distrusted(&self, address: &HostPort) -> Option<String> {
        self.known.read().distrusted.get(&address.to_string()).cloned()
    }

    /// Notes that the answers of this JournalNode can't be true.
    pub fn distrust(&self, address: String, why: String) {
        self.known.write().distrusted.insert(address, why);
    }

    /// Notes that a recovery begins, in which the answers of all count again.
    pub fn trust_all(&self) {
        self.known.write().distrusted.clear();
    }

    /// The newest known membership. `None` when the JournalNodes were never changed.
    #[must_use]
    pub fn membership(&self) -> Option<Membership> {
        self.known.read().membership.clone()
    }

    /// Takes a membership that somebody knows. Returns whether it is newer than the known one, and so the valid one from
    /// now on.
    pub fn learn(&self, membership: &Membership) -> bool {
        let mut known = self.known.write();
        if !membership.is_valid() || !membership.is_newer_than(known.membership.as_ref()) {
            return false;
        }
        let Some(addresses) = member_addresses(membership) else {
            return false;
        };
        known.members = addresses.iter().map(|address| known.index_of(address)).collect();
        known.membership = Some(membership.clone());
        true
    }

    /// Asks all members for newer memberships, until nobody knows one. JournalNodes that don't answer are left out.
    pub async fn discover(&self) {
        loop {
            let before = self.membership();
            let mut calls = JoinSet::new();
            for index in self.members() {
                let nodes = self.clone();
                calls.spawn(async move {
                    let ask = async {
                        let client = nodes.connect(index).await?;
                        client.send(&Request::GetJournalState, DISCOVERY_TIMEOUT).await
                    };
                    (index, ask.await)
                });
            }
            for (_, answer) in self.collect(calls).await {
                if let Ok(Answer::JournalState {
                    membership: Some(found),
                    ..
                }) = answer
                {
                    self.learn(&found);
                }
            }
            if self.membership() == before {
                return;
            }
        }
    }

    /// The answers of the members. Once a majority has answered, the others get [`LAST_ANSWERS`] and no more.
    pub(crate) async fn collect(
        &self,
        mut calls: JoinSet<(usize, Result<Answer, CallError>)>,
    ) -> Vec<(usize, Result<Answer, CallError>)> {
        let members = self.members();
        let mut answers: BTreeMap<usize, Result<Answer, CallError>> = BTreeMap::new();
        let answered = |answers: &BTreeMap<usize, Result<Answer, CallError>>| answers.values().flatten().count();
        loop {
            let next = if answered(&answers) >= self.majority() {
                tokio::time::timeout(LAST_ANSWERS, calls.join_next()).await
            } else {
                Ok(calls.join_next().await)
            };
            match next {
                Ok(Some(Ok((index, answer)))) => drop(answers.insert(index, answer)),
                Ok(Some(Err(_))) => {}
                Ok(None) | Err(_) => break,
            }
        }
        let silent = || Err(CallError::Broken("no answer in time".to_owned()));
        let of = |index| (index, answers.remove(&index).unwrap_or_else(silent));
        members.into_iter().map(of).collect()
    }

    /// Connects to a JournalNode, member or not.
    ///
    /// # Errors
    /// [`CallError::Broken`] when it can't be reached.
    pub async fn connect(&self, index: usize) -> Result<JournalNodeClient, CallError> {
        let address = self
            .address(index)
            .ok_or_else(|| CallError::Broken("no such JournalNode".to_owned()))?;
        let place = self.place_of(&address);
        let node = RemoteJournalNode {
            address,
            envelope: self.envelope.clone(),
            user: self.user.clone(),
            connect_timeout: self.connect_timeout,
        };
        let client = node.connect_at(&place).await?;
        self.known.write().ips.insert(index, client.peer().ip());
        Ok(client)
    }

    fn place_of(&self, address: &HostPort) -> String {
        #[cfg(test)]
        if let Some(moved) = self.moved.read().get(&address.host) {
            return moved.clone();
        }
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::Epoch;

    fn nodes(addresses: &[&str]) -> JournalNodes {
        let parse = |address: &&str| HostPort::parse(address, None).unwrap();
        let envelope = Envelope {
            journal_id: "ns".to_owned(),
            name_service_id: None,
        };
        JournalNodes::new(addresses.iter().map(parse).collect(), envelope, "hdfs")
    }

    fn membership(version: u64, members: &[&str]) -> Membership {
        Membership {
            epoch: Epoch(3),
            version,
            members: members.iter().map(|member| (*member).to_owned()).collect(),
        }
    }

    #[test]
    fn an_index_stays_with_its_journalnode_through_changes() {
        let nodes = nodes(&["a:1", "b:1", "c:1"]);
        assert!(nodes.learn(&membership(1, &["d:1", "c:1", "b:1", "e:1", "f:1"])));
        assert_eq!(nodes.members(), [3, 2, 1, 4, 5]);
        assert_eq!((nodes.majority(), nodes.all()), (3, 0..6));
        assert!(!nodes.is_member(0) && nodes.is_member(4));
        assert_eq!(nodes.address(0).unwrap().to_string(), "a:1");
        for ignored in [membership(1, &["a:1"]), membership(0, &["a:1"])] {
            assert!(!nodes.learn(&ignored), "not newer: {ignored:?}");
        }
        for ignored in [&["a:1", "a:1"][..], &[], &["a"], &["a:1", "a/b:1"]] {
            assert!(!nodes.learn(&membership(2, ignored)), "no membership: {ignored:?}");
        }
        assert_eq!(nodes.members(), [3, 2, 1, 4, 5]);
        assert!(nodes.learn(&membership(2, &["a:1", "b:1"])));
        assert_eq!(nodes.members(), [0, 1]);
    }
}
