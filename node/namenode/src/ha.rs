//! Performs the steps of changes of role. Their order is `hathi_nameserver::role_changes`'; here are the tasks that do them.

use crate::admin::{Transition, TransitionCall};
use crate::checkpoint::Checkpoints;
use crate::clock::Clock;
use crate::failovers::{Failovers, UnderWay};
use crate::health::{Health, cause};
use crate::hosts::Hosts;
use crate::image_place::ImagePlace;
use crate::load::Loader;
use crate::log::{LogCommand, LostWriter};
use crate::observed::Observed;
use crate::reconfiguration::Reconfiguration;
use crate::repair;
use crate::replies::{ParkedReply, Replies};
use crate::rpc::Handler;
use crate::settings::Settings;
use crate::shared_log::SharedLog;
use crate::standby_calls::StandbyCalls;
use anyhow::Context;
use hathi_formats::ids::TxId;
use hathi_nameserver::edit_log_driver::LogError;
use hathi_nameserver::following::{Ended, Following};
use hathi_nameserver::reading::Progress;
use hathi_nameserver::role_changes::{
    Action, Event, News, Orders, Place, Problem, ProblemKind, RoleChanges, RoleChangesConfig, Step,
};
use hathi_namesystem::standby_health::Aspect;
use hathi_namesystem::tailer::TailError;
use hathi_namesystem::{Namesystem, Role};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};

/// What a change of role touches.
pub struct RoleParts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) ns: Arc<RwLock<Namesystem>>,
    pub(crate) clock: Clock,
    pub(crate) replies: Arc<Replies>,
    pub(crate) images: Arc<ImagePlace>,
    pub(crate) health: Arc<Health>,
    pub(crate) standby_calls: Arc<StandbyCalls>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) reconfiguration: Arc<Reconfiguration>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) failovers: Failovers,
}

/// See the module.
pub struct Controller {
    parts: RoleParts,
    handler: Arc<Handler>,
    tail: Arc<SharedLog>,
    loader: Arc<Loader>,
    log: mpsc::UnboundedSender<LogCommand>,
    following: watch::Sender<bool>,
    tailing: Arc<Mutex<()>>,
    broken: Arc<Notify>,
    roles: RoleChanges<TransitionCall>,
    /// The change to active that is under way.
    under_way: Option<UnderWay>,
    /// Of the last step that failed. The process may end with it.
    last_error: Option<anyhow::Error>,
}

impl Controller {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(
        parts: RoleParts,
        handler: Arc<Handler>,
        tail: Arc<SharedLog>,
        loader: Arc<Loader>,
        log: mpsc::UnboundedSender<LogCommand>,
    ) -> Self {
        let roles = RoleChanges::new(RoleChangesConfig {
            is_single: parts.settings.is_single(),
            not_active_in_safe_mode: parts.settings.not_active_in_safe_mode,
            lease_ms: parts.settings.lease_ms,
        });
        Controller {
            parts,
            handler,
            tail,
            loader,
            log,
            following: watch::Sender::new(false),
            tailing: Arc::default(),
            broken: Arc::default(),
            roles,
            under_way: None,
            last_error: None,
        }
    }

    /// Told by whoever finds that the namespace of a standby has to be loaded anew.
    #[must_use]
    pub fn unusable(&self) -> Arc<Notify> {
        self.broken.clone()
    }

    /// Loads, becomes a standby, and then does what it is told until the process ends. Fails when there is nothing that
    /// could ever be served.
    pub async fn run(
        mut self,
        mut transitions: mpsc::UnboundedReceiver<Transition>,
        mut lost: mpsc::UnboundedReceiver<LostWriter>,
    ) -> anyhow::Result<()> {
        let follower = Follower {
            period_ms: self.parts.settings.tail_period.as_millis() as u64,
            clock: self.parts.clock.clone(),
            health: self.parts.health.clone(),
            tail: self.tail.clone(),
            following: self.following.subscribe(),
            tailing: self.tailing.clone(),
            broken: self.broken.clone(),
        };
        tokio::spawn(follower.run());
        let mut event = Event::Started;
        loop {
            let Orders { actions, step } = self.on(event);
            for action in actions {
                self.act(action)?;
            }
            event = if let Some(step) = step {
                self.perform(step).await
            } else {
                tokio::select! {
                    biased;
                    news = lost.recv() => match news {
                        Some(LostWriter { reason }) => {
                            self.last_error = Some(anyhow::anyhow!("edits can't be written any more: {reason}"));
                            Event::WriterLost(reason)
                        }
                        None => return Ok(()),
                    },
                    transition = transitions.recv() => match transition {
                        Some(asked) => self.asked(asked),
                        None => return Ok(()),
                    },
                    () = self.broken.notified() => Event::Unusable,
                }
            };
        }
    }

