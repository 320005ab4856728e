//! Changes of role, one after the other: loading, following, becoming active, stepping down.
//!
//! What is safe to do is decided by the epochs of the JournalNodes and the positions of the edit log; this task only
//! keeps the order.

use crate::load::Loader;
use crate::log::{LogCommand, LogError, LostWriter, Recovered};
use crate::repair;
use crate::rpc::Handler;
use crate::shared_log::SharedLog;
use crate::state::{NameNode, Transition};
use crate::tail::Progress;
use anyhow::Context;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_namesystem::Role;
use hathi_namesystem::standby_health::Aspect;
use hathi_namesystem::tailer::TailError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};

/// How long a graceful stop waits for the quorum before it takes its changes for lost.
const STEP_DOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Before another try while somebody else's read lease runs out.
const LEASE_RETRY: Duration = Duration::from_millis(50);
/// Pause after a step of tailing that brought something. Under load each batch is news, and a call for each would cost
/// the JournalNodes and the standby more than the edits themselves.
const BREATH: Duration = Duration::from_millis(20);
/// Pause after a failure of tailing or loading.
const RETRY: Duration = Duration::from_millis(500);
/// How often a standby proves what it has applied. Small against the time between two checkpoints, and three small
/// calls.
const PROVE_EVERY_MS: u64 = 1000;

/// See the module.
pub struct Controller {
    nn: Arc<NameNode>,
    handler: Arc<Handler>,
    tail: Arc<SharedLog>,
    loader: Arc<Loader>,
    log: mpsc::UnboundedSender<LogCommand>,
    following: watch::Sender<bool>,
    tailing: Arc<Mutex<()>>,
    broken: Arc<Notify>,
    /// Why no namespace can ever be loaded here. The process ends with it, as Hadoop's does.
    hopeless: parking_lot::Mutex<Option<anyhow::Error>>,
}

impl Controller {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(
        nn: Arc<NameNode>,
        handler: Arc<Handler>,
        tail: Arc<SharedLog>,
        loader: Arc<Loader>,
        log: mpsc::UnboundedSender<LogCommand>,
    ) -> Self {
        Controller {
            nn,
            handler,
            tail,
            loader,
            log,
            following: watch::Sender::new(false),
            tailing: Arc::default(),
            broken: Arc::default(),
            hopeless: parking_lot::Mutex::default(),
        }
    }

    /// Loads, becomes a standby, and then does what it is told until the process ends. Fails when there is nothing that
    /// could ever be served.
    pub async fn run(
        self,
        mut transitions: mpsc::UnboundedReceiver<Transition>,
        mut lost: mpsc::UnboundedReceiver<LostWriter>,
    ) -> anyhow::Result<()> {
        let follower = Follower {
            nn: self.nn.clone(),
            tail: self.tail.clone(),
            following: self.following.subscribe(),
            tailing: self.tailing.clone(),
            broken: self.broken.clone(),
        };
        tokio::spawn(follower.run());
        let single = self.nn.settings.is_single();
        if single {
            // Nobody else can serve, so it ends with what is wrong, as Hadoop's does.
            self.load().await?;
            self.activate(self.nn.clock.us(), true).await?;
        } else {
            self.load_until_it_works().await;
        }
        loop {
            if let Some(error) = self.hopeless.lock().take() {
                return Err(error);
            }
            tokio::select! {
                biased;
                news = lost.recv() => match news {
                    Some(news) if single => anyhow::bail!("edits can't be written any more: {}", news.reason),
                    Some(news) => self.step_down_at_once(&news.reason).await,
                    None => return Ok(()),
                },
                transition = transitions.recv() => match transition {
                    Some(Transition { to_active, patient, done }) => {
                        let result = if to_active { self.become_active(patient).await } else { self.become_standby().await };
                        done(result);
                    }
                    None => return Ok(()),
                },
                () = self.broken.notified() => self.load_until_it_works().await,
            }
        }
    }

    fn change(&self, role: Role) -> Result<(), RemoteException> {
        let mut ns = self.nn.ns.write();
        ns.role
            .change(role)
            .map_err(|error| RemoteException::new(exceptions::SERVICE_FAILED, error.to_string()))?;
        self.nn.publish(&ns);
        Ok(())
    }

    async fn pause_tailing(&self) {
        self.following.send_replace(false);
        drop(self.tailing.lock().await);
    }

