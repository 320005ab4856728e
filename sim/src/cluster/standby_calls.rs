//! Clients' calls at a NameNode that is not active, which wait there or are asked about at the active: what
//! `node/namenode/src/{standby_calls,pass_on,background}.rs` do around [`hathi_nameserver::standby_calls`].
//!
//! The end of a client's connection is known at once at the NameNode ([`super::calls::Waiting`]). All else that the two
//! NameNodes and the client tell each other may be late or lost.

use super::calls::{Call, Caller, Refused, Waited};
use super::delivery::{Ended, Single};
use super::mutants::ClusterMutant;
use super::serve::{send_away, serve, try_to_keep};
use super::shell::{Out, Shell};
use super::tasks::{Tasks, oneshot};
use super::{Event, Heard, World};
use crate::knobs::Micros;
use crate::network::Node;
use bytes::Bytes;
use hathi_journal::writer::CallError;
use hathi_nameserver::standby_calls::{Answered, Kept, Question, Settled};
use hathi_namesystem::Role;
use hathi_namesystem::passed_on::{FRESH_MS, Turns};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;

/// Time for the active's clock and for a connection to it.
const CLOCK_TIMEOUT: Micros = 1_000_000;
/// A call that was passed on may take longer, as it may wait for the journal.
const CALL_TIMEOUT: Micros = 3_000_000;
/// The waiting calls are looked at once in so many turns of the thread that reads calls.
const TURNS_PER_REVIEW: u32 = 2;
/// The ends of so many attempts of a client are kept.
const ENDED_MAX: usize = 64;
/// Two clocks of rates that differ as far as they may measure [`FRESH_MS`] like this, in microseconds of the true time.
const FRESH_AT_MOST: Micros = FRESH_MS * 1_000 * 102 / 100;

// ---- in a process

/// Serves the calls that were kept while this NameNode became active, if their clients still wait.
pub fn serve_kept(shell: &Shell) {
    for kept in shell.with(|process| process.standby.calls.take()) {
        serve_one(shell, kept);
    }
}

fn serve_one(shell: &Shell, kept: Kept<Refused>) {
    let now_ms = shell.ms();
    let age_ms = kept.age_ms(now_ms);
    let is_looked_for = !shell.is(ClusterMutant::KeptCallsUnseen);
    if is_looked_for && !shell.settings().waiting.has(kept.call.call.from) {
        shell.mark("the client of a kept call was gone");
        return send_away(shell, kept.call);
    }
    shell.mark("a kept call is served by the new active");
    let Refused { mut call, .. } = kept.call;
    // One that another NameNode had passed on keeps what that one has said.
    call.waited.get_or_insert_with(|| Waited {
        instance: shell.settings().holder.clone(),
        clock_ms: now_ms,
        age_ms,
        connection: connection_of(call.from),
        client: call.from,
        kept_here: true,
    });
    serve(shell, &call);
}

/// A client's connection lasts for one attempt.
fn connection_of(caller: Caller) -> u32 {
    match caller {
        Caller::Client { client, attempt } => (client as u32) << 24 | (attempt as u32 & 0x7f_ffff) << 1 | 1,
        Caller::DataNode { .. } | Caller::NameNode { .. } => 1,
    }
}

fn review(shell: &Shell) {
    let now_ms = shell.ms();
    let waiting = &shell.settings().waiting;
    let sent_away = shell.with(|process| {
        let role = process.ns.role();
        let is_gone = |refused: &Refused| !waiting.has(refused.call.from);
        let reviewed = process.standby.calls.review(role, now_ms, is_gone);
        process.standby.questions.extend(reviewed.questions);
        reviewed.sent_away
    });
    for refused in sent_away {
        shell.mark("a call was kept in vain");
        send_away(shell, refused);
    }
}

/// Notes that the thread runs that reads calls, and looks at the waiting calls now and then.
pub async fn count_turns(shell: Shell) {
    for turn in 0.. {
        let now_ms = shell.ms();
        shell.with_quietly(|process| process.standby.turns.turn(now_ms));
        if u32::is_multiple_of(turn, TURNS_PER_REVIEW) {
            review(&shell);
        }
        shell.sleep(Turns::EVERY_MS * 1_000).await;
    }
}