    fn asked(&mut self, asked: Transition) -> Event<TransitionCall> {
        let Transition {
            call,
            asked_by,
            patient,
        } = asked;
        let to_active = matches!(call, TransitionCall::ToActive(_));
        self.under_way = match to_active {
            true if self.parts.replies.role() != Role::Active => {
                let applied = self.parts.ns.read().edit_log().applied();
                Some(UnderWay::begin(&self.parts.failovers, applied, asked_by))
            }
            true => None,
            false => {
                tracing::info!(asked_by, "asked to be a standby");
                None
            }
        };
        Event::Asked {
            to_active,
            is_patient: patient,
            by: call,
        }
    }

    fn on(&mut self, event: Event<TransitionCall>) -> Orders<ParkedReply, TransitionCall> {
        let parts = &self.parts;
        let is_fresh = matches!(event, Event::Loaded(_));
        let max_seen_txid = if parts.settings.is_single() {
            self.loader.dirs().max_seen_txid()
        } else {
            TxId(0)
        };
        let mut ns = parts.ns.write();
        let another_was_active = parts.standby_calls.another_was_active();
        let orders = self.roles.on(
            event,
            &mut Place {
                ns: &mut ns,
                gate: &mut parts.replies.gate(),
                health: &mut parts.health.lock(),
                lease_held: parts.replies.is_lease_held(),
                another_was_active,
                max_seen_txid,
                now: parts.clock.now(),
                now_us: parts.clock.us(),
            },
        );
        if is_fresh {
            // The block manager is new: it has not heard of the lists and racks yet.
            parts.hosts.tell(&mut ns);
            parts.reconfiguration.tell(&mut ns);
        }
        parts.replies.publish(&ns);
        parts.images.look_again();
        orders
    }

    /// Fails when the process is to end.
    fn act(&mut self, action: Action<ParkedReply, TransitionCall>) -> anyhow::Result<()> {
        let parts = &self.parts;
        match action {
            // Freeing a large namespace takes a while; nobody has to wait for it.
            Action::Discard(old) => drop(std::thread::spawn(move || drop(old))),
            Action::DropLease => parts.replies.set_lease(0),
            Action::Send(replies) => replies.into_iter().for_each(ParkedReply::send),
            Action::GiveUp(replies) => replies.into_iter().for_each(ParkedReply::give_up),
            Action::CancelCheckpoint => parts.images.cancel_checkpoint(),
            // Without its task the process ends.
            Action::Ship(life) => drop(self.log.send(LogCommand::Ship(life))),
            Action::ServeKeptCalls => {
                for kept in parts.standby_calls.take() {
                    self.handler.serve(kept);
                }
            }
            Action::Follow => drop(self.following.send_replace(true)),
            Action::Answer(call, result) => call.answer(result),
            Action::Tell(news) => {
                if matches!(news, News::NotActive(_)) {
                    self.under_way = None;
                }
                if let News::Active {
                    epoch, first, took_us, ..
                } = &news
                    && let Some(story) = self.under_way.take()
                {
                    story.tell(&parts.failovers, *epoch, *first, *took_us);
                }
                tell(parts, news);
            }
            Action::End => return Err(self.last_error.take().context("nothing can be served")?),
        }
        Ok(())
    }

    async fn perform(&mut self, step: Step) -> Event<TransitionCall> {
        let (name, began) = (step_name(&step), Instant::now());
        let done = self.try_to(step).await;
        if let Some(under_way) = &mut self.under_way {
            under_way.step(name, began);
        }
        match done {
            Ok(event) => event,
            Err(error) => {
                let problem = Problem {
                    kind: self.kind(&error),
                    what: format!("{error:#}"),
                    cause: cause(&error),
                };
                self.last_error = Some(error);
                Event::Failed(problem)
            }
        }
    }

    fn kind(&self, error: &anyhow::Error) -> ProblemKind {
        if let Some(LogError::LeaseHeld) = error.downcast_ref() {
            ProblemKind::LeaseHeld
        } else if self.loader.is_hopeless(error) {
            ProblemKind::Hopeless
        } else if let Some(oldest) = repair::purged(error) {
            ProblemKind::Purged { oldest }
        } else if needs_load(error) {
            ProblemKind::Unusable
        } else {
            ProblemKind::Passing
        }
    }

