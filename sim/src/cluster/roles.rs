//! Performs the steps and actions of changes of role, and follows the journal: what `node/namenode/src/ha.rs` does.

use super::checkpoints;
use super::images::SentImage;
use super::mutants::ClusterMutant;
use super::settings::parts;
use super::shell::{Asker, Out, Parked, Shell};
use super::standby_calls;
use super::tail;
use super::tasks::oneshot;
use crate::journalnode::address;
use hathi_formats::ids::TxId;
use hathi_journal::Request;
use hathi_nameserver::edit_log_driver::{JournalToRecover, LogError};
use hathi_nameserver::reading::{Progress, Purpose, ReadError};
use hathi_nameserver::role_changes::{Action, Event, News, Orders, Place, Problem, ProblemKind, Step};
use hathi_namesystem::loader::assemble;
use hathi_namesystem::retry_cache::RetryCache;
use hathi_namesystem::standby_health::Aspect;
use hathi_namesystem::tailer::TailError;
use hathi_namesystem::{Life, Namesystem, Role};
use std::future::poll_fn;
use std::task::Poll;

/// Pause after a failure of tailing.
const RETRY_US: u64 = 500_000;
/// How often a standby proves what it has applied.
const PROVE_EVERY_MS: u64 = 300;

/// Loads, becomes a standby, and then does what it is told until the process ends.
pub async fn change_roles(shell: Shell) {
    let mut event = Event::Started;
    loop {
        let Orders { actions, step } = on(&shell, event);
        for action in actions {
            act(&shell, action);
        }
        event = match step {
            Some(step) => perform(&shell, step).await,
            None => next_event(&shell).await,
        };
        if shell.is(ClusterMutant::LeaseGivenBackFirst) && matches!(event, Event::Asked { to_active: false, .. }) {
            give_back(&shell);
            shell.sleep_up_to(300_000).await;
        }
    }
}