/// Watches the lease at one JournalNode.
pub async fn watch(shell: Shell, jn: usize) {
    loop {
        let (request, silent_ms) = shell.look(|process| process.standby.leases.question(jn));
        let answer = shell.call(jn, &request, Micros::from(silent_ms) * 1_000).await;
        let members: Vec<usize> = (0..shell.settings().journalnodes).collect();
        let (pause_ms, is_news) = shell.with(|process| {
            let standby = &mut process.standby;
            let next = standby.leases.on_answer(jn, answer);
            (next.pause_ms, standby.calls.set_view(standby.leases.view(&members)))
        });
        if is_news {
            review(&shell);
        }
        if pause_ms > 0 {
            shell.sleep(pause_ms * 1_000).await;
        }
    }
}

/// Settles questions, for as long as the process lives.
pub async fn settle_all(shell: Shell) {
    let mut under_way = Tasks::default();
    poll_fn(|_| {
        let questions = shell.with_quietly(|process| std::mem::take(&mut process.standby.questions));
        for question in questions {
            under_way.spawn(settle(shell.clone(), question));
        }
        under_way.poll();
        Poll::Pending
    })
    .await
}

async fn settle(shell: Shell, question: Question<Refused>) {
    let holder = question.holder.clone();
    let is_over = |shell: &Shell| !shell.look(|process| process.standby.calls.is_active(&holder));
    let answered = shell.unless(is_over, ask_active(&shell, &question)).await;
    let (answered, remembers_from) = answered.unwrap_or((Answered::NotActive, 0));
    if let Answered::Answer(Err(error)) = &answered {
        if error.is(hathi_formats::exceptions::CALL_LATE) {
            shell.mark("a call that was passed on was late");
        } else if error.is(hathi_formats::exceptions::CALL_IN_DOUBT) {
            shell.mark("a call that was passed on was overtaken");
        }
    }
    match shell.with(|process| process.standby.calls.settle(question, answered)) {
        Settled::SendAway(refused) => send_away(&shell, refused),
        Settled::Answer(refused, result) => {
            shell.mark("answered through a standby");
            shell.ask_world(Out::PassBack(refused.call.from, result, remembers_from));
        }
        Settled::Again(kept) => match try_to_keep(&shell, kept) {
            Ok(()) => {}
            Err(kept) if shell.look(|process| process.ns.role() == Role::Active) => serve_one(&shell, *kept),
            Err(kept) => send_away(&shell, kept.call),
        },
    }
}

/// The active's answer to a call that stays. For any other call only a connection to the active is tried.
async fn ask_active(shell: &Shell, question: &Question<Refused>) -> (Answered<Bytes>, u64) {
    let kept = &question.kept;
    let call = &kept.call.call;
    let waits = || shell.settings().waiting.has(call.from);
    let index = question
        .holder
        .split_once('@')
        .and_then(|(id, _)| id.strip_prefix("nn")?.parse().ok());
    let Some(to) = index else {
        return (Answered::Failed, 0);
    };
    let waited_before = waits();
    let Some((instance, clock_ms)) = ask_clock(shell, to).await else {
        return (Answered::Failed, 0);
    };
    if !kept.is_passed_on() {
        shell.mark("a client was sent to an active that was there");
        return (Answered::Reached, 0);
    }
    let age_ms = kept.age_ms(shell.ms());
    let waits = match shell.is(ClusterMutant::ClientSeenBeforeClock) {
        true => waited_before,
        false => waits(),
    };
    if !waits {
        return (Answered::Reached, 0);
    }
    shell.mark("a call was passed on");
    let mut passed_on = Call {
        // One that is not active after all returns the call, and does not pass it on once more.
        retry_count: 0,
        waited: Some(Waited {
            instance,
            clock_ms,
            age_ms,
            connection: connection_of(call.from),
            client: call.from,
            kept_here: false,
        }),
        ..call.clone()
    };
    if shell.is(ClusterMutant::PassedOnAsOwn) {
        passed_on.client_id = [0x80 | shell.settings().index as u8; 16];
    }
    let (done, answer) = oneshot();
    shell.ask_world(Out::PassOn {
        to,
        call: Box::new(passed_on),
        done,
    });
    match answer.await {
        None => {
            shell.mark("no answer to a call that was passed on");
            (Answered::Failed, 0)
        }
        Some((answer, remembers_from)) => (Answered::Answer(answer), remembers_from),
    }
}

