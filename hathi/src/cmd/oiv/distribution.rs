//! A histogram of the sizes of files (`FileDistributionCalculator`).

use super::Options;
use super::delimited::size;
use super::tree::for_each_inode;
use crate::cmd::dfsadmin::byte_desc;
use anyhow::{Context, Result, bail};
use hathi_formats::fsimage::{Image, InodeKind};
use std::fs::File;
use std::io::Write;

/// `-maxSize` and `-step` when they are not said, or 0: 128 GiB and 2 MiB.
const MAX_SIZE: u64 = 128 << 30;
const STEP: u64 = 2 << 20;
/// Most steps (`FileDistributionCalculator.MAX_INTERVALS`).
const INTERVALS_MAX: u64 = 0x800_0000;
/// Inodes between two lines about the progress.
const PROGRESS: u64 = 1 << 20;

#[derive(Default)]
struct Totals {
    inodes: u64,
    files: u64,
    directories: u64,
    blocks: u64,
    space: u64,
    largest: u64,
}

/// Prints how many files have which size.
pub(super) fn write(image: &Image<'_, File>, options: &Options, out: &mut dyn Write) -> Result<()> {
    let max_size = if options.max_size == 0 {
        MAX_SIZE
    } else {
        options.max_size
    };
    let step = if options.step == 0 { STEP } else { options.step };
    let intervals = max_size / step;
    if intervals > INTERVALS_MAX {
        bail!(
            "Too many distribution intervals (maxSize/step): {intervals}, should be less than {}.",
            INTERVALS_MAX + 1
        );
    }
    let last = usize::try_from(intervals).context("-maxSize")?;
    let mut counts = vec![0_u64; last + 1];
    let mut totals = Totals::default();
    for_each_inode(image, |inode| {
        match inode.kind {
            InodeKind::Directory => totals.directories += 1,
            InodeKind::Symlink => {}
            InodeKind::File => {
                totals.files += 1;
                let size = size(inode);
                totals.blocks += inode.blocks.clone().count() as u64;
                totals.space = totals
                    .space
                    .wrapping_add(size.wrapping_mul(u64::from(inode.replication)));
                totals.largest = totals.largest.max(size);
                let bucket = if size > max_size {
                    intervals
                } else {
                    size.div_ceil(step)
                };
                let bucket = usize::try_from(bucket).unwrap_or(last).min(last);
                if let Some(count) = counts.get_mut(bucket) {
                    *count += 1;
                }
            }
        }
        if totals.inodes.is_multiple_of(PROGRESS) {
            writeln!(out, "Processed {} inodes.", totals.inodes)?;
        }
        totals.inodes += 1;
        Ok(())
    })?;
    writeln!(out, "{}\tNumFiles", if options.format { "Size Range" } else { "Size" })?;
    for (bucket, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let end = bucket as u64 * step;
        if options.format {
            let open = if bucket == 0 { '[' } else { '(' };
            let end = if bucket == last { totals.largest } else { end };
            let start = byte_desc((bucket as u64).saturating_sub(1) * step);
            writeln!(out, "{open}{start}, {}]\t{count}", byte_desc(end))?;
        } else {
            writeln!(out, "{end}\t{count}")?;
        }
    }
    writeln!(out, "totalFiles = {}", totals.files)?;
    writeln!(out, "totalDirectories = {}", totals.directories)?;
    writeln!(out, "totalBlocks = {}", totals.blocks)?;
    writeln!(out, "totalSpace = {}", totals.space)?;
    writeln!(out, "maxFileSize = {}", totals.largest)?;
    Ok(())
}
