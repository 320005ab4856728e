//! `-recover` of a NameNode without HA (`NameNode.doRecovery`, `MetaRecoveryContext`): makes an image of the edits that can
//! be read, and asks what to do where they can't.
//!
//! Where a transaction is missing in every directory, or can't be applied, there are Hadoop's choices: to continue without
//! it, to stop there, to quit, or to always continue. Continuing makes a namespace that never existed, and later edits may not
//! fit to it; each that does not is asked about again. An op that failed may have changed something before, so the
//! namespace is loaded anew without it.

use crate::format::{FormatOptions, confirm_prompt, tell};
use crate::load::Loader;
use crate::offline::save;
use crate::settings::Settings;
use crate::storage::NameDirs;
use anyhow::{Context, bail, ensure};
use hathi_formats::editlog::{EditOp, Frame, Frames, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame};
use hathi_formats::ids::{LayoutVersion, TxId};
use hathi_journal::segments::{SegmentName, Segments};
use hathi_namesystem::namesystem::ReplayError;
use hathi_namesystem::{Life, Namesystem};
use hathi_storage::{Disk as _, OsDisk};
use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most transactions that are missing at one place. More have been the edits of another namespace.
const MISSING_MAX: u64 = 100_000_000;

const WARNING: &str = "You have selected Metadata Recovery mode.  This mode is intended to recover lost metadata on a \
                       corrupt filesystem.  Metadata recovery mode often permanently deletes data from your HDFS \
                       filesystem.  Please back up your edit log and fsimage before trying this!\n\n\
                       Are you ready to proceed? (Y/N)\n";

/// A segment of edits, as it was found.
struct Found {
    segments: Segments<OsDisk>,
    name: SegmentName,
    /// The last whole transaction.
    last: Option<TxId>,
    is_damaged: bool,
}

impl Found {
    fn path(&self) -> PathBuf {
        self.segments.path(&self.name)
    }

    /// The last transaction, by the file's name or by the whole transactions in it.
    fn end(&self) -> TxId {
        let end = self.name.end.or(self.last).unwrap_or(self.name.start);
        if self.is_damaged && self.name.end.is_none() {
            // At least one transaction was in it.
            return self.last.map_or(self.name.start, TxId::next);
        }
        end
    }
}

fn segments(dirs: &NameDirs) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for dir in dirs.edits_dirs() {
        let segments = Segments::new(OsDisk, dir.clone());
        for name in segments.list().with_context(|| dir.display().to_string())? {
            let scan = segments.scan_file(&segments.path(&name), name.start)?;
            found.push(Found {
                is_damaged: scan.torn.is_some() || name.end.is_some_and(|end| scan.last != Some(end)),
                last: scan.last,
                segments: segments.clone(),
                name,
            });
        }
    }
    Ok(found)
}

/// What the administrator has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Continue,
    Stop,
    Quit,
}

/// The questions and what was answered.
struct Questions {
    /// Whether the first choice is taken without a question: `-force`, or `a`.
    always: bool,
}

impl Questions {
    /// `MetaRecoveryContext.editLogLoaderPrompt`: what is wrong, and what continuing means.
    fn ask(&mut self, what: &str, continuing: &str) -> Choice {
        tracing::error!("{what}");
        if self.always {
            tracing::info!("automatically choosing c");
            return Choice::Continue;
        }
        loop {
            tell!(
                "\n{what}\nEnter 'c' to continue, {continuing}\n\
                 Enter 's' to stop reading the edit log here, abandoning any later edits\n\
                 Enter 'q' to quit without saving\n\
                 Enter 'a' to always select the first choice in the future without prompting. (c/s/q/a)\n"
            );
            let mut line = String::new();
            let read = std::io::stdin().lock().read_line(&mut line);
            match line.trim().to_ascii_lowercase().as_str() {
                "c" => return Choice::Continue,
                "a" => {
                    self.always = true;
                    return Choice::Continue;
                }
                "s" => return Choice::Stop,
                "q" => {}
                _ if read.is_ok_and(|read| read > 0) => {
                    tell!("I'm sorry, I cannot understand your response.\n");
                    continue;
                }
                _ => {}
            }
            tell!("Exiting on user request.\n");
            return Choice::Quit;
        }
    }
}

/// Which transactions are left out, and behind which one no more are read.
struct Plan {
    skipped: BTreeSet<TxId>,
    limit: TxId,
}

/// Where the reading ended.
enum End {
    /// No whole transaction is left.
    Nothing,
    /// The next one is missing. The next whole one, if there is one.
    Missing(Option<TxId>),
    /// This one can't be applied.
    Failed(TxId, String),
}