/// The process of a NameNode, and the time of its monotonic clock in ms.
async fn ask_clock(shell: &Shell, to: usize) -> Option<(String, u64)> {
    let (done, asked) = oneshot();
    shell.ask_world(Out::AskClock { to, done });
    asked.await
}

// ---- outside of the processes

/// The clients as far as a call that comes late is concerned.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// By client: when its last attempts ended.
    ended: BTreeMap<usize, BTreeMap<u64, Micros>>,
}

impl Ends {
    /// A client does not wait for this attempt any more.
    pub(super) fn ended(&mut self, client: usize, attempt: u64, now: Micros) {
        let ended = self.ended.entry(client).or_default();
        ended.entry(attempt).or_insert(now);
        if ended.len() > ENDED_MAX {
            ended.pop_first();
        }
    }

    /// When this attempt ended; `None` while the client waits.
    fn of(&self, client: usize, attempt: u64) -> Option<Micros> {
        let ended = self.ended.get(&client)?;
        let oldest = *ended.keys().next()?;
        ended.get(&attempt).copied().or((attempt < oldest).then_some(0))
    }
}

fn broken(what: &str) -> Ended {
    Ended::Answer(Err(CallError::Broken(what.to_owned())))
}

impl World {
    pub(super) fn ask_for_clock(&mut self, who: Single, nn: usize) {
        let event = |call| Event::WantClock { call, nn };
        self.ask_machine(who, Node::NameNode(nn), CLOCK_TIMEOUT, event);
    }

    pub(super) fn pass_on(&mut self, who: Single, nn: usize, call: Call) {
        if let Caller::Client { client, attempt } = call.from {
            self.client_is_passed_on(client, attempt);
        }
        let event = |number| {
            let from = Caller::NameNode { call: number };
            let call = Box::new(Call { from, ..call });
            Event::Call { nn, call }
        };
        self.ask_machine(who, Node::NameNode(nn), CALL_TIMEOUT, event);
    }

    pub(super) fn want_clock(&mut self, call: u64, nn: usize) {
        let clock = match &self.nns[nn].shell {
            None => broken("connection refused"),
            Some(shell) => {
                shell.set_time(self.nns[nn].clock.at(self.now), self.now);
                Ended::Clock(self.nns[nn].holder(), shell.ms())
            }
        };
        self.answer_single(call, Node::NameNode(nn), clock);
    }

    /// A call that was passed on is answered, or its connection is reset.
    pub(super) fn passed_on_answered(&mut self, nn: usize, call: u64, heard: Heard) {
        let answer = match heard {
            Heard::Answer(result, remembers_from) => Ended::Passed((result, remembers_from)),
            Heard::Time | Heard::Broken | Heard::Silence => broken("connection reset"),
        };
        self.answer_single(call, Node::NameNode(nn), answer);
    }

    /// A NameNode's process is gone, and with it the connections of others to it.
    pub(super) fn namenode_left_peers(&mut self, nn: usize) {
        let asked = self.singles.iter().filter(|(_, (_, single))| single.peer() == Some(nn));
        let asked: Vec<u64> = asked.map(|(call, _)| *call).collect();
        for call in asked {
            self.answer_single(call, Node::NameNode(nn), broken("connection reset"));
        }
    }

    /// A NameNode begins a changing call of a client that did not send it to this NameNode while it is active.
    pub(super) fn began_for_other(&mut self, nn: usize, caller: Caller) {
        let Caller::Client { client, attempt } = caller else {
            return;
        };
        let Some(ended) = self.ends.of(client, attempt) else {
            return;
        };
        let late = self.now - ended;
        if late > FRESH_AT_MOST {
            self.check(Err(format!(
                "NameNode {nn} serves a call of client {client} that was kept, and the client is gone for {late} us"
            )));
        }
    }
}
