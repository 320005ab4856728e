//! Clients as Hadoop's are: a call is sent to one NameNode, and to the next one when that is not active or the connection
//! breaks, with the same ids and after a pause, until it is answered.

use super::calls::{Call, Caller};
use super::{Event, World};
use crate::checkers::answers::{Answered, Asked, Told, check, check_repetitions};
use crate::checkers::tree::Node as Inode;
use crate::knobs::Micros;
use crate::network::Node;
use crate::writing::ClientCall;
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::proto::hdfs::hdfs_file_status_proto::FileType;
use hathi_formats::proto::hdfs::{
    CompleteRequestProto, CompleteResponseProto, CreateRequestProto, CreateResponseProto, DeleteRequestProto,
    DeleteResponseProto, FsPermissionProto, GetFileInfoRequestProto, GetFileInfoResponseProto, GetListingRequestProto,
    GetListingResponseProto, HdfsFileStatusProto, MkdirsRequestProto, Rename2RequestProto, SetPermissionRequestProto,
    SetTimesRequestProto,
};
use prost::Message;

/// Calls of each client after the faults.
const CALLS_AFTER_HEAL: u64 = 8;
/// First pause of a client that was sent away twice, and the longest one.
const SENT_AWAY_PAUSE: Micros = 50_000;
const LONGEST_PAUSE: Micros = 1_000_000;
/// A client remembers so many of the files that it has open.
const OPEN_FILES_MAX: usize = 4;

/// What a client hears.
#[derive(Debug)]
pub(super) enum Heard {
    /// It is time to do something.
    Time,
    /// An answer of a NameNode that remembers the answers to calls from this transaction on.
    Answer(Result<Bytes, RemoteException>, u64),
    /// The connection is broken.
    Broken,
    /// There was no answer for too long.
    Silence,
}

#[derive(Debug)]
struct Pending {
    /// What was asked; of a client that writes a file, only the file's DataNodes' side knows.
    asked: Option<Asked>,
    method: &'static str,
    body: Bytes,
    call_id: i32,
    retry_count: i32,
    sent_away: u32,
    /// The last transaction that was known to stay when the call began.
    from: u64,
    /// Whether it waits for an answer, not for a pause.
    is_sent: bool,
    /// Whether a NameNode has passed it on. Then it may be served more than once without a further attempt.
    was_passed_on: bool,
}

impl Pending {
    /// Whether it may have been served more than once.
    fn may_be_repeated(&self) -> bool {
        self.retry_count > 0 || self.was_passed_on
    }
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    index: usize,
    next_call: i32,
    /// The NameNode that it asks.
    target: usize,
    /// Whatever an earlier attempt hears is of no interest.
    attempt: u64,
    pending: Option<Pending>,
    /// Its files that are being written.
    open: Vec<(String, u64)>,
    /// Whether it asks what the writer of a file asks.
    writes_file: bool,
    /// Calls since the faults have ended.
    calls_after_heal: u64,
}

impl Client {
    pub(super) fn new(index: usize) -> Self {
        Client {
            index,
            next_call: 0,
            target: 0,
            attempt: 0,
            pending: None,
            open: Vec::new(),
            writes_file: false,
            calls_after_heal: 0,
        }
    }

    fn id(&self) -> [u8; 16] {
        [self.index as u8 + 1; 16]
    }

    fn name(&self) -> String {
        format!("client{}", self.index)
    }

    /// Whether it has nothing more to do.
    pub(super) fn is_done(&self) -> bool {
        self.pending.is_none() && (self.writes_file || self.calls_after_heal >= CALLS_AFTER_HEAL)
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "{:?}",
            self.pending
                .as_ref()
                .map(|pending| (&pending.asked, pending.retry_count))
        )
    }
}

impl World {
    pub(super) fn client_hears(&mut self, client: usize, attempt: u64, heard: Heard) {
        if self.clients[client].attempt != attempt {
            return;
        }
        self.client_acts(client, heard);
        self.note_waiting(client);
    }

    /// A NameNode passes a client's call on.
    pub(super) fn client_is_passed_on(&mut self, client: usize, attempt: u64) {
        let here = &mut self.clients[client];
        if let Some(pending) = here.pending.as_mut().filter(|_| here.attempt == attempt) {
            pending.was_passed_on = true;
        }
    }

