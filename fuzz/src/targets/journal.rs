//! The quorum journal: requests and answers, and the files of a JournalNode and of a shared directory.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use hathi_formats::ids::{Epoch, LayoutVersion, TxId};
use hathi_formats::proto::qjournal::{PersistedRecoveryPaxosData, SegmentStateProto};
use hathi_formats::qjournal::Envelope;
use hathi_journal::acceptor::{Acceptor, AcceptorOptions};
use hathi_journal::directory::SharedDirectory;
use hathi_journal::lease::{LeaseMarker, LeaseProof};
use hathi_journal::membership::Membership;
use hathi_journal::messages::{Answer, Request, RequestInfo};
use hathi_journal::segments::scan;
use hathi_net::ipc::protocols;
use hathi_storage::{Disk, SimDisk};
use prost::Message;

use super::storage::empty_disk;
use super::{MESSAGES, PLAIN, Parts, editlog, samples_of, storage, text};
use crate::{Memory, Target};

/// A JournalNode reads its segments a megabyte at a time, and fills new ones ahead.
const JOURNALNODE: Memory = Memory {
    fixed: 16 << 20,
    per_byte: 64,
};
/// Directory of the journal.
const ROOT: &str = "/journal";
/// How far new segments are filled ahead, in bytes. It is little, because no input writes much.
const PREALLOCATE_BYTES: u64 = 4096;

pub fn targets() -> Vec<Target> {
    let target = |name, samples, run, memory| Target {
        name,
        samples,
        run,
        memory,
    };
    vec![
        target("journal_request", request_samples, request, MESSAGES),
        target("journal_answer", answer_samples, answer, MESSAGES),
        target("journal_directory", file_samples, directory, JOURNALNODE),
        target("journal_requests_served", served_samples, served, JOURNALNODE),
        target(
            "journal_segment_scan",
            editlog::segment_samples,
            scan_segment,
            editlog::SEGMENT_MEMORY,
        ),
        target("membership_file", membership_samples, membership, PLAIN),
        target("lease_file", lease_samples, lease, PLAIN),
        target("shared_directory", claim_samples, claim, JOURNALNODE),
    ]
}

/// Protocols whose requests a JournalNode serves.
const PROTOCOLS: [&hathi_net::ipc::Protocol; 3] = [
    &protocols::QJOURNAL_PROTOCOL,
    &protocols::INTER_QJOURNAL_PROTOCOL,
    &protocols::JOURNAL_EXTENSION_PROTOCOL,
];

/// Every method of every protocol.
fn methods() -> Vec<(&'static str, &'static str)> {
    PROTOCOLS
        .iter()
        .flat_map(|protocol| protocol.methods.iter().map(|(method, _)| (protocol.name, *method)))
        .collect()
}

fn info() -> RequestInfo {
    RequestInfo {
        epoch: Epoch(3),
        serial: 4,
        committed: Some(TxId(2)),
        lease: Some(hathi_journal::messages::LeaseRequest {
            ms: 1000,
            holder: "nn1@1".into(),
            proof: LeaseProof(7),
        }),
    }
}

fn membership_sample() -> Membership {
    Membership {
        epoch: Epoch(3),
        version: 1,
        members: ["jn1:8485", "[::1]:8486"].map(str::to_owned).to_vec(),
    }
}

/// Some kinds of requests. The messages of the others consist of the same parts.
fn requests() -> Vec<Request> {
    let ns_info = storage::info();
    let records = Bytes::from(editlog::segment_samples().concat());
    vec![
        Request::Format {
            ns_info: ns_info.clone(),
            force: true,
        },
        Request::NewEpoch {
            ns_info: ns_info.clone(),
            epoch: Epoch(5),
            lease: info().lease,
            established: true,
        },
        Request::StartLogSegment {
            info: info(),
            txid: TxId(1),
            layout_version: Some(LayoutVersion::NAMENODE_CURRENT),
        },
        Request::Journal {
            info: info(),
            segment: TxId(1),
            first: TxId(1),
            count: 2,
            records: records.slice(..100.min(records.len())),
        },
        Request::Heartbeat { info: info() },
        Request::FinalizeLogSegment {
            info: info(),
            start: TxId(1),
            end: TxId(2),
        },
        Request::PrepareRecovery {
            info: info(),
            segment: TxId(1),
        },
        Request::AcceptRecovery {
            info: info(),
            state: hathi_journal::messages::SegmentState {
                start: TxId(1),
                end: TxId(2),
                in_progress: true,
            },
            from_url: "http://jn1:8480".to_owned(),
            chosen_epoch: Some(Epoch(2)),
        },
        Request::GetJournaledEdits {
            since: TxId(1),
            max_txns: 10,
            wait_ms: 0,
            committed_only: true,
        },
        Request::SetMembership {
            info: info(),
            membership: membership_sample(),
        },
        Request::JoinJournal { info: info(), ns_info },
        Request::ReleaseLease {
            holder: "nn1@1".into(),
            up_to: Some(Epoch(3)),
            proof: LeaseProof(7),
        },
        Request::DiscardSegments { start: TxId(1) },
        Request::DoRollback,
    ]
}

