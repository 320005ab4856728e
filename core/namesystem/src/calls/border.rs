//! The border between encoded calls and handlers.
//!
//! A handler takes its decoded request, and returns its typed response or a refusal. So everybody inside this process
//! can call it with values. What all calls have in common is here and nowhere else: the HA state is checked, the request
//! is decoded within its limits, the handler runs, and its response is encoded. Each function here is generic over the
//! handler, so a call costs what a handler of bytes would.

use crate::context::{CallContext, Deferred, Reply};
use crate::retry_cache::CallKey;
use crate::{Namesystem, OperationCategory};
use bytes::Bytes;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::TxId;
use prost::Message;
use std::ops::Deref;

/// Inodes that are freed at one time for a call that a quota refuses, and how often: some milliseconds in all.
const SLICE_FOR_ROOM: usize = 1000;
const SLICES_FOR_ROOM: usize = 4;

/// What a handler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<R> {
    /// The response.
    pub response: R,
    /// The response shows the effects of transactions up to this one, so it may leave only when this one is synced.
    pub after: Option<TxId>,
}

/// Result of a handler: an answer, or a refusal that shows the state of the namespace. Only refusals by the HA state
/// show nothing.
pub type Outcome<R> = Result<Answer<R>, RemoteException>;

impl<R> Answer<R> {
    /// A response that shows these transactions.
    pub fn new(response: R, after: Option<TxId>) -> Answer<R> {
        Answer { response, after }
    }
}

impl<R> Answer<OrDeferred<R>> {
    /// A response that shows these transactions.
    pub fn now(response: R, after: Option<TxId>) -> Self {
        Answer::new(OrDeferred::Now(response), after)
    }

    /// A response that the shell makes.
    pub fn deferred(deferred: Deferred) -> Self {
        Answer::new(OrDeferred::Deferred(deferred), None)
    }
}

/// Result of an at-most-once handler.
pub struct Once<R> {
    /// The answer.
    pub answer: Answer<R>,
    /// Whether a repeated call gets the same answer. An answer that nothing was done (`rename` returns false) is not
    /// kept.
    pub keep: bool,
}

/// A response as it leaves this crate.
pub trait Response {
    /// The encoded response, which shows nothing in flight. The namesystem is that in which the handler has run.
    fn reply(self, ns: &Namesystem) -> Reply;
}

impl<M: Message> Response for M {
    fn reply(self, _: &Namesystem) -> Reply {
        Reply::message(&self)
    }
}

/// A response that only the shell may be able to make.
#[derive(Clone, Debug, PartialEq)]
pub enum OrDeferred<R> {
    /// It is here.
    Now(R),
    /// The shell does this work and answers by itself.
    Deferred(Deferred),
}

impl<R: Response> Response for OrDeferred<R> {
    fn reply(self, ns: &Namesystem) -> Reply {
        match self {
            OrDeferred::Now(response) => response.reply(ns),
            OrDeferred::Deferred(deferred) => Reply::defer(deferred),
        }
    }
}

/// A request whose fields do not matter.
#[derive(Clone, PartialEq, Message)]
pub struct Anything {}

/// The response of a method that only refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

impl Response for Never {
    fn reply(self, _: &Namesystem) -> Reply {
        match self {}
    }
}

/// Which NameNodes serve a call, and what a refusal by its handler shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    /// A client's call, in the HA states of this category. Its refusals show the state of the namespace.
    In(OperationCategory),
    /// Another daemon's call, in every role. Its refusals show nothing. A broken namesystem does not serve it: DataNodes
    /// must take no command and no claim from it, and report again once another one is loaded.
    InEveryRole,
    /// A question that also a broken namesystem answers.
    Always,
}

impl Served {
    /// Refuses a call that this NameNode does not serve now.
    fn check(self, ns: &Namesystem) -> Result<(), RemoteException> {
        match self {
            Served::In(category) => ns.check_operation(category),
            Served::InEveryRole => ns.check_not_broken(),
            Served::Always => Ok(()),
        }
    }