    /// Tells the NameNodes' kernels for which attempt a client waits.
    fn note_waiting(&mut self, client: usize) {
        let here = &self.clients[client];
        let waits = here.pending.as_ref().is_some_and(|pending| pending.is_sent);
        let attempt = waits.then_some(here.attempt);
        let before = self.waiting.set(client, attempt);
        if let Some(ended) = before.filter(|_| before != attempt) {
            self.ends.ended(client, ended, self.now);
        }
    }

    fn client_acts(&mut self, client: usize, heard: Heard) {
        match (heard, self.clients[client].pending.take()) {
            (Heard::Time, None) if self.clients[client].writes_file => {}
            (Heard::Time, None) => self.begin_call(client),
            (Heard::Time, Some(pending)) => self.send_call(client, pending),
            (Heard::Answer(result, remembers_from), Some(pending)) => {
                self.client_answered(client, pending, result, remembers_from);
            }
            (Heard::Broken | Heard::Silence, Some(pending)) => self.try_next(client, pending, true),
            (Heard::Answer(..) | Heard::Broken | Heard::Silence, None) => {}
        }
    }

    /// The process that a client waits for is gone.
    pub(super) fn client_connection_breaks(&mut self, client: usize, nn: usize) {
        let here = &self.clients[client];
        let waits = here.target == nn && here.pending.as_ref().is_some_and(|pending| pending.is_sent);
        if waits {
            let attempt = here.attempt;
            let noticed = self.around(self.knobs.delay);
            let heard = Heard::Broken;
            self.after(noticed, Event::Client { client, attempt, heard });
        }
    }

    fn client_wakes(&mut self, client: usize, after: Micros) {
        let attempt = self.clients[client].attempt;
        let heard = Heard::Time;
        self.after(after, Event::Client { client, attempt, heard });
    }

    fn begin_call(&mut self, client: usize) {
        if self.healed {
            if self.clients[client].calls_after_heal >= CALLS_AFTER_HEAL {
                return;
            }
            self.clients[client].calls_after_heal += 1;
        }
        let asked = self.draw_call(client);
        let (method, body) = self.encode(client, &asked);
        let here = &mut self.clients[client];
        here.next_call += 1;
        let pending = Pending {
            asked: Some(asked),
            method,
            body,
            call_id: here.next_call,
            retry_count: 0,
            sent_away: 0,
            from: self.truth.known(),
            is_sent: false,
            was_passed_on: false,
        };
        self.send_call(client, pending);
    }

    /// The client of a file asks.
    pub(super) fn begin_call_of_file(&mut self, client: usize, call: &ClientCall) {
        self.clients[client].writes_file = true;
        let pending = Pending {
            asked: None,
            method: call.method,
            body: call.body.clone(),
            call_id: call.call_id as i32,
            retry_count: 0,
            sent_away: 0,
            from: self.truth.known(),
            is_sent: false,
            was_passed_on: false,
        };
        self.send_call(client, pending);
        self.note_waiting(client);
    }

    /// The client of a file is gone. What it has sent may arrive.
    pub(super) fn client_gives_up(&mut self, client: usize) {
        let here = &mut self.clients[client];
        here.writes_file = true;
        here.attempt += 1;
        here.pending = None;
        self.note_waiting(client);
    }

    fn file_answered(
        &mut self,
        client: usize,
        (call_id, repeated): (i32, bool),
        result: Result<Bytes, RemoteException>,
    ) {
        let here = &mut self.clients[client];
        here.attempt += 1;
        let ids = (here.id(), call_id);
        let verdict = check_repetitions(&self.truth.tree, ids, self.truth.remembered_from);
        self.check(verdict);
        self.truth.acknowledged_calls += 1;
        self.file_call_answered(client, call_id, repeated, result);
    }

    fn send_call(&mut self, client: usize, mut pending: Pending) {
        let here = &mut self.clients[client];
        here.attempt += 1;
        let (attempt, nn) = (here.attempt, here.target);
        let call = Call {
            from: Caller::Client { client, attempt },
            method: pending.method,
            body: pending.body.clone(),
            client_id: here.id(),
            call_id: pending.call_id,
            retry_count: pending.retry_count,
            waited: None,
        };
        self.say(format_args!(
            "client {client} asks NameNode {nn}: {}, {:?}, call {} from {}",
            pending.method, pending.asked, pending.call_id, pending.from
        ));
        pending.is_sent = true;
        self.clients[client].pending = Some(pending);
        let heard = Heard::Silence;
        self.after(self.knobs.client_timeout, Event::Client { client, attempt, heard });
        if !self.passes(Node::Client(client), Node::NameNode(nn)) {
            return;
        }
        let mut arrival = self.around(self.knobs.delay);
        if !self.healed && self.one_in(self.knobs.loss_one_in) {
            if self.rng.bool() && self.fault("lost call") {
                return;
            }
            // It is read when its client has long gone elsewhere.
            if self.fault("late call") {
                arrival += self.rng.u64(0..3_000_000);
            }
        }
        let call = Box::new(call);
        self.after(arrival, Event::Call { nn, call });
    }