    async fn try_to(&mut self, step: Step) -> anyhow::Result<Event<TransitionCall>> {
        let parts = &self.parts;
        match step {
            Step::StopTailing => {
                self.following.send_replace(false);
                drop(self.tailing.lock().await);
            }
            Step::Load(life) => {
                let loader = self.loader.clone();
                let loaded = tokio::task::spawn_blocking(move || loader.load(life)).await;
                return Ok(Event::Loaded(Box::new(loaded.context("the loader died")??)));
            }
            Step::Prove => prove(&parts.health, &self.tail).await?,
            Step::CatchUp => self.tail.catch_up().await?,
            Step::FetchImage(oldest) => {
                let dirs = self.loader.dirs();
                repair::fetch_newest_image(&parts.settings, &parts.images, dirs, &parts.checkpoints, oldest).await?;
            }
            Step::Recover => {
                let info = parts.ns.read().info().clone();
                let (done, recovered) = oneshot::channel();
                self.log.send(LogCommand::Recover { info, done })?;
                let recovered = recovered.await.context("the edit log task gave up")??;
                return Ok(Event::Recovered {
                    epoch: recovered.epoch,
                    last: recovered.last,
                });
            }
            Step::CatchUpTo(last) => self.tail.catch_up_to(last).await?,
            Step::ProveBeforeActive(epoch, last) => self.tail.prove_before_active(epoch.0, last).await?,
            Step::AwaitSynced(txid) => {
                let (done, synced) = oneshot::channel();
                self.log.send(LogCommand::NotifySynced(txid, done))?;
                synced.await.context("the first transaction did not reach a quorum")?;
            }
            Step::AwaitFinalized(last, within_ms) => {
                let (done, finalized) = oneshot::channel();
                self.log.send(LogCommand::NotifyFinalized(last, done))?;
                parts.replies.wake_log();
                tokio::time::timeout(Duration::from_millis(within_ms), finalized)
                    .await
                    .context("no quorum in time")?
                    .context("not the writer any more")?;
            }
            Step::Resign => {
                let (done, resigned) = oneshot::channel();
                if self.log.send(LogCommand::Resign(done)).is_ok() {
                    let _ = resigned.await;
                }
            }
            Step::Pause(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        Ok(Event::Done)
    }
}

/// What a step is called in the story of a failover.
fn step_name(step: &Step) -> &'static str {
    match step {
        Step::StopTailing => "end of tailing",
        Step::Load(_) => "load",
        Step::Prove => "proof of the edits",
        Step::CatchUp | Step::CatchUpTo(_) => "catch up",
        Step::FetchImage(_) => "fetch of an image",
        Step::Recover => "recovery of the journal",
        Step::ProveBeforeActive(..) => "proof before active",
        Step::AwaitSynced(_) => "first edit",
        Step::AwaitFinalized(..) => "end of the segment",
        Step::Resign => "resignation",
        Step::Pause(_) => "wait for the lease",
    }
}

/// Says it in the log, and counts it.
fn tell(parts: &RoleParts, news: News) {
    match news {
        News::Loaded { applied, took_ms } => {
            parts.observed.loaded(took_ms);
            let (startup, now_ms) = (&parts.observed.startup, parts.clock.ms());
            if parts.settings.is_single() {
                // It applies its edits when it becomes active.
                startup.image_loaded(now_ms);
                tracing::info!(%applied, took_ms, "namespace loaded");
            } else {
                startup.loaded(now_ms);
                tracing::info!(%applied, took_ms, "namespace loaded; standby");
            }
        }
        News::Unhealthy(aspect, problem) => {
            tracing::error!(aspect = aspect.name(), problem, "this NameNode is not healthy")
        }
        News::CannotRead(error) => tracing::warn!(error, "cannot read the journal; trying again"),
        News::NoNewerImage(error) => tracing::error!(error, "cannot get a newer image"),
        News::Recovered { epoch, took_us } => {
            tracing::info!(epoch = epoch.0, recovery_us = took_us, "journal recovered");
        }
        News::Active {
            epoch,
            first,
            recovery_us,
            took_us,
        } => {
            parts.observed.became_active(took_us);
            parts.observed.startup.loaded(parts.clock.ms());
            tracing::info!(epoch = epoch.0, %first, recovery_us, total_us = took_us, "active");
        }
        News::NotActive(error) => tracing::warn!(error, "did not become active"),
        News::NotFinished(error) => tracing::warn!(error, "the segment was not finished"),
        News::WriterLost(reason) => tracing::error!(reason, "no longer the writer of the shared journal"),
        News::Standby(reason) => tracing::info!(reason, "standby"),
        News::Dropped(reason) => tracing::warn!(
            reason,
            "some changes reached no quorum or failed: loading the namespace anew"
        ),
    }
}

/// Whether the namespace here has to be loaded anew.
fn needs_load(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<TailError>();
    cause.is_some_and(|cause| cause.is_fatal() || matches!(cause, TailError::Purged { .. }))
}

/// Applies what others write, while this NameNode is a standby.
struct Follower {
    /// `dfs.ha.tail-edits.period`
    period_ms: u64,
    clock: Clock,
    health: Arc<Health>,
    tail: Arc<SharedLog>,
    following: watch::Receiver<bool>,
    tailing: Arc<Mutex<()>>,
    broken: Arc<Notify>,
}

impl Follower {
    async fn run(mut self) {
        let mut rhythm = Following::new(self.period_ms);
        loop {
            if self.following.wait_for(|follow| *follow).await.is_err() {
                return;
            }
            let guard = self.tailing.lock().await;
            let result = tokio::select! {
                biased;
                _ = self.following.wait_for(|follow| !*follow) => None,
                result = step(&self.health, &self.clock, &self.tail, &mut rhythm) => Some(result),
            };
            drop(guard);
            let Some(result) = result else { continue };
            let next = rhythm.after(self.ended(&result));
            if let Err(error) = &result {
                match next.unwell {
                    Some(aspect) => self.health.failed(aspect, error),
                    None => tracing::warn!(error = format!("{error:#}"), "cannot tail the journal"),
                }
            }
            if next.loads && self.health.lock().may_load(self.clock.ms()) {
                // Told to follow again when there is another namespace.
                self.broken.notify_one();
            }
            if next.pause_ms > 0 {
                tokio::time::sleep(Duration::from_millis(next.pause_ms)).await;
            }
        }
    }

