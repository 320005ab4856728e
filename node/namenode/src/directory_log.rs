//! The edit log task where edits are in directories: in one that NameNodes share (`dfs.namenode.shared.edits.dir` with
//! `file://`), or in those of the only NameNode (`dfs.namenode.edits.dir`). The same orders and news as
//! [`crate::log::LogTask`], with file systems in place of the JournalNodes.
//!
//! A file system may be slow, or hang for as long as its server is away, so a thread of its own writes; the task hands
//! it what was logged and lets replies out when the thread says that they are durable. The read lease runs from the
//! thread's last look at the claim: whoever claims the directory waits that long before it answers anything. The only
//! NameNode has locked its directories, so nobody else answers anything for as long as it lives.

use crate::clock::Clock;
use crate::local_edits::LocalEdits;
use crate::log::{LogCommand, LogParts, LostWriter};
use crate::storage::NameDirs;
use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo, TxId};
use hathi_journal::directory::{DirectoryError, JournalSet, MustHave, SharedDirectory};
use hathi_nameserver::directory_writer::{AfterFailure, DirectoryWriter, last_of_own};
use hathi_nameserver::edit_log_driver::{Broken, LogError, Recovered, Shipping};
use hathi_namesystem::edit_log::LogItem;
use hathi_storage::OsDisk;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as blocking;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A directory that does not answer for so long is given up by who wants to become active.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(55);
/// How long a change to standby waits for the directory.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the edits are.
pub enum Directories {
    /// One that NameNodes share.
    Shared(PathBuf),
    /// Those of this NameNode, the only one.
    Own(Arc<NameDirs>, MustHave),
}

enum Work {
    /// For this namespace, whose newest image covers everything up to this transaction.
    Claim(u64, NamespaceInfo, TxId),
    Item(u64, LogItem),
    Purge(TxId),
    Stop(oneshot::Sender<()>),
}

enum News {
    Recovered(Recovered),
    Synced(TxId),
    Finalized(TxId),
    LeaseUntil(u64),
    Lost(String),
}

/// See the module.
pub struct DirectoryLog {
    parts: LogParts,
    work: blocking::Sender<Work>,
    news: mpsc::UnboundedReceiver<(u64, News)>,
    /// Counts the times this NameNode became the writer or ceased to be; the thread drops what belongs to another.
    number: u64,
    wanted: Arc<AtomicU64>,
    /// Whether this NameNode is the writer.
    writes: bool,
    shipping: Shipping<oneshot::Sender<()>>,
    recovering: Option<oneshot::Sender<Result<Recovered, LogError>>>,
    recover_until: tokio::time::Instant,
    commands: mpsc::UnboundedReceiver<LogCommand>,
    lost: mpsc::UnboundedSender<LostWriter>,
    local: LocalEdits,
}

