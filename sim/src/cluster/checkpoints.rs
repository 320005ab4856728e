//! Images that one of the standbys makes in each period, or an active for its administrator, and edits that the active purges: what `node/namenode/src/checkpoint.rs` does.

use super::mutants::ClusterMutant;
use super::shell::{Out, Process, Shell};
use super::tasks::oneshot;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_namesystem::Role;
use hathi_namesystem::checkpoint::{CheckpointConfig, Checkpointer, Earlier, accepts_upload, retention};
use hathi_namesystem::save_namespace::{Canceler, Publication, Purpose, SaveNamespaceContext};

/// How long a saved image waits until its last transactions are proven.
const PROVEN_WAIT_MS: u64 = 20_000;
/// Time limit for the state of another NameNode.
const ASK_TIMEOUT: u64 = 300_000;
/// Images that stay.
const IMAGES_RETAINED: usize = 2;

/// When images are due, in this run.
fn config(shell: &Shell) -> CheckpointConfig {
    let knobs = &shell.settings().knobs;
    let period_ms = (knobs.checkpoint_every / 1_000).max(1);
    CheckpointConfig {
        period_ms,
        check_period_ms: period_ms / 4,
        txns: knobs.checkpoint_txns,
        quiet_multiplier: 1.5,
    }
}

/// Makes checkpoints, until the process ends.
pub async fn make(shell: Shell) {
    let mut checkpointer = Checkpointer::new(config(&shell), shell.ms());
    let mut tend_at = 0;
    loop {
        shell.sleep(checkpointer.check_interval_ms() * 1_000).await;
        if shell.look(|process| process.ns.role) == Role::Active && shell.us() >= tend_at {
            tend_at = shell.us() + shell.random(2 * shell.settings().knobs.checkpoint_every);
            tend_as_active(&shell).await;
        }
        let is_due = |checkpointer: &mut Checkpointer| {
            let (applied, image) =
                shell.look(|process| (process.ns.edit_log.applied(), process.ns.most_recent_checkpoint()));
            checkpointer.due(applied, image, shell.ms())
        };
        let is_maker = || shell.look(|process| process.ns.role == Role::Standby);
        if !is_due(&mut checkpointer) || !is_maker() {
            continue;
        }
        let earlier = ask_earlier(&shell).await;
        let receiving = shell.look(|process| process.image.is_receiving());
        // Meanwhile another NameNode's image may have arrived, or this NameNode may have become active.
        if !is_due(&mut checkpointer) || !checkpointer.is_mine(&earlier, receiving, shell.ms()) || !is_maker() {
            shell.mark("left an image to another standby");
            continue;
        }
        if let Some(txid) = save(&shell, Purpose::Checkpoint).await {
            checkpointer.on_saved(txid, shell.ms());
        }
    }
}

/// An administrator may want an image; edits are purged.
async fn tend_as_active(shell: &Shell) {
    match shell.one_in(3) {
        true => {
            save(shell, Purpose::SaveNamespace).await;
        }
        false => purge_edits(shell),
    }
}

/// Asks the NameNodes that stand before this one, one after the other.
async fn ask_earlier(shell: &Shell) -> Vec<Earlier> {
    let mut answers = Vec::new();
    for to in 0..shell.settings().index {
        let (done, state) = oneshot();
        shell.ask_world(Out::AskState { to, done });
        let answer = shell.within(ASK_TIMEOUT, state).await.flatten().flatten();
        answers.push(answer.unwrap_or(Earlier::Silent));
    }
    answers
}

/// What this NameNode says to one that stands behind it.
pub fn state(shell: &Shell) -> Earlier {
    shell.look(|process| {
        let is_well = process.health.problem().is_none();
        match process.ns.role {
            Role::Standby if is_well => Earlier::Makes,
            _ => Earlier::CanNot,
        }
    })
}

/// Saves an image if there is anything new.
async fn save(shell: &Shell, purpose: Purpose) -> Option<TxId> {
    let (canceler, frozen, context) = shell.with(|process| begin(process, purpose, shell))?;
    // A segment may have ended.
    shell.with_log(|_, _, _| {});
    let saved = publish(shell, frozen, &context, purpose).await;
    shell.with(|process| process.image.end(&canceler));
    saved
}

type Begun = (Canceler, hathi_namespace::image::Frozen, SaveNamespaceContext);

fn begin(process: &mut Process, purpose: Purpose, shell: &Shell) -> Option<Begun> {
    let newest = process.ns.most_recent_checkpoint();
    if process.ns.edit_log.changes_nothing_behind(newest) {
        return None;
    }
    let canceler = process.image.begin(purpose)?;
    let begun = process.ns.begin_image(purpose, canceler.clone(), shell.now().wall_ms);
    match begun {
        Ok((frozen, context)) => Some((canceler, frozen, context)),
        Err(_) => {
            process.image.end(&canceler);
            None
        }
    }
}