/// `-recover`.
pub fn recover(settings: &Settings, options: &FormatOptions) -> anyhow::Result<u8> {
    if !settings.is_single() {
        bail!(
            "-recover is for edits in the directories of a NameNode without HA. Copy the namespace of another NameNode with \
             hdfs namenode -bootstrapStandby; a JournalNode repairs itself from the others"
        );
    }
    if !confirm_prompt(WARNING) {
        tell!("Recovery aborted at user request.\n\n");
        return Ok(0);
    }
    tracing::info!("starting recovery...");
    let dirs = Arc::new(NameDirs::open(settings)?);
    let found = segments(&dirs)?;
    let loader = Loader::new(settings.clone(), dirs.clone());
    let mut questions = Questions { always: options.force };
    let mut plan = Plan {
        skipped: BTreeSet::new(),
        limit: TxId(u64::MAX),
    };
    let mut ns = loader.load(Life::first())?;
    loop {
        match read(&mut ns, &found, &plan)? {
            End::Nothing => break,
            End::Missing(resume) => {
                let next = ns.edit_log().applied().next();
                let got = resume.map_or_else(|| "none that is whole".to_owned(), |resume| format!("txid {resume}"));
                let what =
                    format!("There appears to be a gap in the edit log.  We expected txid {next}, but got {got}.");
                match questions.ask(&what, "ignoring missing  transaction IDs") {
                    Choice::Quit => return Ok(0),
                    Choice::Stop => break,
                    Choice::Continue => {}
                }
                let Some(resume) = resume else { break };
                ensure!(
                    resume.0 - next.0 <= MISSING_MAX,
                    "{} transactions are missing",
                    resume.0 - next.0
                );
                for missing in next.0..resume.0 {
                    pass_over(&mut ns, TxId(missing))?;
                }
            }
            End::Failed(txid, problem) => {
                match questions.ask(&problem, "applying edits") {
                    Choice::Quit => return Ok(0),
                    Choice::Stop => plan.limit = TxId(txid.0 - 1),
                    Choice::Continue => {
                        plan.skipped.insert(txid);
                    }
                }
                // What failed is not undone. Transactions that were missing are passed over again, without a question.
                ns = anew(&loader, &found, &plan, txid)?;
            }
        }
    }
    let txid = save(&mut ns, &dirs)?;
    put_aside(&dirs, &found, txid)?;
    tracing::info!(%txid, skipped = plan.skipped.len(), "RECOVERY COMPLETE");
    Ok(0)
}

/// Loads the namespace again and reads up to before this transaction.
fn anew(loader: &Loader, found: &[Found], plan: &Plan, before: TxId) -> anyhow::Result<Namesystem> {
    let mut ns = loader.load(Life::first())?;
    ensure!(ns.edit_log().applied() < before, "the image itself can't be continued");
    let plan = Plan {
        skipped: plan.skipped.clone(),
        limit: TxId(before.0 - 1).min(plan.limit),
    };
    while ns.edit_log().applied() < plan.limit {
        match read(&mut ns, found, &plan)? {
            End::Nothing => break,
            End::Missing(resume) => {
                let next = ns.edit_log().applied().next();
                let resume = resume.unwrap_or(before).min(plan.limit.next());
                for missing in next.0..resume.0 {
                    pass_over(&mut ns, TxId(missing))?;
                }
            }
            End::Failed(txid, problem) => bail!("transaction {txid} could be applied before: {problem}"),
        }
    }
    // Those right before it were missing, too.
    while ns.edit_log().applied() < plan.limit {
        let next = ns.edit_log().applied().next();
        pass_over(&mut ns, next)?;
    }
    Ok(ns)
}

/// Goes on behind a transaction without it.
fn pass_over(ns: &mut Namesystem, txid: TxId) -> anyhow::Result<()> {
    // The end of a segment changes nothing.
    Ok(ns.replay(txid, &EditOp::EndLogSegment, 0)?)
}

/// Applies what can be read, from any directory, as long as transactions follow one another.
fn read(ns: &mut Namesystem, found: &[Found], plan: &Plan) -> anyhow::Result<End> {
    'progress: loop {
        let next = ns.edit_log().applied().next();
        if next > plan.limit {
            return Ok(End::Nothing);
        }
        let holding = |segment: &&Found| segment.name.start <= next && segment.name.end.is_none_or(|end| next <= end);
        for segment in found.iter().filter(holding) {
            match apply_from(ns, &segment.path(), plan)? {
                Some(failed) => return Ok(failed),
                None if ns.edit_log().applied() >= next => continue 'progress,
                None => {}
            }
        }
        let mut resume: Option<TxId> = None;
        for segment in found
            .iter()
            .filter(|segment| segment.name.end.is_none_or(|end| next <= end))
        {
            let lowest = first_whole(&segment.path(), next)?;
            resume = [resume, lowest].into_iter().flatten().min();
        }
        let resume = resume.filter(|resume| *resume <= plan.limit);
        let is_lost = found.iter().any(|segment| segment.end() >= next);
        return Ok(match resume {
            None if !is_lost || plan.limit.0 != u64::MAX => End::Nothing,
            resume => End::Missing(resume),
        });
    }
}