/// Encodes number of the method and body.
fn encoded(request: &Request) -> Vec<u8> {
    let envelope = Envelope {
        journal_id: "ns1".to_owned(),
        name_service_id: Some("ns1".to_owned()),
    };
    let number = methods()
        .iter()
        .position(|method| *method == (request.protocol(), request.method()))
        .and_then(|number| u8::try_from(number).ok())
        .expect("its method is served");
    [&[number], &envelope.encode(request)[..]].concat()
}

fn decoded(input: &[u8]) -> Option<(Envelope, Request)> {
    let (number, body) = input.split_first()?;
    let methods = methods();
    let (protocol, method) = methods[usize::from(*number) % methods.len()];
    Envelope::decode(protocol, method, Bytes::copy_from_slice(body)).ok()
}

fn request_samples() -> Vec<Vec<u8>> {
    requests().iter().map(encoded).collect()
}

fn request(input: &[u8]) {
    let Some((envelope, request)) = decoded(input) else {
        return;
    };
    let body = envelope.encode(&request);
    let (_, again) = Envelope::decode(request.protocol(), request.method(), body).expect("what was encoded decodes");
    assert_eq!(again, request);
}

fn answer_samples() -> Vec<Vec<u8>> {
    let answers = [
        (
            "newEpoch",
            Answer::NewEpoch {
                last_segment: Some(TxId(1)),
                lease_granted_ms: Some(1000),
                membership: Some(membership_sample()),
            },
        ),
        (
            "getJournalState",
            Answer::JournalState {
                promised_epoch: Epoch(3),
                http_port: 8480,
                from_url: Some("http://jn1:8480".to_owned()),
                membership: Some(membership_sample()),
            },
        ),
        (
            "getJournaledEdits",
            Answer::JournaledEdits {
                count: 2,
                edit_log: Some(Bytes::from_static(&[0xFF, 0xFF, 0xFF, 0xBD, 0, 0, 0, 0])),
                committed: Some(TxId(2)),
            },
        ),
    ];
    let names = methods();
    answers
        .iter()
        .map(|(method, answer)| {
            let number = names.iter().position(|(_, name)| name == method).unwrap_or_default();
            [&[u8::try_from(number).unwrap_or_default()], &answer.encode(method)[..]].concat()
        })
        .collect()
}

fn answer(input: &[u8]) {
    let Some((number, body)) = input.split_first() else {
        return;
    };
    let methods = methods();
    let (_, method) = methods[usize::from(*number) % methods.len()];
    if let Ok(answer) = Answer::decode(method, Bytes::copy_from_slice(body)) {
        let again = Answer::decode(method, answer.encode(method)).expect("what was encoded decodes");
        assert_eq!(again, answer);
    }
}

fn options() -> AcceptorOptions {
    let mut options = AcceptorOptions::new("ns1");
    options.preallocate_bytes = PREALLOCATE_BYTES;
    options.cache_bytes = 1 << 16;
    options
}

fn open(disk: &SimDisk) -> Result<Acceptor<SimDisk>, hathi_journal::JournalError> {
    Acceptor::open(disk.clone(), PathBuf::from(ROOT), options(), 1_000_000)
}

