//! How a NameNode watches the read lease at every JournalNode, so that it knows as a standby whether another NameNode is
//! active. It learns from the same answers which JournalNodes know our additions, and changes of the membership.
//!
//! Invariants:
//! - What a JournalNode has said counts until it is silent, ends to know leases, or is no member any more.
//! - What is known of the lease is what a majority of all members says ([`quorum_lease`]), and otherwise nothing.

use crate::standby_calls::LeaseView;
use hathi_formats::exceptions;
use hathi_journal::messages::LeaseState;
use hathi_journal::survey::{LeaseAnswer, QuorumLease, quorum_lease};
use hathi_journal::writer::CallError;
use hathi_journal::{Answer, Membership, Request};
use std::collections::BTreeMap;

/// Longest time in ms after which a JournalNode answers.
const WAIT_MS: u32 = 2000;
/// Time in ms beyond [`WAIT_MS`] after which a JournalNode is silent.
const SILENT_MS: u32 = 1000;
/// Pause in ms before a JournalNode that does not answer is asked again. New members are looked for as often.
pub const RETRY_MS: u64 = 200;
/// Pause in ms before a JournalNode that knows no leases is asked again. It may have been replaced.
const HADOOP_RETRY_MS: u64 = 30_000;

/// What follows from an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Whether the JournalNode knows our additions, if it has told.
    pub knows_extensions: Option<bool>,
    /// The JournalNodes, if it has named them.
    pub membership: Option<Membership>,
    /// Pause in ms before it is asked again.
    pub pause_ms: u64,
}

/// What the JournalNodes have last said, by their indices.
#[derive(Clone, Debug)]
pub struct LeaseWatch {
    /// `<namenode id>@<instance id>` of this NameNode.
    holder: String,
    states: BTreeMap<usize, LeaseState>,
}

impl LeaseWatch {
    /// Nobody has said anything to this NameNode, `<namenode id>@<instance id>`.
    #[must_use]
    pub fn new(holder: &str) -> LeaseWatch {
        LeaseWatch {
            holder: holder.to_owned(),
            states: BTreeMap::new(),
        }
    }

    /// The next question to a JournalNode, and after how many ms without an answer it is silent. It answers when
    /// something has changed since its last answer.
    #[must_use]
    pub fn question(&self, journalnode: usize) -> (Request, u32) {
        let request = Request::WatchLease {
            known_counter: self.states.get(&journalnode).map(|state| state.change_counter),
            wait_ms: WAIT_MS,
        };
        (request, WAIT_MS + SILENT_MS)
    }

    /// A JournalNode has answered, or is silent.
    pub fn on_answer(&mut self, journalnode: usize, answer: Result<Answer, CallError>) -> Next {
        let (knows_extensions, pause_ms) = match answer {
            Ok(Answer::LeaseState(state)) => {
                let membership = state.membership.clone();
                self.states.insert(journalnode, state);
                return Next {
                    knows_extensions: Some(true),
                    membership,
                    pause_ms: 0,
                };
            }
            Err(CallError::Remote(exception))
                if exception.is(exceptions::RPC_NO_SUCH_PROTOCOL) || exception.is(exceptions::RPC_NO_SUCH_METHOD) =>
            {
                (Some(false), HADOOP_RETRY_MS)
            }
            Ok(_) | Err(_) => (None, RETRY_MS),
        };
        self.forget(journalnode);
        Next {
            knows_extensions,
            membership: None,
            pause_ms,
        }
    }

    /// A JournalNode is no member any more.
    pub fn forget(&mut self, journalnode: usize) {
        self.states.remove(&journalnode);
    }

    /// What a majority says of the lease, if these are the members.
    #[must_use]
    pub fn lease(&self, members: &[usize]) -> QuorumLease {
        let states = members.iter().filter_map(|member| self.states.get(member));
        let answers: Vec<LeaseAnswer> = states.map(LeaseAnswer::of).collect();
        debug_assert!(answers.len() <= members.len(), "each member has one vote");
        quorum_lease(members.len(), answers.iter())
    }

    /// What is known of the active's lease, if these are the members.
    #[must_use]
    pub fn view(&self, members: &[usize]) -> LeaseView {
        match self.lease(members) {
            QuorumLease::Free => LeaseView::Free,
            QuorumLease::Held { holder, .. } if holder != self.holder => LeaseView::HeldByOther(holder.into()),
            QuorumLease::Held { .. } | QuorumLease::Written { .. } | QuorumLease::Unknown => LeaseView::Unknown,
        }
    }

