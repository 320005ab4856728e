//! JournalNodes over real sockets and files.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod support;

use hathi_conf::Configuration;
use hathi_formats::exceptions;
use hathi_formats::ids::{Epoch, TxId};
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::{LeaseRequest, SegmentState};
use hathi_journal::{Answer, Request};
use hathi_journalnode::JournalNode;
use hathi_net::http;

use support::{LIMIT, Writer, configuration, count, edits_request, frames, ns_info, quorum, until};

#[tokio::test]
async fn keeps_edits_and_serves_them_in_every_way() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 1).await;
    let unformatted = writer.ask(&Request::GetJournalState).await.unwrap_err();
    assert!(unformatted.is(exceptions::JOURNAL_NOT_FORMATTED), "{unformatted}");
    writer.format().await;
    writer.become_writer().await;
    writer.start(1, None).await.unwrap();
    // A tailer that waits gets the edits when they come.
    let patient = edits_request(1, 20_000);
    let tailing = writer.ask(&patient);
    let reader = Writer::connect(&node, 0).await;
    let also_tailing = async { count(reader.ask(&patient).await) };
    let writing = async {
        let mut second = Writer::connect(&node, 1).await;
        second.serial = 10;
        second.write(1, 1, 5, None).await.unwrap();
    };
    let (first, second, ()) = tokio::join!(tailing, also_tailing, writing);
    assert_eq!((count(first), second), (5, 5));
    assert_eq!(count(reader.ask(&edits_request(6, 0)).await), 0);
    // And one that waits in vain is answered in time.
    assert_eq!(count(reader.ask(&edits_request(6, 30)).await), 0);
    writer.serial = 20;
    writer.write(1, 6, 5, Some(5)).await.unwrap();
    writer.finalize(1, 10, Some(10)).await;
    let wrong_writer = Writer::connect(&node, 0).await.start(11, None).await.unwrap_err();
    assert!(wrong_writer.is(exceptions::IO), "{wrong_writer}");
    let url = |rest: &str| format!("http://{}{rest}", node.http_address());
    let (headers, segment) = http::get_bytes(&url("/getJournal?jid=ns1&segmentTxId=1"), LIMIT, 1 << 24)
        .await
        .unwrap();
    assert_eq!(
        headers["x-image-edits-name"],
        "edits_0000000000000000001-0000000000000000010"
    );
    assert_eq!(&segment[8..8 + frames(1, 10).len()], &frames(1, 10)[..]);
    for (query, expected) in [
        ("jid=ns1&segmentTxId=2", 404),
        ("jid=ns1&segmentTxId=1&storageInfo=-67:999:0:CID-test", 403),
        ("jid=..%2Fns1&segmentTxId=1", 400),
        ("segmentTxId=1", 400),
    ] {
        match http::get(&url(&format!("/getJournal?{query}")), LIMIT).await {
            Err(http::HttpError::Status { status, .. }) => {
                assert_eq!(status.as_u16(), expected, "{query}")
            }
            other => panic!("{query}: {other:?}"),
        }
    }
    let (_, jmx) = http::get_bytes(&url("/jmx"), LIMIT, 1 << 20).await.unwrap();
    let jmx: serde_json::Value = serde_json::from_slice(&jmx).unwrap();
    let bean = |name: &str| {
        let beans = jmx["beans"].as_array().unwrap();
        let name = format!("Hadoop:service=JournalNode,name={name}");
        beans.iter().find(|bean| bean["name"] == *name).unwrap().clone()
    };
    assert_eq!(
        bean("JournalNodeInfo")["JournalsStatus"],
        "{\"ns1\":{\"Formatted\":\"true\"}}"
    );
    let rpc = bean(&format!("RpcActivityForPort{}", node.rpc_address().port()));
    assert!(rpc["RpcProcessingTimeNumOps"].as_u64().unwrap() > 10);
    let journal = bean("Journal-ns1");
    assert_eq!(
        (&journal["BatchesWritten"], &journal["TxnsWritten"]),
        (&2.into(), &10.into())
    );
    assert_eq!(
        (&journal["LastWrittenTxId"], &journal["LastPromisedEpoch"]),
        (&10.into(), &1.into())
    );
    let batches = journal["WriteMicros"]["count"].as_u64().unwrap();
    assert_eq!(batches, 2);
    assert!(journal["SyncMicros"]["count"].as_u64().unwrap() >= 1);
    let (_, metrics) = http::get_bytes(&url("/metrics"), LIMIT, 1 << 20).await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics);
    for line in [
        "hathi_journalnode_transactions_written_total{journal=\"ns1\"} 10.0",
        "hathi_journalnode_write_seconds_bucket{le=\"+Inf\",journal=\"ns1\"} 2",
        "hathi_journalnode_ready 1.0",
    ] {
        assert!(metrics.lines().any(|there| there == line), "{line} is not in {metrics}");
    }
    let (_, health) = http::get_bytes(&url("/health"), LIMIT, 1 << 20).await.unwrap();
    let health: serde_json::Value = serde_json::from_slice(&health).unwrap();
    assert_eq!(
        health,
        serde_json::json!({"status": "ok", "state": "serving", "reasons": []})
    );
}

