//! Which calls of clients may change the namespace now.
//!
//! Invariant: edits that wait for the journal take no more memory than is configured, and what the calls under way add to
//! it.

use crate::standby_calls::not_active;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::{CallContext, Namesystem};

/// By which way a client's call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From its client, or from a NameNode that has passed it on.
    Sent,
    /// It was kept here while no NameNode was active.
    KeptHere,
    /// It was admitted before, and is served again.
    Again,
}

/// Looks at a client's call before its handler runs, under the same lock.
///
/// # Errors
/// What the client is told: that it should try again, or that this NameNode is not active.
pub fn admit(
    ns: &mut Namesystem,
    context: &CallContext,
    way: Way,
    unsynced_limit_bytes: usize,
) -> Result<(), RemoteException> {
    // The journal is slower than the clients, or hangs. They wait before edits fill the memory.
    if ns.unsynced_bytes() > unsynced_limit_bytes {
        let busy = "too many edits wait for the journal (hathi.namenode.unsynced.limit.mb)";
        return Err(RemoteException::new(exceptions::RETRIABLE, busy));
    }
    match way {
        Way::Again => Ok(()),
        Way::Sent => ns.admit(context),
        // A client is sent away, and calls again if it still waits. A NameNode is told the reason.
        Way::KeptHere => ns.admit(context).map_err(|_| not_active()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::in_role;
    use hathi_namesystem::Role;
    use hathi_namesystem::passed_on::{FRESH_MS, PassedOn};
    use std::sync::Arc;

    const NOW_MS: u64 = 10_000;

    /// A call whose client was seen waiting so long ago.
    fn call(since_ms: Option<u64>) -> CallContext {
        CallContext {
            user: "alice".into(),
            groups: Arc::from([]),
            superuser: false,
            client_ip: None,
            client_id: [7; 16].into_iter().collect(),
            call_id: 1,
            retry_count: 0,
            passed_on: since_ms.map(|since_ms| PassedOn {
                waiting_at_ms: NOW_MS - since_ms,
                age_ms: 0,
                connection: 1,
            }),
            now_ms: NOW_MS,
            mono_ms: NOW_MS,
        }
    }

    #[test]
    fn nothing_is_admitted_while_too_many_edits_wait_for_the_journal() {
        let mut ns = in_role(Role::Active, 5);
        assert_eq!(ns.unsynced_bytes(), 0);
        for way in [Way::Sent, Way::KeptHere, Way::Again] {
            admit(&mut ns, &call(None), way, 0).unwrap();
        }
        ns.roll_edit_log(NOW_MS).unwrap();
        let waiting = ns.unsynced_bytes();
        assert!(waiting > 0);
        for way in [Way::Sent, Way::KeptHere, Way::Again] {
            admit(&mut ns, &call(None), way, waiting).expect("as much may wait");
            let refused = admit(&mut ns, &call(None), way, waiting - 1).unwrap_err();
            assert!(refused.is(exceptions::RETRIABLE), "{way:?}: {refused:?}");
        }
    }

    #[test]
    fn a_late_call_is_refused_with_the_reason_or_sent_elsewhere_and_served_again_if_it_was_admitted() {
        let mut ns = in_role(Role::Active, 5);
        let late = call(Some(FRESH_MS + 1));
        let refused = |ns: &mut Namesystem, way| admit(ns, &late, way, usize::MAX);
        assert!(refused(&mut ns, Way::Sent).unwrap_err().is(exceptions::CALL_LATE));
        assert!(refused(&mut ns, Way::KeptHere).unwrap_err().is(exceptions::STANDBY));
        refused(&mut ns, Way::Again).unwrap();
        for way in [Way::Sent, Way::KeptHere] {
            admit(&mut ns, &call(Some(FRESH_MS)), way, usize::MAX).unwrap();
        }
    }
}
