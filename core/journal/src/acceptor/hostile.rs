//! Messages from the network by which somebody who is not the writer tries to stop the writer.

use bytes::Bytes;
use hathi_formats::exceptions;
use hathi_formats::proto::ext::ReleaseLeaseRequestProto;
use hathi_formats::proto::qjournal as pb;
use prost::Message;

use super::tests::{Fixture, proof};
use super::*;
use crate::lease::LeaseProof;
use crate::messages::{JOURNAL_EXTENSION_PROTOCOL, LeaseRequest, QJOURNAL_PROTOCOL};
use hathi_formats::qjournal::Envelope;

/// The lease request of the rightful holder.
fn lease(holder: &str) -> Option<LeaseRequest> {
    Some(LeaseRequest {
        ms: 1000,
        holder: holder.into(),
        proof: proof(holder),
    })
}

fn jid() -> pb::JournalIdProto {
    pb::JournalIdProto {
        identifier: "ns".to_owned(),
    }
}

fn from_wire(protocol: &str, method: &str, message: &impl Message) -> Request {
    let body = Bytes::from(message.encode_to_vec());
    Envelope::decode(protocol, method, body).unwrap().1
}

/// A heartbeat of somebody who knows only what `/jmx` shows.
fn heartbeat(epoch: u64, serial: u64, committed: Option<u64>) -> Request {
    let info = pb::RequestInfoProto {
        journal_id: jid(),
        epoch,
        ipc_serial_number: serial,
        committed_tx_id: committed,
        lease_ms: Some(1000),
        lease_holder: Some("nn1@a".to_owned()),
        ..Default::default()
    };
    from_wire(
        QJOURNAL_PROTOCOL,
        "heartbeat",
        &pb::HeartbeatRequestProto { req_info: info },
    )
}

/// A JournalNode on which the writer of epoch 1 writes under a lease.
fn writing() -> Fixture {
    let mut fixture = Fixture::formatted();
    fixture.lease = lease("nn1@a");
    fixture.write(1, 1, 2);
    fixture
}

#[test]
fn whoever_knows_only_the_holders_name_gives_no_lease_back() {
    let mut fixture = writing();
    let release = ReleaseLeaseRequestProto {
        jid: jid(),
        holder: "nn1@a".to_owned(),
        ..Default::default()
    };
    let release = from_wire(JOURNAL_EXTENSION_PROTOCOL, "releaseLease", &release);
    let _ = fixture.call(&release);
    // The holder relies on its lease: no other writer is admitted.
    fixture.lease = lease("nn2@b");
    let other = fixture.new_epoch(2);
    assert_eq!(fixture.class(&other), exceptions::RETRIABLE);
}

#[test]
fn whoever_knows_only_the_holders_name_gets_no_promise_while_its_lease_runs() {
    let mut fixture = writing();
    let Request::NewEpoch { ns_info, epoch, .. } = fixture.new_epoch(2) else {
        panic!("no newEpoch");
    };
    let envelope = Envelope {
        journal_id: "ns".to_owned(),
        name_service_id: None,
    };
    let as_java = Request::NewEpoch {
        ns_info,
        epoch,
        lease: None,
        established: false,
    };
    let mut body = pb::NewEpochRequestProto::decode(envelope.encode(&as_java)).unwrap();
    body.lease_ms = Some(0);
    body.lease_holder = Some("nn1@a".to_owned());
    let stolen = from_wire(QJOURNAL_PROTOCOL, "newEpoch", &body);
    assert_eq!(fixture.class(&stolen), exceptions::RETRIABLE);
    let heartbeat = fixture.heartbeat(1);
    fixture.ok(&heartbeat);
}

#[test]
fn only_new_epoch_raises_a_promise() {
    let mut fixture = writing();
    fixture.call(&heartbeat(u64::MAX, 1, None)).unwrap_err();
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
    // A promise is not raised either while no lease runs.
    fixture.now = 5_000_000;
    for epoch in [2, 3, u64::MAX] {
        fixture.call(&heartbeat(epoch, 1, None)).unwrap_err();
    }
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(1)));
    let next = fixture.new_epoch(2);
    fixture.ok(&next);
}

