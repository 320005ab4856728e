//! A JournalNode that was away for longer than the writer remembers.

use super::*;

/// Away while 100 edits are written of which the writer keeps 20; then it is back for so long.
fn back_after_a_while(java: bool, back_for: Micros) -> (Cluster, QuorumWriter) {
    let mut cluster = Cluster::new();
    cluster.java[2] = java;
    let mut forgetful = config("a");
    forgetful.recent_limit_bytes = frame(1, 10).len() * 20;
    let mut writer = QuorumWriter::new(forgetful);
    cluster.act(&mut writer, |w, now, out| w.recover(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(TxId(1), now, out));
    cluster.journal(&mut writer, 1, 1);
    cluster.down[2] = true;
    for first in (2..100).step_by(7) {
        cluster.journal(&mut writer, first, 7);
    }
    pass(&mut cluster, &mut writer, 3_000_000);
    assert_eq!(writer.wants_new_segment(cluster.now), None, "nobody to end it for");
    cluster.down[2] = false;
    pass(&mut cluster, &mut writer, back_for);
    (cluster, writer)
}

fn pass(cluster: &mut Cluster, writer: &mut QuorumWriter, time: Micros) {
    for _ in 0..time / 50_000 {
        cluster.now += 50_000;
        cluster.act(writer, |w, now, out| w.tick(now, out));
    }
}

#[test]
fn it_joins_with_a_new_segment() {
    for java in [false, true] {
        // A Java one is heard of by the next heartbeat, one of ours is asked every second at the latest.
        let (mut cluster, mut writer) = back_after_a_while(java, 1_500_000);
        let last = writer.committed().unwrap();
        assert_eq!(writer.wants_new_segment(cluster.now), Some(TxId(1)), "java {java}");
        cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
        assert_eq!(writer.wants_new_segment(cluster.now), None, "it is being ended");
        cluster.act(&mut writer, |w, now, out| w.start_segment(last.next(), now, out));
        cluster.journal(&mut writer, last.0 + 1, 3);
        pass(&mut cluster, &mut writer, 3_000_000);
        assert_eq!(cluster.written(), [last.0 + 3; 3], "java {java}");
        assert_eq!(writer.wants_new_segment(cluster.now), None);
    }
}

#[test]
fn it_that_is_still_away_or_refuses_gets_none() {
    let (mut cluster, mut writer) = back_after_a_while(true, 1_500_000);
    let last = writer.committed().unwrap();
    // A disk that failed: heartbeats are answered, segments refused.
    cluster.refuses_segments[2] = true;
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(last.next(), now, out));
    pass(&mut cluster, &mut writer, 5_000_000);
    assert_eq!(writer.wants_new_segment(cluster.now), None);
}

#[test]
fn segments_are_not_ended_one_after_the_other() {
    let (mut cluster, mut writer) = back_after_a_while(true, 1_500_000);
    let last = writer.committed().unwrap();
    cluster.act(&mut writer, |w, now, out| w.finalize_segment(now, out));
    cluster.act(&mut writer, |w, now, out| w.start_segment(last.next(), now, out));
    cluster.journal(&mut writer, last.0 + 1, 1);
    cluster.down[2] = true;
    cluster.journal(&mut writer, last.0 + 2, 1);
    pass(&mut cluster, &mut writer, 200_000);
    cluster.down[2] = false;
    pass(&mut cluster, &mut writer, 1_500_000);
    assert_eq!(writer.wants_new_segment(cluster.now), None, "too young");
    pass(&mut cluster, &mut writer, 500_000);
    assert_eq!(writer.wants_new_segment(cluster.now), Some(last.next()));
}
