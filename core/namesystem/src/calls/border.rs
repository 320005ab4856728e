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

/// The reply to a call whose handler has run.
fn reply<R: Response>(ns: &Namesystem, before: TxId, outcome: Outcome<R>) -> Reply {
    let reply = match outcome {
        Ok(Answer { response, after }) => response.reply(ns).after(after),
        Err(refused) if refused.is(exceptions::STANDBY) => Reply::refuse(refused),
        Err(refused) => Reply::refuse(refused).after(ns.shown_everything()),
    };
    check_reply(ns, before, &reply);
    reply
}

/// In a debug build, asserts rules of every reply: it waits for an existing transaction, and for the last one of its
/// own call. `before` is the last transaction before the call.
fn check_reply(ns: &Namesystem, before: TxId, reply: &Reply) {
    let applied = ns.edit_log.applied();
    debug_assert!(
        reply.after.is_none_or(|after| after <= applied),
        "a reply would wait for a transaction that does not exist"
    );
    debug_assert!(
        applied == before || ns.is_broken() || reply.deferred.is_some() || reply.after == Some(applied),
        "the caller would be told of a change that no quorum has"
    );
}

/// Runs a read.
pub(crate) fn read<'a, M, R: Response>(
    ns: &'a Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    category: OperationCategory,
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&'a Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    if let Err(refused) = ns.check_operation(category) {
        return Reply::refuse(refused);
    }
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request));
    reply(ns, ns.edit_log.applied(), outcome)
}

/// Runs the reading part of a read that may have to write. `None` when it has to.
pub(crate) fn read_first<'a, M, R: Response>(
    ns: &'a Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    category: OperationCategory,
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&'a Namesystem, &'a CallContext, M) -> Result<Option<Answer<R>>, RemoteException>,
) -> Option<Reply> {
    if let Err(refused) = ns.check_operation(category) {
        return Some(Reply::refuse(refused));
    }
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request)).transpose()?;
    Some(reply(ns, ns.edit_log.applied(), outcome))
}

/// Runs the other part of such a read under the write lock. Its answer does not show what it writes, such as an access
/// time, and does not wait for it.
pub(crate) fn read_and_note<'a, M, R: Response>(
    ns: &mut Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    category: OperationCategory,
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&mut Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    if let Err(refused) = ns.check_operation(category) {
        return Reply::refuse(refused);
    }
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request));
    reply(ns, ns.edit_log.applied(), outcome)
}

/// Runs a write that a client may repeat without harm.
pub(crate) fn write<'a, M, R: Response>(
    ns: &mut Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    category: OperationCategory,
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&mut Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    if let Err(refused) = ns.check_operation(category) {
        return Reply::refuse(refused);
    }
    let before = ns.edit_log.applied();
    let outcome = decode(body).and_then(|request| handler(ns, ctx, request));
    reply(ns, before, outcome)
}

/// Runs a write whose repetitions get the first answer.
pub(crate) fn once<'a, M, R: Response>(
    ns: &mut Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&mut Namesystem, &'a CallContext, M) -> Result<Once<R>, RemoteException>,
) -> Reply {
    once_with(ns, ctx, |ns| handler(ns, ctx, decode(body)?))
}

/// [`once`] for a decoded request (`RetryCache.waitForCompletion`). A repetition that comes while the first answer still
/// waits for its transaction waits for the same transaction.
pub(crate) fn once_with<R: Response>(
    ns: &mut Namesystem,
    ctx: &CallContext,
    handler: impl FnOnce(&mut Namesystem) -> Result<Once<R>, RemoteException>,
) -> Reply {
    if let Err(refused) = ns.check_operation(OperationCategory::Write) {
        return Reply::refuse(refused);
    }
    let key = CallKey::new(&ctx.client_id, ctx.call_id);
    if let Some(cached) = key.and_then(|key| ns.retry_cache.get(&key)) {
        debug_assert!(
            cached.txid <= ns.edit_log.applied(),
            "an answer is remembered no longer than what it shows"
        );
        let after = (cached.txid > ns.edit_log.synced()).then_some(cached.txid);
        let reply = Reply::encoded(Bytes::copy_from_slice(cached.payload)).after(after);
        ns.retry_cache.count_hit();
        return reply;
    }
    let before = ns.edit_log.applied();
    let (outcome, keep) = match handler(ns) {
        Ok(Once { answer, keep }) => (Ok(answer), keep),
        Err(refused) => (Err(refused), false),
    };
    let reply = reply(ns, before, outcome);
    if let (true, Some(key), Ok(payload)) = (keep, key, &reply.result) {
        let txid = reply.after.unwrap_or_else(|| ns.edit_log.applied());
        ns.retry_cache.insert(key, txid, payload, ctx.mono_ms);
    }
    reply
}