    /// The reply to a call whose handler has run. `before` is the last transaction before the call.
    pub(super) fn reply<R: Response>(self, ns: &Namesystem, before: TxId, outcome: Outcome<R>) -> Reply {
        let reply = match outcome {
            Ok(Answer { response, after }) => response.reply(ns).after(after),
            Err(refused) if !matches!(self, Served::In(_)) || refused.is(exceptions::STANDBY) => Reply::refuse(refused),
            Err(refused) => Reply::refuse(refused).after(ns.shown_everything()),
        };
        self.check_reply(ns, before, &reply);
        reply
    }

    /// In a debug build, asserts rules of every reply to a client: it waits for an existing transaction, and for the last
    /// one of its own call. The answer to a read does not show what the read writes, such as an access time.
    fn check_reply(self, ns: &Namesystem, before: TxId, reply: &Reply) {
        let Served::In(category) = self else { return };
        let applied = ns.edit_log().applied();
        debug_assert!(
            reply.after.is_none_or(|after| after <= applied),
            "a reply would wait for a transaction that does not exist"
        );
        debug_assert!(
            applied == before
                || category == OperationCategory::Read
                || ns.is_broken()
                || reply.deferred.is_some()
                || reply.after == Some(applied),
            "the caller would be told of a change that no quorum has"
        );
    }
}

/// Runs a call: one that reads with a shared namesystem as `N`, any other with an exclusive one. `run` decodes the
/// request and runs the handler.
pub(crate) fn call<N: Deref<Target = Namesystem>, R: Response>(
    mut ns: N,
    served: Served,
    run: impl FnOnce(&mut N) -> Outcome<R>,
) -> Reply {
    if let Err(refused) = served.check(&ns) {
        return Reply::refuse(refused);
    }
    let before = ns.edit_log().applied();
    let outcome = run(&mut ns);
    served.reply(&ns, before, outcome)
}

/// Runs a call that may change something.
pub(crate) fn change<R: Response>(
    ns: &mut Namesystem,
    served: Served,
    run: impl FnMut(&mut Namesystem) -> Outcome<R>,
) -> Reply {
    call(ns, served, |ns| with_room(ns, run))
}

/// Runs a handler, and once more if a quota refuses it and something that was deleted is not freed: it counts for its
/// quotas until then. In Hadoop a deletion ends with the quotas.
fn with_room<R>(
    ns: &mut Namesystem,
    mut run: impl FnMut(&mut Namesystem) -> Result<R, RemoteException>,
) -> Result<R, RemoteException> {
    for _ in 0..SLICES_FOR_ROOM {
        match run(ns) {
            Err(refused) if is_of_quota(&refused) && ns.reclaim_pending() => ns.reclaim(SLICE_FOR_ROOM),
            outcome => return outcome,
        };
    }
    match run(ns) {
        Err(refused) if is_of_quota(&refused) && ns.reclaim_pending() => {
            let busy = format!("{} What was deleted is still being freed.", refused.message);
            Err(RemoteException::new(exceptions::RETRIABLE, busy))
        }
        outcome => outcome,
    }
}

fn is_of_quota(refused: &RemoteException) -> bool {
    let classes = [
        exceptions::NS_QUOTA_EXCEEDED,
        exceptions::DS_QUOTA_EXCEEDED,
        exceptions::QUOTA_BY_STORAGE_TYPE_EXCEEDED,
    ];
    classes.into_iter().any(|class| refused.is(class))
}

/// Runs the reading part of a read that may have to write. `None` when it has to.
pub(crate) fn read_first<R: Response>(
    ns: &Namesystem,
    served: Served,
    run: impl FnOnce() -> Result<Option<Answer<R>>, RemoteException>,
) -> Option<Reply> {
    if let Err(refused) = served.check(ns) {
        return Some(Reply::refuse(refused));
    }
    let outcome = run().transpose()?;
    Some(served.reply(ns, ns.edit_log().applied(), outcome))
}

