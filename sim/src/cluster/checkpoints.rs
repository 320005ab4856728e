//! Images that one of the standbys makes in each period, or an active for its administrator, how they are kept and loaded,
//! and edits that the active purges: what `node/namenode/src/checkpoint.rs`, `load.rs` and `image_upload.rs` do.

use super::images::{ImageNews, SentImage};
use super::mutants::ClusterMutant;
use super::settings::namespace_config;
use super::shell::{Out, Process, Shell};
use super::tasks::oneshot;
use hathi_formats::fsimage::Image;
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_nameserver::checkpoints::{Event, Followers, Follows, ImageMaker, Makers, Order, Seen, edits_kept_from};
use hathi_nameserver::image_files::{
    ImageFile, ImageReader, ImageWriter, LoadError, Unpublished, digest_of, md5_of, read_md5,
};
use hathi_namespace::Namespace;
use hathi_namespace::image::{Frozen, verify};
use hathi_namesystem::Role;
use hathi_namesystem::checkpoint::{CheckpointConfig, Earlier, accepts_upload};
use hathi_namesystem::save_namespace::{Canceler, ImagePurpose, Publication, SaveNamespaceContext};
use hathi_storage::{Disk, SimDisk};
use std::io::Write;

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

/// Makes images, until the process ends.
pub async fn make(shell: Shell) {
    let mut maker = ImageMaker::new(Makers::Standbys { is_one: true }, config(&shell), shell.ms());
    let mut event = Event::Woke;
    loop {
        let has_asked = matches!(event, Event::Heard(_));
        event = match maker.on(event, &seen(&shell), shell.ms()) {
            Order::Pause(ms) => {
                if has_asked {
                    shell.mark("left an image to another standby");
                }
                shell.sleep(ms * 1_000).await;
                Event::Woke
            }
            Order::AskEarlier => Event::Heard(ask_earlier(&shell).await),
            Order::Save(purpose) => {
                let saved = save(&shell, purpose).await;
                match maker.follows(saved) {
                    Follows::Nothing => {}
                    Follows::Offer(txid) => offer(&shell, txid),
                    Follows::Purge => purge_edits(&shell),
                }
                Event::Saved(saved)
            }
        };
    }
}

fn seen(shell: &Shell) -> Seen {
    shell.look(|process| Seen {
        role: process.ns.role(),
        is_trusted: true,
        applied: process.ns.edit_log().applied(),
        image: process.ns.most_recent_checkpoint(),
        receiving: process.image.is_receiving(),
    })
}

/// At an active an administrator may want an image, and edits are purged.
pub async fn tend(shell: Shell) {
    loop {
        shell.sleep_up_to(2 * shell.settings().knobs.checkpoint_every).await;
        if shell.look(|process| process.ns.role()) != Role::Active {
            continue;
        }
        match shell.one_in(3) {
            true => {
                save(&shell, ImagePurpose::SaveNamespace).await;
            }
            false => purge_edits(&shell),
        }
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
        match process.ns.role() {
            Role::Standby if is_well => Earlier::Makes,
            _ => Earlier::CanNot,
        }
    })
}

// ---- making

/// Saves an image if there is anything new.
async fn save(shell: &Shell, purpose: ImagePurpose) -> Option<TxId> {
    let canceler = shell.with(|process| process.image.begin(purpose))?;
    let saved = save_image(shell, purpose, &canceler).await;
    shell.with(|process| process.image.end(&canceler));
    saved
}

async fn save_image(shell: &Shell, purpose: ImagePurpose, canceler: &Canceler) -> Option<TxId> {
    let dirs = shell.dirs();
    for (_, restored) in dirs.attempt_restore(&shell.settings().holder) {
        if restored.is_ok() {
            shell.mark("a name directory was restored");
        }
    }
    let newest = shell.look(|process| process.ns.most_recent_checkpoint());
    let is_new = shell.look(|process| !process.ns.edit_log().changes_nothing_behind(newest));
    if !is_new && dirs.images().iter().any(|image| image.txid == newest) {
        return Some(newest);
    }
    let (frozen, context) = shell.with(|process| begin(process, purpose, canceler, shell))?;
    // A segment may have ended.
    shell.with_log(|_, _, _| {});
    shell.sleep_up_to(shell.settings().knobs.save_time / 2).await;
    let txid = match shell.is(ClusterMutant::ImageNamedLate) {
        true => shell.look(|process| process.ns.edit_log().applied()),
        false => context.txid(),
    };
    let unpublished = Unpublished::of(dirs.disk().clone(), &dirs.images_dirs(), txid);
    let md5 = write(shell, frozen, &context, &unpublished).await?;
    if purpose == ImagePurpose::SaveNamespace && shell.is(ClusterMutant::PurgeBeforeImage) {
        delete_edits(shell, txid.next());
    }
    wait_until_durable(shell, &context).await?;
    publish(shell, &unpublished, &md5)?;
    shell.mark(match purpose {
        ImagePurpose::SaveNamespace => "the active saved an image",
        _ => "made an image",
    });
    dirs.purge_images(IMAGES_RETAINED, 0);
    Some(txid)
}

