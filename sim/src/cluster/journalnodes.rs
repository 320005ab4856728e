//! The JournalNodes: starts, syncs, recoveries from peers, lost disks.

use super::{Event, World};
use crate::journalnode::{Effect, JournalNode};
use crate::namenode::namespace_info;
use crate::network::Message;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::acceptor::Download;
use hathi_journal::segments::SegmentName;
use hathi_journal::{Handled, Request};
use hathi_storage::{Disk, DiskFile};

impl World {
    pub(super) fn format(&mut self) {
        for jn in 0..self.jns.len() {
            self.start_journalnode(jn);
            let format = Request::Format {
                ns_info: namespace_info(),
                force: false,
            };
            let acceptor = self.jns[jn].acceptor.as_mut().expect("it has started");
            let Handled::Now(Ok(_)) = acceptor.handle(&format, 0) else {
                panic!("an empty disk can be formatted");
            };
        }
    }

    pub(super) fn start_journalnode(&mut self, jn: usize) {
        if self.jns[jn].acceptor.is_some() {
            return;
        }
        if let Err(error) = self.jns[jn].start(self.now) {
            return self.check(Err(error));
        }
        self.say(format_args!("JournalNode {jn} starts"));
        let unformatted = self.jns[jn].acceptor.as_ref().is_some_and(|a| !a.is_formatted());
        if self.jns[jn].wiped && unformatted && !self.join(jn) {
            // Its peers did not answer. It tries again, as the shell does.
            self.jns[jn].stop();
            self.jns[jn].disk.wipe();
            self.after(100_000, Event::StartJournalNode(jn));
        }
    }

    /// A JournalNode with an empty disk asks its peers what they promised.
    fn join(&mut self, jn: usize) -> bool {
        let mut promises = Vec::new();
        for other in (0..self.jns.len()).filter(|other| *other != jn) {
            let reachable = self.partitions.exchange(jn, other);
            let acceptor = self.jns[other].acceptor.as_ref();
            let acceptor = acceptor.filter(|acceptor| reachable && !acceptor.is_joining());
            promises.extend(acceptor.and_then(|acceptor| acceptor.promised_epoch()));
        }
        if promises.len() < self.jns.len() / 2 + 1 {
            return false;
        }
        let promise = promises.into_iter().max().unwrap_or(Epoch(0));
        let local = self.jns[jn].clock.at(self.now);
        self.mark("joining");
        let acceptor = self.jns[jn].acceptor.as_mut();
        acceptor.is_some_and(|acceptor| {
            let joined = acceptor.format_joining(&namespace_info(), promise, None, local);
            joined.is_ok()
        })
    }

    pub(super) fn sync_done(&mut self, jn: usize, life: u64) {
        if self.jns[jn].life == life {
            let effects = self.jns[jn].sync_done();
            self.journalnode_effects(jn, effects);
        }
    }

    /// Time has passed for the calls that wait at a JournalNode.
    pub(super) fn journalnode_wakes(&mut self, jn: usize) {
        self.jn_wakes[jn] = None;
        let effects = self.jns[jn].wake(self.now);
        self.journalnode_effects(jn, effects);
    }

    pub(super) fn journalnode_effects(&mut self, jn: usize, effects: Vec<Effect>) {
        let life = self.jns[jn].life;
        if let Some(at) = self.jns[jn].wake_at().map(|at| at.max(self.now + 1))
            && self.jn_wakes[jn].is_none_or(|known| at < known)
        {
            self.jn_wakes[jn] = Some(at);
            self.at(at, Event::JournalNodeWakes(jn));
        }
        for effect in effects {
            match effect {
                Effect::Answer(message, result) => self.send_answer(*message, result),
                Effect::Sync => {
                    let time = self.around(self.knobs.sync_time) * self.jns[jn].slowness;
                    self.after(time, Event::SyncDone { jn, life });
                }
                Effect::Fetch(message, download) => {
                    let host = download.url.strip_prefix("http://jn").unwrap_or_default();
                    let digits: String = host.chars().take_while(char::is_ascii_digit).collect();
                    let from = digits.parse().unwrap_or(0);
                    let arrival = 2 * self.around(self.knobs.delay);
                    let fetched = Event::Fetched {
                        jn,
                        life,
                        message,
                        download,
                        from,
                    };
                    self.after(arrival, fetched);
                }
            }
        }
    }

    pub(super) fn fetched(&mut self, jn: usize, life: u64, message: Message, download: Download, from: usize) {
        if self.jns[jn].life != life || self.jns[jn].acceptor.is_none() {
            return;
        }
        self.mark("fetched a segment");
        let passes = from == jn || self.partitions.exchange(jn, from);
        let start = match &download.request {
            Request::AcceptRecovery { state, .. } => state.start,
            _ => TxId(0),
        };
        let source = self.jns[from].acceptor.as_mut().filter(|_| passes);
        let file = source.and_then(|acceptor| acceptor.segment_file(start, true).ok().flatten());
        let result = match file {
            None => Err("unreachable".to_owned()),
            Some(file) => {
                let read = self.jns[from].disk.read_small(&file.path).ok().flatten();
                read.ok_or_else(|| "gone".to_owned()).and_then(|data| {
                    let to = self.jns[jn].disk.create(&download.to).map_err(|e| e.to_string())?;
                    to.write_at(0, &data).map_err(|e| e.to_string())?;
                    to.sync_data().map_err(|e| e.to_string())
                })
            }
        };
        let effects = self.jns[jn].fetched(message, download, result, self.now);
        self.journalnode_effects(jn, effects);
    }

    /// A JournalNode's process ends, or its machine.
    pub(super) fn crash_journalnode(&mut self, jn: usize, power: bool) {
        self.say(format_args!("JournalNode {jn} dies"));
        self.jns[jn].stop();
        if power {
            let rng = &mut self.rng;
            self.jns[jn].disk.lose_power(&mut |n| rng.u64(0..n.max(1)));
        } else {
            self.jns[jn].disk.crash_process();
        }
        self.reset_connections(jn, power);
    }

    /// The finalized segments on all disks that end with `first` or behind it.
    pub(super) fn finalized(&self, first: u64) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let current = JournalNode::root().join("current");
        for jn in &self.jns {
            let entries = jn.disk.list(&current).unwrap_or_default();
            for name in entries.iter().filter_map(|entry| SegmentName::parse(&entry.name)) {
                if name.end.is_some_and(|end| end.0 >= first)
                    && let Ok(Some(data)) = jn.disk.read_small(&current.join(name.file_name()))
                {
                    found.push(data);
                }
            }
        }
        found
    }

    /// Whether what is durable on this JournalNode may be lost now.
    pub(super) fn may_lose_disk(&self, jn: usize) -> bool {
        self.jns.iter().all(|other| {
            let votes = |a: &hathi_journal::Acceptor<_>| !a.is_joining() && a.failure().is_none();
            !other.wiped && (other.index == jn || other.acceptor.as_ref().is_some_and(votes))
        })
    }

    pub(super) fn count_losses(&mut self) {
        for jn in 0..self.jns.len() {
            let (lost, torn) = self.jns[jn].disk.losses();
            *self.marks.entry("lost write").or_default() += lost;
            *self.marks.entry("torn write").or_default() += torn;
        }
    }
}
