//! The namesystem: the namespace (a function of the edits), the block manager (a function of the reports) and the edit
//! log, with the one way in which an op goes through all of them.
//!
//! Invariants:
//! - The namespace is exactly the result of the ops `1 ..= edit_log.applied()`.
//! - Only [`Namesystem::commit`] (active) and [`Namesystem::replay`] (standby, start) change it, by the same `apply`.
//! - Every inode that a transaction in flight touched is in `in_flight`.
//!
//! Mirrors Hadoop's `FSNamesystem`.

use crate::CallContext;
use crate::caching::CacheScans;
use crate::edit_log::{EditLog, EditLogError};
use crate::history::History;
use crate::keys::KeyCache;
use crate::life::Life;
use crate::monitor::Recoveries;
use crate::passed_on::{CallDoubt, LatestCalls};
use crate::reply_gate::{InFlight, Shown};
use crate::retry_cache::{CallKey, RetryCache};
use crate::role::{HaState, IllegalTransition, OperationCategory, Role, Standing};
use crate::satisfier::Unsatisfied;
use crate::secrets::SecretManager;
use crate::upgrade::RollingUpgrade;
use hathi_blockmanager::{BlockManager, BlockManagerConfig, BlockState, NewBlock, Now};
use hathi_formats::editlog::EditOp;
use hathi_formats::exceptions::{self, RemoteException};
use hathi_formats::ids::{BlockId, GenerationStamp, InodeId, NamespaceInfo, TxId};
use hathi_namespace::{BlockView, Effect, Effects, Holders, Namespace, NamespaceConfig};

mod cache_scans;
mod config;
mod parts;

pub use cache_scans::check_caching;
pub use config::{CachingConfig, NamesystemConfig, NamesystemParts};

/// The settings of the parts.
#[derive(Debug)]
pub struct Reconfigured<'a> {
    /// Of the calls.
    pub namesystem: &'a mut NamesystemConfig,
    /// Of the namespace.
    pub namespace: &'a mut NamespaceConfig,
    /// Of the block manager.
    pub blockmanager: &'a mut BlockManagerConfig,
}

/// The namesystem; see the module.
pub struct Namesystem {
    /// The state that the edits make: durable.
    namespace: Namespace,
    /// The state that the reports make: soft.
    blockmanager: BlockManager,
    /// The positions of the edit log, and its open batch.
    edit_log: EditLog,
    /// Which replayed edits are proven to be the journal's.
    history: History,
    /// Answers of at-most-once calls.
    retry_cache: RetryCache,
    /// The newest calls that clients have begun here. They may be lost in a restart: only the active answers, so calls
    /// that came to another NameNode before this one became active stay unanswered until then, and the NameNode that
    /// was active before is active no more.
    pub(crate) latest_calls: LatestCalls,
    /// The role. [`Namesystem::change_role`] alone changes it.
    role: Role,
    /// Typed configuration.
    pub(crate) config: NamesystemConfig,
    /// Identity of the namespace.
    pub(crate) info: NamespaceInfo,
    /// Inodes that unsynced transactions have touched.
    pub(crate) in_flight: InFlight,
    /// Last transaction of the newest image that is known here (`getMostRecentCheckpointTxId`).
    pub(crate) most_recent_checkpoint: TxId,
    /// Time of that image, wall clock ms.
    pub(crate) most_recent_checkpoint_ms: u64,
    /// When the role last became active or standby, wall clock ms; 0 before the first time.
    pub(crate) last_transition_ms: u64,
    /// The change of the role after which trash roots were looked for.
    pub(crate) trash_roots_made_ms: Option<u64>,
    /// Files whose last block must be recovered.
    pub(crate) recoveries: Recoveries,
    /// Scans of cache directives.
    pub(crate) cache_scans: CacheScans,
    /// Whether deleted subtrees wait for [`Namesystem::reclaim`].
    pub(crate) reclaim_pending: bool,
    /// Keys for files of encryption zones.
    pub(crate) keys: KeyCache,
    /// The zone that is being re-encrypted.
    pub(crate) reencrypted_zone: Option<InodeId>,
    /// See [`Namesystem::keep_previous`].
    pub(crate) previous_is_kept: bool,
    /// What no storage policy satisfier has taken yet.
    pub(crate) unsatisfied: Unsatisfied,
    /// The keys of new delegation tokens.
    pub(crate) secret_manager: SecretManager,
    /// The rolling upgrade under way, or that has ended.
    pub(crate) upgrade: RollingUpgrade,
}