    /// The call goes to the next NameNode.
    fn try_next(&mut self, client: usize, mut pending: Pending, is_broken: bool) {
        pending.retry_count += 1;
        pending.is_sent = false;
        pending.sent_away += 1;
        let here = &mut self.clients[client];
        here.attempt += 1;
        here.target = (here.target + 1) % self.knobs.namenodes;
        self.mark(if is_broken {
            "a client lost its connection"
        } else {
            "a client was sent away"
        });
        // The first time costs nothing.
        let longest = match pending.sent_away {
            1 => 1,
            times => (SENT_AWAY_PAUSE << times.min(6)).min(LONGEST_PAUSE),
        };
        self.clients[client].pending = Some(pending);
        let pause = self.rng.u64(0..longest);
        self.client_wakes(client, pause);
    }

    fn client_answered(
        &mut self,
        client: usize,
        mut pending: Pending,
        result: Result<Bytes, RemoteException>,
        remembers_from: u64,
    ) {
        match &result {
            Err(refusal) if refusal.is(exceptions::STANDBY) => return self.try_next(client, pending, false),
            Err(refusal) if refusal.is(exceptions::RETRIABLE) => {
                pending.retry_count += 1;
                pending.is_sent = false;
                self.clients[client].attempt += 1;
                self.clients[client].pending = Some(pending);
                let pause = self.rng.u64(10_000..200_000);
                return self.client_wakes(client, pause);
            }
            _ => {}
        }
        let Some(asked) = pending.asked else {
            return self.file_answered(client, (pending.call_id, pending.may_be_repeated()), result);
        };
        let told = told_by(&asked, &result);
        self.say(format_args!(
            "client {client} is told {told:?}, {result:?}",
            result = result.as_ref().err()
        ));
        if pending.retry_count > 0 {
            self.mark("answered after a retry");
        }
        let here = &mut self.clients[client];
        match (&asked, &told, &result) {
            (Asked::Create(path), Told::Done, Ok(body)) => {
                let created = CreateResponseProto::decode(body.clone())
                    .ok()
                    .and_then(|created| created.fs);
                let file = created.and_then(|status| status.file_id);
                if here.open.len() < OPEN_FILES_MAX {
                    here.open.extend(file.map(|file| (path.clone(), file)));
                }
            }
            (Asked::Complete(file), ..) => here.open.retain(|(_, open)| open != file),
            _ => {}
        }
        let answered = Answered {
            asked,
            ids: (here.id(), pending.call_id),
            told,
            from: pending.from,
            to: self.truth.known(),
            remembers_from,
            repeated: pending.retry_count > 0 || pending.was_passed_on,
        };
        here.attempt += 1;
        let verdict = check(&self.truth.tree, &answered);
        self.check(verdict);
        let repeated = check_repetitions(&self.truth.tree, answered.ids, self.truth.remembered_from);
        self.check(repeated);
        self.truth.acknowledged_calls += 1;
        let pause = self.around(self.knobs.think_time);
        self.client_wakes(client, pause);
    }

    // ---- the calls

    fn draw_path(&mut self) -> String {
        let name = |rng: &mut fastrand::Rng| format!("/{}{}", ["d", "f"][rng.usize(0..2)], rng.u8(0..3));
        let depth = self.rng.u8(1..=3);
        (0..depth).map(|_| name(&mut self.rng)).collect()
    }

    fn draw_call(&mut self, client: usize) -> Asked {
        let path = self.draw_path();
        if !self.clients[client].open.is_empty() && self.rng.u8(0..3) == 0 {
            return Asked::Complete(self.clients[client].open[0].1);
        }
        match self.rng.u8(0..20) {
            0..=2 => Asked::Mkdirs(path),
            3..=6 => Asked::Create(path),
            7..=9 => {
                let to = self.draw_path();
                Asked::Rename(path, to)
            }
            10 | 11 => Asked::Delete(path),
            12 => Asked::SetPermission(path, 0o700 + u16::from(self.rng.u8(0..64))),
            13 => Asked::SetTimes(path, self.rng.u64(1..1_000_000)),
            14..=16 => Asked::FileInfo(path),
            17 => Asked::List("/".to_owned()),
            _ => Asked::List(path),
        }
    }

