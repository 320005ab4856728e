//! What others see of a namesystem's parts, and the ways in which they change one of them.
//!
//! The parts are private. Whatever needs two of them to agree (edits, roles) is done by [`Namesystem`] itself, so nobody
//! else can make them disagree: the namespace changes with the log, and the block manager learns of blocks from the
//! edits.

use super::Namesystem;
use crate::edit_log::{EditLog, EditLogError, LogItem};
use crate::history::{Compared, Digest, EditsSource, History, HistoryError, JournalState, Stretch};
use crate::retry_cache::{CallKey, RetryCache};
use crate::role::Role;
use hathi_blockmanager::{AdminState, BlockManager, BlockManagerError, DatanodeIndex, Now};
use hathi_formats::editlog::Frame;
use hathi_formats::ids::{Epoch, InodeId, TxId};
use hathi_formats::proto::datanode::DatanodeCommandProto;
use hathi_formats::proto::hdfs::DatanodeIdProto;
use hathi_namespace::{Attestation, Caller, Comparison, Namespace, SubAccessWalk};
use std::collections::VecDeque;

impl Namesystem {
    /// The state that the edits make: durable.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The state that the reports make: soft.
    #[must_use]
    pub fn blockmanager(&self) -> &BlockManager {
        &self.blockmanager
    }

    /// The positions of the edit log, and its open batch.
    #[must_use]
    pub fn edit_log(&self) -> &EditLog {
        &self.edit_log
    }

    /// Which replayed edits are proven to be the journal's.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Answers of at-most-once calls.
    #[must_use]
    pub fn retry_cache(&self) -> &RetryCache {
        &self.retry_cache
    }

    /// The role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    // --- the edit log ---

    /// Ends the segment and begins the next one ([`EditLog::roll`]).
    pub fn roll_edit_log(&mut self, wall_ms: u64) -> Result<TxId, EditLogError> {
        self.edit_log.roll(wall_ms)
    }

    /// Ends the last segment of an active that steps down ([`EditLog::close`]).
    pub fn close_edit_log(&mut self) -> Result<TxId, EditLogError> {
        self.edit_log.close()
    }

    /// Takes what was logged since the last call ([`EditLog::take`]).
    pub fn take_logged(&mut self) -> VecDeque<LogItem> {
        self.edit_log.take()
    }

    /// [`EditLog::unsynced_bytes`].
    pub fn unsynced_bytes(&mut self) -> usize {
        self.edit_log.unsynced_bytes()
    }

    // --- proofs ---

    /// [`History::before_active`].
    pub fn unproven_before_active(&self, epoch: Epoch, last: Option<TxId>) -> Result<Vec<Stretch>, HistoryError> {
        self.history.before_active(epoch, last, self.edit_log.applied())
    }

    /// [`History::judge`].
    pub fn judge_history(&mut self, states: &[JournalState], majority: usize) -> Result<Vec<Stretch>, HistoryError> {
        self.history
            .judge(states, majority, self.edit_log.applied(), self.edit_log.life())
    }

    /// [`History::on_compared`].
    pub fn on_history_compared(&mut self, stretch: &Stretch, compared: Compared) -> Result<(), HistoryError> {
        self.history.on_compared(stretch, compared, self.edit_log.life())
    }

    /// [`History::check_overlap`].
    pub(crate) fn check_overlap(
        &mut self,
        seen: &mut Option<Digest>,
        frame: &Frame<'_>,
        source: EditsSource,
    ) -> Result<(), HistoryError> {
        self.history.check_overlap(seen, frame, source, self.edit_log.life())
    }

    /// Notes where the transaction that [`Namesystem::replay`] has just applied was read.
    pub(crate) fn note_replayed(&mut self, frame: &Frame<'_>, source: EditsSource) {
        self.history.replayed(frame, source, self.edit_log.life());
        debug_assert_eq!(self.edit_log.applied(), frame.txid, "each transaction is replayed once");
    }

    // --- answers ---

    /// Remembers the answer of a call that was served just now, or was read of in the journal.
    pub(crate) fn remember_answer(&mut self, key: CallKey, txid: TxId, payload: &[u8], mono_ms: u64) {
        self.retry_cache.insert(key, txid, payload, mono_ms);
    }

    /// A call was answered from the retry cache.
    pub(crate) fn count_repeated_call(&mut self) {
        self.retry_cache.count_hit();
    }

    /// Puts another retry cache in the place of this one, which is returned. For the simulator's planted bugs.
    pub fn replace_retry_cache(&mut self, answers: RetryCache) -> RetryCache {
        std::mem::replace(&mut self.retry_cache, answers)
    }

    // --- the namespace ---

    /// Notes in the namespace what is applied: ops that begin and end segments are in the log only, and an image and a
    /// comparison cover them too. Returns the last applied transaction.
    pub fn note_applied(&mut self) -> TxId {
        let applied = self.edit_log.applied();
        self.note_covered(applied);
        applied
    }

    /// Notes in the namespace that it covers everything up to this transaction.
    pub(crate) fn note_covered(&mut self, txid: TxId) {
        debug_assert!(
            self.namespace.last_applied_txid() <= txid.0 && txid <= self.edit_log.applied(),
            "what changes the namespace is noted at once, and nothing is noted before it is logged"
        );
        self.namespace.set_last_applied_txid(txid.0);
    }