#[tokio::test]
async fn remembers_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 7).await;
    writer.format().await;
    writer.become_writer().await;
    writer.start(1, None).await.unwrap();
    writer.write(1, 1, 3, None).await.unwrap();
    // Two processes cannot have one directory.
    let thief = JournalNode::start(configuration(dir.path())).unwrap();
    let stolen = Writer::connect(&thief, 8).await.ask(&Request::GetJournalState).await;
    assert!(stolen.is_err());
    drop(node);
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 7).await;
    match writer.ask(&Request::GetJournalState).await.unwrap() {
        Answer::JournalState {
            promised_epoch,
            from_url,
            ..
        } => {
            assert_eq!(promised_epoch, Epoch(7));
            assert_eq!(from_url, Some(format!("http://{}", node.http_address())));
        }
        other => panic!("{other:?}"),
    }
    let no_segment = writer.write(1, 4, 1, None).await.unwrap_err();
    assert!(no_segment.is(exceptions::JOURNAL_OUT_OF_SYNC), "{no_segment}");
    drop(thief);
}

#[tokio::test]
async fn a_lease_is_watched_and_released() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::connect(&node, 1).await;
    writer.format().await;
    let watcher = Writer::connect(&node, 0).await;
    let lease = |holder: &str| {
        Some(LeaseRequest {
            ms: 2000,
            holder: holder.into(),
            proof: LeaseProof(u128::from(holder.as_bytes()[2])),
        })
    };
    let epoch = |epoch, holder| Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(epoch),
        lease: lease(holder),
        established: false,
    };
    writer.ask(&epoch(1, "nn1@a")).await.unwrap();
    let held = writer.ask(&epoch(2, "nn2@b")).await.unwrap_err();
    assert!(held.is(exceptions::RETRIABLE), "{held}");
    let now = Request::WatchLease {
        known_counter: None,
        wait_ms: 0,
    };
    let Answer::LeaseState(state) = watcher.ask(&now).await.unwrap() else {
        panic!("no lease state")
    };
    assert_eq!(state.holder.as_deref(), Some("nn1@a"));
    assert!(state.remaining_ms > 0);
    let change = Request::WatchLease {
        known_counter: Some(state.change_counter),
        wait_ms: 20_000,
    };
    let release = Request::ReleaseLease {
        holder: "nn1@a".into(),
        proof: LeaseProof(u128::from(b'1')),
        up_to: None,
    };
    let (changed, released) = tokio::join!(watcher.ask(&change), writer.ask(&release));
    assert_eq!(released.unwrap(), Answer::Released(true));
    let Answer::LeaseState(changed) = changed.unwrap() else {
        panic!("no lease state")
    };
    assert_eq!(changed.remaining_ms, 0);
    writer.epoch = 2;
    writer.ask(&epoch(2, "nn2@b")).await.unwrap();
}

