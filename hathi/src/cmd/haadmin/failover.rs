//! A failover by hand, without controllers (`org.apache.hadoop.ha.FailoverController`).

use super::{Refused, Timeouts, log, target::HaServiceTarget, words};
use hathi_formats::exceptions::{HEALTH_CHECK_FAILED, SERVICE_FAILED};
use hathi_formats::proto::common::{HaRequestSource, HaServiceStateProto};
use hathi_net::ipc::RpcError;

/// Steps that the operator forces.
#[derive(Clone, Copy)]
pub(super) struct Force {
    /// The fencing methods run even if the old active has stepped down.
    pub(super) fence: bool,
    /// The new active takes the role even if it says that it is not ready.
    pub(super) active: bool,
}

/// Why a failover failed, without the standard words in front.
pub(super) type Failed = String;

/// Moves the active role from one NameNode to another.
pub(super) struct FailoverController {
    /// Origin of the requests.
    pub(super) source: HaRequestSource,
    /// Time-outs of the calls.
    pub(super) timeouts: Timeouts,
}

impl FailoverController {
    /// Moves the role. If the new active does not take it, the old one gets it back, unless it was fenced.
    pub(super) async fn failover(
        &self,
        from: &HaServiceTarget<'_>,
        to: &HaServiceTarget<'_>,
        force: Force,
    ) -> Result<Result<(), Failed>, Refused> {
        if !from.has_fencer() {
            return Err(Refused::argument("failover requires a fencer"));
        }
        let failed = match self.try_failover(from, to, force).await {
            Ok(()) => return Ok(Ok(())),
            Err((failed, Fenced(true))) => return Ok(Err(failed)),
            Err((failed, Fenced(false))) => failed,
        };
        // The failback takes the same steps in the other direction, with both of them forced, as in Hadoop.
        let force = Force {
            fence: true,
            active: true,
        };
        Ok(Err(match self.try_failover(to, from, force).await {
            Ok(()) => failed,
            Err((why, _)) => {
                let failed = format!("{failed}. Failback to {from} failed ({why})");
                log("ERROR", &failed);
                failed
            }
        }))
    }

    async fn try_failover(
        &self,
        from: &HaServiceTarget<'_>,
        to: &HaServiceTarget<'_>,
        force: Force,
    ) -> Result<(), (Failed, Fenced)> {
        // Nothing has changed before this step, so nothing is undone.
        let unchanged = |failed| (failed, Fenced(true));
        self.check(from, to, force).await.map_err(unchanged)?;
        let stepped_down = self.try_graceful_fence(from).await;
        let fence = !stepped_down || force.fence;
        if fence && !from.fence() {
            return Err(unchanged(format!("Unable to fence {from}. Fencing failed.")));
        }
        let active = to.transition(HaServiceStateProto::Active, self.source, self.timeouts.new_active);
        if let Err(error) = active.await {
            let why = reason(&error, to);
            log("ERROR", &format!("Unable to make {to} active ({why}). Failing back."));
            return Err((format!("Unable to failover to {to}"), Fenced(fence)));
        }
        Ok(())
    }

    /// `preFailoverChecks`
    async fn check(&self, from: &HaServiceTarget<'_>, to: &HaServiceTarget<'_>, force: Force) -> Result<(), Failed> {
        if from.address() == to.address() {
            return Err("Can't failover a service to itself".to_owned());
        }
        let status = match to.status(self.timeouts.new_active).await {
            Ok(status) => status,
            Err(error) => {
                log("ERROR", &words::error(&error, to.address()));
                return Err(format!("Unable to get service state for {to}"));
            }
        };
        let state = status.state();
        if state != HaServiceStateProto::Standby {
            return Err(format!("Can't failover to an {} service", super::state_name(state)));
        }
        if !status.ready_to_become_active() {
            let why = status.not_ready_reason();
            if !force.active {
                return Err(format!("{to} is not ready to become active: {why}"));
            }
            log(
                "WARN",
                &format!("Service is not ready to become active, but forcing: {why}"),
            );
        }
        match to.monitor_health(self.timeouts.new_active).await {
            Ok(()) => Ok(()),
            Err(error) => {
                log("ERROR", &words::error(&error, to.address()));
                Err(match error.is_remote(HEALTH_CHECK_FAILED) {
                    true => "Can't failover to an unhealthy service".to_owned(),
                    false => "Got an IO exception".to_owned(),
                })
            }
        }
    }

    /// `tryGracefulFence`
    async fn try_graceful_fence(&self, from: &HaServiceTarget<'_>) -> bool {
        let standby = from.transition(HaServiceStateProto::Standby, self.source, self.timeouts.graceful_fence);
        match standby.await {
            Ok(()) => true,
            Err(error) => {
                let why = reason(&error, from);
                log("WARN", &format!("Unable to gracefully make {from} standby ({why})"));
                false
            }
        }
    }
}

/// Whether the fencing methods ran. A fenced NameNode does not get the role back.
struct Fenced(bool);

fn reason(error: &RpcError, target: &HaServiceTarget<'_>) -> String {
    match error.is_remote(SERVICE_FAILED) {
        true => words::error(error, target.address()),
        false => format!("unable to connect: {}", words::error(error, target.address())),
    }
}