#[test]
fn a_promise_that_leaves_no_room_for_others_is_not_given() {
    let mut fixture = Fixture::formatted();
    for epoch in [u64::MAX, 1 << 63, (1 << 32) + 1] {
        let request = fixture.new_epoch(epoch);
        assert_eq!(fixture.class(&request), exceptions::IO, "{epoch}");
    }
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(0)));
    let far = fixture.new_epoch(1 << 32);
    fixture.ok(&far);
}

#[test]
fn a_stranger_in_the_writers_epoch_spoils_neither_serials_nor_commits() {
    let mut fixture = writing();
    for stranger in [heartbeat(1, u64::MAX, None), heartbeat(1, 1000, Some(1 << 62))] {
        fixture.call(&stranger).unwrap_err();
        fixture.committed = Some(TxId(2));
        let next = fixture.heartbeat(1);
        fixture.ok(&next);
    }
    // The same holds after a restart of the JournalNode.
    fixture.restart();
    fixture.call(&heartbeat(1, u64::MAX, None)).unwrap_err();
    let next = fixture.heartbeat(1);
    fixture.ok(&next);
}

#[test]
fn serials_and_commits_of_a_writer_without_a_lease_jump_by_no_more_than_a_bound() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    for info in [(u64::MAX, None), (1 << 50, None), (1000, Some(TxId(1 << 62)))] {
        let mut request = fixture.heartbeat(1);
        if let Request::Heartbeat { info: sent } = &mut request {
            (sent.serial, sent.committed) = info;
        }
        fixture.call(&request).unwrap_err();
        let next = fixture.heartbeat(1);
        fixture.ok(&next);
    }
}

#[test]
fn what_a_stranger_said_to_be_committed_goes_with_its_epoch() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let promise = fixture.new_epoch(2);
    fixture.ok(&promise);
    for absurd in [2, 1 << 40] {
        // The writer has written nothing here.
        fixture.committed = Some(TxId(absurd));
        let heartbeat = fixture.heartbeat(2);
        fixture.ok(&heartbeat);
        assert_eq!(fixture.prepare(2, 1).last_committed, None);
    }
    fixture.committed = Some(TxId(1));
    let promise = fixture.new_epoch(3);
    fixture.ok(&promise);
    let heartbeat = fixture.heartbeat(3);
    fixture.ok(&heartbeat);
}

#[test]
fn a_java_writer_that_was_not_heard_gets_in_with_its_next_segment() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let close = fixture.finalize(1, 1, 2);
    fixture.ok(&close);
    let heartbeat = fixture.heartbeat(3);
    fixture.call(&heartbeat).unwrap_err();
    let start = fixture.start(3, 3);
    fixture.ok(&start);
    let batch = fixture.journal(3, 3, 3, 1);
    fixture.ok(&batch);
    assert_eq!(fixture.acceptor.promised_epoch(), Some(Epoch(3)));
    let far = fixture.start(3 + 1001, 4);
    fixture.call(&far).unwrap_err();
}

#[test]
fn a_writer_that_asks_for_no_leases_counts_as_at_work_until_its_segment_is_final() {
    let written = |fixture: &Fixture| fixture.acceptor.lease_state(fixture.now).unwrap().written_without_lease;
    let mut fixture = Fixture::formatted();
    assert!(!written(&fixture));
    fixture.write(1, 1, 2);
    assert!(written(&fixture));
    // The writer is idle, and the JournalNode is restarted.
    fixture.now = 3_600_000_000;
    fixture.restart();
    assert!(written(&fixture));
    let promise = fixture.new_epoch(2);
    fixture.ok(&promise);
    assert!(!written(&fixture), "somebody else has come");
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    let finalize = fixture.finalize(1, 1, 2);
    fixture.ok(&finalize);
    assert!(written(&fixture), "it rolls");
    fixture.now = 60_000_000;
    assert!(!written(&fixture), "it has stopped");
    // A writer of ours asks for leases. This is known also after a restart, and after it gave its lease back.
    let mut fixture = writing();
    assert!(!written(&fixture));
    let release = Request::ReleaseLease {
        holder: "nn1@a".into(),
        proof: proof("nn1@a"),
        up_to: None,
    };
    assert_eq!(fixture.ok(&release), Answer::Released(true));
    fixture.restart();
    assert!(!written(&fixture));
}