/// The disk of a JournalNode that has promised, written, and taken part in a recovery.
fn journalnode() -> SimDisk {
    let disk = empty_disk();
    disk.create_dir_all(Path::new(ROOT)).expect("a new disk takes it");
    let mut acceptor = open(&disk).expect("nothing is there yet");
    let mut segment = editlog::resealed(&editlog::segment_samples().swap_remove(0));
    let mut frames = hathi_formats::editlog::Frames::new(&segment[8..], 0).starting_at(TxId(1));
    let mut count = 0;
    while let Ok(Some(_)) = frames.next_frame() {
        count += 1;
    }
    let end = usize::try_from(frames.good_until()).expect("in memory") + 8;
    segment.truncate(end);
    let info = |serial| RequestInfo {
        serial,
        committed: None,
        ..info()
    };
    let requests = [
        Request::Format {
            ns_info: storage::info(),
            force: false,
        },
        Request::NewEpoch {
            ns_info: storage::info(),
            epoch: Epoch(3),
            lease: info(0).lease,
            established: true,
        },
        Request::StartLogSegment {
            info: info(1),
            txid: TxId(1),
            layout_version: Some(LayoutVersion::NAMENODE_CURRENT),
        },
        Request::Journal {
            info: info(2),
            segment: TxId(1),
            first: TxId(1),
            count,
            records: Bytes::from(segment.split_off(8)),
        },
        Request::SetMembership {
            info: info(3),
            membership: membership_sample(),
        },
    ];
    for request in &requests {
        let _ = acceptor.handle(request, 1_000_000);
    }
    drop(acceptor);
    let record = PersistedRecoveryPaxosData {
        segment_state: SegmentStateProto {
            start_tx_id: 1,
            end_tx_id: u64::from(count),
            is_in_progress: true,
        },
        accepted_in_epoch: 3,
    };
    disk.write_small(
        &Path::new(ROOT).join("current/paxos/1"),
        &record.encode_length_delimited_to_vec(),
    )
    .expect("a new disk takes it");
    disk
}

fn template() -> SimDisk {
    use std::cell::RefCell;
    thread_local! {
        static TEMPLATE: RefCell<Option<SimDisk>> = const { RefCell::new(None) };
    }
    TEMPLATE.with_borrow_mut(|template| template.get_or_insert_with(journalnode).fork())
}

/// Paths of a journal's files below `current`.
fn files(disk: &SimDisk) -> Vec<PathBuf> {
    let current = Path::new(ROOT).join("current");
    let mut files = Vec::new();
    for dir in [current.clone(), current.join("paxos")] {
        for entry in disk.list(&dir).unwrap_or_default() {
            if !entry.is_dir {
                files.push(dir.join(entry.name));
            }
        }
    }
    files
}

/// Number of the file, and its content.
fn file_samples() -> Vec<Vec<u8>> {
    let disk = journalnode();
    (0_u8..)
        .zip(files(&disk))
        .filter_map(|(number, path)| {
            let content = disk.read_small(&path).ok()??;
            Some([&[number], &content[..]].concat())
        })
        .collect()
}

/// One file of a JournalNode is replaced. The JournalNode starts or says why not, and then serves or refuses.
fn directory(input: &[u8]) {
    let Some((number, content)) = input.split_first() else {
        return;
    };
    let disk = template();
    let files = files(&disk);
    let path = &files[usize::from(*number) % files.len()];
    disk.write_small(path, content).expect("the disk takes it");
    let Ok(mut acceptor) = open(&disk) else {
        return;
    };
    serve(
        &mut acceptor,
        &[
            Request::GetJournalState,
            Request::GetEditLogManifest {
                since: TxId(1),
                in_progress_ok: true,
                from_journal: false,
            },
            Request::NewEpoch {
                ns_info: storage::info(),
                epoch: Epoch(9),
                lease: None,
                established: true,
            },
            Request::PrepareRecovery {
                info: RequestInfo {
                    epoch: Epoch(9),
                    serial: 1,
                    committed: None,
                    lease: None,
                },
                segment: TxId(1),
            },
            Request::GetJournaledEdits {
                since: TxId(1),
                max_txns: 100,
                wait_ms: 0,
                committed_only: false,
            },
        ],
    );
    // It can read its own files.
    drop(acceptor);
    let _ = open(&disk);
}

fn serve(acceptor: &mut Acceptor<SimDisk>, requests: &[Request]) {
    let mut now = 20_000_000;
    for request in requests {
        now += 1000;
        let _ = acceptor.handle(request, now);
        acceptor.tick(now);
        acceptor.check();
    }
}