async fn publish(
    shell: &Shell,
    frozen: hathi_namespace::image::Frozen,
    context: &SaveNamespaceContext,
    purpose: Purpose,
) -> Option<TxId> {
    shell.sleep_up_to(shell.settings().knobs.save_time).await;
    let saved = frozen.save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| context.is_over());
    let Ok((image, _)) = saved else {
        shell.mark("an image was given up");
        return None;
    };
    drop(frozen);
    let give_up = shell.ms() + PROVEN_WAIT_MS;
    let unchecked = shell.is(ClusterMutant::ImageUnproven);
    loop {
        match context.publication() {
            Publication::Now => break,
            _ if unchecked => break,
            Publication::Wait if shell.ms() <= give_up => shell.sleep(2_000).await,
            Publication::Never(_) | Publication::Wait => {
                shell.mark("an image was given up");
                return None;
            }
        }
    }
    shell.mark(match purpose {
        Purpose::SaveNamespace => "the active saved an image",
        _ => "made an image",
    });
    let txid = match shell.is(ClusterMutant::ImageNamedLate) {
        true => shell.look(|process| process.ns.edit_log.applied()),
        false => context.txid(),
    };
    keep(shell, txid.0, image.clone());
    if purpose != Purpose::SaveNamespace {
        for to in (0..shell.settings().namenodes).filter(|to| *to != shell.settings().index) {
            let image = image.clone();
            shell.ask_world(Out::SendImage {
                to,
                txid: txid.0,
                image,
            });
        }
    }
    Some(txid)
}

/// Keeps an image, and removes those that it makes superfluous.
pub fn keep(shell: &Shell, txid: u64, image: Vec<u8>) {
    let mut images = shell.images().borrow_mut();
    images.insert(txid, image);
    let all: Vec<TxId> = images.keys().map(|txid| TxId(*txid)).collect();
    if let Some((oldest, _)) = retention(&all, IMAGES_RETAINED, 0) {
        images.retain(|txid, _| *txid >= oldest.0);
    }
    shell.with(|process| process.ns.note_image(TxId(txid), shell.now().wall_ms));
}

/// A peer offers an image. True when it is taken, and the place for images is occupied by it.
pub fn offered(shell: &Shell, txid: u64) -> Option<Canceler> {
    shell.with(|process| {
        if !matches!(process.ns.role, Role::Active | Role::Standby) {
            return None;
        }
        let age_ms = shell
            .now()
            .wall_ms
            .saturating_sub(process.ns.most_recent_checkpoint_ms());
        let newest = process.ns.most_recent_checkpoint();
        if !accepts_upload(&config(shell), TxId(txid), newest, age_ms) {
            return None;
        }
        process.image.begin(Purpose::Upload)
    })
}

/// The end of an upload: the bytes that came, as many as they should be, with the digest of them all; none when the sender is
/// gone.
pub fn received(shell: &Shell, canceler: &Canceler, txid: u64, came: Option<Upload>) {
    shell.with(|process| process.image.end(canceler));
    let Some(Upload { image, digest }) = came else {
        return shell.mark("an upload was interrupted");
    };
    if crate::ops::hash(&image) != digest && !shell.is(ClusterMutant::TornUploadKept) {
        return shell.mark("a torn upload was refused");
    }
    if shell.look(|process| process.ns.most_recent_checkpoint()) < TxId(txid) {
        shell.mark("took an image of a peer");
        keep(shell, txid, image);
    }
}

/// What comes of an image that was sent.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The bytes that came.
    pub image: Vec<u8>,
    /// The digest of what was sent.
    pub digest: u64,
}

/// Deletes edits that no image needs.
fn purge_edits(shell: &Shell) {
    let all: Vec<TxId> = shell.images().borrow().keys().map(|txid| TxId(*txid)).collect();
    let Some((_, by_images)) = retention(&all, IMAGES_RETAINED, 0) else {
        return;
    };
    let applied = shell.look(|process| process.ns.edit_log.applied());
    let keep_from = match shell.is(ClusterMutant::PurgeBeyondImages) {
        true => applied,
        false => by_images,
    };
    let known = shell.with(|process| std::mem::replace(&mut process.purged_to, keep_from.0));
    if known < keep_from.0 {
        shell.mark("purged edits");
        shell.with_log(|log, now, actions| log.purge(keep_from, now, actions));
    }
}