    /// Image and edits into a new namesystem; then a standby. Gives up only when no other try can end otherwise.
    async fn load_until_it_works(&self) {
        loop {
            let Err(error) = self.load().await else {
                self.nn.well(Aspect::Loading);
                return;
            };
            self.nn.failed(Aspect::Loading, &error);
            if self.loader.is_hopeless(&error) {
                *self.hopeless.lock() = Some(error);
                return;
            }
            if let Some(oldest) = repair::purged(&error) {
                match repair::fetch_newest_image(&self.nn, self.loader.dirs(), oldest).await {
                    Ok(_) => continue,
                    Err(error) => tracing::error!(error = format!("{error:#}"), "cannot get a newer image"),
                }
            }
            let pause = self.nn.health.lock().retry_ms(Aspect::Loading);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    async fn load(&self) -> anyhow::Result<()> {
        self.pause_tailing().await;
        let started = self.nn.clock.ms();
        let loader = self.loader.clone();
        let life = {
            let mut ns = self.nn.ns.write();
            let life = ns.begin_loading();
            self.nn.publish(&ns);
            life
        };
        let fresh = tokio::task::spawn_blocking(move || loader.load(life))
            .await
            .context("the loader died")??;
        {
            let mut ns = self.nn.ns.write();
            let mut old = std::mem::replace(&mut *ns, fresh);
            ns.inherit(&mut old);
            self.nn.publish(&ns);
            // Freeing a large namespace takes a while; nobody has to wait for it.
            drop(ns);
            std::thread::spawn(move || drop(old));
        }
        // Asked before anything is read: what is read while one writer stays alone needs no other proof.
        prove(&self.nn, &self.tail).await?;
        while let Err(error) = self.tail.catch_up().await {
            if needs_load(&error) || self.nn.settings.is_single() {
                return Err(error);
            }
            tracing::warn!(error = format!("{error:#}"), "cannot read the journal; trying again");
            tokio::time::sleep(RETRY).await;
        }
        prove(&self.nn, &self.tail).await?;
        let mut ns = self.nn.ns.write();
        // The block manager is new: it has not heard of the lists and racks yet.
        crate::hosts::tell(&self.nn, &mut ns);
        ns.blockmanager.activate_safe_mode(self.nn.clock.now());
        if !self.nn.settings.is_single() {
            ns.role.change(Role::Standby)?;
        }
        self.nn.publish(&ns);
        let applied = ns.edit_log.applied();
        self.nn.loads.fetch_add(1, Ordering::AcqRel);
        drop(ns);
        let took = self.nn.clock.ms() - started;
        self.nn.metrics.load_ms.store(took, Ordering::Relaxed);
        if self.nn.settings.is_single() {
            tracing::info!(%applied, took_ms = took, "namespace loaded");
            return Ok(());
        }
        tracing::info!(%applied, took_ms = took, "namespace loaded; standby");
        self.following.send_replace(true);
        Ok(())
    }

    async fn become_active(&self, patient: bool) -> Result<(), RemoteException> {
        let failed = |message: String| RemoteException::new(exceptions::SERVICE_FAILED, message);
        match self.nn.role() {
            Role::Active => return Ok(()),
            Role::Standby => {}
            role => return Err(failed(format!("cannot become active while {role:?}"))),
        }
        if self.nn.settings.not_active_in_safe_mode && self.nn.ns.read().blockmanager.in_safe_mode() {
            return Err(failed("NameNode still not leave safemode".to_owned()));
        }
        let started = self.nn.clock.us();
        self.change(Role::BecomingActive)?;
        self.nn.image_under_way.lock().cancel_checkpoint();
        self.pause_tailing().await;
        match self.activate(started, patient).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "did not become active");
                self.resign().await;
                if needs_load(&error) && self.nn.role() == Role::BecomingActive {
                    self.nn.failed(Aspect::Loading, &error);
                    self.load_until_it_works().await;
                }
                if self.nn.role() == Role::BecomingActive {
                    self.change(Role::Standby)?;
                    self.following.send_replace(true);
                }
                Err(failed(format!("Failed to become active: {error:#}")))
            }
        }
    }

    async fn activate(&self, started: u64, patient: bool) -> anyhow::Result<()> {
        let recovered = self.recover(patient).await?;
        let recovered_us = self.nn.clock.us();
        tracing::info!(
            epoch = recovered.epoch,
            recovery_us = recovered_us - started,
            "journal recovered"
        );
        let applied = self.nn.ns.read().edit_log.applied();
        if let Some(last) = recovered.last.filter(|last| *last > applied) {
            self.tail.catch_up_to(last).await?;
        }
        self.tail.prove_before_active(recovered.epoch, recovered.last).await?;
        if self.nn.settings.is_single() {
            let (applied, seen) = (self.nn.ns.read().edit_log.applied(), self.loader.dirs().max_seen_txid());
            anyhow::ensure!(
                applied >= seen,
                "Gap in transactions. Expected to be able to read up until at least txid {seen} but unable to find any edit \
                 logs containing txid {}",
                applied.next()
            );
        }
        let (start, life) = {
            let mut ns = self.nn.ns.write();
            let start = ns.start_active(self.nn.clock.now())?;
            if self.nn.standby_calls.another_was_active() {
                ns.blockmanager.take_over();
            }
            self.nn.gate.lock().open(ns.life().clone());
            self.nn.publish(&ns);
            (start, ns.life().clone())
        };
        let (done, synced) = oneshot::channel();
        self.log.send(LogCommand::Ship(life))?;
        self.log.send(LogCommand::NotifySynced(start, done))?;
        for kept in self.nn.take_kept_calls() {
            self.handler.serve(kept);
        }
        synced.await.context("the first transaction did not reach a quorum")?;
        let now = self.nn.clock.us();
        self.nn.metrics.last_failover_us.store(now - started, Ordering::Relaxed);
        tracing::info!(
            epoch = recovered.epoch,
            first = %start,
            recovery_us = recovered_us - started,
            total_us = now - started,
            "active"
        );
        Ok(())
    }

    /// Becomes the writer. A read lease that nobody renews is waited out if somebody insists.
    async fn recover(&self, patient: bool) -> anyhow::Result<Recovered> {
        let give_up = self.nn.clock.ms() + 2 * u64::from(self.nn.settings.lease_ms);
        loop {
            let info = self.nn.ns.read().info.clone();
            let (done, recovered) = oneshot::channel();
            self.log.send(LogCommand::Recover { info, done })?;
            match recovered.await.context("the edit log task gave up")? {
                Err(LogError::LeaseHeld) if patient && self.nn.clock.ms() < give_up => {
                    tokio::time::sleep(LEASE_RETRY).await;
                }
                result => return Ok(result?),
            }
        }
    }

    /// Finishes the segment, gives the lease back, follows whoever comes next.
    async fn become_standby(&self) -> Result<(), RemoteException> {
        match self.nn.role() {
            Role::Standby => return Ok(()),
            Role::Active => {}
            role => {
                return Err(RemoteException::new(
                    exceptions::SERVICE_FAILED,
                    format!("cannot become standby while {role:?}"),
                ));
            }
        }
        let finished = self.finish_log().await;
        if let Err(error) = &finished {
            tracing::warn!(error = format!("{error:#}"), "the segment was not finished");
        }
        self.leave_active("asked to become standby").await;
        Ok(())
    }

    async fn finish_log(&self) -> anyhow::Result<()> {
        let last = {
            let mut ns = self.nn.ns.write();
            ns.begin_stepping_down()?;
            self.nn.publish(&ns);
            ns.edit_log.close()?
        };
        let (done, finalized) = oneshot::channel();
        self.log.send(LogCommand::NotifyFinalized(last, done))?;
        self.nn.log_wake.notify_one();
        tokio::time::timeout(STEP_DOWN_TIMEOUT, finalized)
            .await
            .context("no quorum in time")?
            .context("not the writer any more")?;
        Ok(())
    }

    /// The journals are not ours any more.
    async fn step_down_at_once(&self, reason: &str) {
        tracing::error!(reason, "no longer the writer of the shared journal");
        if self.nn.role() == Role::Active {
            let mut ns = self.nn.ns.write();
            if let Err(error) = ns.begin_stepping_down() {
                tracing::error!(%error, "unexpected role");
            }
            self.nn.publish(&ns);
        }
        if self.nn.role() == Role::SteppingDown {
            self.leave_active(reason).await;
        }
    }

    async fn leave_active(&self, reason: &str) {
        // Replies to what a quorum has may still go: the lease is ours until it is given back.
        self.nn.release_replies();
        self.nn.lease.set(0);
        let (must_reload, parked) = {
            let mut ns = self.nn.ns.write();
            // Closed under the lock under which replies are made: none of this life is parked after this.
            let parked = self.nn.gate.lock().close();
            // What is broken is used by no later role; the load makes another one.
            let must_reload = ns.edit_log.has_unsynced() || ns.is_broken();
            if must_reload {
                ns.life().end();
            } else if let Err(error) = ns.end_stepping_down(self.nn.clock.wall_ms()) {
                tracing::error!(%error, "unexpected role");
            }
            self.nn.publish(&ns);
            (must_reload, parked)
        };
        for reply in parked {
            reply.give_up();
        }
        self.resign().await;
        if must_reload {
            tracing::warn!(
                reason,
                "some changes reached no quorum or failed: loading the namespace anew"
            );
            self.load_until_it_works().await;
        } else {
            tracing::info!(reason, "standby");
            self.following.send_replace(true);
        }
    }

    async fn resign(&self) {
        let (done, resigned) = oneshot::channel();
        if self.log.send(LogCommand::Resign(done)).is_ok() {
            let _ = resigned.await;
        }
    }
}

