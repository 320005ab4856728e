//! A failover that a person asks for (`ZKFailoverController.gracefulFailoverToYou`).

use crate::run::{Election, ZkfcConfig};
use hathi_failover::{Health, QuorumLease, ServiceState};
use hathi_formats::exceptions::{RemoteException, SERVICE_FAILED};
use hathi_formats::proto::common;
use hathi_net::ipc::protocols::ZKFC_PROTOCOL;
use hathi_net::ipc::{ClientOptions, connect_to};
use std::time::Duration;
use tokio::sync::watch;

/// How long the others stay out of the election while one is moved in (Hadoop: twice the graceful fence timeout).
const CEDE_MS: u32 = 10_000;
/// The same.
const CEDE: Duration = Duration::from_millis(CEDE_MS as u64);
/// How long a graceful failover waits for the local NameNode to be a standby at least.
const SETTLE_WAIT: Duration = Duration::from_secs(2);
/// How long a graceful failover waits for the local NameNode to be active.
const GRACEFUL_WAIT: Duration = Duration::from_secs(60);

/// An attempt to make the local NameNode active.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// Number of attempts so far.
    pub(crate) number: u64,
    /// Why the last attempt failed.
    pub(crate) failure: Option<String>,
}

/// State that a graceful failover watches.
pub(crate) struct Watched {
    /// The quorum's lease.
    pub(crate) lease: watch::Receiver<QuorumLease>,
    /// The local NameNode by the last probe, or by the role that it was given since.
    pub(crate) health: watch::Receiver<Health>,
    /// The last attempt to make the local NameNode active.
    pub(crate) attempt: watch::Receiver<Attempt>,
}

pub(crate) fn failed(message: impl Into<String>) -> RemoteException {
    RemoteException::new(SERVICE_FAILED, message)
}

/// Moves the active role to the local NameNode. All others cede, the active one last
/// (`ZKFailoverController.gracefulFailoverToYou`). The wait ends when one of them is elected again after its ban.
pub(crate) async fn graceful_failover(config: &ZkfcConfig, watched: Watched) -> Result<(), RemoteException> {
    let Watched {
        mut lease,
        mut health,
        mut attempt,
    } = watched;
    // The last probe may be old: the NameNode may have finished its start meanwhile.
    let settled = tokio::time::timeout(
        SETTLE_WAIT,
        health.wait_for(|health| {
            matches!(
                health,
                Health::Healthy {
                    state: ServiceState::Active | ServiceState::Standby,
                    ..
                }
            )
        }),
    )
    .await
    .is_ok_and(|settled| settled.is_ok());
    if !settled {
        let id = &config.namenode_id;
        return Err(failed(format!("{id} is not a healthy standby")));
    }
    if let Health::Healthy {
        state: ServiceState::Active,
        ..
    } = &*health.borrow()
    {
        return Ok(());
    }
    let known = lease.borrow().clone();
    let active = active(config, &known).await?;
    let mut peers: Vec<&(String, String)> = config.peers.iter().collect();
    peers.sort_by_key(|(id, _)| *id == active);
    let before = attempt.borrow().number;
    let mut result = Ok(());
    for (id, address) in &peers {
        if let Err(error) = cede(config, address, CEDE_MS).await {
            tracing::warn!(namenode = id, error, "can't make it cede");
            if *id == active {
                result = Err(failed(format!("the active NameNode {id} did not cede: {error}")));
            }
        }
    }
    if result.is_ok() {
        let became_active = health.wait_for(|health| {
            matches!(
                health,
                Health::Healthy {
                    state: ServiceState::Active,
                    ..
                }
            )
        });
        let id = &config.namenode_id;
        result = tokio::select! {
            Ok(_) = became_active => Ok(()),
            why = first_failure(config, &mut attempt, before) => Err(failed(format!("Failed to become active. {why}"))),
            other = another_holder(&mut lease, id) => Err(failed(format!("{other} became active instead of {id}"))),
            () = tokio::time::sleep(GRACEFUL_WAIT) => Err(failed(format!("{id} did not become active in time"))),
        };
    }
    for (_, address) in &peers {
        // The ban of a NameNode that can't be reached ends by itself.
        let _ = cede(config, address, u32::MAX).await;
    }
    result
}

/// Waits for an attempt that fails. When the JournalNodes elect, a refused attempt is repeated at once.
async fn first_failure(config: &ZkfcConfig, attempt: &mut watch::Receiver<Attempt>, before: u64) -> String {
    if matches!(config.election, Election::ZooKeeper(_))
        && let Ok(attempt) = attempt
            .wait_for(|attempt| attempt.number > before && attempt.failure.is_some())
            .await
    {
        return attempt.failure.clone().unwrap_or_default();
    }
    std::future::pending().await
}

/// Waits until the bans are over and another NameNode holds the lease. Returns its name as a holder.
async fn another_holder(lease: &mut watch::Receiver<QuorumLease>, id: &str) -> String {
    tokio::time::sleep(CEDE).await;
    let holder = |lease: &QuorumLease| match lease {
        QuorumLease::Held { holder, .. } if holder.split('@').next() != Some(id) => Some(holder.clone()),
        _ => None,
    };
    let found = lease.wait_for(|lease| holder(lease).is_some()).await;
    match found.ok().and_then(|lease| holder(&lease)) {
        Some(holder) => holder,
        // The controller ends.
        None => std::future::pending().await,
    }
}

/// Id of the NameNode with the active role; empty when the JournalNodes know of none.
async fn active(config: &ZkfcConfig, lease: &QuorumLease) -> Result<String, RemoteException> {
    if let Election::ZooKeeper(zookeeper) = &config.election {
        return match zookeeper.active().await {
            Ok(Some(info)) => Ok(info.namenode_id),
            Ok(None) => Err(failed("No other node is currently active.")),
            Err(error) => Err(failed(error)),
        };
    }
    Ok(match lease {
        QuorumLease::Held { holder, .. } => holder.split('@').next().unwrap_or_default().to_owned(),
        QuorumLease::Free | QuorumLease::Unknown | QuorumLease::Written { .. } => String::new(),
    })
}

/// `cedeActive` at another controller. `u32::MAX` is Java's -1 and ends a ban.
async fn cede(config: &ZkfcConfig, address: &str, millis: u32) -> Result<(), String> {
    let mut options = ClientOptions::new(&config.user);
    options.connect_timeout = Duration::from_secs(1);
    options.call_timeout = Duration::from_secs(10);
    let request = common::CedeActiveRequestProto { millis_to_cede: millis };
    let result = async {
        let client = connect_to(address, &ZKFC_PROTOCOL, &options).await?;
        let _: common::CedeActiveResponseProto = client.call("cedeActive", &request).await?;
        Ok::<(), hathi_net::ipc::RpcError>(())
    };
    result.await.map_err(|error| error.to_string())
}