async fn next_event(shell: &Shell) -> Event<Asker> {
    poll_fn(|_| {
        let event = shell.with_quietly(|process| {
            if let Some(reason) = process.lost.pop_front() {
                return Some(Event::WriterLost(reason));
            }
            if let Some((to_active, is_patient, by)) = process.asked.pop_front() {
                return Some(Event::Asked {
                    to_active,
                    is_patient,
                    by,
                });
            }
            std::mem::take(&mut process.unusable).then_some(Event::Unusable)
        });
        event.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

fn on(shell: &Shell, event: Event<Asker>) -> Orders<Parked, Asker> {
    let (now, now_us) = (shell.now(), shell.us());
    let mut lease_held = shell.is_lease_held();
    shell.with(|process| {
        let another_was_active = process.standby.calls.another_was_active();
        if shell.is(ClusterMutant::NamespaceKept)
            && matches!(event, Event::WriterLost(_))
            && process.ns.role() == Role::Active
        {
            drop(process.ns.take_logged());
            process.ns.edit_log().on_synced(process.ns.edit_log().applied());
            lease_held = false;
        }
        let kept = match &event {
            Event::Loaded(_) if shell.is(ClusterMutant::LostAnswersRemembered) => {
                Some(process.ns.replace_retry_cache(RetryCache::default()))
            }
            _ => None,
        };
        let orders = process.roles.on(
            event,
            &mut Place {
                ns: &mut process.ns,
                gate: &mut process.gate,
                health: &mut process.health,
                lease_held,
                another_was_active,
                max_seen_txid: TxId(0),
                now,
                now_us,
            },
        );
        if let Some(kept) = kept {
            drop(process.ns.replace_retry_cache(kept));
        }
        orders
    })
}

fn act(shell: &Shell, action: Action<Parked, Asker>) {
    match action {
        Action::Discard(old) => drop(old),
        Action::DropLease => shell.with(|process| process.lease_until = 0),
        Action::Send(replies) => {
            for reply in replies {
                shell.mark("answered at the end of a role");
                shell.ask_world(Out::Reply(reply));
            }
        }
        Action::GiveUp(replies) => {
            for reply in replies {
                shell.mark("gave a reply up");
                if shell.is(ClusterMutant::GateSendsAtEnd) {
                    shell.ask_world(Out::Reply(reply));
                } else {
                    super::serve::give_up(shell, reply);
                }
            }
        }
        Action::CancelCheckpoint => shell.with(|process| process.image.cancel_checkpoint()),
        Action::Ship(life) => {
            // The op that begins its segment changes nothing. The calls that were kept are served next.
            let applied = shell.look(|process| process.ns.edit_log().applied().0.saturating_sub(1));
            let digest = shell.digest_at(applied);
            shell.ask_world(Out::Active(applied, digest));
            shell.with_log(|log, _, _| log.ship(life));
        }
        Action::ServeKeptCalls => standby_calls::serve_kept(shell),
        Action::Follow => shell.set_following(true),
        Action::Answer(by, result) => shell.ask_world(Out::Answered(by, result.is_ok())),
        Action::Tell(news) => tell(shell, &news),
        Action::End => shell.ask_world(Out::End("nothing can be served".to_owned())),
    }
}

fn tell(shell: &Shell, news: &News) {
    shell.mark(match news {
        News::Loaded { .. } => {
            shell.with(|process| process.loads += 1);
            "loaded"
        }
        News::Unhealthy(..) => "not healthy",
        News::CannotRead(_) => "can't read the journal",
        News::NoNewerImage(_) => "no newer image",
        News::Recovered { .. } => "recovered",
        News::Active { .. } => "active",
        News::NotActive(_) => "did not become active",
        News::NotFinished(_) => "the segment was not finished",
        News::WriterLost(_) => "no longer the writer",
        News::Standby(_) => "standby again",
        News::Dropped(_) => "dropped its namespace",
    });
}

async fn perform(shell: &Shell, step: Step) -> Event<Asker> {
    // A kill may come between any two steps.
    if shell.one_in(2) {
        shell.sleep_up_to(3_000).await;
    }
    match try_to(shell, step).await {
        Ok(event) => event,
        Err(problem) => Event::Failed(problem),
    }
}

fn problem_of(error: &ReadError) -> Problem {
    match error {
        ReadError::Unavailable(what) => Problem::passing(what.clone()),
        ReadError::Edits(error) => Problem {
            kind: match error {
                TailError::Purged { oldest, .. } => ProblemKind::Purged { oldest: *oldest },
                error if error.is_unsupported() => ProblemKind::Hopeless,
                error if error.is_fatal() => ProblemKind::Unusable,
                _ => ProblemKind::Passing,
            },
            what: error.to_string(),
            cause: error.to_string(),
        },
    }
}

async fn try_to(shell: &Shell, step: Step) -> Result<Event<Asker>, Problem> {
    let problem = |error| problem_of(&error);
    let passing = |what: &str| Problem::passing(what.to_owned());
    match step {
        Step::StopTailing => {
            if !shell.is(ClusterMutant::TailsOn) {
                shell.set_following(false);
                shell.until(|shell| !shell.is_tailing()).await;
            }
        }
        Step::Load(life) => {
            shell.sleep_up_to(30_000).await;
            let loaded = load(shell, life).map_err(|what| Problem {
                kind: ProblemKind::Hopeless,
                cause: what.clone(),
                what,
            })?;
            return Ok(Event::Loaded(Box::new(loaded)));
        }
        Step::Prove => prove(shell).await.map_err(problem)?,
        Step::CatchUp => {
            tail::read(shell, Purpose::CatchUp).await.map_err(problem)?;
        }
        Step::FetchImage(oldest) => fetch_image(shell, oldest).await.map_err(|what| passing(&what))?,
        Step::Recover => {
            let (done, recovered) = oneshot();
            let journal = shell.with(|process| {
                process.recovering = Some(done);
                JournalToRecover {
                    info: process.ns.info().clone(),
                    members: (0..shell.settings().journalnodes).map(address).collect(),
                    membership: None,
                }
            });
            shell.with_log(|log, now, actions| log.recover(journal, now, actions));
            let (epoch, mut last) = match recovered.await {
                Some(Ok(recovered)) => (recovered.epoch, recovered.last),
                Some(Err(LogError::LeaseHeld)) => {
                    return Err(Problem {
                        kind: ProblemKind::LeaseHeld,
                        ..passing("another NameNode holds the read lease")
                    });
                }
                Some(Err(why)) => return Err(passing(&why.to_string())),
                None => return Err(passing("the edit log task gave up")),
            };
            if shell.is(ClusterMutant::ActiveBeforeLastEdits) {
                last = Some(shell.look(|process| process.ns.edit_log().applied()));
            }
            return Ok(Event::Recovered { epoch, last });
        }
        Step::CatchUpTo(last) => {
            shell.mark("applied the last edits");
            tail::read(shell, Purpose::CatchUpTo(last)).await.map_err(problem)?;
        }
        Step::ProveBeforeActive(epoch, last) => {
            tail::prove_before_active(shell, epoch, last).await.map_err(problem)?;
        }
        Step::AwaitSynced(txid) => {
            let (done, synced) = oneshot();
            shell.with_log(|log, _, actions| log.await_synced(txid, done, actions));
            let gone = || passing("the first transaction did not reach a quorum");
            synced.await.ok_or_else(gone)?;
        }
        Step::AwaitFinalized(last, within_ms) => {
            let (done, finalized) = oneshot();
            shell.with_log(|log, _, actions| log.await_finalized(last, done, actions));
            let finalized = shell.within(within_ms * 1_000, finalized).await;
            let finalized = finalized.ok_or_else(|| passing("no quorum in time"))?;
            finalized.ok_or_else(|| passing("not the writer any more"))?;
        }
        Step::Resign if shell.is(ClusterMutant::ResignForgotten) => {}
        Step::Resign => {
            shell.with(|process| process.recovering = None);
            shell.with_log(|log, _, actions| log.resign(actions));
        }
        Step::Pause(ms) => shell.sleep(ms * 1_000).await,
    }
    Ok(Event::Done)
}

/// Gives the lease of this process back, and goes on: only a planted bug does that.
fn give_back(shell: &Shell) {
    shell.release_lease(&Request::ReleaseLease {
        holder: shell.settings().holder.as_str().into(),
        proof: shell.settings().proof,
        up_to: None,
    });
}

/// Loads the newest image.
fn load(shell: &Shell, life: Life) -> Result<Namesystem, String> {
    let (txid, namespace) = checkpoints::load(shell)?;
    shell.with(|process| {
        // Images hold no answers. Those of the life before are taken over as far as it knew that their edits stay.
        if process.loads == 0 || txid > process.ns.life().proven() {
            process.remembers_from = process.remembers_from.max(txid.0 + 1);
        }
    });
    let seed = if shell.settings().knobs.datanodes {
        shell.random(u64::MAX - 1)
    } else {
        0
    };
    let mut ns = assemble(parts(shell.settings(), seed), namespace, txid, life);
    ns.plant_in_blockmanager(shell.settings().planted.of_blockmanager());
    Ok(ns)
}

async fn fetch_image(shell: &Shell, oldest: TxId) -> Result<(), String> {
    let mut best: Option<SentImage> = None;
    for from in (0..shell.settings().namenodes).filter(|peer| *peer != shell.settings().index) {
        let (done, image) = oneshot();
        shell.ask_world(Out::FetchImage { from, done });
        if let Some(Some(image)) = shell.within(1_000_000, image).await
            && best.as_ref().is_none_or(|known| known.txid < image.txid)
        {
            best = Some(image);
        }
    }
    let image = best.ok_or("no peer answers")?;
    if image.txid + 1 < oldest.0 {
        let txid = image.txid;
        return Err(format!("the newest image of the peers, of {txid}, is too old as well"));
    }
    checkpoints::fetched(shell, &image)
}

/// Proves what can be proven now; fails only if this namespace has to go.
async fn prove(shell: &Shell) -> Result<(), ReadError> {
    let needs_load = |error: &TailError| error.is_fatal() || matches!(error, TailError::Purged { .. });
    let now_ms = shell.ms();
    match tail::prove(shell).await {
        Err(ReadError::Edits(error)) if needs_load(&error) => return Err(error.into()),
        Err(ReadError::Edits(error)) => {
            shell.with(|process| process.health.failed(Aspect::History, error.to_string(), now_ms));
        }
        Err(ReadError::Unavailable(_)) => {}
        Ok(()) => shell.with(|process| process.health.well(Aspect::History)),
    }
    Ok(())
}

/// Applies what others write, while this NameNode is a standby.
pub async fn follow(shell: Shell) {
    let mut prove_at = 0;
    loop {
        shell.until(Shell::is_following).await;
        shell.set_tailing(true);
        let result = shell
            .unless(|shell| !shell.is_following(), follow_step(&shell, &mut prove_at))
            .await;
        shell.set_tailing(false);
        let now_ms = shell.ms();
        let pause = match result {
            None => continue,
            // It has waited at the JournalNode.
            Some(Ok(Progress::Nothing)) => continue,
            Some(Ok(Progress::Some)) => shell.settings().knobs.tail_every,
            Some(Err(ReadError::Edits(error))) => {
                let purged = matches!(error, TailError::Purged { .. });
                let needs_load = error.is_fatal() || purged;
                let aspect = if purged || !needs_load {
                    Aspect::Reading
                } else {
                    Aspect::Loading
                };
                shell.mark("the follower has a problem");
                shell.with(|process| {
                    process.health.failed(aspect, error.to_string(), now_ms);
                    // Told to follow again when there is another namespace.
                    process.unusable |= needs_load && process.health.may_load(now_ms);
                });
                RETRY_US
            }
            Some(Err(ReadError::Unavailable(_))) => RETRY_US,
        };
        shell.sleep_up_to(2 * pause).await;
    }
}

async fn follow_step(shell: &Shell, prove_at: &mut u64) -> Result<Progress, ReadError> {
    if shell.ms() >= *prove_at {
        prove(shell).await?;
        *prove_at = shell.ms() + PROVE_EVERY_MS;
    }
    let progress = tail::read(shell, Purpose::Follow).await?;
    shell.with(|process| process.health.well(Aspect::Reading));
    Ok(progress)
}
