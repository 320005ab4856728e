//! Clients' calls at a NameNode: what `node/namenode/src/rpc.rs` and `state.rs` do.

use super::calls::{Call, Caller, Refused};
use super::mutants::ClusterMutant;
use super::settings::USER;
use super::shell::{Out, Parked, Shell};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL};
use hathi_nameserver::replies::Made;
use hathi_nameserver::standby_calls::{Kept, WhileLoading, not_active, while_loading};
use hathi_namesystem::calls;
use hathi_namesystem::passed_on::PassedOn;
use hathi_namesystem::{CallContext, MethodHandler, Reply, Role};

fn passed_on(shell: &Shell, call: &Call) -> Option<PassedOn> {
    let waited = call.waited.as_ref()?;
    let is_judged = waited.kept_here || !shell.is(ClusterMutant::PassedOnUnjudged);
    is_judged.then(|| waited.passed_on(&shell.settings().holder))
}

/// Keeps a call that was refused, or asks the active about it, or sends its client away.
pub fn keep(shell: &Shell, call: &Call, refusal: RemoteException) {
    let came_after_ms = shell.look(|process| process.standby.turns.came_after_ms());
    let was_sent_away = call.retry_count > 0;
    let call = call.clone();
    let kept = Kept::new(Refused { call, refusal }, true, was_sent_away, came_after_ms);
    if let Err(kept) = try_to_keep(shell, kept) {
        send_away(shell, kept.call);
    }
}

/// Keeps a call, or has the active asked about it. Gives it back when neither is possible.
pub fn try_to_keep(shell: &Shell, kept: Kept<Refused>) -> Result<(), Box<Kept<Refused>>> {
    let now_ms = shell.ms();
    let (waited, kept) = shell.with(|process| {
        let standby = &mut process.standby;
        let before = standby.calls.kept();
        let kept = standby.calls.keep(kept, process.ns.role(), now_ms, |_| {});
        let waits = standby.calls.kept() > before;
        let kept = kept.map(|question| standby.questions.extend(question));
        (waits, kept)
    });
    if waited {
        shell.mark("a call was kept");
    }
    kept.map_err(Box::new)
}

/// Sends the client of a call to another NameNode.
pub fn send_away(shell: &Shell, refused: Refused) {
    shell.ask_world(Out::Refuse(refused.call.from, refused.refusal));
}

/// Serves a call.
pub fn serve(shell: &Shell, call: &Call) {
    let now = shell.now();
    let context = CallContext {
        user: USER.into(),
        groups: [].into(),
        superuser: true,
        client_ip: None,
        client_id: call.client_id.as_slice().into(),
        call_id: call.call_id,
        retry_count: call.retry_count,
        passed_on: passed_on(shell, call),
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    };
    let served = shell.with(|process| {
        let ns = &mut process.ns;
        if ns.role() == Role::Initializing {
            let (has_peers, has_served) = (shell.settings().namenodes > 1, process.loads > 0);
            return Err(while_loading(true, false, has_peers, has_served));
        }
        let handler = calls::lookup(CLIENT_PROTOCOL.name, call.method).expect("a method of the protocol");
        let body = call.body.clone();
        let (reply, write) = match handler {
            MethodHandler::Read(read) => (read(ns, &context, body), false),
            MethodHandler::Write(write) => match ns.admit(&context) {
                Ok(()) => (write(ns, &context, body), true),
                Err(refused) => {
                    // A client is sent away, and calls again if it still waits. A NameNode is told the reason.
                    let kept_here = call.waited.as_ref().is_some_and(|waited| waited.kept_here);
                    let refused = if kept_here { not_active() } else { refused };
                    (Reply::refuse(refused), false)
                }
            },
            MethodHandler::ReadThenWrite(read, write) => match read(ns, &context, &body) {
                Some(reply) => (reply, false),
                None => (write(ns, &context, body), true),
            },
        };
        assert_eq!(reply.deferred, None, "nothing here takes long");
        let made = Made {
            standing: ns.standing(),
            after: reply.after,
            changed: write && reply.after.is_some(),
        };
        Ok((reply.result, made, write))
    });
    let (result, mut made, write) = match served {
        Ok(served) => served,
        Err(WhileLoading::Keep(refusal)) => return keep(shell, call, refusal),
        Err(WhileLoading::Refuse(refusal)) => return shell.ask_world(Out::Refuse(call.from, refusal)),
    };
    if let Err(refusal) = &result
        && refusal.is(exceptions::STANDBY)
    {
        return keep(shell, call, refusal.clone());
    }
    if let Some(waited) = call.waited.as_ref().filter(|_| write) {
        shell.ask_world(Out::BeganForOther(waited.client));
    }
    let too_soon = match (&result, write) {
        (Ok(_), true) => ClusterMutant::ReplyBeforeSynced,
        (Ok(_), false) => ClusterMutant::ReadInFlight,
        (Err(_), _) => ClusterMutant::RefusalInFlight,
    };
    if shell.is(too_soon) {
        made.after = None;
    }
    if made.after.is_some() {
        shell.mark("a reply waits");
    }
    let reply = Parked {
        to: call.from,
        result,
        changed: made.changed,
        made_in: made.standing.generation,
    };
    if write {
        shell.ask_world(Out::WakeLog);
    }
    if shell.one_in(6) {
        // The thread of the call is interrupted before it has handed its reply over.
        let longest = if shell.one_in(4) { 300_000 } else { 3_000 };
        let later = shell.random(longest);
        return shell.ask_world(Out::Later(later, Box::new((reply, made))));
    }
    answer(shell, reply, made);
}