impl std::fmt::Debug for Namesystem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namesystem")
            .field("role", &self.role)
            .field("applied", &self.edit_log.applied())
            .finish_non_exhaustive()
    }
}

impl Namesystem {
    /// Joins the parts. The block manager must know exactly the blocks of the namespace.
    pub(crate) fn join(
        parts: NamesystemParts,
        namespace: Namespace,
        blockmanager: BlockManager,
        txid: TxId,
        life: Life,
    ) -> Namesystem {
        Namesystem {
            reclaim_pending: namespace.has_detached(),
            namespace,
            blockmanager,
            edit_log: EditLog::new(life, txid),
            retry_cache: RetryCache::new(parts.retry_cache),
            history: History::new(txid),
            latest_calls: LatestCalls::default(),
            role: Role::Initializing,
            config: parts.config,
            info: parts.info,
            in_flight: InFlight::default(),
            most_recent_checkpoint: txid,
            most_recent_checkpoint_ms: 0,
            last_transition_ms: 0,
            trash_roots_made_ms: None,
            recoveries: Recoveries::default(),
            cache_scans: CacheScans::default(),
            keys: KeyCache::default(),
            reencrypted_zone: None,
            previous_is_kept: false,
            unsatisfied: Unsatisfied::default(),
            secret_manager: SecretManager::default(),
            upgrade: RollingUpgrade::default(),
        }
    }

    /// The life that this state belongs to.
    #[must_use]
    pub fn life(&self) -> &Life {
        self.edit_log.life()
    }

    /// Identity of the namespace.
    #[must_use]
    pub fn info(&self) -> &NamespaceInfo {
        &self.info
    }

    /// Last transaction of the newest image that is known here (`getMostRecentCheckpointTxId`).
    #[must_use]
    pub fn most_recent_checkpoint(&self) -> TxId {
        self.most_recent_checkpoint
    }

    /// Time of that image, wall clock ms.
    #[must_use]
    pub fn most_recent_checkpoint_ms(&self) -> u64 {
        self.most_recent_checkpoint_ms
    }

    /// The name directories have an image of this transaction since this time. An older one than the newest changes
    /// nothing.
    pub fn note_image(&mut self, txid: TxId, wall_ms: u64) {
        if txid >= self.most_recent_checkpoint {
            self.most_recent_checkpoint = txid;
            self.most_recent_checkpoint_ms = wall_ms;
        }
    }

    /// When the role last became active or standby, wall clock ms; 0 before the first time.
    #[must_use]
    pub fn last_transition_ms(&self) -> u64 {
        self.last_transition_ms
    }

    /// Whether deleted subtrees wait for [`Namesystem::reclaim`].
    #[must_use]
    pub fn reclaim_pending(&self) -> bool {
        self.reclaim_pending
    }