/// Runs a write whose repetitions get the first answer (`RetryCache.waitForCompletion`). A repetition that comes while the
/// first answer still waits for its transaction waits for the same transaction.
pub(crate) fn once<R: Response>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    run: impl FnMut(&mut Namesystem) -> Result<Once<R>, RemoteException>,
) -> Reply {
    let served = Served::In(OperationCategory::Write);
    if let Err(refused) = served.check(ns) {
        return Reply::refuse(refused);
    }
    let key = CallKey::new(&ctx.client_id, ctx.call_id);
    if let Some(cached) = key.and_then(|key| ns.retry_cache().get(&key)) {
        debug_assert!(
            cached.txid <= ns.edit_log().applied(),
            "an answer is remembered no longer than what it shows"
        );
        let after = (cached.txid > ns.edit_log().synced()).then_some(cached.txid);
        let reply = Reply::encoded(Bytes::copy_from_slice(cached.payload)).after(after);
        ns.count_repeated_call();
        return reply;
    }
    let before = ns.edit_log().applied();
    let (outcome, keep) = match with_room(ns, run) {
        Ok(Once { answer, keep }) => (Ok(answer), keep),
        Err(refused) => (Err(refused), false),
    };
    let reply = served.reply(ns, before, outcome);
    if let (true, Some(key), Ok(payload)) = (keep, key, &reply.result) {
        let txid = reply.after.unwrap_or_else(|| ns.edit_log().applied());
        ns.remember_answer(key, txid, payload, ctx.mono_ms);
    }
    reply
}

/// A row of a table of methods: under which lock the handler runs, in which HA states, its request, and the handler.
/// Requests of hot calls are views of the bytes, with a decoder of their own. `by_handler` says that the handler itself
/// checks the HA state.
macro_rules! row {
    (read $category:ident, $request:ty => $handler:path) => {
        ($category, border::read!(Served::In($category), wire::decode::<$request> => $handler))
    };
    (read $category:ident by_handler, $request:ty => $handler:path) => {
        ($category, border::read!(Served::In(Unchecked), wire::decode::<$request> => $handler))
    };
    (write $category:ident, $request:ty => $handler:path) => {
        row!(write $category with wire::decode::<$request> => $handler)
    };
    (write $category:ident with $decode:expr => $handler:path) => {
        ($category, border::write!(Served::In($category), $decode => $handler))
    };
    (write $category:ident by_handler, $request:ty => $handler:path) => {
        ($category, border::write!(Served::In(Unchecked), wire::decode::<$request> => $handler))
    };
    (once $request:ty => $handler:path) => {
        row!(once with wire::decode::<$request> => $handler)
    };
    (once with $decode:expr => $handler:path) => {
        (
            Write,
            MethodHandler::Write(|ns, ctx, body| border::once(ns, ctx, |ns| $handler(ns, ctx, $decode(&body)?))),
        )
    };
    (read $category:ident with $decode:expr => $handler:path) => {
        ($category, border::read!(Served::In($category), $decode => $handler))
    };
}
pub(crate) use row;

/// A handler that reads, with the decoder of its request.
macro_rules! read {
    ($served:expr, $decode:expr => $handler:path) => {
        MethodHandler::Read(|ns, ctx, body| border::call(ns, $served, |ns| $handler(*ns, ctx, $decode(&body)?)))
    };
}
pub(crate) use read;

/// A handler that writes, with the decoder of its request.
macro_rules! write {
    ($served:expr, $decode:expr => $handler:path) => {
        MethodHandler::Write(|ns, ctx, body| border::change(ns, $served, |ns| $handler(ns, ctx, $decode(&body)?)))
    };
}
pub(crate) use write;