    fn encode(&self, client: usize, asked: &Asked) -> (&'static str, Bytes) {
        let permission = |perm: u32| FsPermissionProto { perm };
        let here = &self.clients[client];
        let (method, body) = match asked.clone() {
            Asked::Mkdirs(src) => {
                let request = MkdirsRequestProto {
                    src,
                    masked: permission(0o755),
                    create_parent: true,
                    unmasked: None,
                };
                ("mkdirs", request.encode_to_vec())
            }
            Asked::Create(src) => {
                let request = CreateRequestProto {
                    src,
                    masked: permission(0o644),
                    client_name: here.name(),
                    create_flag: 1,
                    create_parent: false,
                    replication: 3,
                    block_size: 128 << 20,
                    ..CreateRequestProto::default()
                };
                ("create", request.encode_to_vec())
            }
            Asked::Complete(file) => {
                let open = here.open.iter().find(|(_, open)| *open == file);
                let request = CompleteRequestProto {
                    src: open.map_or_else(String::new, |(path, _)| path.clone()),
                    client_name: here.name(),
                    last: None,
                    file_id: Some(file),
                };
                ("complete", request.encode_to_vec())
            }
            Asked::Rename(src, dst) => {
                let request = Rename2RequestProto {
                    src,
                    dst,
                    overwrite_dest: here.next_call % 4 == 0,
                    move_to_trash: None,
                };
                ("rename2", request.encode_to_vec())
            }
            Asked::Delete(src) => ("delete", DeleteRequestProto { src, recursive: true }.encode_to_vec()),
            Asked::SetPermission(src, mode) => {
                let request = SetPermissionRequestProto {
                    src,
                    permission: permission(mode.into()),
                };
                ("setPermission", request.encode_to_vec())
            }
            Asked::SetTimes(src, mtime) => {
                let request = SetTimesRequestProto {
                    src,
                    mtime,
                    atime: u64::MAX,
                };
                ("setTimes", request.encode_to_vec())
            }
            Asked::FileInfo(src) => ("getFileInfo", GetFileInfoRequestProto { src }.encode_to_vec()),
            Asked::List(src) => {
                let request = GetListingRequestProto {
                    src,
                    start_after: Bytes::new(),
                    need_location: false,
                };
                ("getListing", request.encode_to_vec())
            }
        };
        (method, Bytes::from(body))
    }
}

fn inode(status: &HdfsFileStatusProto) -> Inode {
    let is_dir = status.file_type == FileType::IsDir as i32;
    Inode {
        id: status.file_id(),
        is_dir,
        mode: status.permission.perm as u16,
        mtime: if is_dir { 0 } else { status.modification_time },
    }
}

/// What the answer to a call says.
fn told_by(asked: &Asked, result: &Result<Bytes, RemoteException>) -> Told {
    let body = match result {
        Ok(body) => body.clone(),
        Err(refusal) => {
            let reasons = [
                (exceptions::FILE_NOT_FOUND, Told::NotFound),
                (exceptions::FILE_ALREADY_EXISTS, Told::Exists),
                (exceptions::PARENT_NOT_DIRECTORY, Told::NoDirectory),
            ];
            let mut reasons = reasons.into_iter().filter(|(class, _)| refusal.is(*class));
            return reasons.next().map_or(Told::Refused, |(_, told)| told);
        }
    };
    match asked {
        Asked::Delete(_) => match DeleteResponseProto::decode(body) {
            Ok(answer) if !answer.result => Told::Nothing,
            _ => Told::Done,
        },
        Asked::Complete(_) => match CompleteResponseProto::decode(body) {
            Ok(answer) if !answer.result => Told::Refused,
            _ => Told::Done,
        },
        Asked::FileInfo(_) => {
            let status = GetFileInfoResponseProto::decode(body).ok().and_then(|answer| answer.fs);
            Told::Info(status.as_ref().map(inode))
        }
        Asked::List(_) => {
            let listing = GetListingResponseProto::decode(body)
                .ok()
                .and_then(|answer| answer.dir_list);
            let named = |status: &HdfsFileStatusProto| {
                let name = String::from_utf8_lossy(&status.path).into_owned();
                (name, status.file_id())
            };
            Told::Listing(listing.map(|listing| listing.partial_listing.iter().map(named).collect()))
        }
        Asked::Mkdirs(_) | Asked::Create(_) | Asked::Rename(..) | Asked::SetPermission(..) | Asked::SetTimes(..) => {
            Told::Done
        }
    }
}