    /// The role and the life. A reply remembers in which it was made.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            role: self.role,
            generation: self.life().generation(),
        }
    }

    /// Whether an op failed to apply, in [`Namesystem::commit`] or [`Namesystem::replay`]. Changes that it made before
    /// it failed are not undone, so the namespace is the state of no log ([`Namespace::is_broken`]).
    ///
    /// From then on every handler refuses, nothing is committed or replayed, no role is taken and no image is made.
    /// Transactions that were logged before are good and may become durable. The shell leaves the active role and loads
    /// anew. Only a newly assembled namesystem is whole again.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.namespace.is_broken()
    }

    /// Refuses everything once the namesystem is [broken](Namesystem::is_broken), with the exception that sends clients
    /// to another NameNode.
    pub fn check_not_broken(&self) -> Result<(), RemoteException> {
        if !self.is_broken() {
            return Ok(());
        }
        Err(RemoteException::new(
            exceptions::STANDBY,
            "An edit failed to apply to this NameNode's namespace, which is loaded anew",
        ))
    }

    /// The HA state that peers and DataNodes are told. A broken namesystem never claims to be active.
    #[must_use]
    pub fn ha_state(&self) -> HaState {
        if self.is_broken() {
            HaState::Standby
        } else {
            self.role.ha_state()
        }
    }

    /// Refuses a call that the role does not serve (`FSNamesystem.checkOperation`), and every call once
    /// [broken](Namesystem::is_broken).
    pub fn check_operation(&self, category: OperationCategory) -> Result<(), RemoteException> {
        self.check_not_broken()?;
        if category == OperationCategory::Read && self.config.allow_stale_reads && self.role != Role::Initializing {
            return Ok(());
        }
        self.role.check_operation(category)
    }

    /// Must be called before a changing call of a client runs. Refuses a call that was passed on and may be late, and
    /// notes all others.
    pub fn admit(&mut self, ctx: &CallContext) -> Result<(), RemoteException> {
        if self.role != Role::Active {
            // The role does not serve the call at all.
            return Ok(());
        }
        let key = CallKey::new(&ctx.client_id, ctx.call_id);
        if let Some(passed_on) = &ctx.passed_on {
            let checked = key
                .ok_or(CallDoubt::Late)
                .and_then(|key| self.latest_calls.check(&key, passed_on, ctx.mono_ms));
            if let Err(doubt) = checked {
                let class = match doubt {
                    // The NameNode that passed the call on can look again whether the client waits.
                    CallDoubt::Late => exceptions::CALL_LATE,
                    CallDoubt::Overtaken | CallDoubt::Forgotten => exceptions::CALL_IN_DOUBT,
                };
                let message = format!("it is not certain that the client still waits for this call: {doubt:?}");
                return Err(RemoteException::new(class, message));
            }
        }
        if let Some(key) = key {
            self.latest_calls.note(&key, ctx.passed_on.as_ref(), ctx.mono_ms);
        }
        Ok(())
    }

    /// Refuses a change in safe mode (`FSNamesystem.checkNameNodeSafeMode`). `what` begins the message, as in "Cannot
    /// create file /x". An active of an HA pair in start-up safe mode tells clients to retry.
    pub fn check_not_in_safe_mode(&self, what: &str) -> Result<(), RemoteException> {
        if !self.blockmanager.in_safe_mode() {
            return Ok(());
        }
        let message = format!(
            "{what}. Name node is in safe mode.\n{} NamenodeHostName:{}",
            self.blockmanager.safe_mode_tip(),
            self.config.rpc_address.rsplit_once(':').map_or("", |(host, _)| host)
        );
        if self.config.ha_enabled && self.role == Role::Active && self.blockmanager.in_startup_safe_mode() {
            return Err(RemoteException::new(
                exceptions::RETRIABLE,
                format!("{}: {message}", exceptions::SAFE_MODE),
            ));
        }
        Err(RemoteException::new(exceptions::SAFE_MODE, message))
    }

    /// Logs and applies the ops of a plan, in this order and with nothing between them. This is the only way in which
    /// an active changes its namespace. The ops carry the ids of the call already. Returns the last transaction, or
    /// `None` for a plan without ops.
    ///
    /// All ops are encoded first. An op that the log can't hold exactly is refused while nothing has changed, so every
    /// applied op can be read back. An op that fails to apply is a bug here. It is not logged, so no other NameNode
    /// sees it, but it may have changed something, and this namesystem [is broken](Namesystem::is_broken).
    pub fn commit(&mut self, ops: &[EditOp]) -> Result<Option<TxId>, RemoteException> {
        if ops.is_empty() {
            return Ok(None);
        }
        self.check_not_broken()?;
        self.edit_log.stage(ops).map_err(|error| {
            let class = match error {
                EditLogError::NotOpen => exceptions::STANDBY,
                EditLogError::NotEncodable(_) => exceptions::IO,
            };
            RemoteException::new(class, error.to_string())
        })?;
        self.in_flight.prune(self.edit_log.synced());
        let mut last = None;
        for op in ops {
            last = Some(self.apply_staged(op)?);
        }
        debug_assert_eq!(
            last,
            Some(self.edit_log.applied()),
            "nothing comes between the ops of a plan"
        );
        self.check_now_and_then(self.edit_log.applied());
        Ok(last)
    }

    fn apply_staged(&mut self, op: &EditOp) -> Result<TxId, RemoteException> {
        let next = self.edit_log.applied().next();
        let effects = match self.namespace.apply(next.0, op) {
            Ok(effects) => effects,
            Err(error) => {
                self.edit_log.drop_staged();
                return Err(RemoteException::new(
                    exceptions::STANDBY,
                    format!("the edit was planned but does not apply: {error}"),
                ));
            }
        };
        let txid = self.edit_log.log_staged();
        assert_eq!(txid, next, "the log and the namespace disagree on the transaction");
        for &inode in &effects.touched {
            self.in_flight.mark(Shown::Inode(inode), txid);
        }
        for &dir in &effects.parents {
            self.in_flight.mark(Shown::Children(dir), txid);
        }
        self.hand_over(&effects, true);
        Ok(txid)
    }

    /// Applies an op read from a journal. `mono_ms` is the monotonic clock, for the retry cache.
    pub fn replay(&mut self, txid: TxId, op: &EditOp, mono_ms: u64) -> Result<(), ReplayError> {
        let expected = self.edit_log.applied().next();
        if txid != expected {
            return Err(ReplayError::Gap { expected, found: txid });
        }
        let effects = self
            .namespace
            .apply(txid.0, op)
            .map_err(|reason| ReplayError::Apply { txid, reason })?;
        self.edit_log.set_applied(txid);
        self.hand_over(&effects, false);
        self.after_replay_of(txid, op);
        crate::calls::remember_replayed(self, txid, op, mono_ms);
        self.check_now_and_then(txid);
        Ok(())
    }

    /// The transaction that must be synced before a reply may leave that shows or passes through these inodes. `None`
    /// when no transaction in flight has touched them. See also [`Namesystem::shown_children`].
    #[must_use]
    pub fn shown_txid(&self, inodes: impl IntoIterator<Item = InodeId>) -> Option<TxId> {
        self.in_flight
            .shown_txid(self.edit_log.synced(), inodes.into_iter().map(Shown::Inode))
    }

    /// The transaction that must be synced before a reply may leave that lists these directories, shows their status,
    /// or says that a name is not in them.
    #[must_use]
    pub fn shown_children(&self, dirs: impl IntoIterator<Item = InodeId>) -> Option<TxId> {
        self.in_flight
            .shown_txid(self.edit_log.synced(), dirs.into_iter().map(Shown::Children))
    }

    /// The transaction that must be synced before a reply may leave that shows anything of the namespace. It is for
    /// listings of whole subtrees and for counters, where naming the inodes would cost more than waiting.
    #[must_use]
    pub fn shown_everything(&self) -> Option<TxId> {
        self.edit_log.has_unsynced().then(|| self.edit_log.applied())
    }

    /// Answers of the block manager to the questions of plans about replicas.
    #[must_use]
    pub fn replicas(&self) -> BlockManagerView<'_> {
        BlockManagerView(&self.blockmanager)
    }

    /// Frees a part of the deleted inodes (Hadoop's `MarkedDeleteQueue`). Returns whether any are left.
    pub fn reclaim(&mut self, max_inodes: usize) -> bool {
        if self.is_broken() {
            self.reclaim_pending = false;
            return false;
        }
        let reclaimed = self.namespace.reclaim(max_inodes);
        for block in &reclaimed.blocks {
            self.blockmanager.remove_block(block.id);
        }
        let by_the_way = Effects {
            effects: reclaimed.effects.into(),
            ..Effects::default()
        };
        self.hand_over(&by_the_way, self.role == Role::Active);
        debug_assert_eq!(
            reclaimed.done,
            !self.namespace.has_detached(),
            "what is left is asked for again"
        );
        self.reclaim_pending = !reclaimed.done;
        self.reclaim_pending
    }

    /// Makes this NameNode active and opens the log. Everything that a quorum has must be applied and proven, and the
    /// journals must be this NameNode's. Returns the first transaction of the first segment. A
    /// [broken](Namesystem::is_broken) namesystem refuses.
    pub fn start_active(&mut self, now: Now) -> Result<TxId, IllegalTransition> {
        self.refuse_role_if_broken(Role::Active)?;
        self.change_role(Role::Active)?;
        self.in_flight.clear();
        self.blockmanager
            .set_generation_stamp(self.namespace.generation_stamp());
        self.blockmanager.start_active(now);
        self.namespace.start_active(now.monotonic_ms);
        self.recoveries = Recoveries::of(&self.namespace);
        self.cache_scans = CacheScans::of_new_active();
        if self.config.satisfier.external {
            self.unsatisfied = Unsatisfied::of(self.namespace.unsatisfied_storage_policies());
        }
        // A new active has a key of its own.
        self.secret_manager = SecretManager::default();
        self.last_transition_ms = now.wall_ms;
        self.edit_log.begin_life();
        self.history = History::default();
        debug_assert!(!self.edit_log.has_unsynced(), "an active begins with what a quorum has");
        debug_assert_eq!(
            self.life().proven(),
            self.edit_log.applied(),
            "an active answers with nothing that may be lost"
        );
        let first = self.edit_log.open_for_write(now.wall_ms);
        debug_assert!(self.edit_log.is_open_for_write(), "an active writes");
        Ok(first)
    }

    /// Stops taking changes. Logged transactions may still become durable; see [`Namesystem::end_stepping_down`].
    pub fn begin_stepping_down(&mut self) -> Result<(), IllegalTransition> {
        self.change_role(Role::SteppingDown)?;
        self.blockmanager.stop_active();
        self.cache_scans = CacheScans::default();
        debug_assert!(!self.blockmanager.is_active(), "who steps down orders nothing any more");
        Ok(())
    }

    /// Makes this NameNode a standby again, in another life. Everything applied must be durable; a namespace with more
    /// must be loaded anew. So must one that [is broken](Namesystem::is_broken), which is refused here.
    pub fn end_stepping_down(&mut self, wall_ms: u64) -> Result<(), IllegalTransition> {
        self.refuse_role_if_broken(Role::Standby)?;
        self.change_role(Role::Standby)?;
        self.edit_log.abort();
        self.edit_log.begin_life();
        self.in_flight.clear();
        self.namespace.stop_active();
        self.last_transition_ms = wall_ms;
        debug_assert!(
            !self.edit_log.has_pending(),
            "who is a standby sends nothing to the journals"
        );
        debug_assert!(!self.edit_log.has_unsynced(), "what no quorum has is not taken along");
        Ok(())
    }

    /// Follows the journal from now on: the namespace was loaded, or this NameNode did not become active after all.
    pub fn become_standby(&mut self) -> Result<(), IllegalTransition> {
        if !matches!(self.role, Role::Initializing | Role::BecomingActive) {
            // An active has to step down: see `end_stepping_down`.
            return Err(IllegalTransition {
                from: self.role,
                to: Role::Standby,
            });
        }
        self.change_role(Role::Standby)
    }

    /// Begins to become active. [`Namesystem::start_active`] or [`Namesystem::become_standby`] ends it.
    pub fn begin_activation(&mut self) -> Result<(), IllegalTransition> {
        self.change_role(Role::BecomingActive)
    }

    /// Changes settings while this NameNode runs: those that each decision reads anew. A satisfier that is allowed from now
    /// on finds all that waits for it, as after a change of the role.
    pub fn reconfigure<T>(&mut self, change: impl FnOnce(&mut Reconfigured<'_>) -> T) -> T {
        let before = self.config.satisfier;
        let changed = change(&mut Reconfigured {
            namesystem: &mut self.config,
            namespace: &mut self.namespace.config,
            blockmanager: self.blockmanager.reconfigure(),
        });
        if self.config.satisfier.external != before.external {
            let marked = match self.config.satisfier.external && self.role == Role::Active {
                true => self.namespace.unsatisfied_storage_policies(),
                false => Vec::new(),
            };
            self.unsatisfied = Unsatisfied::of(marked);
        }
        changed
    }

    /// The only place where the role changes.
    fn change_role(&mut self, to: Role) -> Result<(), IllegalTransition> {
        self.role = self.role.changed_to(to)?;
        Ok(())
    }

    fn refuse_role_if_broken(&self, to: Role) -> Result<(), IllegalTransition> {
        if self.is_broken() {
            return Err(IllegalTransition { from: self.role, to });
        }
        Ok(())
    }

    /// Ends this life and begins the next one for a namespace that is about to be loaded. The present namespace is
    /// useless from now on: no call sees it and no image is made of it.
    pub fn begin_loading(&mut self) -> Life {
        if let Err(error) = self.change_role(Role::Initializing) {
            debug_assert!(false, "whatever its role was, a namespace may be loaded anew: {error}");
        }
        self.life().next(TxId(0))
    }

    /// Takes over from the namesystem that this one replaces what neither images nor edits hold: answers of
    /// at-most-once calls. Answers of transactions behind the image come again with the replay. An answer is left out
    /// when the old life never knew that its transaction is in the journal for good: its edit may be lost, and then a
    /// repeated call must run.
    pub fn inherit(&mut self, old: &mut Namesystem) {
        self.last_transition_ms = old.last_transition_ms;
        self.latest_calls = std::mem::take(&mut old.latest_calls);
        let mut answers = std::mem::take(&mut old.retry_cache);
        debug_assert!(old.life().has_ended(), "a life that goes on needs its answers itself");
        answers.forget_after(self.edit_log.applied().min(old.life().proven()));
        debug_assert!(old.retry_cache.is_empty(), "an answer is remembered in one life");
        self.retry_cache = answers;
    }

    /// Frees at once what only deleted snapshots showed.
    pub(crate) fn finish_snapshots(&mut self) {
        let finished = self.namespace.finish_snapshots();
        self.hand_over(&finished, self.role == Role::Active);
    }

    fn hand_over(&mut self, effects: &Effects, active: bool) {
        self.reclaim_pending |= effects.reclaim;
        for effect in &effects.effects {
            match *effect {
                Effect::BlockAdded { block, file, layout } => self.blockmanager.add_block(NewBlock {
                    block,
                    inode: file,
                    layout,
                    state: BlockState::UnderConstruction,
                }),
                Effect::BlockUpdated { block, .. } => self.blockmanager.update_block(block),
                // The active waits for replicas before it calls a block complete. The edits say that it was complete.
                Effect::BlockCompleted { block, .. } if active => {
                    self.blockmanager.commit_block(block);
                }
                Effect::BlockCompleted { block, .. } => self.blockmanager.complete_block(block),
                Effect::BlockReopened { block, .. } => self.blockmanager.reopen_block(block),
                Effect::BlockRemoved { block } => self.blockmanager.remove_block(block.id),
                Effect::ReplicationChanged { file, new, .. } => {
                    for block in self.namespace.all_blocks_of(file) {
                        self.blockmanager.set_replication(block, new);
                    }
                }
                Effect::BlocksMoved { target, replication } => {
                    for block in self.namespace.blocks_of(target) {
                        self.blockmanager.set_inode(block.block.id, target);
                        self.blockmanager.set_replication(block.block.id, replication);
                    }
                }
                Effect::RollingUpgrade { started_ms } => {
                    let txid = self.edit_log.applied();
                    self.on_rolling_upgrade(started_ms.is_some(), txid);
                }
            }
        }
        if !effects.effects.is_empty() {
            self.blockmanager
                .set_generation_stamp(self.namespace.generation_stamp());
        }
    }
}

