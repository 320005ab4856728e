//! Work of JournalNodes and NameNodes beside writing: fetching missed segments, purging, and at the end of a run the
//! proof that every JournalNode has caught up.

use super::*;

impl World {
    /// A JournalNode compares its finalized segments with a peer's and fetches what it lacks, as its syncer does.
    pub(super) fn compare(&mut self, jn: usize, turn: usize) {
        let later = self.now + self.around(self.knobs.compare_every);
        self.at(later, Event::Compare { jn, turn: turn + 1 });
        // The other JournalNodes, each in turn.
        let from = (jn + 1 + turn % (self.jns.len() - 1)) % self.jns.len();
        if !self.partitions.exchange(jn, from) {
            return;
        }
        let finalized = |jn: &mut JournalNode| jn.acceptor.as_mut()?.finalized_segments().ok();
        let (Some(local), Some(remote)) = (finalized(&mut self.jns[jn]), finalized(&mut self.jns[from])) else {
            return;
        };
        let committed = self.jns[jn].acceptor.as_ref().and_then(|a| a.gauges().committed);
        let lacks = |name: &&SegmentName| {
            let end = name.end.unwrap_or_default();
            let overlaps = |here: &SegmentName| here.start <= end && here.end >= Some(name.start);
            committed >= Some(end) && !local.iter().any(overlaps)
        };
        let names: Vec<SegmentName> = remote.iter().filter(lacks).cloned().collect();
        let mut arrival = self.now;
        for name in names {
            let path = JournalNode::root().join("current").join(name.file_name());
            let made = self.jns[jn].disk.create_dir_all(&download_dir());
            let fetched = copy(&self.jns[from].disk, &path, &self.jns[jn].disk, &download_path(&name));
            if made.is_ok() && fetched.is_ok() {
                let life = self.jns[jn].life;
                arrival += 2 * self.around(self.knobs.delay);
                self.at(arrival, Event::Missed { jn, life, name });
            }
        }
    }

    /// The copy of a peer's segment has arrived.
    pub(super) fn missed(&mut self, jn: usize, life: u64, name: &SegmentName) {
        if self.jns[jn].life != life {
            return;
        }
        let (Some(end), Some(acceptor)) = (name.end, &mut self.jns[jn].acceptor) else {
            return;
        };
        match acceptor.adopt_segment(&download_path(name), name.start, end) {
            Ok(true) => {
                self.jns[jn].flipped.remove(&name.start.0);
                self.mark("took a missing segment over");
            }
            Ok(false) => {}
            Err(_) => self.mark("refused a peer's segment"),
        }
    }

    /// The active purges segments that a checkpoint has made superfluous. The newest finalized segment stays.
    pub(super) fn purge(&mut self, nn: usize, newest: u64) {
        if !self.one_in(self.knobs.purge_one_in) || newest <= self.min_to_keep || !self.fault("purge") {
            return;
        }
        self.min_to_keep = self.rng.u64(self.min_to_keep..=newest);
        let min_to_keep = TxId(self.min_to_keep);
        self.with_writer(nn, |writer, now, out| {
            writer.purge_logs_older_than(min_to_keep, now, out)
        });
    }

    /// After the faults every reachable JournalNode gets everything in bounded time, whatever it has promised to other
    /// candidates. No rival of the writer is left, so only the writer can mend that.
    pub(super) fn look_whether_caught_up(&mut self) {
        match self.target {
            Some(target) if self.lagging(target).is_none() => self.done = true,
            _ => self.at(self.now + 100_000, Event::CaughtUp),
        }
    }

    /// A JournalNode that lacks a part of the log up to `target`, if any.
    pub(super) fn lagging(&self, target: u64) -> Option<String> {
        self.members.iter().find_map(|jn| {
            let jn = &self.jns[*jn];
            let Some(acceptor) = &jn.acceptor else {
                return Some(format!("JournalNode {} is down", jn.index));
            };
            if acceptor.is_joining() {
                return Some(format!("JournalNode {} is still joining", jn.index));
            }
            let mut here = BTreeMap::new();
            let mut files = segment_files(jn);
            // Finalized segments count first, whatever was left behind in progress.
            files.sort_by_key(|(name, _)| name.end.is_some());
            for (name, data) in files {
                here.extend(ops::read_segment(&data, name.start));
            }
            let mut wanted = self.acknowledged.between(self.min_to_keep, target);
            let lacks = wanted.find(|(txid, content)| here.get(txid) != Some(content));
            let (txid, _) = lacks.filter(|_| jn.flipped.is_empty())?;
            let around = |jn: &JournalNode| -> Vec<String> {
                let files = segment_files(jn).into_iter().map(|(name, _)| name);
                let near =
                    |name: &SegmentName| name.start.0 <= txid + 1 && name.end.is_none_or(|end| end.0 + 1 >= txid);
                files.filter(near).map(|name| name.file_name()).collect()
            };
            let around: Vec<_> = self.jns.iter().map(around).collect();
            let index = jn.index;
            Some(format!(
                "JournalNode {index} lacks txid {txid} of {}-{target}, where the JournalNodes have {around:?}",
                self.min_to_keep
            ))
        })
    }

    /// A JournalNode does not start because of a flipped bit. Its operator gives it an empty directory, as soon as the
    /// directory can be filled again.
    pub(super) fn replace_damaged(&mut self, jn: usize) {
        self.mark("replaced a damaged directory");
        self.jns[jn].stop();
        self.jns[jn].disk.wipe();
        self.jns[jn].wiped = true;
        self.jns[jn].flipped.clear();
        self.at(self.now + 50_000, Event::StartJournalNode(jn));
    }

    pub(super) fn count_losses(&mut self) {
        for jn in 0..self.jns.len() {
            let (lost, torn) = self.jns[jn].disk.losses();
            *self.marks.entry("lost write").or_default() += lost;
            *self.marks.entry("torn write").or_default() += torn;
        }
    }
}

fn download_dir() -> std::path::PathBuf {
    JournalNode::root().join("edits.sync")
}

fn download_path(name: &SegmentName) -> std::path::PathBuf {
    download_dir().join(name.file_name())
}
