//! What the changes of a role and the shell tell each other.

use hathi_blockmanager::Now;
use hathi_formats::exceptions::RemoteException;
use hathi_formats::ids::{Epoch, TxId};
use hathi_namesystem::reply_gate::ReplyGate;
use hathi_namesystem::standby_health::{Aspect, StandbyHealth};
use hathi_namesystem::{Life, Namesystem};

/// What is changed, all of it under one lock.
#[derive(Debug)]
pub struct Place<'a, R> {
    /// Namespace, block manager and edit log.
    pub ns: &'a mut Namesystem,
    /// Replies that wait for a quorum.
    pub gate: &'a mut ReplyGate<R>,
    /// What is wrong with this NameNode.
    pub health: &'a mut StandbyHealth,
    /// Whether the read lease is held now.
    pub lease_held: bool,
    /// Whether another NameNode was active since this process began.
    pub another_was_active: bool,
    /// The highest transaction that any of the own directories has seen (`seen_txid`).
    pub max_seen_txid: TxId,
    /// The time.
    pub now: Now,
    /// The same monotonic time in microseconds.
    pub now_us: u64,
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What follows from it.
    pub kind: ProblemKind,
    /// In words, and where.
    pub what: String,
    /// The part of the words that stays the same when the same happens again.
    pub cause: String,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// Another try may go well.
    Passing,
    /// The namespace here is not what the journal holds, or can't become it: it is loaded anew.
    Unusable,
    /// The journal begins with this transaction, behind what the own images hold.
    Purged {
        /// The oldest transaction that is left.
        oldest: TxId,
    },
    /// Another try ends the same, whatever journal and peers hold.
    Hopeless,
    /// Another NameNode holds the read lease.
    LeaseHeld,
}

impl Problem {
    /// One that may not come again.
    #[must_use]
    pub fn passing(what: String) -> Problem {
        Problem {
            kind: ProblemKind::Passing,
            cause: what.clone(),
            what,
        }
    }
}

impl ProblemKind {
    pub(super) fn needs_load(self) -> bool {
        matches!(
            self,
            ProblemKind::Unusable | ProblemKind::Purged { .. } | ProblemKind::Hopeless
        )
    }
}

/// What happens. `D` stands for the caller who asked, and is given back with the answer.
#[derive(Debug)]
pub enum Event<D> {
    /// The process begins.
    Started,
    /// An administrator or a controller asks for a role.
    Asked {
        /// Active or standby.
        to_active: bool,
        /// Whether a read lease that nobody renews is waited out. An administrator means it, an elector asks again.
        is_patient: bool,
        /// Who asks.
        by: D,
    },
    /// This NameNode is not the writer any more.
    WriterLost(String),
    /// Who tails has found that the namespace has to be loaded anew.
    Unusable,
    /// The step under way has ended well.
    Done,
    /// So has [`Step::Load`]: with this.
    Loaded(Box<Namesystem>),
    /// So has [`Step::Recover`].
    Recovered {
        /// The epoch of this NameNode as the writer.
        epoch: Epoch,
        /// With what the journal ends, if it holds anything.
        last: Option<TxId>,
    },
    /// The step under way has failed.
    Failed(Problem),
}

/// What takes time. Its end comes back as an event; there is one at a time.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nothing is tailed any more.
    StopTailing,
    /// Image and own edits become a namesystem of this life.
    Load(Life),
    /// What is applied is compared with the journal, as far as that can be done now. It fails only if this namespace has to
    /// go.
    Prove,
    /// Everything durable is applied.
    CatchUp,
    /// The newest image of the peers is fetched, behind which the journal goes on with this transaction.
    FetchImage(TxId),
    /// This NameNode becomes the writer, and the journal is recovered.
    Recover,
    /// Everything up to this transaction is applied.
    CatchUpTo(TxId),
    /// What is applied is what the writer of this epoch has recovered.
    ProveBeforeActive(Epoch, Option<TxId>),
    /// This transaction is durable, or never will be.
    AwaitSynced(TxId),
    /// The segment that ends with this transaction is final, or never will be, or that takes longer than so many
    /// milliseconds.
    AwaitFinalized(TxId, u64),
    /// This NameNode is no writer any more, and has given its lease back. It can't fail.
    Resign,
    /// So many milliseconds pass. It can't fail.
    Pause(u64),
}

/// What is done at once, in this order, after the lock is released.
#[derive(Debug)]
pub enum Action<R, D> {
    /// A namesystem that nobody needs: to be freed where nobody waits for it.
    Discard(Box<Namesystem>),
    /// The read lease is not used any more.
    DropLease,
    /// What these replies show is durable, and the lease was held: they leave.
    Send(Vec<R>),
    /// Nobody knows what becomes of what these replies show: they never leave.
    GiveUp(Vec<R>),
    /// An image that is being made must not be in the way.
    CancelCheckpoint,
    /// What is logged in this life goes to the journals.
    Ship(Life),
    /// Calls that waited for an active are served.
    ServeKeptCalls,
    /// The journal is tailed.
    Follow,
    /// How it ended.
    Answer(D, Result<(), RemoteException>),
    /// For the log and the metrics.
    Tell(News),
    /// The process ends with the problem of the last step.
    End,
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Image and edits are here.
    Loaded {
        /// The last transaction.
        applied: TxId,
        /// How long that took.
        took_ms: u64,
    },
    /// This NameNode is not healthy.
    Unhealthy(Aspect, String),
    /// The journal can't be read now.
    CannotRead(String),
    /// The peers have no newer image.
    NoNewerImage(String),
    /// The journal is recovered.
    Recovered {
        /// Of this writer.
        epoch: Epoch,
        /// Since the change began.
        took_us: u64,
    },
    /// The first transaction is durable.
    Active {
        /// Of this writer.
        epoch: Epoch,
        /// The first transaction.
        first: TxId,
        /// Since the change began, until the journal was recovered.
        recovery_us: u64,
        /// Since the change began.
        took_us: u64,
    },
    /// The change to active failed.
    NotActive(String),
    /// The segment was not finished in order.
    NotFinished(String),
    /// The journals are another's.
    WriterLost(String),
    /// A standby again.
    Standby(String),
    /// Some changes reached no quorum, or failed: the namespace is loaded anew.
    Dropped(String),
}

/// What follows from an event: actions, and then the next step, if there is any.
#[derive(Debug)]
pub struct Orders<R, D> {
    /// At once, in this order.
    pub actions: Vec<Action<R, D>>,
    /// Then this; without it the next event is one from outside.
    pub step: Option<Step>,
}