#[test]
fn who_was_granted_no_lease_is_served_after_a_restart_as_before() {
    let mut fixture = Fixture::formatted();
    // Leases are switched off at this writer. First it asks for a lease of length 0, which tells it from a writer of
    // Hadoop, and then for none.
    fixture.lease = lease("nn1@a").map(|lease| LeaseRequest { ms: 0, ..lease });
    let promise = fixture.new_epoch(1);
    fixture.ok(&promise);
    fixture.lease = None;
    let start = fixture.start(1, 1);
    fixture.ok(&start);
    let batch = fixture.journal(1, 1, 1, 2);
    fixture.ok(&batch);
    fixture.restart();
    let resume = Request::ResumeSegment {
        info: fixture.info(1),
        segment: TxId(1),
    };
    assert!(matches!(fixture.ok(&resume), Answer::Resumed { next: TxId(3), .. }));
    assert!(!fixture.acceptor.lease_state(fixture.now).unwrap().written_without_lease);
    // It keeps no other writer out.
    let next = fixture.new_epoch(2);
    fixture.ok(&next);
}

#[test]
fn what_could_not_be_read_back_is_not_taken_from_the_wire() {
    let long = "x".repeat(2 << 20);
    let mut body = pb::NewEpochRequestProto {
        jid: jid(),
        epoch: 1,
        lease_ms: Some(1000),
        lease_holder: Some(long.clone()),
        ..Default::default()
    };
    let refused = |body: &pb::NewEpochRequestProto| {
        Envelope::decode(QJOURNAL_PROTOCOL, "newEpoch", body.encode_to_vec().into()).is_err()
    };
    assert!(refused(&body));
    body.lease_holder = Some("nn1@a".to_owned());
    assert!(!refused(&body));
    body.ns_info.storage_info.cluster_id = long;
    assert!(refused(&body));
}

/// A lease request without a proof.
fn unproven(holder: &str, ms: u32) -> Option<LeaseRequest> {
    Some(LeaseRequest {
        ms,
        holder: holder.into(),
        proof: LeaseProof::default(),
    })
}

#[test]
fn who_proves_nothing_is_granted_no_lease_and_passes_for_no_writer_of_ours() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    for (holder, ms) in [("x", 1000), ("y", 0), ("x", 0)] {
        fixture.lease = unproven(holder, ms);
        let heartbeat = fixture.heartbeat(1);
        assert_eq!(
            fixture.ok(&heartbeat),
            Answer::Lease {
                lease_granted_ms: Some(0)
            }
        );
    }
    let state = fixture.acceptor.lease_state(fixture.now).unwrap();
    assert!(state.written_without_lease, "a writer of Hadoop is at work");
    fixture.lease = lease("nn2@b");
    let other = fixture.new_epoch(2);
    fixture.ok(&other);
}

#[test]
fn a_lease_of_which_the_file_is_damaged_is_waited_out_whatever_a_stranger_asks_for() {
    let mut fixture = writing();
    let path = Path::new("/ns/current").join(LEASE_EPOCH);
    fixture.disk.write_small(&path, b"damaged").unwrap();
    fixture.restart();
    let switched_off = lease("nn3@c").map(|lease| LeaseRequest { ms: 0, ..lease });
    for other in [unproven("x", 0), switched_off] {
        fixture.lease = other;
        let heartbeat = fixture.heartbeat(1);
        fixture.ok(&heartbeat);
    }
    fixture.restart();
    fixture.lease = lease("nn2@b");
    let other = fixture.new_epoch(2);
    assert_eq!(fixture.class(&other), exceptions::RETRIABLE);
}

#[test]
fn the_writer_is_served_in_an_epoch_that_strangers_were_promised_and_spoke_in_before() {
    let mut fixture = Fixture::formatted();
    fixture.write(1, 1, 2);
    fixture.lease = unproven("x", 0);
    let stolen = fixture.new_epoch(2);
    fixture.ok(&stolen);
    fixture.call(&heartbeat(2, 1 << 40, None)).unwrap();
    // A majority of the other JournalNodes has elected it in this epoch.
    fixture.lease = lease("nn1@a");
    let start = fixture.start(2, 3);
    fixture.ok(&start);
    let batch = fixture.journal(2, 3, 3, 1);
    fixture.ok(&batch);
    // A message that it has sent earlier is still refused.
    fixture.call(&start).unwrap_err();
    fixture.call(&heartbeat(2, 1 << 41, None)).unwrap_err();
    let next = fixture.heartbeat(2);
    fixture.ok(&next);
}
