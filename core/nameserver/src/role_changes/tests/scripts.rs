//! Changes of the role as scripts, in `scripts/*.txt`: each line behind `>` is an event, and below it stands what follows.
//!
//! `HATHI_REWRITE_SCRIPTS=1 cargo test -p hathi-nameserver scripts` writes what follows now into the files. A change of
//! behaviour is then a change of their text.

use super::*;
use hathi_formats::ids::{Epoch, TxId};
use hathi_namespace::Comparison;
use std::fmt::Write;

/// A word of an event as a number.
fn number(word: Option<&str>) -> u64 {
    word.and_then(|word| word.parse().ok())
        .expect("a number belongs to the event")
}

fn kind(words: &[&str]) -> ProblemKind {
    match words {
        ["unusable"] => ProblemKind::Unusable,
        ["purged", oldest] => ProblemKind::Purged {
            oldest: TxId(number(Some(oldest))),
        },
        ["hopeless"] => ProblemKind::Hopeless,
        ["lease", "held"] => ProblemKind::LeaseHeld,
        [] => ProblemKind::Passing,
        other => panic!("no kind of problem: {other:?}"),
    }
}

/// One line behind `>`.
fn happens(bench: &mut Bench, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let event = match words.as_slice() {
        ["start"] => Event::Started,
        ["done"] => Event::Done,
        ["recovered", "epoch", epoch, rest @ ..] => Event::Recovered {
            epoch: Epoch(number(Some(epoch))),
            last: (!rest.is_empty()).then(|| TxId(number(rest.get(1).copied()))),
        },
        ["asked", role, "by", by, rest @ ..] => Event::Asked {
            to_active: *role == "active",
            is_patient: rest == ["patiently"],
            by: number(Some(by)) as u32,
        },
        ["writer", "lost"] => Event::WriterLost("fenced".to_owned()),
        ["not", "the", "journal's"] => Event::Unusable,
        ["loaded", applied] => return bench.read(number(Some(applied))),
        ["fails", rest @ ..] => {
            bench.fail(kind(rest));
            return;
        }
        others => return happens_elsewhere(bench, others),
    };
    bench.on(event);
}

/// What clients, the journals and time do, from which nothing follows at once.
fn happens_elsewhere(bench: &mut Bench, words: &[&str]) {
    match words {
        ["applied", txid] => bench.replay(TxId(number(Some(txid)))),
        ["change"] => {
            let txid = bench.change();
            bench.park(txid);
        }
        ["quorum"] => bench.sync(),
        ["differs", "at", txid] => {
            let txid = number(Some(txid));
            bench.compared(Comparison::Differs { txid });
        }
        ["equal", "at", txid] => {
            let txid = number(Some(txid));
            bench.compared(Comparison::Equal { txid });
        }
        ["nobody", "is", "active"] => drop(bench.health.divergence.on_nobody_to_compare_with()),
        ["lease", state] => bench.is_lease_held = *state == "held",
        ["time", ms] => bench.now_ms += number(Some(ms)),
        other => panic!("no event: {other:?}"),
    }
    bench.forget_orders();
}

fn told(action: &Action<u64, u32>) -> String {
    match action {
        Action::Discard(_) => "free the old namespace".to_owned(),
        Action::DropLease => "use the lease no more".to_owned(),
        Action::Send(replies) => format!("send replies {replies:?}"),
        Action::GiveUp(replies) => format!("give up replies {replies:?}"),
        Action::CancelCheckpoint => "cancel a checkpoint".to_owned(),
        Action::Ship(_) => "ship the edits of this life".to_owned(),
        Action::ServeKeptCalls => "serve the calls that were kept".to_owned(),
        Action::Follow => "follow the journal".to_owned(),
        Action::Answer(by, Ok(())) => format!("answer {by}: done"),
        Action::Answer(by, Err(error)) => format!("answer {by}: {}", error.message),
        Action::Tell(news) => format!("say {news:?}"),
        Action::End => "end the process".to_owned(),
    }
}

fn step(step: &Step) -> String {
    match step {
        Step::StopTailing => "stop tailing".to_owned(),
        Step::Load(_) => "load an image".to_owned(),
        Step::Prove => "prove what is applied".to_owned(),
        Step::CatchUp => "apply what is durable".to_owned(),
        Step::FetchImage(oldest) => format!("fetch an image, behind which the journal goes on with {oldest}"),
        Step::Recover => "become the writer".to_owned(),
        Step::CatchUpTo(last) => format!("apply up to {last}"),
        Step::ProveBeforeActive(epoch, _) => format!("prove what is applied, as the writer of epoch {epoch}"),
        Step::AwaitSynced(txid) => format!("wait until {txid} is durable"),
        Step::AwaitFinalized(last, ms) => {
            format!("wait {ms} ms at most until the segment that ends with {last} is final")
        }
        Step::Resign => "give the lease back".to_owned(),
        Step::Pause(ms) => format!("wait {ms} ms"),
    }
}

/// The script with what follows now below each event.
fn played(script: &str) -> String {
    let is_single = script.lines().any(|line| line == "# Single");
    let mut bench = Bench::new(if is_single { SINGLE } else { PAIR });
    let mut out = String::new();
    for line in script.lines() {
        let Some(event) = line.strip_prefix("> ") else {
            if line.starts_with('#') || line.is_empty() {
                let _ = writeln!(out, "{line}");
            }
            continue;
        };
        let before = bench.ns.role();
        happens(&mut bench, event);
        let _ = writeln!(out, "> {event}");
        if bench.ns.role() != before {
            let _ = writeln!(out, "  role {:?}", bench.ns.role());
        }
        for line in bench
            .actions
            .iter()
            .map(told)
            .chain(bench.step.as_ref().filter(|_| bench.is_new).map(step))
        {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

#[test]
fn what_follows_is_what_the_scripts_say() {
    crate::tests::scripts::check("role_changes/tests/scripts", 12, played);
}