    /// The digest of the namespace at a transaction, behind which nothing but segments has begun and ended.
    pub fn digest_at(&mut self, txid: TxId) -> u64 {
        let last = self.namespace.last_applied_txid();
        self.namespace.set_last_applied_txid(txid.0);
        let digest = self.namespace.digest();
        self.namespace.set_last_applied_txid(last);
        digest
    }

    /// [`Namespace::spoil`].
    pub fn spoil_namespace(&mut self) {
        self.namespace.spoil();
    }

    /// What this NameNode as the active says of its namespace to a standby that has applied everything up to `known`.
    /// Only what a quorum has is told: a good standby never has the rest. `None` when it is not active.
    pub fn attest(&mut self, known: TxId) -> Option<Attestation> {
        if self.role != Role::Active || self.is_broken() {
            return None;
        }
        self.note_applied();
        Some(self.namespace.attest(known.0, self.edit_log.synced().0))
    }

    /// Compares the namespace of a standby with what the active says of its own.
    pub fn compare(&mut self, attestation: &Attestation) -> Comparison {
        match self.role {
            Role::Standby => self.namespace.compare(attestation),
            _ => Comparison::Unknown,
        }
    }

    /// [`Namespace::renew_lease`].
    pub(crate) fn renew_lease(&mut self, client_name: &str, mono_ms: u64) {
        self.namespace.renew_lease(client_name, mono_ms);
    }

    /// [`Namespace::watch_access`].
    pub(crate) fn watch_access(&mut self, dir: InodeId) -> SubAccessWalk {
        self.namespace.watch_access(dir)
    }

    /// [`Namespace::unwatch_access`].
    pub(crate) fn unwatch_access(&mut self, walk: &SubAccessWalk) {
        self.namespace.unwatch_access(walk);
    }

    /// [`Namespace::catch_up_access`].
    pub(crate) fn catch_up_access(&mut self, caller: &Caller<'_>, walk: &mut SubAccessWalk) -> bool {
        self.namespace.catch_up_access(caller, walk)
    }

    // --- the block manager ---

    /// The block manager, for the calls of DataNodes and for what clients do with the replicas of their blocks.
    pub(crate) fn blockmanager_mut(&mut self) -> &mut BlockManager {
        &mut self.blockmanager
    }

    /// [`BlockManager::take_commands`].
    pub(crate) fn take_datanode_commands(&mut self, datanode: DatanodeIndex, now: Now) -> Vec<DatanodeCommandProto> {
        let mut commands = self.blockmanager.take_commands(datanode, &self.info.block_pool_id, now);
        crate::coded_blocks::complete_policies(&self.namespace, &mut commands);
        commands
    }

    /// The block manager, and the namespace that says what the files want.
    pub(crate) fn namespace_and_blockmanager(&mut self) -> (&Namespace, &mut BlockManager) {
        (&self.namespace, &mut self.blockmanager)
    }

    /// [`BlockManager::activate_safe_mode`].
    pub fn activate_safe_mode(&mut self, now: Now) {
        self.blockmanager.activate_safe_mode(now);
    }

    /// [`BlockManager::enter_safe_mode`].
    pub fn enter_safe_mode(&mut self) {
        self.blockmanager.enter_safe_mode();
    }

    /// [`BlockManager::enter_low_resources_safe_mode`].
    pub fn enter_low_resources_safe_mode(&mut self) -> bool {
        self.blockmanager.enter_low_resources_safe_mode()
    }

    /// [`BlockManager::leave_safe_mode`].
    pub fn leave_safe_mode(&mut self, force: bool, now: Now) -> bool {
        self.blockmanager.leave_safe_mode(force, now)
    }

    /// [`BlockManager::take_over`].
    pub fn take_over_blocks(&mut self) {
        self.blockmanager.take_over();
    }

    /// [`BlockManager::heartbeat_check`].
    pub fn heartbeat_check(&mut self, now: Now, max_blocks: usize) -> bool {
        self.blockmanager.heartbeat_check(now, max_blocks)
    }

    /// [`BlockManager::register`].
    pub fn register_datanode(
        &mut self,
        id: DatanodeIdProto,
        software_version: &str,
        now: Now,
    ) -> Result<DatanodeIndex, BlockManagerError> {
        self.blockmanager.register(id, software_version, now)
    }

    /// [`BlockManager::set_admin_state`].
    pub fn set_admin_state(&mut self, datanode: DatanodeIndex, state: AdminState) {
        self.blockmanager.set_admin_state(datanode, state);
    }

    /// [`BlockManager::set_rack`].
    pub fn set_rack(&mut self, host: &str, rack: &str) {
        self.blockmanager.set_rack(host, rack);
    }

    /// [`BlockManager::set_hosts`].
    pub fn set_hosts(&mut self, include: impl IntoIterator<Item = String>, exclude: impl IntoIterator<Item = String>) {
        self.blockmanager.set_hosts(include, exclude);
    }

    /// [`BlockManager::plant`].
    #[cfg(feature = "mutants")]
    pub fn plant_in_blockmanager(&mut self, mutant: Option<hathi_blockmanager::Mutant>) {
        self.blockmanager.plant(mutant);
    }

    /// Breaks the namespace as a bug would.
    #[cfg(test)]
    pub(crate) fn break_namespace(&mut self, bug: impl FnOnce(&mut Namespace)) {
        bug(&mut self.namespace);
    }

    /// Breaks the role as a bug would.
    #[cfg(test)]
    pub(crate) fn break_role(&mut self, role: Role) {
        self.role = role;
    }
}