#[tokio::test]
async fn a_new_epoch_of_hadoop_waits_for_the_end_of_a_lease_unless_its_caller_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut conf = configuration(dir.path());
    conf.set("hathi.lease.max.ms", "600000");
    let node = JournalNode::start(conf).unwrap();
    let holder = Writer::connect(&node, 1).await;
    holder.format().await;
    let epoch = |epoch, lease_ms: Option<u32>| Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(epoch),
        lease: lease_ms.map(|ms| LeaseRequest {
            ms,
            holder: "nn1@a".into(),
            proof: LeaseProof(1),
        }),
        established: false,
    };
    holder.ask(&epoch(1, Some(600_000))).await.unwrap();
    let connections = rpc_metric(&node, "NumOpenConnections").await;
    let as_hadoop = async |caller: &Writer| {
        let request = epoch(2, None);
        let body = caller.envelope.encode(&request);
        let answer = caller.client.call_encoded(request.method(), &body, None, None);
        // What comes after it is answered only when it waits.
        caller.ask(&Request::IsFormatted).await.unwrap();
        // The caller decides when the answer is waited for.
        Some(answer)
    };
    // It is killed while it waits. The next one is elected, and asks for the same epoch.
    let killed = Writer::connect(&node, 2).await;
    let lost = as_hadoop(&killed).await.unwrap();
    killed.client.close();
    assert!(lost.encoded().await.is_err());
    until(async || (rpc_metric(&node, "NumOpenConnections").await == connections).then_some(())).await;
    let next = Writer::connect(&node, 2).await;
    let waits = as_hadoop(&next).await.unwrap();
    let release = Request::ReleaseLease {
        holder: "nn1@a".into(),
        proof: LeaseProof(1),
        up_to: None,
    };
    assert_eq!(holder.ask(&release).await.unwrap(), Answer::Released(true));
    waits.encoded().await.unwrap();
    // Nobody gives this one back.
    holder.ask(&epoch(3, Some(100))).await.unwrap();
    next.ask(&epoch(4, None)).await.unwrap();
}

#[tokio::test]
async fn an_emptied_node_joins_its_peers_and_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let (confs, ports) = quorum(dir.path());
    let mut nodes: Vec<_> = confs
        .iter()
        .map(|conf| JournalNode::start(conf.clone()).unwrap())
        .collect();
    let _writers = Writer::with_finalized_segments(&nodes).await;
    drop(nodes.remove(2));
    std::fs::remove_dir_all(dir.path().join(ports[2].to_string())).unwrap();
    nodes.push(JournalNode::start(confs[2].clone()).unwrap());
    let mut writer = Writer::connect(&nodes[2], 3).await;
    // It takes its peers' promise over, but no part in recoveries.
    until(async || {
        let state = writer.ask(&Request::GetJournalState).await.ok()?;
        assert!(matches!(
            state,
            Answer::JournalState {
                promised_epoch: Epoch(3),
                ..
            }
        ));
        Some(())
    })
    .await;
    let mut rival = Writer::connect(&nodes[2], 4).await;
    let request = Request::NewEpoch {
        ns_info: ns_info(),
        epoch: Epoch(4),
        lease: None,
        established: false,
    };
    assert!(rival.ask(&request).await.is_err());
    // The living writer opens its next segment on it, and it is whole again.
    writer.serial = 100;
    writer.start(5, Some(4)).await.unwrap();
    writer.write(5, 5, 2, Some(4)).await.unwrap();
    until(async || has_finalized(&writer, 1).await.then_some(())).await;
    rival.epoch = 4;
    rival.become_writer().await;
}

/// Whether the JournalNode has a finalized segment that begins so.
async fn has_finalized(writer: &Writer, start: u64) -> bool {
    let manifest = Request::GetEditLogManifest {
        since: TxId(1),
        in_progress_ok: false,
        from_journal: false,
    };
    match writer.ask(&manifest).await {
        Ok(Answer::Manifest(manifest)) => manifest.segments.iter().any(|segment| segment.start == TxId(start)),
        _ => false,
    }
}

async fn calls_of(node: &JournalNode) -> u64 {
    rpc_metric(node, "RpcProcessingTimeNumOps").await
}

async fn rpc_metric(node: &JournalNode, name: &str) -> u64 {
    let url = format!(
        "http://{}/jmx?qry=Hadoop:service=JournalNode,name=Rpc*",
        node.http_address()
    );
    let (_, jmx) = http::get_bytes(&url, LIMIT, 1 << 20).await.unwrap();
    let jmx: serde_json::Value = serde_json::from_slice(&jmx).unwrap();
    let beans = jmx["beans"].as_array().unwrap();
    beans.iter().find_map(|bean| bean[name].as_u64()).unwrap()
}

#[tokio::test]
async fn a_missed_segment_is_asked_for_when_the_next_one_begins() {
    let dir = tempfile::tempdir().unwrap();
    let (mut confs, _) = quorum(dir.path());
    // Two that never ask, and one that would not ask again before this test is over.
    confs[0].set("dfs.journalnode.enable.sync", "false");
    confs[1].set("dfs.journalnode.enable.sync", "false");
    confs[2].set("dfs.journalnode.sync.interval", "1h");
    let start = |conf: &Configuration| JournalNode::start(conf.clone()).unwrap();
    let mut nodes: Vec<_> = confs.iter().map(start).collect();
    let mut writers = Writer::with_finalized_segments(&nodes).await;
    // It asks the first one when it starts, and lacks nothing then.
    drop(nodes.pop());
    let before = calls_of(&nodes[0]).await;
    nodes.push(start(&confs[2]));
    until(async || (calls_of(&nodes[0]).await > before).then_some(())).await;
    for writer in &mut writers[..2] {
        writer.start(5, Some(4)).await.unwrap();
        writer.write(5, 5, 3, Some(4)).await.unwrap();
        writer.finalize(5, 7, Some(7)).await;
    }
    let mut late = Writer::connect(&nodes[2], 3).await;
    late.serial = writers[2].serial;
    late.start(8, Some(7)).await.unwrap();
    until(async || has_finalized(&late, 5).await.then_some(())).await;
}