fn begin(
    process: &mut Process,
    purpose: ImagePurpose,
    canceler: &Canceler,
    shell: &Shell,
) -> Option<(Frozen, SaveNamespaceContext)> {
    let begun = process.ns.begin_image(purpose, canceler.clone(), shell.now().wall_ms);
    begun.ok()
}

/// Writes an image to its files, and makes it durable. Answers its digest.
async fn write(
    shell: &Shell,
    frozen: Frozen,
    context: &SaveNamespaceContext,
    unpublished: &Unpublished<SimDisk>,
) -> Option<[u8; 16]> {
    let disk = shell.dirs().disk();
    let writer = ImageWriter::create(disk, unpublished.paths());
    let Ok((mut writer, summary)) = frozen.save(writer, LayoutVersion::NAMENODE_CURRENT, &|| context.is_over()) else {
        shell.mark("an image was given up");
        return None;
    };
    drop(frozen);
    shell.ask_world(Out::Image(ImageNews::Made(context.txid().0, summary.md5)));
    shell.sleep_up_to(shell.settings().knobs.save_time / 2).await;
    disk.lie_about_syncs(shell.is(ClusterMutant::ImageNotSynced));
    let finished = writer.finish();
    disk.lie_about_syncs(false);
    if finished.is_err() {
        shell.mark("no name directory took an image");
    }
    finished.ok().map(|()| summary.md5)
}

/// Waits until a quorum has everything in the image.
async fn wait_until_durable(shell: &Shell, context: &SaveNamespaceContext) -> Option<()> {
    let give_up = shell.ms() + PROVEN_WAIT_MS;
    let unchecked = shell.is(ClusterMutant::ImageUnproven);
    loop {
        match context.publication() {
            Publication::Now => return Some(()),
            _ if unchecked => return Some(()),
            Publication::Wait if shell.ms() <= give_up => shell.sleep(2_000).await,
            Publication::Never(_) | Publication::Wait => {
                shell.mark("an image was given up");
                return None;
            }
        }
    }
}

/// Gives an image that is whole its name.
fn publish(shell: &Shell, unpublished: &Unpublished<SimDisk>, md5: &[u8; 16]) -> Option<()> {
    let (dirs, txid) = (shell.dirs(), unpublished.txid());
    let Ok(failures) = dirs.publish_image(unpublished, md5) else {
        shell.mark("no name directory took an image");
        return None;
    };
    if !failures.is_empty() {
        shell.mark("a name directory is used no more");
    }
    dirs.write_seen_txid(txid);
    shell.ask_world(Out::Image(ImageNews::Published(txid.0)));
    shell.with(|process| process.ns.note_image(txid, shell.now().wall_ms));
    Some(())
}

// ---- sending and receiving

/// Offers an image to all other NameNodes.
fn offer(shell: &Shell, txid: TxId) {
    if let Some(image) = image_to_send(shell, txid) {
        for to in (0..shell.settings().namenodes).filter(|to| *to != shell.settings().index) {
            let image = image.clone();
            shell.ask_world(Out::SendImage { to, image });
        }
    }
}

/// The newest image, for a peer that lacks edits.
pub fn newest_to_send(shell: &Shell) -> Option<SentImage> {
    image_to_send(shell, shell.look(|process| process.ns.most_recent_checkpoint()))
}

/// The image of this transaction, unless it is gone.
fn image_to_send(shell: &Shell, txid: TxId) -> Option<SentImage> {
    let dirs = shell.dirs();
    let image = dirs.images().into_iter().find(|image| image.txid == txid)?;
    Some(SentImage {
        txid: txid.0,
        bytes: dirs.disk().read_small(&image.path).ok()??,
        md5: read_md5(dirs.disk(), &image.path).ok()?,
    })
}

