//! An active becomes a standby, because it is asked to or because the journals are another's.

use super::messages::{Action, News, Place, Step};
use super::{Phase, RoleChanges, Then};
use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::Role;

/// How long a graceful stop waits for the quorum before it takes its changes for lost.
const STEP_DOWN_TIMEOUT_MS: u64 = 5000;

impl<D> RoleChanges<D> {
    pub(super) fn begin_finishing<R>(
        &mut self,
        by: D,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        match place.ns.role() {
            Role::Standby => {
                actions.push(Action::Answer(by, Ok(())));
                return None;
            }
            Role::Active => {}
            role => {
                let why = format!("cannot become standby while {role:?}");
                actions.push(Action::Answer(
                    by,
                    Err(RemoteException::new(exceptions::SERVICE_FAILED, why)),
                ));
                return None;
            }
        }
        let closed = place
            .ns
            .begin_stepping_down()
            .map_err(|error| error.to_string())
            .and_then(|()| place.ns.close_edit_log().map_err(|error| error.to_string()));
        match closed {
            Ok(last) => {
                self.phase = Phase::Finishing(by);
                Some(Step::AwaitFinalized(last, STEP_DOWN_TIMEOUT_MS))
            }
            Err(why) => {
                actions.push(Action::Tell(News::NotFinished(why)));
                self.leave("asked to become standby", Some(by), place, actions)
            }
        }
    }

    pub(super) fn leave<R>(
        &mut self,
        reason: &str,
        by: Option<D>,
        place: &mut Place<'_, R>,
        actions: &mut Vec<Action<R, D>>,
    ) -> Option<Step> {
        let then = self.close(reason, place, actions);
        self.phase = Phase::Resigning(then, by.map(|by| (by, Ok(()))));
        Some(Step::Resign)
    }

    /// The end of a life in which this NameNode was active.
    pub(super) fn close<R>(&mut self, reason: &str, place: &mut Place<'_, R>, actions: &mut Vec<Action<R, D>>) -> Then {
        debug_assert_eq!(
            place.ns.role(),
            Role::SteppingDown,
            "who leaves takes no calls any more"
        );
        // What a quorum has may still be answered: the lease is held until it is given back.
        if place.lease_held {
            actions.push(Action::Send(place.gate.release()));
        }
        // Closed under the lock under which replies are made: none of this life is parked after this.
        let parked = place.gate.close();
        actions.extend([Action::DropLease, Action::GiveUp(parked)]);
        // What is broken is used by no later role; the load makes another one.
        let must_load = place.ns.edit_log().has_unsynced() || place.ns.is_broken();
        if !must_load && place.ns.end_stepping_down(place.now.wall_ms).is_ok() {
            actions.push(Action::Tell(News::Standby(reason.to_owned())));
            return Then::Follow;
        }
        place.ns.life().end();
        actions.push(Action::Tell(News::Dropped(reason.to_owned())));
        Then::Load
    }
}