#[tokio::test]
async fn recovery_fetches_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (confs, _) = quorum(dir.path());
    let nodes: Vec<_> = confs[..2]
        .iter()
        .map(|conf| JournalNode::start(conf.clone()).unwrap())
        .collect();
    for (node, batches) in nodes.iter().zip([2, 1]) {
        let mut writer = Writer::connect(node, 1).await;
        writer.format().await;
        writer.become_writer().await;
        writer.start(1, None).await.unwrap();
        for batch in 0..batches {
            writer.write(1, 1 + batch * 3, 3, None).await.unwrap();
        }
    }
    for node in &nodes {
        let mut writer = Writer::connect(node, 2).await;
        writer.become_writer().await;
        let info = writer.info(None);
        let prepare = Request::PrepareRecovery { info, segment: TxId(1) };
        writer.ask(&prepare).await.unwrap();
        let accept = Request::AcceptRecovery {
            info: writer.info(None),
            state: SegmentState {
                start: TxId(1),
                end: TxId(6),
                in_progress: true,
            },
            from_url: format!(
                "http://{}/getJournal?jid=ns1&segmentTxId=1&inProgressOk=true",
                nodes[0].http_address()
            ),
            chosen_epoch: Some(Epoch(1)),
        };
        writer.ask(&accept).await.unwrap();
        writer.finalize(1, 6, None).await;
    }
    for node in &nodes {
        let url = format!(
            "http://{}/getJournal?jid=ns1&segmentTxId=1&inProgressOk=false",
            node.http_address()
        );
        let (_, segment) = http::get_bytes(&url, LIMIT, 1 << 24).await.unwrap();
        assert_eq!(&segment[8..8 + frames(1, 6).len()], &frames(1, 6)[..]);
    }
}

#[tokio::test]
async fn nobody_but_its_writers_changes_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let node = JournalNode::start(configuration(dir.path())).unwrap();
    let mut writer = Writer::with_a_finalized_segment(&node).await;
    writer.start(5, Some(4)).await.unwrap();
    let mut nobody = Writer::connect_as("nobody", &node, 1 << 40).await;
    let info = nobody.info(None);
    let lease = LeaseRequest {
        ms: 1000,
        holder: "nn1@nobody".into(),
        proof: LeaseProof::default(),
    };
    for request in [
        Request::Format {
            ns_info: ns_info(),
            force: true,
        },
        Request::NewEpoch {
            ns_info: ns_info(),
            epoch: Epoch(1 << 40),
            lease: Some(lease),
            established: false,
        },
        Request::Heartbeat { info: info.clone() },
        Request::FinalizeLogSegment {
            info: info.clone(),
            start: TxId(5),
            end: TxId(5),
        },
        Request::PurgeLogsOlderThan {
            info,
            min_to_keep: TxId(100),
        },
        Request::DiscardSegments { start: TxId(1) },
        Request::DoPreUpgrade,
        Request::DoFinalize,
        Request::DoRollback,
        Request::ReleaseLease {
            holder: "nn1@x".into(),
            proof: LeaseProof::default(),
            up_to: None,
        },
    ] {
        let refused = nobody.ask(&request).await.unwrap_err();
        assert!(
            refused.is(exceptions::ACCESS_CONTROL),
            "{}: {refused}",
            request.method()
        );
    }
    // Reading is open to all, but opens no journal that is not there.
    nobody.ask(&Request::GetJournalState).await.unwrap();
    nobody.envelope.journal_id = "another".into();
    nobody.envelope.name_service_id = None;
    let refused = nobody.ask(&Request::IsFormatted).await.unwrap_err();
    assert!(refused.is(exceptions::ACCESS_CONTROL), "{refused}");
    // The writer noticed nothing.
    writer.write(5, 5, 1, Some(4)).await.unwrap();
    writer.finalize(5, 5, Some(5)).await;
}