/// A peer offers an image. Answers the place for images, which is occupied by it, when it is taken.
pub fn offered(shell: &Shell, txid: u64) -> Option<Canceler> {
    let is_here = shell.dirs().images().iter().any(|image| image.txid.0 == txid);
    shell.with(|process| {
        if is_here || !matches!(process.ns.role(), Role::Active | Role::Standby) {
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
        process.image.begin(ImagePurpose::Upload)
    })
}

/// The end of an upload: what came of it, or nothing when the sender is gone.
pub fn received(shell: &Shell, canceler: &Canceler, came: Option<SentImage>) {
    match came {
        None => shell.mark("an upload was interrupted"),
        Some(image) => {
            let dirs = shell.dirs();
            let files = Unpublished::uploaded(dirs.disk().clone(), &dirs.images_dirs(), TxId(image.txid));
            match keep(shell, &files, &image, || canceler.begin_publishing()) {
                Ok(()) => {
                    shell.mark("took an image of a peer");
                    purge_edits(shell);
                }
                Err(why) => shell.mark(why),
            }
        }
    }
    shell.with(|process| process.image.end(canceler));
}

/// An image came that this NameNode had asked for.
pub fn fetched(shell: &Shell, image: &SentImage) -> Result<(), String> {
    let dirs = shell.dirs();
    let files = Unpublished::of(dirs.disk().clone(), &dirs.images_dirs(), TxId(image.txid));
    keep(shell, &files, image, || true)?;
    shell.mark("fetched an image");
    Ok(())
}

/// Keeps an image that came from a peer, when it is whole.
fn keep(
    shell: &Shell,
    files: &Unpublished<SimDisk>,
    image: &SentImage,
    may_publish: impl FnOnce() -> bool,
) -> Result<(), &'static str> {
    const FAILED: &str = "an upload could not be written";
    let unchecked = shell.is(ClusterMutant::TornUploadKept);
    let mut writer = ImageWriter::create(shell.dirs().disk(), files.paths());
    writer.write_all(&image.bytes).map_err(|_| FAILED)?;
    if md5_of(&image.bytes) != image.md5 && !unchecked {
        return Err("a torn upload was refused");
    }
    writer.finish().map_err(|_| FAILED)?;
    let config = namespace_config(shell.settings().knobs.datanodes);
    let found = Image::open(&image.bytes[..]).and_then(|image| verify(config, &image));
    if found.map(|found| found.txid).ok() != Some(image.txid) && !unchecked {
        return Err("an upload that is no image was refused");
    }
    if !may_publish() {
        return Err("an upload gave way");
    }
    publish(shell, files, &image.md5).ok_or(FAILED)
}

// ---- loading

/// Loads the newest image that is whole.
pub fn load(shell: &Shell) -> Result<(TxId, Namespace), String> {
    let dirs = shell.dirs();
    let newest = dirs.images().first().map(|image| image.txid);
    let loaded = dirs.load_newest(
        |image| {
            if shell.is(ClusterMutant::OlderImageNotTried) && Some(image.txid) != newest {
                let source = std::io::Error::other("not tried");
                let image = image.path.clone();
                return Err(LoadError::Unreadable { image, source });
            }
            load_image(shell, image)
        },
        |_, _| shell.mark("passed over a damaged image"),
    );
    match loaded {
        Ok((image, (namespace, md5))) => {
            if Some(image.txid) != newest {
                shell.mark("loaded an older image");
            }
            shell.ask_world(Out::Image(ImageNews::Loaded(image.txid.0, md5)));
            Ok((image.txid, namespace))
        }
        Err(error) => {
            shell.ask_world(Out::Image(ImageNews::NoneWhole(error.to_string())));
            Err(error.to_string())
        }
    }
}

fn load_image(shell: &Shell, image: &ImageFile) -> Result<(Namespace, [u8; 16]), LoadError> {
    let disk = shell.dirs().disk();
    let unreadable = |source| LoadError::Unreadable {
        image: image.path.clone(),
        source,
    };
    let expected = read_md5(disk, &image.path)?;
    let found = digest_of(disk, &image.path).map_err(unreadable)?;
    let file = disk.open_read(&image.path).map_err(unreadable)?;
    let reader = ImageReader(&file);
    let config = namespace_config(shell.settings().knobs.datanodes);
    let loaded = Image::open(&reader).and_then(|image| hathi_namespace::image::load(config, &image));
    let compared = match shell.is(ClusterMutant::Md5NotChecked) {
        true => expected,
        false => found,
    };
    let namespace = image.check(expected, compared, loaded)?;
    Ok((namespace, found))
}

// ---- purging

/// Deletes images that are superfluous, and edits that no image needs.
fn purge_edits(shell: &Shell) {
    let dirs = shell.dirs();
    let Some(purged) = dirs.purge_images(IMAGES_RETAINED, 0) else {
        return;
    };
    let (role, applied) = shell.look(|process| (process.ns.role(), process.ns.edit_log().applied()));
    // Standbys that were down for a while fetch an image here.
    let followers = Followers::None {
        segments: &[],
        oldest_image: dirs.images().last().map(|oldest| oldest.txid),
        extra_segments_max: 0,
    };
    if let Some(kept_from) = edits_kept_from(role, purged.edits_from, followers) {
        delete_edits(
            shell,
            match shell.is(ClusterMutant::PurgeBeyondImages) {
                true => applied,
                false => kept_from,
            },
        );
    }
}

fn delete_edits(shell: &Shell, keep_from: TxId) {
    let known = shell.with(|process| std::mem::replace(&mut process.purged_to, keep_from.0));
    if known < keep_from.0 {
        shell.mark("purged edits");
        shell.ask_world(Out::Image(ImageNews::Purged(keep_from.0)));
        shell.with_log(|log, now, actions| log.purge(keep_from, now, actions));
    }
}
