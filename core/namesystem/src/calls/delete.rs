//! `delete` (`FSNamesystem.delete`).
//!
//! Everything below a directory is checked before it is deleted. When that is too much for one hold of the lock, the
//! caller of the handler goes on with a [`DeleteWork`] in slices, and releases the lock between them. Hadoop holds it.

use super::border::{self, Answer, Once, OrDeferred};
use super::{ClientMachine, caller, commit, no_safe_mode, plan_context};
use crate::context::{CallContext, Deferred, Reply};
use crate::{Generation, Namesystem, OperationCategory};
use hathi_blockmanager::Now;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{InodeId, TxId};
use hathi_formats::proto::hdfs::{DeleteRequestProto, DeleteResponseProto};
use hathi_namespace::{Deleted, SubAccessWalk};

/// Number of rounds in which a changing subtree is checked again. Each round checks what has changed in the round
/// before, so a third one is rare. The limit keeps a client that changes more and more from delaying others.
const ROUNDS_MAX: u32 = 8;

/// A delete under way. Call [`DeleteWork::finish`] under the write lock. As long as it returns `None`, call
/// [`DeleteWork::step`] under the read lock until it returns true, releasing the lock between two calls, and then
/// `finish` again.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteWork {
    generation: Generation,
    ctx: CallContext,
    request: DeleteRequestProto,
    /// The walk through the directory, once it has begun.
    walk: Option<SubAccessWalk>,
    rounds: u32,
}

impl DeleteWork {
    /// The caller.
    #[must_use]
    pub fn context(&self) -> &CallContext {
        &self.ctx
    }

    /// Checks at most `max` inodes. Returns true when it is time to finish.
    pub fn step(&mut self, ns: &Namesystem, max: usize) -> bool {
        let is_over =
            ns.check_operation(OperationCategory::Write).is_err() || ns.life().generation() != self.generation;
        match &mut self.walk {
            Some(walk) if !is_over => ns.namespace().sub_access_step(&caller(&self.ctx), walk, max),
            _ => true,
        }
    }

    /// Returns the reply when everything was checked, and nothing has changed that was not checked again.
    pub fn finish(&mut self, ns: &mut Namesystem, now: Now) -> Option<Reply> {
        (self.ctx.now_ms, self.ctx.mono_ms) = (now.wall_ms, now.monotonic_ms);
        let reply = self.try_again(ns)?;
        self.give_up(ns);
        Some(reply)
    }

    /// Nobody waits for the answer any more.
    pub fn give_up(&mut self, ns: &mut Namesystem) {
        if let Some(walk) = self.walk.take() {
            ns.unwatch_access(&walk);
        }
    }

    /// Tries to delete. `None`: there is more to check.
    fn try_again(&mut self, ns: &mut Namesystem) -> Option<Reply> {
        if ns.check_operation(OperationCategory::Write).is_ok() && ns.life().generation() != self.generation {
            let message = "the namespace was loaded anew while it was looked through";
            return Some(Reply::refuse(RemoteException::new(exceptions::RETRIABLE, message)));
        }
        // When a call was passed on, it was known on arrival that the client still waits.
        if self.ctx.passed_on.is_some()
            && let Err(refused) = ns.admit(&self.ctx)
        {
            return Some(Reply::refuse(refused));
        }
        let mut is_whole = true;
        let ctx = self.ctx.clone();
        let reply = border::once(ns, &ctx, |ns| match self.delete(ns, &ctx)? {
            Some(once) => Ok(once),
            None => {
                is_whole = false;
                // No caller ever gets this.
                Ok(once(false, None))
            }
        });
        is_whole.then_some(reply)
    }

    fn delete(&mut self, ns: &mut Namesystem, ctx: &CallContext) -> Result<Option<Deleting>, RemoteException> {
        if let Some(walk) = &mut self.walk
            && !ns.catch_up_access(&caller(ctx), walk)
        {
            self.walk = None;
        }
        let dir = match try_delete(ns, ctx, &self.request, self.walk.as_ref())? {
            Tried::Done(once) => return Ok(Some(once)),
            Tried::WalkFirst(dir) => dir,
        };
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            let message = format!("{} changes faster than it can be looked through", self.request.src);
            return Err(RemoteException::new(exceptions::RETRIABLE, message));
        }
        if self.walk.as_ref().is_none_or(|walk| walk.root() != dir) {
            self.walk = Some(ns.watch_access(dir));
        }
        Ok(None)
    }
}

/// Result of `delete`.
type Deleting = Once<OrDeferred<DeleteResponseProto>>;

/// Result of an attempt.
enum Tried {
    Done(Deleting),
    WalkFirst(InodeId),
}

/// `delete`
pub fn delete(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: DeleteRequestProto,
) -> Result<Deleting, RemoteException> {
    if let Tried::Done(once) = try_delete(ns, ctx, &request, None)? {
        return Ok(once);
    }
    let work = DeleteWork {
        generation: ns.life().generation(),
        ctx: ctx.clone(),
        request,
        walk: None,
        rounds: 0,
    };
    Ok(Once {
        answer: Answer::deferred(Deferred::Delete(Box::new(work))),
        keep: false,
    })
}

fn try_delete(
    ns: &mut Namesystem,
    ctx: &CallContext,
    request: &DeleteRequestProto,
    walk: Option<&SubAccessWalk>,
) -> Result<Tried, RemoteException> {
    no_safe_mode(ns, || format!("Cannot delete {}", request.src))?;
    let machine = ClientMachine::default();
    let context = plan_context(ctx, &machine);
    let plan = ns
        .namespace()
        .plan_delete(&context, &request.src, request.recursive, walk)?;
    if let Deleted::WalkFirst(dir) = plan.reply {
        return Ok(Tried::WalkFirst(dir));
    }
    let (deleted, after) = commit(ns, plan)?;
    let deleted = deleted == Deleted::Answer(true);
    Ok(Tried::Done(once(deleted, after)))
}

fn once(result: bool, after: Option<TxId>) -> Deleting {
    Once {
        answer: Answer::now(DeleteResponseProto { result }, after),
        // What deleted nothing is tried again.
        keep: result,
    }
}
