//! Clients' calls at a NameNode: what `node/namenode/src/rpc.rs` and `state.rs` do.

use super::mutants::ClusterMutant;
use super::shell::{Caller, Out, Parked, Shell, USER};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::protocols::{CLIENT_PROTOCOL, DATANODE_PROTOCOL};
use hathi_nameserver::replies::Made;
use hathi_namesystem::calls;
use hathi_namesystem::{CallContext, MethodHandler, Role};

/// A client's call.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who waits.
    pub from: Caller,
    /// The method.
    pub method: &'static str,
    /// The encoded request.
    pub body: Bytes,
    /// The client's id.
    pub client_id: [u8; 16],
    /// Number of the call.
    pub call_id: i32,
    /// Number of times that it was sent before.
    pub retry_count: i32,
}

/// What one is told who asks another NameNode than the active.
pub fn not_active() -> RemoteException {
    RemoteException::new(exceptions::STANDBY, "This NameNode is not active any more")
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
        passed_on: None,
        now_ms: now.wall_ms,
        mono_ms: now.monotonic_ms,
    };
    let served = shell.with(|process| {
        let ns = &mut process.ns;
        if ns.role() == Role::Initializing {
            return Err(match process.loads {
                0 => RemoteException::new(exceptions::RETRIABLE, "NameNode still not started"),
                _ => not_active(),
            });
        }
        let handler = calls::lookup(CLIENT_PROTOCOL.name, call.method).expect("a method of the protocol");
        let body = call.body.clone();
        let (reply, write) = match handler {
            MethodHandler::Read(read) => (read(ns, &context, body), false),
            MethodHandler::Write(write) => {
                ns.admit(&context).expect("it comes from its client");
                (write(ns, &context, body), true)
            }
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
        Err(refused) => return shell.ask_world(Out::Refuse(call.from, refused)),
    };
    if let Err(refusal) = &result
        && refusal.is(exceptions::STANDBY)
    {
        return shell.ask_world(Out::Refuse(call.from, refusal.clone()));
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