/// Answers the namespace's questions about replicas from the block manager.
pub struct BlockManagerView<'a>(pub &'a BlockManager);

impl BlockView for BlockManagerView<'_> {
    fn is_complete(&self, block: BlockId) -> bool {
        self.0.is_complete(block)
    }

    fn is_min_replicated(&self, block: BlockId) -> bool {
        self.0.is_complete(block) || self.0.has_min_replicas(block)
    }

    fn is_sufficiently_replicated(&self, block: BlockId) -> bool {
        self.0.is_sufficiently_replicated(block)
    }

    fn holders(&self, block: BlockId) -> Holders {
        match self.0.holders(block) {
            hathi_blockmanager::HolderKnowledge::Known => Holders::Known,
            hathi_blockmanager::HolderKnowledge::Awaited => Holders::Awaited,
            hathi_blockmanager::HolderKnowledge::Nobody => Holders::Nobody,
        }
    }

    fn is_under_recovery(&self, block: BlockId) -> bool {
        self.0
            .block(block)
            .is_some_and(|view| view.state == BlockState::UnderRecovery)
    }

    fn recovery_id(&self, block: BlockId) -> Option<GenerationStamp> {
        self.0.recovery(block).map(|(stamp, _)| stamp)
    }

    fn committed_length(&self, block: BlockId) -> Option<u64> {
        let view = self.0.block(block)?;
        view.has_final_length().then_some(view.block.num_bytes)
    }

    fn finalized_length(&self, block: BlockId) -> Option<u64> {
        self.0.finalized_length(block)
    }
}

/// Why an op from a journal was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A transaction is missing. (Hadoop: "There appears to be a gap in the edit log".)
    #[error("there appears to be a gap in the edit log: expected txid {expected}, but got txid {found}")]
    Gap {
        /// The transaction that should follow.
        expected: TxId,
        /// The transaction that was read.
        found: TxId,
    },
    /// The op failed to apply.
    #[error("transaction {txid} does not apply: {reason}")]
    Apply {
        /// The transaction.
        txid: TxId,
        /// The reason. It is part of the message, and no source, so that the chain of causes does not tell it twice.
        reason: hathi_namespace::ApplyError,
    },
}