impl DirectoryLog {
    /// Starts the thread; not a writer yet.
    pub fn start(
        parts: LogParts,
        directories: Directories,
        commands: mpsc::UnboundedReceiver<LogCommand>,
        lost: mpsc::UnboundedSender<LostWriter>,
        local: LocalEdits,
    ) -> io::Result<DirectoryLog> {
        // bound: batches that were taken from the edit log and are not synced yet, which the log limits, and one order at a
        // time of each other kind. Each gives one piece of news.
        let (work, orders) = blocking::channel();
        // bound: as above.
        let (sender, news) = mpsc::unbounded_channel();
        let wanted = Arc::new(AtomicU64::new(0));
        let lease_ms = match &directories {
            Directories::Shared(_) => parts.settings.lease_ms,
            Directories::Own(..) => 0,
        };
        let thread = Thread {
            holder: parts.holder.clone(),
            writer: DirectoryWriter::new(lease_ms),
            lease_ms,
            directories,
            info: NamespaceInfo::default(),
            clock: parts.clock.clone(),
            orders,
            news: sender,
            wanted: wanted.clone(),
            journal: None,
            queue: VecDeque::new(),
        };
        std::thread::Builder::new()
            .name("edit-log".to_owned())
            .spawn(move || thread.run())?;
        Ok(DirectoryLog {
            parts,
            work,
            news,
            number: 0,
            wanted,
            writes: false,
            shipping: Shipping::default(),
            recovering: None,
            recover_until: tokio::time::Instant::now(),
            commands,
            lost,
            local,
        })
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        let replies = self.parts.replies.clone();
        loop {
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some((number, news)) if number == self.number => self.on_news(news),
                    Some(_) => {}
                    None => return,
                },
                () = replies.log_woken() => {}
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                () = tokio::time::sleep_until(self.recover_until), if self.recovering.is_some() => {
                    self.on_lost(LogError::Lost("the edits directory does not answer".to_owned()));
                }
            }
            self.ship();
            replies.release();
        }
    }

    fn order(&self, work: Work) {
        // The thread ends only with the process.
        let _ = self.work.send(work);
    }

    fn on_command(&mut self, command: LogCommand) {
        match command {
            LogCommand::Recover { info, done } => {
                self.stop();
                self.recovering = Some(done);
                self.recover_until = tokio::time::Instant::now() + RECOVER_TIMEOUT;
                let image = self.parts.ns.read().most_recent_checkpoint();
                self.order(Work::Claim(self.number, info, image));
            }
            // A writer that was lost since is told of by its own news.
            LogCommand::Ship(life) if self.writes => self.shipping.begin(life),
            LogCommand::Ship(_) => {}
            LogCommand::NotifySynced(txid, done) => self.tell(|shipping, told| shipping.await_synced(txid, done, told)),
            LogCommand::NotifyFinalized(last, done) => {
                self.tell(|shipping, told| shipping.await_finalized(last, done, told));
            }
            LogCommand::Resign(done) => {
                let stopped = self.stop();
                tokio::spawn(async move {
                    // A hanging directory must not keep the change of role from going on: nothing is acknowledged any
                    // more, the next writer only has to wait for the lease.
                    let _ = tokio::time::timeout(STOP_TIMEOUT, stopped).await;
                    let _ = done.send(());
                });
            }
            // There are no JournalNodes to change.
            LogCommand::Members(_) => {}
            LogCommand::Purge(min_to_keep) => {
                self.order(Work::Purge(min_to_keep));
                self.local.purge(min_to_keep);
            }
        }
    }

    fn stop(&mut self) -> oneshot::Receiver<()> {
        self.number += 1;
        self.wanted.store(self.number, Ordering::Release);
        self.writes = false;
        self.shipping = Shipping::default();
        self.recovering = None;
        self.parts.replies.set_lease(0);
        self.local.abandon();
        let (done, stopped) = oneshot::channel();
        self.order(Work::Stop(done));
        stopped
    }

    fn ship(&mut self) {
        let now = self.parts.clock.us();
        if self.shipping.may_take() {
            let taken = self.shipping.take(&mut *self.parts.ns.write(), now);
            if let Err(Broken) = taken {
                return self.on_lost(LogError::Broken);
            }
        }
        while let Some(item) = self.shipping.next(now) {
            self.order(Work::Item(self.number, item.clone()));
            self.local.push(item);
        }
    }

    /// Tells those whose transaction or segment has come.
    fn tell<T>(
        &mut self,
        event: impl FnOnce(&mut Shipping<oneshot::Sender<()>>, &mut Vec<oneshot::Sender<()>>) -> T,
    ) -> T {
        let mut told = Vec::new();
        let result = event(&mut self.shipping, &mut told);
        for done in told {
            let _ = done.send(());
        }
        result
    }

    fn on_news(&mut self, news: News) {
        match news {
            News::Recovered(recovered) => {
                self.writes = true;
                if let Some(done) = self.recovering.take() {
                    let _ = done.send(Ok(recovered));
                }
            }
            News::Synced(txid) => self.on_synced(txid),
            News::Finalized(end) => self.tell(|shipping, told| shipping.on_finalized(end, told)),
            News::LeaseUntil(until) => self.parts.replies.set_lease(until),
            News::Lost(reason) => self.on_lost(LogError::Lost(reason)),
        }
    }

    fn on_synced(&mut self, txid: TxId) {
        let now = self.parts.clock.us();
        match self.tell(|shipping, told| shipping.on_synced(txid, now, told)) {
            Ok(synced) => {
                self.parts.observed.synced(&synced);
                self.parts.images.look_again();
            }
            Err(error) => self.on_lost(LogError::Lost(error.to_string())),
        }
    }

    fn on_lost(&mut self, error: LogError) {
        let recovering = self.recovering.take();
        drop(self.stop());
        match recovering {
            Some(done) => {
                let _ = done.send(Err(error));
            }
            None => {
                let _ = self.lost.send(LostWriter {
                    reason: error.to_string(),
                });
            }
        }
    }
}

/// What writes.
struct Thread {
    directories: Directories,
    /// Of the last claim.
    info: NamespaceInfo,
    holder: Arc<str>,
    lease_ms: u32,
    clock: Clock,
    orders: blocking::Receiver<Work>,
    news: mpsc::UnboundedSender<(u64, News)>,
    wanted: Arc<AtomicU64>,
    journal: Option<(u64, JournalSet<OsDisk>)>,
    queue: VecDeque<Work>,
    writer: DirectoryWriter,
}

impl Thread {
    fn run(mut self) {
        loop {
            let pause_us = self.writer.pause_us(self.journal.is_some());
            let pause = pause_us.map_or(Duration::MAX, Duration::from_micros);
            match self.orders.recv_timeout(pause) {
                Ok(work) => self.queue.extend(std::iter::once(work).chain(self.orders.try_iter())),
                Err(blocking::RecvTimeoutError::Timeout) => {}
                Err(blocking::RecvTimeoutError::Disconnected) => return,
            }
            while let Some(work) = self.queue.pop_front() {
                let result = self.perform(&work);
                self.tell_dropped();
                match result {
                    Ok(()) => self.writer.done(),
                    Err(error) => match self.writer.failed(error.is_full()) {
                        AfterFailure::Again { is_new } => {
                            if is_new {
                                tracing::error!(%error, "nothing is acknowledged until there is room again");
                            }
                            self.queue.push_front(work);
                            break;
                        }
                        AfterFailure::Lost => self.lose(&error),
                    },
                }
                if let Work::Stop(done) = work {
                    let _ = done.send(());
                }
            }
            if self.writer.must_sync(self.clock.us())
                && let Err(error) = self.sync()
            {
                self.lose(&error);
            }
            self.tell_dropped();
        }
    }