/// Some requests in a row.
fn served_samples() -> Vec<Vec<u8>> {
    let all: Vec<Vec<u8>> = requests().iter().map(encoded).collect();
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    all.chunks(4).map(Parts::join).collect()
}

/// A JournalNode serves every request that decodes.
fn served(input: &[u8]) {
    let mut parts = Parts(input);
    let mut requests = Vec::new();
    while !parts.is_empty() {
        requests.extend(decoded(parts.next()).map(|(_, request)| request));
    }
    let disk = template();
    let mut acceptor = open(&disk).expect("its files are good");
    serve(&mut acceptor, &requests);
    drop(acceptor);
    // Its files are good, whatever was requested.
    open(&disk).expect("a JournalNode can read what it wrote");
}

/// Scans a segment as it is, and with right checksums.
fn scan_segment(input: &[u8]) {
    for bytes in [input.to_vec(), editlog::resealed(input)] {
        let disk = empty_disk();
        disk.write_small(Path::new("/segment"), &bytes)
            .expect("a new disk takes it");
        let file = disk.open_read(Path::new("/segment")).expect("it was written");
        let found = scan(&file, TxId(1)).expect("it can be read");
        assert!(found.data_len <= bytes.len() as u64);
        if let Some(last) = found.last {
            assert!((last.0 - 1) * 17 <= found.data_len, "more transactions than fit");
        }
    }
}

fn membership_samples() -> Vec<Vec<u8>> {
    samples_of(&[&membership_sample().to_text()])
}

/// Decodes a membership as it is, and with a right checksum.
fn membership(input: &[u8]) {
    let given = text(input);
    let body = given.split("crc32 ").next().unwrap_or_default();
    let sealed = format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()));
    for text in [&*given, &sealed] {
        if let Some(membership) = Membership::parse(text) {
            assert!(membership.is_valid());
            assert_eq!(Membership::parse(&membership.to_text()), Some(membership));
        }
    }
}

fn lease_samples() -> Vec<Vec<u8>> {
    // A marker without a length is older than proofs.
    let marker = |ms: Option<u32>| LeaseMarker {
        epoch: Epoch(3),
        holder: "nn1@1".into(),
        ms,
        proof: ms.map(|_| LeaseProof(7)).unwrap_or_default(),
    };
    samples_of(&[&marker(None).to_text(), &marker(Some(1000)).to_text()])
}

fn lease(input: &[u8]) {
    let given = text(input);
    let body: String = given.split_inclusive('\n').take(4).collect();
    let sealed = format!("{body}{:08x}\n", crc32fast::hash(body.as_bytes()));
    for text in [&*given, &sealed] {
        let marker = LeaseMarker::parse(text, Epoch(9));
        if marker.epoch != Epoch(9) {
            assert_eq!(marker.to_text(), text, "a damaged one is believed");
        }
        let _ = hathi_journal::lease::LeaseGrants::at_start(2000, Some(marker), Epoch(9), 1_000_000);
    }
}

/// The claim on a shared directory, and a segment in it.
fn claim_samples() -> Vec<Vec<u8>> {
    let claim: &[u8] = b"epoch=3\nholder=nn1@1\nleaseMs=1000\nreleased=false\n";
    editlog::segment_samples()
        .iter()
        .take(3)
        .map(|segment| Parts::join(&[claim, segment]))
        .collect()
}

fn claim(input: &[u8]) {
    let mut parts = Parts(input);
    let disk = empty_disk();
    let root = Path::new("/shared");
    let shared = SharedDirectory::new(disk.clone(), root);
    shared.format(&storage::info(), false).expect("a new disk takes it");
    let current = root.join("current");
    disk.write_small(&current.join("hathi-writer"), parts.next())
        .expect("a new disk takes it");
    let segment = editlog::resealed(parts.next());
    disk.write_small(&current.join("edits_inprogress_0000000000000000001"), &segment)
        .expect("a new disk takes it");
    let _ = shared.ranges();
    let _ = shared.last_from(TxId(1));
    if let Ok((mut journal, _)) = shared.claim(&storage::info(), "nn2@1", 1000) {
        let _ = journal.recover();
        let _ = journal.check();
    }
}
