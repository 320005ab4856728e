//! The journal as scripts, in `scripts/*.txt`: NameNodes and JournalNodes, and each message with its answer.
//!
//! A line behind `>` is an event, and below it stands what follows; heartbeats that are answered are left out.
//! `HATHI_REWRITE_SCRIPTS=1 cargo test -p hathi-nameserver scripts` writes the files anew.

use super::cluster::{Cluster, Delivered, Reach};
use super::*;
use std::fmt::Write;

fn number(word: &str) -> u64 {
    word.parse().expect("a number belongs to the event")
}

/// The index in a name such as `jn2`.
fn index(name: &str) -> usize {
    let number = name.trim_start_matches(|letter: char| letter.is_alphabetic());
    number.parse::<usize>().expect("a NameNode or JournalNode") - 1
}

/// A script as far as it was played.
struct Played {
    cluster: Cluster,
    /// With what the journal ended that each NameNode has recovered.
    recovered: [Option<TxId>; 2],
    /// What followed from the last event, each line once: what does not succeed is tried again and again.
    lines: Vec<String>,
}

impl Played {
    fn say(&mut self, line: String) {
        if !self.lines.contains(&line) {
            self.lines.push(line);
        }
    }
}

fn happens(played: &mut Played, words: &[&str]) {
    let cluster = &mut played.cluster;
    match words {
        [nn, "recovers"] => cluster.drive(index(nn), |driver, now, actions| {
            driver.recover(journal(), now, actions)
        }),
        [nn, "opens", "its", "log"] => {
            let behind = played.recovered[index(nn)].expect("it is the writer");
            cluster.open_log(index(nn), behind);
        }
        [nn, "logs", count] => {
            for _ in 0..number(count) {
                cluster.log_op(index(nn));
            }
        }
        [nn, "ends", "its", "segment"] => {
            cluster.namenodes[index(nn)].log.roll(0).expect("it is open");
        }
        [nn, "ships"] => cluster.ship(index(nn)),
        [nn, "resigns"] => {
            cluster.drive(index(nn), |driver, _, actions| driver.resign(actions));
            release(cluster, index(nn));
        }
        [nn, "dies"] => cluster.kill(index(nn)),
        [nn, "is", "cut", "off"] => cluster.namenodes[index(nn)].is_cut_off = true,
        [nn, "is", "back"] => cluster.namenodes[index(nn)].is_cut_off = false,
        [jn, "is", "down"] => cluster.journalnodes[index(jn)].reach = Reach::Down,
        [jn, "is", "silent"] => cluster.journalnodes[index(jn)].reach = Reach::Silent,
        [jn, "is", "up"] => cluster.journalnodes[index(jn)].reach = Reach::Up,
        [jn, "restarts"] => cluster.restart(index(jn)),
        ["messages", "arrive"] => {}
        [ms, "ms", "pass"] => pass(played, number(ms) * 1000),
        other => panic!("no event: {other:?}"),
    }
    arrive(played);
}

/// The lease is given back on each open connection.
fn release(cluster: &mut Cluster, namenode: usize) {
    for action in cluster.take_done(namenode) {
        match action {
            LogAction::ReleaseLease(request) => {
                let now = cluster.now;
                for journalnode in cluster.journalnodes.iter_mut().filter(|here| here.reach == Reach::Up) {
                    let _ = journalnode.acceptor.handle(&request, now);
                }
            }
            other => cluster.namenodes[namenode].done.push(other),
        }
    }
}

/// Time passes for the drivers that want to be woken, in the order in which they want it.
fn pass(played: &mut Played, micros: Micros) {
    let end = played.cluster.now + micros;
    loop {
        let cluster = &mut played.cluster;
        let wakes = (0..cluster.namenodes.len())
            .filter_map(|nn| Some((cluster.namenodes[nn].driver.wake_at()?, nn)))
            .min();
        match wakes {
            Some((at, nn)) if at <= end => {
                cluster.now = cluster.now.max(at);
                cluster.drive(nn, |driver, now, actions| driver.tick(now, actions));
                arrive(played);
                // A driver that wants to be woken again at once waits for something else.
                played.cluster.now += 1;
            }
            _ => break,
        }
    }
    played.cluster.now = end;
}

