//! `hathi journal verify`: every record of every segment, offline.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use hathi_formats::editlog::{Frames, SEGMENT_HEADER_LEN, SegmentHeader, decode_frame};
use hathi_formats::ids::TxId;
use hathi_journal::acceptor::damaged_small_files;
use hathi_journal::segments::SegmentName;
use hathi_storage::OsDisk;

use super::segments::{CURRENT, directories, of_directory};

#[derive(Args)]
pub struct Verify {
    /// A journal's directory, one with several journals, or a name directory of a NameNode
    dir: PathBuf,
    /// Print what is bad, nothing else
    #[arg(short, long)]
    quiet: bool,
}

/// Result of reading one segment.
#[derive(Debug, Default, PartialEq, Eq)]
struct Checked {
    records: u64,
    last: Option<TxId>,
    /// Offset of the first error, and what is wrong there.
    bad: Option<(u64, String)>,
    /// Offset where the unfinished write of a crash begins. A JournalNode cuts it off.
    torn: Option<u64>,
}

/// Reads a segment: the header, and length, transaction id and checksum of every frame. Ops are decoded when their
/// layout is known.
fn check(name: &SegmentName, data: &[u8]) -> Checked {
    let mut checked = Checked::default();
    let header = match SegmentHeader::decode(data) {
        Ok(header) => header,
        // The file was only just created.
        Err(_) if name.end.is_none() && data.iter().all(|byte| *byte == 0xFF) => return checked,
        Err(error) => {
            checked.bad = Some((0, error.to_string()));
            return checked;
        }
    };
    let body = data.get(SEGMENT_HEADER_LEN..).unwrap_or_default();
    let mut frames = Frames::new(body, SEGMENT_HEADER_LEN as u64).starting_at(name.start);
    loop {
        match frames.next_frame() {
            Ok(Some(frame)) => {
                // Layout versions count down. A newer layout may have unknown ops.
                if header.layout_version.0 >= CURRENT.0
                    && let Err(error) = decode_frame(&frame, header.layout_version)
                {
                    checked.bad = Some((frame.offset, format!("transaction {}: {error}", frame.txid)));
                    return checked;
                }
                checked.records += 1;
                checked.last = Some(frame.txid);
            }
            Ok(None) => break,
            Err(_) if name.end.is_none() && frames.is_torn_tail() => {
                checked.torn = Some(frames.good_until());
                break;
            }
            Err(error) => {
                // The offset is printed before the text.
                let text = error.to_string();
                let what = text.split_once(": ").map_or(text.as_str(), |(_, what)| what);
                checked.bad = Some((error.offset(), what.to_owned()));
                return checked;
            }
        }
    }
    if name.end.is_some() && checked.last != name.end {
        let last = checked
            .last
            .map_or_else(|| "nothing".to_owned(), |last| last.to_string());
        let what = format!(
            "the segment ends after {last}, its name says {}",
            name.end.unwrap_or_default()
        );
        checked.bad = Some((frames.good_until(), what));
    }
    checked
}

impl Verify {
    pub fn run(&self) -> Result<ExitCode> {
        let mut bad = 0;
        for dir in directories(&self.dir)? {
            bad += self.directory(&dir)?;
        }
        Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }

    fn directory(&self, dir: &Path) -> Result<usize> {
        let mut bad = 0;
        let (mut records, mut bytes, mut files) = (0, 0, 0);
        let mut next: Option<TxId> = None;
        for (name, path) in of_directory(dir)? {
            let data = match std::fs::read(&path) {
                // The file was finalized or purged since it was listed.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let checked = check(&name, &data);
            if let Some((offset, what)) = &checked.bad {
                bad += 1;
                println!("{}:{offset}: {what}", path.display());
            }
            if let Some(offset) = checked.torn
                && !self.quiet
            {
                println!("{}: an unfinished write begins at {offset}", path.display());
            }
            if let Some(next) = next.filter(|next| *next != name.start)
                && !self.quiet
            {
                println!(
                    "{}: transactions {next} to {} are not here",
                    dir.display(),
                    name.start.0 - 1
                );
            }
            next = name.end.or(checked.last).map(TxId::next).or(next);
            records += checked.records;
            bytes += data.len();
            files += 1;
        }
        // A journal that is formatted and was never written to has this file.
        ensure!(
            files > 0 || dir.join("VERSION").exists(),
            "{}: no journal, as it has neither segments nor a VERSION",
            dir.display()
        );
        let damaged = damaged_small_files(&OsDisk, dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for name in damaged {
            bad += 1;
            println!("{}:0: it differs from its copy", dir.join(name).display());
        }
        if !self.quiet {
            let state = if bad == 0 { "all good" } else { "damaged" };
            println!(
                "{}: {files} segments, {records} records, {bytes} bytes: {state}",
                dir.display()
            );
        }
        Ok(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_formats::ids::LayoutVersion;

    #[test]
    fn what_is_no_journal_is_not_good() {
        let dir = tempfile::tempdir().unwrap();
        let verify = Verify {
            dir: dir.path().to_owned(),
            quiet: true,
        };
        let refused = verify.run().unwrap_err().to_string();
        assert!(refused.contains("no journal"), "{refused}");
        std::fs::write(dir.path().join("VERSION"), "").unwrap();
        assert!(verify.run().is_ok());
    }

    fn segment(first: u64, count: u64) -> Vec<u8> {
        let layout_version = LayoutVersion(CURRENT.0 - 1);
        let mut data = SegmentHeader { layout_version }.encode().to_vec();
        for txid in first..first + count {
            let mut frame = vec![9];
            frame.extend(15_u32.to_be_bytes());
            frame.extend(txid.to_be_bytes());
            frame.extend([1, 2, 3]);
            let crc = crc32fast::hash(&frame);
            frame.extend(crc.to_be_bytes());
            data.extend(frame);
        }
        data
    }

    #[test]
    fn the_first_bad_offset_is_told_for_every_flipped_byte() {
        let good = segment(5, 4);
        let finalized = SegmentName::finalized(TxId(5), TxId(8));
        let checked = check(&finalized, &good);
        assert_eq!((checked.records, checked.bad), (4, None));
        // Any number is a valid layout version. All other bytes have a checksum.
        for at in 8..good.len() {
            let mut data = good.clone();
            data[at] ^= 0x20;
            let frame = 8 + (at as u64 - 8) / 20 * 20;
            assert_eq!(
                check(&finalized, &data).bad.map(|(offset, _)| offset),
                Some(frame),
                "{at}"
            );
        }
        assert_eq!(check(&finalized, &good[..good.len() - 20]).bad.unwrap().0, 68);
    }

    #[test]
    fn an_unfinished_write_is_told_from_damage() {
        let open = SegmentName::in_progress(TxId(5));
        let mut data = segment(5, 4);
        data.extend([0xFF; 64]);
        assert_eq!(check(&open, &data).bad, None);
        let torn = check(&open, &segment(5, 4)[..80]);
        assert_eq!((torn.records, torn.torn, torn.bad), (3, Some(68), None));
        let mut damaged = segment(5, 4);
        damaged[30] ^= 1;
        assert_eq!(check(&open, &damaged).bad.unwrap().0, 28);
    }
}