    fn tell_dropped(&mut self) {
        let Some((_, journal)) = &mut self.journal else { return };
        for dropped in journal.take_dropped() {
            if let Directories::Own(dirs, _) = &self.directories {
                dirs.fail(&dropped.path.join("current"), &dropped.reason);
            }
        }
    }

    fn is_wanted(&self, number: u64) -> bool {
        self.wanted.load(Ordering::Acquire) == number
    }

    fn tell(&self, news: News) {
        if let Some((number, _)) = &self.journal {
            let _ = self.news.send((*number, news));
        }
    }

    fn lose(&mut self, error: &DirectoryError) {
        self.tell(News::Lost(error.to_string()));
        self.journal = None;
        self.writer.ended();
    }

    fn perform(&mut self, work: &Work) -> Result<(), DirectoryError> {
        match work {
            Work::Claim(number, info, image) => {
                if self.is_wanted(*number)
                    && let Err(error) = self.claim(*number, info, *image)
                {
                    let _ = self.news.send((*number, News::Lost(error.to_string())));
                }
                Ok(())
            }
            Work::Item(number, item) if self.is_wanted(*number) => self.item(item),
            Work::Item(..) => Ok(()),
            Work::Purge(min_to_keep) => {
                // Only the writer's business, and not worth losing it.
                if let Some((_, journal)) = &self.journal
                    && let Err(error) = journal.purge(*min_to_keep)
                {
                    tracing::warn!(%error, "old segments are not deleted");
                }
                Ok(())
            }
            Work::Stop(_) => {
                self.writer.ended();
                if let Some((_, journal)) = self.journal.take()
                    && let Err(error) = journal.release()
                {
                    tracing::warn!(%error, "the next writer has to wait for the lease");
                }
                Ok(())
            }
        }
    }

    /// Claims, recovers, and waits for the end of the last writer's lease.
    fn claim(&mut self, number: u64, info: &NamespaceInfo, image: TxId) -> Result<(), DirectoryError> {
        let (mut journal, wait_ms) = match &self.directories {
            Directories::Shared(path) => {
                let directory = SharedDirectory::new(OsDisk, path);
                let (journal, wait_ms) = directory.claim(info, &self.holder, self.lease_ms)?;
                (JournalSet::shared(journal), wait_ms)
            }
            Directories::Own(dirs, must_have) => (JournalSet::own(dirs.edits(), info, must_have)?, 0),
        };
        self.info = info.clone();
        // Who waits must not be early: of all clocks this one only ever stands still too long.
        let claimed = Instant::now();
        let mut last = journal.recover(image)?;
        if let Directories::Own(..) = self.directories {
            last = last_of_own(last, image);
        }
        let wait = Duration::from_millis(u64::from(wait_ms));
        std::thread::sleep(wait.saturating_sub(claimed.elapsed()));
        let epoch = journal.epoch();
        self.journal = Some((number, journal));
        self.sync()?;
        self.tell(News::Recovered(Recovered {
            epoch: Epoch(epoch),
            last,
        }));
        Ok(())
    }

    fn item(&mut self, item: &LogItem) -> Result<(), DirectoryError> {
        let Some((_, journal)) = &mut self.journal else {
            return Ok(());
        };
        match item {
            LogItem::StartSegment(txid) => {
                let restore = match &self.directories {
                    Directories::Own(dirs, _) => dirs.begin_restoring_edits(),
                    Directories::Shared(_) => false,
                };
                journal.start_segment(*txid, LayoutVersion::NAMENODE_CURRENT, &self.info, restore)?;
                tracing::info!(%txid, "edit log segment started");
            }
            LogItem::Edits {
                segment,
                first,
                count,
                bytes,
            } => {
                journal.append(*segment, *first, *count, bytes)?;
                self.writer.appended(TxId(first.0 + u64::from(*count) - 1));
            }
            LogItem::FinalizeSegment { first, last } => {
                self.sync()?;
                if let Some((_, journal)) = &mut self.journal {
                    journal.finalize_segment(*first, *last)?;
                }
                tracing::info!(%first, %last, "edit log segment finalized");
                self.tell(News::Finalized(*last));
            }
        }
        Ok(())
    }

    /// Makes what was appended durable, looks whether the claim is still ours, and renews the lease by that.
    fn sync(&mut self) -> Result<(), DirectoryError> {
        let Some((_, journal)) = &mut self.journal else {
            return Ok(());
        };
        let before_us = self.clock.us();
        journal.sync()?;
        let (until, synced) = self.writer.synced(before_us);
        self.tell(News::LeaseUntil(until));
        if let Some(last) = synced {
            self.tell(News::Synced(last));
        }
        Ok(())
    }
}