    fn ended(&self, result: &anyhow::Result<Progress>) -> Ended {
        match result {
            Ok(progress) => Ended::Well {
                progress: *progress,
                waits: self.tail.waits(),
            },
            Err(error) if repair::purged(error).is_some() => Ended::Purged,
            Err(error) if needs_load(error) => Ended::Unusable,
            Err(error) if error.is::<TailError>() => Ended::Unreadable,
            Err(_) => Ended::Unreachable,
        }
    }
}

/// Proves what was applied, when it is time, and applies more.
async fn step(health: &Health, clock: &Clock, tail: &SharedLog, rhythm: &mut Following) -> anyhow::Result<Progress> {
    if rhythm.proves(clock.ms()) {
        prove(health, tail).await?;
        rhythm.proven(clock.ms());
    }
    let progress = tail.follow().await?;
    health.well(Aspect::Reading);
    Ok(progress)
}

/// Proves what can be proven now; fails only if this namespace has to go.
async fn prove(health: &Health, tail: &SharedLog) -> anyhow::Result<()> {
    match tail.prove().await {
        Err(error) if needs_load(&error) => return Err(error),
        Err(error) if error.is::<TailError>() => health.failed(Aspect::History, &error),
        Err(error) => tracing::debug!(error = format!("{error:#}"), "nothing is proven"),
        Ok(()) => health.well(Aspect::History),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::save_checkpoint;
    use crate::shared_log::DirectoryTail;
    use crate::testing;
    use crate::unpublished::Unpublished;
    use hathi_conf::JournalUri;
    use hathi_formats::editlog::{EditOp, encode};
    use hathi_formats::ids::LayoutVersion;
    use hathi_journal::directory::SharedDirectory;
    use hathi_namespace::Namespace;
    use hathi_namesystem::Role;
    use hathi_namesystem::save_namespace::ImagePurpose;
    use hathi_storage::OsDisk;

    fn controller(alone: &testing::Alone) -> Controller {
        let nn = &alone.shared.nn;
        let Some(JournalUri::File(path)) = nn.settings.shared.clone() else {
            panic!("a directory is configured");
        };
        let directory = SharedDirectory::new(OsDisk, &path);
        let tail = Arc::new(SharedLog::Directory(DirectoryTail::new(nn.replay(), vec![directory])));
        let loader = Arc::new(Loader::new(Settings::clone(&nn.settings), alone.shared.dirs.clone()));
        let (held, _) = mpsc::unbounded_channel();
        let handler = alone.shared.handler(held);
        Controller::new(
            alone.shared.role_parts(),
            handler,
            tail,
            loader,
            alone.shared.log.clone(),
        )
    }

    #[tokio::test]
    async fn a_namenode_that_can_never_load_ends_and_takes_no_older_image_instead() {
        let alone = testing::active();
        let dirs = &alone.shared.dirs;
        let namespace = Namespace::new(alone.shared.nn.settings.namespace().unwrap());
        for (txid, layout) in [(0, LayoutVersion::NAMENODE_CURRENT), (3, LayoutVersion(-59))] {
            let image = Unpublished::of(dirs.images_dirs(), TxId(txid));
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
            reason.contains("fsimage_0000000000000000003") && reason.contains("-59"),
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
        let image = Unpublished::of(dirs.images_dirs(), TxId(0));
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
        assert_eq!(nn.replies.role(), Role::Initializing, "it serves nothing");
        let saved = alone.shared.checkpoints.save(ImagePurpose::SaveNamespace);
        assert!(saved.is_err());
        assert_eq!(dirs.images().len(), 1);
        running.abort();
    }
}
