//! Images that a standby makes, or an active for its administrator, and edits that the active purges: what `node/namenode/src/checkpoint.rs` does.

use super::mutants::ClusterMutant;
use super::shell::{Out, Process, Shell};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_namesystem::Role;
use hathi_namesystem::checkpoint::retention;
use hathi_namesystem::save_namespace::{Canceler, Publication, Purpose, SaveNamespaceContext};

/// How long a saved image waits until its last transactions are proven.
const PROVEN_WAIT_MS: u64 = 20_000;
/// Images that stay.
const IMAGES_RETAINED: usize = 2;

/// Makes checkpoints, until the process ends.
pub async fn make(shell: Shell) {
    loop {
        shell.sleep_up_to(2 * shell.settings().knobs.checkpoint_every).await;
        let purpose = match shell.look(|process| process.ns.role) {
            Role::Standby => Purpose::Checkpoint,
            // An administrator wants one.
            Role::Active if shell.one_in(3) => Purpose::SaveNamespace,
            Role::Active => {
                purge_edits(&shell);
                continue;
            }
            Role::Initializing | Role::BecomingActive | Role::SteppingDown => continue,
        };
        let begun = shell.with(|process| begin(process, purpose, &shell));
        if let Some((canceler, frozen, context)) = begun {
            // A segment may have ended.
            shell.with_log(|_, _, _| {});
            save(&shell, frozen, &context, purpose).await;
            shell.with(|process| process.image.end(&canceler));
        }
    }
}

type Begun = (Canceler, hathi_namespace::image::Frozen, SaveNamespaceContext);

fn begin(process: &mut Process, purpose: Purpose, shell: &Shell) -> Option<Begun> {
    let newest = process.ns.most_recent_checkpoint;
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

async fn save(shell: &Shell, frozen: hathi_namespace::image::Frozen, context: &SaveNamespaceContext, purpose: Purpose) {
    shell.sleep_up_to(shell.settings().knobs.save_time).await;
    let saved = frozen.save(Vec::new(), LayoutVersion::NAMENODE_CURRENT, &|| context.is_over());
    let Ok((image, _)) = saved else {
        return shell.mark("an image was given up");
    };
    drop(frozen);
    let give_up = shell.ms() + PROVEN_WAIT_MS;
    let unchecked = shell.is(ClusterMutant::ImageUnproven);
    loop {
        match context.publication() {
            Publication::Now => break,
            _ if unchecked => break,
            Publication::Never(_) => return shell.mark("an image was given up"),
            Publication::Wait if shell.ms() > give_up => return shell.mark("an image was never proven"),
            Publication::Wait => shell.sleep(2_000).await,
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
    if purpose == Purpose::SaveNamespace {
        return;
    }
    for to in (0..shell.settings().namenodes).filter(|to| *to != shell.settings().index) {
        shell.ask_world(Out::SendImage {
            to,
            txid: txid.0,
            image: image.clone(),
        });
    }
}

/// Keeps an image, and removes those that it makes superfluous.
pub fn keep(shell: &Shell, txid: u64, image: Vec<u8>) {
    let mut images = shell.images().borrow_mut();
    images.insert(txid, image);
    let all: Vec<TxId> = images.keys().map(|txid| TxId(*txid)).collect();
    if let Some((oldest, _)) = retention(&all, IMAGES_RETAINED, 0) {
        images.retain(|txid, _| *txid >= oldest.0);
    }
    shell.with(|process| {
        let newest = &mut process.ns.most_recent_checkpoint;
        *newest = TxId(txid).max(*newest);
    });
}

/// An image that a peer has sent.
pub fn receive(shell: &Shell, txid: u64, image: Vec<u8>) {
    if shell.look(|process| process.ns.most_recent_checkpoint) < TxId(txid) {
        shell.mark("took an image of a peer");
        keep(shell, txid, image);
    }
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