/// The whole frames of a file, with what is damaged left out. Ends when `each` answers false.
fn for_each_frame(
    path: &Path,
    mut each: impl FnMut(&Frame<'_>, LayoutVersion) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let data = std::fs::read(path).with_context(|| path.display().to_string())?;
    let layout = match SegmentHeader::decode(&data) {
        Ok(header) => header.layout_version,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the header is damaged, so the layout is taken for ours");
            LayoutVersion::NAMENODE_CURRENT
        }
    };
    let rest = data.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    let mut frames = Frames::new(rest, SEGMENT_HEADER_LEN as u64);
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) if each(&frame, layout)? => {}
            Ok(_) => return Ok(()),
            Err(_) if frames.resync() => {}
            Err(_) => return Ok(()),
        }
    }
}

/// The first whole transaction of a file from `next` on.
fn first_whole(path: &Path, next: TxId) -> anyhow::Result<Option<TxId>> {
    let mut first = None;
    for_each_frame(path, |frame, _| {
        first = (frame.txid >= next).then_some(frame.txid);
        Ok(first.is_none())
    })?;
    Ok(first)
}

/// Applies the transactions of a file that follow what was applied. Answers which one failed, if one did.
fn apply_from(ns: &mut Namesystem, path: &Path, plan: &Plan) -> anyhow::Result<Option<End>> {
    let mut failed = None;
    for_each_frame(path, |frame, layout| {
        let txid = frame.txid;
        let next = ns.edit_log().applied().next();
        if txid < next {
            return Ok(true);
        }
        if txid > next || txid > plan.limit {
            return Ok(false);
        }
        if plan.skipped.contains(&txid) {
            pass_over(ns, txid)?;
            return Ok(true);
        }
        let name = frame.code.name().unwrap_or("unknown");
        let problem = match decode_frame(frame, layout) {
            Err(error) => error.to_string(),
            Ok(op) => match ns.replay(txid, &op, 0) {
                Ok(()) => return Ok(true),
                Err(error) if is_unsupported(&error) => {
                    return Err(error)
                        .with_context(|| format!("{}: leaving it out would lose what it says", path.display()));
                }
                Err(error) => error.to_string(),
            },
        };
        let problem = format!("Failed to apply edit log operation {name} (txid {txid}): error {problem}");
        failed = Some(End::Failed(txid, problem));
        Ok(false)
    })?;
    Ok(failed)
}

/// Whether an op is of a feature that is missing here. It is whole, so nothing has to be recovered.
fn is_unsupported(error: &ReplayError) -> bool {
    matches!(
        error,
        ReplayError::Apply {
            reason: hathi_namespace::ApplyError::Unsupported { .. },
            ..
        }
    )
}

/// Renames files with edits behind the image, so that no start finds them. The part of a file that the image holds
/// stays as a segment: peers and older images still need it.
fn put_aside(dirs: &NameDirs, found: &[Found], image: TxId) -> anyhow::Result<()> {
    // A file in progress that is damaged would be taken for edits that a crash cut off.
    let is_left = |segment: &&Found| segment.end() > image || (segment.is_damaged && segment.name.end.is_none());
    for segment in found.iter().filter(is_left) {
        let path = segment.path();
        // What is whole from its beginning on, and in the image.
        let covered = match segment.last.filter(|last| segment.name.start <= *last) {
            Some(last) if segment.name.start <= image => {
                let last = last.min(image);
                let bytes = up_to(std::fs::read(&path)?, last).with_context(|| path.display().to_string())?;
                Some((last, bytes))
            }
            _ => None,
        };
        segment.segments.put_aside(&segment.name, "corrupt")?;
        tracing::warn!(file = %path.display(), "put aside, with .corrupt at the end of its name");
        if let Some((last, covered)) = covered {
            let name = SegmentName::finalized(segment.name.start, last);
            OsDisk.write_small(&segment.segments.path(&name), &covered)?;
        }
    }
    for current in dirs.images_dirs().iter().chain(dirs.edits_dirs()) {
        OsDisk.write_small(&current.join("seen_txid"), format!("{image}\n").as_bytes())?;
    }
    Ok(())
}

/// A file of edits without those behind a transaction.
fn up_to(mut bytes: Vec<u8>, last: TxId) -> anyhow::Result<Vec<u8>> {
    let rest = bytes.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    let mut frames = Frames::new(rest, SEGMENT_HEADER_LEN as u64);
    while let Some(frame) = frames.next_frame()? {
        if frame.txid == last {
            let end = usize::try_from(frames.good_until())?;
            bytes.truncate(end);
            return Ok(bytes);
        }
    }
    bail!("it does not hold transaction {last}")
}