    /// What each JournalNode has last said.
    #[must_use]
    pub fn states(&self) -> &BTreeMap<usize, LeaseState> {
        &self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::exceptions::RemoteException;
    use hathi_formats::ids::{Epoch, TxId};

    const MEMBERS: [usize; 3] = [0, 1, 2];

    fn state(holder: Option<&str>, remaining_ms: u64) -> LeaseState {
        LeaseState {
            promised_epoch: Epoch(3),
            writer_epoch: Epoch(3),
            holder: holder.map(Into::into),
            remaining_ms,
            change_counter: 9,
            highest: TxId(0),
            committed: None,
            membership: None,
            written_without_lease: false,
        }
    }

    fn says(watch: &mut LeaseWatch, journalnode: usize, state: LeaseState) -> Next {
        watch.on_answer(journalnode, Ok(Answer::LeaseState(state)))
    }

    fn silent() -> Result<Answer, CallError> {
        Err(CallError::Broken("nothing".to_owned()))
    }

    fn hadoops() -> Result<Answer, CallError> {
        let unknown = RemoteException::new(exceptions::RPC_NO_SUCH_METHOD, "watchLease");
        Err(CallError::Remote(unknown))
    }

    #[test]
    fn a_majority_says_who_else_is_active() {
        let mut watch = LeaseWatch::new("nn0@a");
        assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown);
        says(&mut watch, 0, state(Some("nn1@b"), 5));
        assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown);
        says(&mut watch, 2, state(Some("nn1@b"), 5));
        assert_eq!(watch.view(&MEMBERS), LeaseView::HeldByOther("nn1@b".into()));
        says(&mut watch, 2, state(Some("nn1@b"), 0));
        assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown, "they do not agree");
        says(&mut watch, 0, state(Some("nn1@b"), 0));
        assert_eq!(watch.view(&MEMBERS), LeaseView::Free);
    }

    #[test]
    fn the_own_lease_is_none_of_another_namenode() {
        let mut watch = LeaseWatch::new("nn0@a");
        for journalnode in MEMBERS {
            says(&mut watch, journalnode, state(Some("nn0@a"), 5));
        }
        assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown);
    }

    #[test]
    fn what_was_said_counts_until_silence_and_of_members_only() {
        for ends in [silent(), hadoops(), Ok(Answer::Done)] {
            let mut watch = LeaseWatch::new("nn0@a");
            for journalnode in [0, 1] {
                says(&mut watch, journalnode, state(None, 0));
            }
            assert_eq!(watch.view(&MEMBERS), LeaseView::Free);
            watch.on_answer(1, ends.clone());
            assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown, "{ends:?}");
        }
        let mut watch = LeaseWatch::new("nn0@a");
        for journalnode in [0, 3] {
            says(&mut watch, journalnode, state(None, 0));
        }
        assert_eq!(watch.view(&MEMBERS), LeaseView::Unknown, "one of them is no member");
        watch.forget(0);
        assert_eq!(watch.states().len(), 1);
    }

    #[test]
    fn a_journalnode_is_asked_for_changes_since_its_last_answer() {
        let mut watch = LeaseWatch::new("nn0@a");
        let known = |watch: &LeaseWatch| match watch.question(0) {
            (Request::WatchLease { known_counter, wait_ms }, silent_ms) => {
                assert!(silent_ms > wait_ms, "it may wait");
                known_counter
            }
            (other, _) => panic!("{other:?}"),
        };
        assert_eq!(known(&watch), None);
        assert_eq!(says(&mut watch, 0, state(None, 0)).pause_ms, 0);
        assert_eq!(known(&watch), Some(9));
        watch.on_answer(0, silent());
        assert_eq!(known(&watch), None, "it may be another process");
    }

    #[test]
    fn a_journalnode_of_hadoops_is_asked_seldom_and_a_silent_one_tells_nothing_of_itself() {
        let mut watch = LeaseWatch::new("nn0@a");
        assert_eq!(says(&mut watch, 0, state(None, 0)).knows_extensions, Some(true));
        let next = watch.on_answer(0, hadoops());
        assert_eq!((next.knows_extensions, next.pause_ms), (Some(false), HADOOP_RETRY_MS));
        let next = watch.on_answer(0, silent());
        assert_eq!((next.knows_extensions, next.pause_ms), (None, RETRY_MS));
    }

    #[test]
    fn a_changed_membership_is_passed_on() {
        let mut watch = LeaseWatch::new("nn0@a");
        let membership = Membership {
            members: vec!["jn1:8485".to_owned()],
            ..Membership::default()
        };
        let named = LeaseState {
            membership: Some(membership.clone()),
            ..state(None, 0)
        };
        assert_eq!(says(&mut watch, 0, named).membership, Some(membership));
    }
}
