//! NameNodes' drivers and three JournalNodes in the same thread. Messages arrive when a test lets them.

use super::super::*;
use hathi_formats::editlog::EditOp;
use hathi_formats::ids::NamespaceInfo;
use hathi_journal::acceptor::Download;
use hathi_journal::{Acceptor, AcceptorOptions, Handled, JournalError};
use hathi_namesystem::edit_log::EditLog;
use hathi_storage::{Disk, DiskFile, SimDisk};
use std::collections::VecDeque;
use std::path::PathBuf;

pub(super) type Who = &'static str;

/// What a JournalNode does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    Up,
    /// Connections to it break.
    Down,
    /// Messages to it wait.
    Silent,
}

pub(super) struct JournalNode {
    pub(super) acceptor: Acceptor<SimDisk>,
    disk: SimDisk,
    pub(super) reach: Reach,
}

pub(super) struct NameNode {
    pub(super) driver: QuorumLog<Who>,
    /// Its messages wait.
    pub(super) is_cut_off: bool,
    pub(super) log: EditLog,
    /// What its driver wanted but sending, since a test looked last.
    pub(super) done: Vec<LogAction<Who>>,
}

/// A message that was delivered, and its answer.
pub(super) struct Delivered {
    pub(super) namenode: usize,
    pub(super) journalnode: usize,
    pub(super) request: Request,
    pub(super) answer: Result<Answer, CallError>,
}

pub(super) struct Cluster {
    pub(super) journalnodes: Vec<JournalNode>,
    pub(super) namenodes: Vec<NameNode>,
    pub(super) on_their_way: VecDeque<(usize, JournalCall, Request)>,
    pub(super) now: Micros,
}

pub(super) fn info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 5,
        cluster_id: "CID".to_owned(),
        ctime: 0,
        block_pool_id: "BP".to_owned(),
    }
}

pub(super) fn journal() -> JournalToRecover {
    JournalToRecover {
        info: info(),
        members: ["a:1", "b:1", "c:1"].map(str::to_owned).to_vec(),
        membership: None,
    }
}

/// A process that has just started.
fn namenode(index: usize) -> NameNode {
    NameNode {
        driver: QuorumLog::new(QuorumLogConfig {
            holder: format!("nn{}", index + 1).into(),
            proof: LeaseProof(1 + index as u128),
            lease_ms: 1000,
            journal_id: "ns".to_owned(),
            timeouts: WriterTimeouts::default(),
            recent_limit_bytes: 1 << 20,
            mutation: Mutation::default(),
        }),
        is_cut_off: false,
        log: EditLog::new(Life::first(), TxId(0)),
        done: Vec::new(),
    }
}

fn open(disk: &SimDisk, now: Micros) -> Acceptor<SimDisk> {
    let mut options = AcceptorOptions::new("ns");
    options.preallocate_bytes = 4096;
    Acceptor::open(disk.clone(), PathBuf::from("/ns"), options, now).expect("it opens")
}

impl Cluster {
    pub(super) fn new(namenodes: usize) -> Cluster {
        let journalnode = |_| {
            let disk = SimDisk::new();
            let mut acceptor = open(&disk, 0);
            let format = Request::Format {
                ns_info: info(),
                force: false,
            };
            assert!(matches!(acceptor.handle(&format, 0), Handled::Now(Ok(_))));
            JournalNode {
                acceptor,
                disk,
                reach: Reach::Up,
            }
        };
        Cluster {
            journalnodes: (0..3).map(journalnode).collect(),
            namenodes: (0..namenodes).map(namenode).collect(),
            on_their_way: VecDeque::new(),
            // Leases of JournalNodes that have just started have run out.
            now: 60_000_000,
        }
    }

    pub(super) fn drive(
        &mut self,
        namenode: usize,
        act: impl FnOnce(&mut QuorumLog<Who>, Micros, &mut Vec<LogAction<Who>>),
    ) {
        let mut out = Vec::new();
        act(&mut self.namenodes[namenode].driver, self.now, &mut out);
        for action in out {
            match action {
                LogAction::Send { call, request, .. } => self.on_their_way.push_back((namenode, call, request)),
                other => self.namenodes[namenode].done.push(other),
            }
        }
    }