/// Runs a handler that every role serves. A broken namesystem does not run it: DataNodes must take no command and no
/// claim from it, and report again once another one is loaded.
pub(crate) fn any_role<'a, M, R: Response>(
    ns: &mut Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&mut Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    let outcome = ns
        .check_not_broken()
        .and_then(|()| decode(body))
        .and_then(|request| handler(ns, ctx, request));
    at_once(ns, outcome)
}

/// [`any_role`] for a handler that only reads.
pub(crate) fn any_role_read<'a, M, R: Response>(
    ns: &'a Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&'a Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    let outcome = ns
        .check_not_broken()
        .and_then(|()| decode(body))
        .and_then(|request| handler(ns, ctx, request));
    at_once(ns, outcome)
}

/// Answers a question that also a broken namesystem answers.
pub(crate) fn unconditional<'a, M, R: Response>(
    ns: &'a Namesystem,
    ctx: &'a CallContext,
    body: &'a [u8],
    decode: impl FnOnce(&'a [u8]) -> Result<M, RemoteException>,
    handler: impl FnOnce(&'a Namesystem, &'a CallContext, M) -> Outcome<R>,
) -> Reply {
    at_once(ns, decode(body).and_then(|request| handler(ns, ctx, request)))
}

/// A reply to another daemon. A refusal shows nothing of the namespace.
pub(super) fn at_once<R: Response>(ns: &Namesystem, outcome: Outcome<R>) -> Reply {
    match outcome {
        Ok(Answer { response, after }) => response.reply(ns).after(after),
        Err(refused) => Reply::refuse(refused),
    }
}

/// A row of a table of methods: under which lock the handler runs, in which HA states, its request, and the handler.
/// Requests of hot calls are views of the bytes, with a decoder of their own. `by_handler` says that the handler itself
/// checks the HA state.
macro_rules! row {
    (read $category:ident, $request:ty => $handler:path) => {
        row!(read $category with wire::decode::<$request> => $handler)
    };
    (read $category:ident with $decode:expr => $handler:path) => {
        (
            $category,
            Verb::Read(|ns, ctx, body| border::read(ns, ctx, &body, $category, $decode, $handler)),
        )
    };
    (read $category:ident by_handler, $request:ty => $handler:path) => {
        (
            $category,
            Verb::Read(|ns, ctx, body| border::read(ns, ctx, &body, Unchecked, wire::decode::<$request>, $handler)),
        )
    };
    (write $category:ident, $request:ty => $handler:path) => {
        row!(write $category with wire::decode::<$request> => $handler)
    };
    (write $category:ident with $decode:expr => $handler:path) => {
        (
            $category,
            Verb::Write(|ns, ctx, body| border::write(ns, ctx, &body, $category, $decode, $handler)),
        )
    };
    (write $category:ident by_handler, $request:ty => $handler:path) => {
        (
            $category,
            Verb::Write(|ns, ctx, body| border::write(ns, ctx, &body, Unchecked, wire::decode::<$request>, $handler)),
        )
    };
    (once $request:ty => $handler:path) => {
        row!(once with wire::decode::<$request> => $handler)
    };
    (once with $decode:expr => $handler:path) => {
        (
            Write,
            Verb::Write(|ns, ctx, body| border::once(ns, ctx, &body, $decode, $handler)),
        )
    };
}
pub(crate) use row;