fn context_of_daemon(shell: &Shell) -> CallContext {
    let now = shell.now();
    CallContext {
        user: USER.into(),
        groups: [].into(),
        superuser: true,
        client_ip: None,
        client_id: [].as_slice().into(),
        call_id: -2,
        retry_count: 0,
        passed_on: None,
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    }
}

type Served = (Result<Bytes, RemoteException>, Made);

/// Serves a call of a DataNode.
pub fn serve_datanode(shell: &Shell, method: &str, body: Bytes) -> Served {
    let context = context_of_daemon(shell);
    let served = shell.with(|process| {
        let ns = &mut process.ns;
        let standing = ns.standing();
        let nothing = Made {
            standing,
            after: None,
            changed: false,
        };
        if ns.role() == Role::Initializing {
            let refusal = RemoteException::new(exceptions::RETRIABLE, "NameNode still not started");
            return (Err(refusal), nothing);
        }
        let Some(MethodHandler::Write(write)) = calls::lookup(DATANODE_PROTOCOL.name, method) else {
            panic!("{method} is no method that changes anything");
        };
        let reply = write(ns, &context, body);
        assert_eq!(reply.deferred, None, "nothing here takes long");
        let made = Made {
            after: reply.after,
            ..nothing
        };
        (reply.result, made)
    });
    shell.ask_world(Out::WakeLog);
    served
}

/// Answers a DataNode's heartbeat, if that may be done now.
pub fn answer_datanode(
    shell: &Shell,
    (node, number): (usize, u64),
    result: Result<Bytes, RemoteException>,
    made: Made,
) -> Option<Result<Bytes, RemoteException>> {
    let standing = || shell.look(|process| process.ns.standing());
    if shell.is(ClusterMutant::OrdersInFlight) || made.leaves_at_once(standing, || shell.is_lease_held()) {
        return Some(result);
    }
    let reply = Parked {
        to: Caller::DataNode { node, number },
        result,
        changed: made.changed,
        made_in: made.standing.generation,
    };
    let parked = shell.with(|process| process.gate.park(made.standing.generation, made.after, reply));
    match parked {
        Ok(()) => None,
        Err(_) => Some(Err(not_active())),
    }
}

/// Serves a read of a client that waits for nothing.
pub fn read_now(shell: &Shell, method: &str, body: Bytes) -> Served {
    let context = context_of_daemon(shell);
    let (reply, standing) = shell.with(|process| {
        let ns = &mut process.ns;
        let handler = calls::lookup(CLIENT_PROTOCOL.name, method).expect("a method of the protocol");
        let reply = handler.run(ns, &context, &body);
        (reply, ns.standing())
    });
    let made = Made {
        standing,
        after: reply.after,
        changed: false,
    };
    (reply.result, made)
}

/// Sends a reply now, or parks it.
pub fn answer(shell: &Shell, reply: Parked, made: Made) {
    let standing = || shell.look(|process| process.ns.standing());
    if made.leaves_at_once(standing, || shell.is_lease_held()) {
        return shell.ask_world(Out::Reply(reply));
    }
    let parked = shell.with(|process| process.gate.park(made.standing.generation, made.after, reply));
    match parked {
        Ok(()) => shell.ask_world(Out::WakeLog),
        Err(reply) if shell.is(ClusterMutant::ReplyOfEarlierLife) => shell.ask_world(Out::Reply(reply)),
        Err(reply) => {
            shell.mark("a reply came too late for its life");
            give_up(shell, reply);
        }
    }
}

/// This NameNode will not answer.
pub fn give_up(shell: &Shell, reply: Parked) {
    match reply.changed {
        true => shell.ask_world(Out::Reset(reply.to)),
        false => shell.ask_world(Out::Refuse(reply.to, not_active())),
    }
}
