//! `rollingUpgrade` (`FSNamesystem.startRollingUpgrade`, `queryRollingUpgrade`, `finalizeRollingUpgrade`).

use super::border::{Answer, OrDeferred, Outcome};
use super::io;
use crate::context::{CallContext, Deferred};
use crate::{Namesystem, OperationCategory};
use hathi_blockmanager::Now;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::TxId;
use hathi_formats::proto::hdfs::{
    RollingUpgradeActionProto, RollingUpgradeInfoProto, RollingUpgradeRequestProto, RollingUpgradeResponseProto,
};

/// What is answered: the rolling upgrade, and the last transaction that this shows.
type Told = (Option<RollingUpgradeInfoProto>, Option<TxId>);

/// `rollingUpgrade`
pub fn rolling_upgrade(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: RollingUpgradeRequestProto,
) -> Outcome<OrDeferred<RollingUpgradeResponseProto>> {
    let action = request.action();
    let (operation, category) = match action {
        RollingUpgradeActionProto::Query => ("queryRollingUpgrade", OperationCategory::Read),
        RollingUpgradeActionProto::Start => ("startRollingUpgrade", OperationCategory::Write),
        RollingUpgradeActionProto::Finalize => ("finalizeRollingUpgrade", OperationCategory::Write),
    };
    ctx.check_superuser_for(ns, operation)?;
    ns.check_operation(category)?;
    let under_way = ns.rolling_upgrade_info();
    let (rolling_upgrade_info, after) = match (action, under_way) {
        (RollingUpgradeActionProto::Start, None) if !ns.config.ha_enabled => {
            check_in_safe_mode(ns)?;
            return Ok(Answer::deferred(Deferred::StartRollingUpgrade));
        }
        (RollingUpgradeActionProto::Start, None) => {
            ns.check_not_in_safe_mode("Failed to start rolling upgrade")?;
            let after = ns.begin_rolling_upgrade(ctx.now_ms)?;
            (ns.rolling_upgrade_info(), after)
        }
        (RollingUpgradeActionProto::Finalize, Some(info)) => finalize(ns, ctx, info)?,
        (_, info) => (info, ns.shown_everything()),
    };
    Ok(Answer::now(RollingUpgradeResponseProto { rolling_upgrade_info }, after))
}

/// The only NameNode saves its rollback image first, and nothing may change meanwhile.
fn check_in_safe_mode(ns: &Namesystem) -> Result<(), RemoteException> {
    match ns.blockmanager().in_safe_mode() {
        true => Ok(()),
        false => Err(io("Safe mode should be turned ON in order to create namespace image.")),
    }
}

fn finalize(
    ns: &mut Namesystem,
    ctx: &CallContext,
    mut info: RollingUpgradeInfoProto,
) -> Result<Told, RemoteException> {
    ns.check_not_in_safe_mode("Failed to finalize rolling upgrade")?;
    let after = ns.finalize_rolling_upgrade(ctx.now_ms)?;
    info.finalize_time = ctx.now_ms;
    info.status.finalized = Some(true);
    Ok((Some(info), after))
}

/// [`Deferred::StartRollingUpgrade`]: the rollback image of the only NameNode is saved, up to `image`. The rolling upgrade
/// begins, and safe mode ends.
///
/// # Errors
/// Something else happened meanwhile.
pub fn start_after_image(ns: &mut Namesystem, image: TxId, now: Now) -> Outcome<RollingUpgradeResponseProto> {
    ns.check_operation(OperationCategory::Write)?;
    if ns.rolling_upgrade_info().is_none() {
        check_in_safe_mode(ns)?;
        ns.note_rollback_image(Some(image));
        ns.begin_rolling_upgrade(now.wall_ms)?;
        ns.leave_safe_mode(false, now);
    }
    let rolling_upgrade_info = ns.rolling_upgrade_info();
    Ok(Answer::new(
        RollingUpgradeResponseProto { rolling_upgrade_info },
        ns.shown_everything(),
    ))
}