fn arrive(played: &mut Played) {
    loop {
        for nn in 0..played.cluster.namenodes.len() {
            for action in played.cluster.take_done(nn) {
                if let LogAction::Recovered(recovered) = &action {
                    played.recovered[nn] = Some(recovered.last.unwrap_or_default());
                }
                if let Some(told) = told(&action) {
                    played.say(format!("nn{}: {told}", nn + 1));
                }
            }
        }
        let Some(delivered) = played.cluster.deliver() else {
            return;
        };
        if !matches!(
            (&delivered.request, &delivered.answer),
            (Request::Heartbeat { .. }, Ok(_))
        ) {
            played.say(message(&delivered));
        }
    }
}

fn told(action: &LogAction<&'static str>) -> Option<String> {
    Some(match action {
        LogAction::Recovered(Recovered { epoch, last: None }) => {
            format!("writer of epoch {epoch}, of an empty journal")
        }
        LogAction::Recovered(Recovered {
            epoch,
            last: Some(last),
        }) => format!("writer of epoch {epoch}, behind transaction {last}"),
        LogAction::NotRecovered(error) => format!("not the writer: {error}"),
        LogAction::Lost(error) => format!("not the writer any more: {error}"),
        LogAction::Synced(synced) => format!("{} transactions are durable", synced.transactions),
        LogAction::RollEditLog => "wants a new segment for a JournalNode that is back".to_owned(),
        LogAction::Tell(LogNews::SegmentFinalized(start, end)) => format!("segment {start}-{end} is final"),
        LogAction::Tell(LogNews::Reelected(epoch)) => format!("elected anew in office, epoch {epoch}"),
        LogAction::Distrust { address, why } => format!("leaves {address} out: {why}"),
        LogAction::Tell(LogNews::SegmentStarted(txid)) => format!("segment {txid} is open"),
        LogAction::Tell(LogNews::NoLeases) => "there are no read leases".to_owned(),
        _ => return None,
    })
}

fn message(delivered: &Delivered) -> String {
    let request = match &delivered.request {
        Request::NewEpoch { epoch, .. } => format!("newEpoch {epoch}"),
        Request::StartLogSegment { txid, .. } => format!("startLogSegment {txid}"),
        Request::Journal { first, count, .. } => format!("journal {first}-{}", first.0 + u64::from(*count) - 1),
        Request::FinalizeLogSegment { start, end, .. } => format!("finalizeLogSegment {start}-{end}"),
        Request::PrepareRecovery { segment, .. } => format!("prepareRecovery {segment}"),
        Request::AcceptRecovery { state, .. } => format!("acceptRecovery {}-{}", state.start, state.end),
        other => other.method().to_owned(),
    };
    let answer = match &delivered.answer {
        Ok(Answer::JournalState { promised_epoch, .. }) => format!("promised {promised_epoch}"),
        Ok(Answer::NewEpoch { last_segment: None, .. }) => "promised; no segment".to_owned(),
        Ok(Answer::NewEpoch {
            last_segment: Some(txid),
            ..
        }) => format!("promised; last segment {txid}"),
        Ok(Answer::PrepareRecovery(prepared)) => match &prepared.segment {
            None => "has nothing of it".to_owned(),
            Some(state) => format!(
                "has {}-{}{}, written in epoch {}",
                state.start,
                state.end,
                if state.in_progress { ", open" } else { "" },
                prepared.last_writer_epoch
            ),
        },
        Ok(_) => "done".to_owned(),
        Err(CallError::Broken(why)) => why.clone(),
        Err(CallError::Remote(exception)) => {
            let class = exception.class_name().rsplit('.').next().unwrap_or_default();
            // The name of the journal is the same in all of them.
            let words = exception.message.split(" ; journal id").next().unwrap_or_default();
            format!("{class}: {words}")
        }
    };
    format!(
        "nn{} -> jn{}: {request}: {answer}",
        delivered.namenode + 1,
        delivered.journalnode + 1
    )
}

fn play(script: &str) -> String {
    let mut played = Played {
        cluster: Cluster::new(2),
        recovered: [None; 2],
        lines: Vec::new(),
    };
    let mut out = String::new();
    for line in script.lines() {
        let Some(event) = line.strip_prefix("> ") else {
            if line.starts_with('#') || line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
            continue;
        };
        let words: Vec<&str> = event.split_whitespace().collect();
        happens(&mut played, &words);
        let _ = writeln!(out, "> {event}");
        for line in played.lines.drain(..) {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

#[test]
fn what_follows_is_what_the_scripts_say() {
    crate::tests::scripts::check("edit_log_driver/tests/scripts", 8, play);
}
