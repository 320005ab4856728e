//! Before an active NameNode stops, it asks its controller to give the role away, so that another NameNode has it before
//! this one's connections end.

use crate::settings::Settings;
use crate::standby_calls::StandbyCalls;
use anyhow::Context;
use hathi_conf::HostPort;
use hathi_formats::proto::common::{CedeActiveRequestProto, CedeActiveResponseProto};
use hathi_namesystem::role::Role;
use hathi_net::ipc::{ClientOptions, connect_to, protocols};
use std::time::Duration;

/// For so long the controller stays out of the election. A NameNode that is started again at once may be elected soon.
const STAYS_OUT: Duration = Duration::from_secs(1);
/// A controller that is not there is no reason to live on.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// After so long this NameNode stops, whoever is active.
const LIMIT: Duration = Duration::from_secs(2);
/// `DFS_HA_ZKFC_PORT_DEFAULT`
const CONTROLLER_PORT: u16 = 8019;

/// Address of the controller of this NameNode; `None` without automatic failover.
///
/// # Errors
/// For a port that is none, with its key.
pub(crate) fn controller(settings: &Settings) -> anyhow::Result<Option<HostPort>> {
    if !settings.automatic_failover {
        return Ok(None);
    }
    let port = settings.conf.get_u32("dfs.ha.zkfc.port", u32::from(CONTROLLER_PORT))?;
    let port = u16::try_from(port).with_context(|| format!("dfs.ha.zkfc.port = {port}: must be from 1 to 65535"))?;
    let host = settings.service_rpc.as_ref().unwrap_or(&settings.rpc).host.clone();
    Ok(Some(HostPort { host, port }))
}

/// Gives the role away, and waits until another NameNode has it, for at most [`LIMIT`]. Whatever fails is logged: a
/// NameNode that was told to stop stops.
pub(crate) async fn hand_over(settings: &Settings, role: Role, standby_calls: &StandbyCalls) {
    if role != Role::Active {
        return;
    }
    let controller = match controller(settings) {
        Ok(Some(controller)) => controller,
        Ok(None) => return,
        Err(error) => return tracing::warn!("{error:#}"),
    };
    let handed_over = async {
        cede(&settings.user, &controller).await?;
        standby_calls.until_another_is_active().await;
        anyhow::Ok(())
    };
    match tokio::time::timeout(LIMIT, handed_over).await {
        Ok(Ok(())) => tracing::info!("the role was handed over before the stop"),
        Ok(Err(error)) => tracing::warn!(%controller, "the role was not handed over before the stop: {error:#}"),
        Err(_) => {
            tracing::warn!(%controller, "no other NameNode was active within {} s before the stop", LIMIT.as_secs())
        }
    }
}

async fn cede(user: &str, controller: &HostPort) -> anyhow::Result<()> {
    let mut options = ClientOptions::new(user);
    options.connect_timeout = CONNECT_TIMEOUT;
    options.call_timeout = LIMIT;
    let client = connect_to(&controller.to_string(), &protocols::ZKFC_PROTOCOL, &options).await?;
    let request = CedeActiveRequestProto {
        millis_to_cede: STAYS_OUT.as_millis() as u32,
    };
    let _: CedeActiveResponseProto = client.call("cedeActive", &request).await?;
    Ok(())
}