/// Whether the namespace here has to be loaded anew.
fn needs_load(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<TailError>();
    cause.is_some_and(|cause| cause.is_fatal() || matches!(cause, TailError::Purged { .. }))
}

/// Applies what others write, while this NameNode is a standby.
struct Follower {
    nn: Arc<NameNode>,
    tail: Arc<SharedLog>,
    following: watch::Receiver<bool>,
    tailing: Arc<Mutex<()>>,
    broken: Arc<Notify>,
}

impl Follower {
    async fn run(mut self) {
        let mut prove_at = 0;
        loop {
            if self.following.wait_for(|follow| *follow).await.is_err() {
                return;
            }
            let guard = self.tailing.lock().await;
            let result = tokio::select! {
                biased;
                _ = self.following.wait_for(|follow| !*follow) => None,
                result = step(&self.nn, &self.tail, &mut prove_at) => Some(result),
            };
            drop(guard);
            let pause = match result {
                None => continue,
                Some(Ok(Progress::Some)) => BREATH,
                Some(Ok(Progress::Nothing)) if self.tail.waits() => continue,
                Some(Ok(Progress::Nothing)) => self.nn.settings.tail_period.clamp(BREATH, Duration::from_secs(1)),
                Some(Err(error)) if needs_load(&error) => {
                    // Purged edits may turn up yet, with a JournalNode that comes back.
                    let purged = repair::purged(&error).is_some();
                    let aspect = if purged { Aspect::Reading } else { Aspect::Loading };
                    self.nn.failed(aspect, &error);
                    if self.nn.health.lock().may_load(self.nn.clock.ms()) {
                        // Told to follow again when there is another namespace.
                        self.broken.notify_one();
                    }
                    RETRY
                }
                Some(Err(error)) if error.is::<TailError>() => {
                    self.nn.failed(Aspect::Reading, &error);
                    RETRY
                }
                Some(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "cannot tail the journal");
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }
}

/// Proves what was applied, when it is time, and applies more.
async fn step(nn: &NameNode, tail: &SharedLog, prove_at: &mut u64) -> anyhow::Result<Progress> {
    if nn.clock.ms() >= *prove_at {
        prove(nn, tail).await?;
        *prove_at = nn.clock.ms() + PROVE_EVERY_MS;
    }
    let progress = tail.follow().await?;
    nn.well(Aspect::Reading);
    Ok(progress)
}

/// Proves what can be proven now; fails only if this namespace has to go.
async fn prove(nn: &NameNode, tail: &SharedLog) -> anyhow::Result<()> {
    match tail.prove().await {
        Err(error) if needs_load(&error) => return Err(error),
        Err(error) if error.is::<TailError>() => nn.failed(Aspect::History, &error),
        Err(error) => tracing::debug!(error = format!("{error:#}"), "nothing is proven"),
        Ok(()) => nn.well(Aspect::History),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Unpublished, save};
    use crate::load::save_checkpoint;
    use crate::shared_log::DirectoryTail;
    use crate::testing;
    use hathi_formats::conf::JournalUri;
    use hathi_formats::editlog::{EditOp, encode};
    use hathi_formats::ids::{LayoutVersion, TxId};
    use hathi_journal::directory::SharedDirectory;
    use hathi_namespace::Namespace;
    use hathi_namesystem::save_namespace::Purpose;
    use hathi_storage::OsDisk;

    fn controller(alone: &testing::Alone) -> Controller {
        let nn = alone.shared.nn.clone();
        let Some(JournalUri::File(path)) = nn.settings.shared.clone() else {
            panic!("a directory is configured");
        };
        let tail = Arc::new(SharedLog::Directory(DirectoryTail::new(
            nn.clone(),
            vec![SharedDirectory::new(OsDisk, &path)],
        )));
        let loader = Arc::new(Loader::new(nn.settings.clone(), alone.shared.dirs.clone()));
        let (held, _) = mpsc::unbounded_channel();
        let handler = Arc::new(Handler::new(alone.shared.clone(), held));
        Controller::new(nn, handler, tail, loader, alone.shared.log.clone())
    }

    #[tokio::test]
    async fn a_namenode_that_can_never_load_ends_and_takes_no_older_image_instead() {
        let alone = testing::active();
        let dirs = &alone.shared.dirs;
        let namespace = Namespace::new(alone.shared.nn.settings.namespace().unwrap());
        for (txid, layout) in [(0, LayoutVersion::NAMENODE_CURRENT), (3, LayoutVersion(-66))] {
            let image = Unpublished::of(dirs, TxId(txid));
            let (bytes, summary) = namespace.freeze().save(Vec::new(), layout, &|| false).unwrap();
            for path in image.paths() {
                std::fs::write(path, &bytes).unwrap();
            }
            dirs.publish_image(&image, &summary.md5).unwrap();
        }
        let (_transitions, transition_queue) = mpsc::unbounded_channel();
        let (_lost, lost_queue) = mpsc::unbounded_channel();
        let running = controller(&alone).run(transition_queue, lost_queue);
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        let reason = format!("{:#}", ended.expect("it goes on").unwrap_err());
        assert!(
            reason.contains("fsimage_0000000000000000003") && reason.contains("-66"),
            "{reason}"
        );
    }

    /// A whole segment with an edit of a file that does not exist.
    #[tokio::test]
    async fn safety_n3_a_standby_that_can_not_apply_an_edit_is_not_healthy_and_makes_no_image() {
        let alone = testing::active();
        let (nn, dirs) = (alone.shared.nn.clone(), alone.shared.dirs.clone());
        let Some(JournalUri::File(path)) = nn.settings.shared.clone() else {
            panic!("a directory is configured");
        };
        let namespace = Namespace::new(nn.settings.namespace().unwrap());
        let image = Unpublished::of(&dirs, TxId(0));
        let md5 = save_checkpoint(&namespace.freeze(), image.paths(), &|| false).unwrap();
        dirs.publish_image(&image, &md5).unwrap();
        let directory = SharedDirectory::new(OsDisk, &path);
        directory.format(&dirs.info, true).unwrap();
        let (mut journal, _) = directory.claim(&dirs.info, "nn1@test", 0).unwrap();
        let missing = EditOp::SetReplication {
            path: "/missing".to_owned(),
            replication: 2,
        };
        let mut edits = Vec::new();
        for (txid, op) in (1..).zip([EditOp::StartLogSegment, missing, EditOp::EndLogSegment]) {
            encode(&mut edits, TxId(txid), &op).unwrap();
        }
        journal.start_segment(TxId(1), LayoutVersion::NAMENODE_CURRENT).unwrap();
        journal.append(TxId(1), TxId(1), 3, &edits).unwrap();
        journal.finalize_segment(TxId(1), TxId(3)).unwrap();

        let controller = controller(&alone);
        let (_transitions, transition_queue) = mpsc::unbounded_channel();
        let (_lost, lost_queue) = mpsc::unbounded_channel();
        let running = tokio::spawn(controller.run(transition_queue, lost_queue));
        let unhealthy = async {
            while nn.health.lock().problem().is_none() {
                tokio::task::yield_now().await;
            }
        };
        let unhealthy = tokio::time::timeout(Duration::from_secs(20), unhealthy);
        unhealthy.await.expect("it thinks that it is healthy");
        let problem = nn.health.lock().problem().unwrap_or_default().to_owned();
        assert!(problem.contains("transaction 2 does not apply"), "{problem}");
        assert_eq!(nn.role(), Role::Initializing, "it serves nothing");
        assert!(save(&nn, &dirs, Purpose::SaveNamespace).is_err());
        assert_eq!(dirs.images().len(), 1);
        running.abort();
    }
}