    /// The first message that can arrive does so, and so does its answer.
    pub(super) fn deliver(&mut self) -> Option<Delivered> {
        let ready = |(namenode, call, _): &(usize, JournalCall, Request)| {
            self.journalnodes[call.journalnode].reach != Reach::Silent && !self.namenodes[*namenode].is_cut_off
        };
        let at = self.on_their_way.iter().position(ready)?;
        let (namenode, call, request) = self.on_their_way.remove(at)?;
        let journalnode = call.journalnode;
        let answer = match self.journalnodes[journalnode].reach {
            Reach::Down => Err(CallError::Broken("connection refused".to_owned())),
            Reach::Up | Reach::Silent => self
                .handle(journalnode, &request)
                .map_err(|error| CallError::Remote(error.into())),
        };
        let delivered = Delivered {
            namenode,
            journalnode,
            request,
            answer: answer.clone(),
        };
        self.drive(namenode, |driver, now, out| driver.answer(call, answer, now, out));
        Some(delivered)
    }

    fn handle(&mut self, journalnode: usize, request: &Request) -> Result<Answer, JournalError> {
        let acceptor = &mut self.journalnodes[journalnode].acceptor;
        match acceptor.handle(request, self.now) {
            Handled::Now(answer) => answer,
            Handled::AfterSync(answer) => acceptor.sync().map(|()| answer),
            Handled::Download(download) => self.download(journalnode, download),
            // A test waits for nothing: the time is over.
            Handled::Park { until } => match acceptor.handle_parked(request, until, until) {
                Handled::Now(answer) => answer,
                other => panic!("{other:?}"),
            },
        }
    }

    /// A JournalNode fetches a segment from one of the others.
    fn download(&mut self, journalnode: usize, download: Download) -> Result<Answer, JournalError> {
        let Request::AcceptRecovery { state, .. } = &download.request else {
            panic!("{:?}", download.request);
        };
        let source = usize::from(download.url.as_bytes()[7] - b'a');
        let file = self.journalnodes[source].acceptor.segment_file(state.start, true);
        let file = file.expect("it can be read").expect("it is there");
        let data = self.journalnodes[source].disk.read_small(&file.path);
        let data = data.expect("it can be read").expect("it is there");
        let here = &mut self.journalnodes[journalnode];
        let to = here.disk.create(&download.to).expect("there is room");
        to.write_at(0, &data).expect("there is room");
        to.sync_data().expect("it is synced");
        here.acceptor.downloaded(download, Ok(()), self.now)
    }

    /// The process of a NameNode is killed, with what it had not sent, and starts again.
    pub(super) fn kill(&mut self, index: usize) {
        self.on_their_way.retain(|(from, ..)| *from != index);
        self.namenodes[index] = namenode(index);
    }

    /// The process of a JournalNode is killed, and comes back with what it had on disk.
    pub(super) fn restart(&mut self, journalnode: usize) {
        let now = self.now;
        let here = &mut self.journalnodes[journalnode];
        here.disk.crash_process();
        here.acceptor = open(&here.disk, now);
    }

    /// What is on its way arrives, and so do the answers, until nothing more is sent.
    pub(super) fn settle(&mut self) {
        while self.deliver().is_some() {}
    }

    /// The driver takes what the open log has, if it is to leave now.
    pub(super) fn ship(&mut self, namenode: usize) {
        let (mut out, now) = (Vec::new(), self.now);
        let here = &mut self.namenodes[namenode];
        here.driver.take(&mut here.log, now, &mut out);
        here.done.extend(out);
        self.drive(namenode, |driver, now, out| driver.hand_over(now, out));
    }

    /// The log is opened behind this transaction, the last one of the journal.
    pub(super) fn open_log(&mut self, namenode: usize, behind: TxId) {
        let here = &mut self.namenodes[namenode];
        let life = here.log.life().next(behind);
        here.log = EditLog::new(life, behind);
        here.log.open_for_write(0);
        here.driver.ship(here.log.life().clone());
    }

    pub(super) fn log_op(&mut self, namenode: usize) -> TxId {
        let log = &mut self.namenodes[namenode].log;
        let op = EditOp::SetReplication {
            path: "/a".to_owned(),
            replication: 2,
        };
        log.stage(&[op]).expect("it is short");
        log.log_staged()
    }

    pub(super) fn take_done(&mut self, namenode: usize) -> Vec<LogAction<Who>> {
        std::mem::take(&mut self.namenodes[namenode].done)
    }
}
