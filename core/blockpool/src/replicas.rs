//! The replicas of one block pool and every transition between their states.
//!
//! A transition is planned against the map, its file actions are carried out by the caller, and then it is committed.
//! The caller holds the pool's lock over all three, so that a plan is never stale.

use std::collections::BTreeMap;

use hathi_formats::ids::{Block, BlockId, GenerationStamp};

use crate::chunks::Mismatch;
use crate::replica::{FileAction, Replica, ReplicaError, ReplicaState, VolumeId, WriteProgress, WriterId};

/// How much of a transition must be on disk before it is answered ([`crate::steps`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durable {
    /// Nothing: no caller was promised anything.
    #[default]
    Nothing,
    /// The names of the files, and with them state and stamp.
    Names,
    /// Bytes, checksums and names.
    All,
}

/// A planned change of one replica. The caller carries out `actions` in order, commits, makes the change durable, and
/// then carries out `then`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transition {
    /// Changes of files before the commit.
    pub actions: Vec<FileAction>,
    /// The replica afterwards; `None` removes it.
    pub replica: Option<Replica>,
    /// The block whose entry changes.
    pub block_id: BlockId,
    /// A second replica that is made (truncate with a new block id).
    pub extra: Option<Replica>,
    /// What must be durable before the transition is answered.
    pub durable: Durable,
    /// Changes of files after that.
    pub then: Vec<FileAction>,
    /// What to do with a last chunk that is cut and does not match its checksum.
    pub mismatch: Mismatch,
}

impl Transition {
    fn to(replica: Replica, actions: Vec<FileAction>) -> Transition {
        Transition {
            actions,
            block_id: replica.block_id,
            replica: Some(replica),
            extra: None,
            durable: Durable::Nothing,
            then: vec![],
            mismatch: Mismatch::Refused,
        }
    }

    /// The same transition with another rule for a last chunk that does not match its checksum.
    pub fn over(self, mismatch: Mismatch) -> Transition {
        Transition { mismatch, ..self }
    }

    /// Sets the checksum of the last, short chunk of a replica that will be written to. The plan could not know it.
    pub fn know_last_checksum(&mut self, last: Option<[u8; 4]>) {
        if let Some(progress) = self.replica.as_mut().and_then(|replica| replica.progress.as_mut())
            && progress.last_checksum.is_none()
        {
            progress.last_checksum = last;
        }
    }

    /// The same transition with a promise of durability.
    fn durable(self, durable: Durable) -> Transition {
        Transition { durable, ..self }
    }
}

/// The replicas of one block pool (`ReplicaMap`).
#[derive(Debug, Default)]
pub struct ReplicaMap {
    replicas: BTreeMap<BlockId, Replica>,
}

type ReplicaResult<T> = Result<T, ReplicaError>;

impl ReplicaMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> ReplicaMap {
        ReplicaMap::default()
    }

    /// A replica by block id, whatever its stamp.
    #[must_use]
    pub fn get(&self, id: BlockId) -> Option<&Replica> {
        self.replicas.get(&id)
    }

    /// All replicas, by block id.
    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    /// Removes every replica of a volume that is gone.
    pub fn remove_volume(&mut self, volume: VolumeId) -> Vec<Replica> {
        let gone: Vec<BlockId> = self
            .iter()
            .filter(|replica| replica.volume == volume)
            .map(|replica| replica.block_id)
            .collect();
        gone.iter().filter_map(|id| self.replicas.remove(id)).collect()
    }

    /// Adds a replica found at start. If a block has two replicas, one is kept: the one with the higher stamp, then a
    /// complete one, then the longer one, then the one already known. The other one is to be deleted
    /// (`BlockPoolSlice.selectReplicaToDelete`). A complete replica wins over an incomplete one of the same stamp,
    /// because a loss of power may bring back the replica as it was before it was completed and moved to another
    /// volume.
    pub fn add_found(&mut self, found: Replica) -> Option<FileAction> {
        let Some(known) = self.replicas.get(&found.block_id) else {
            self.replicas.insert(found.block_id, found);
            return None;
        };
        if known.location() == found.location() {
            return None;
        }
        let rank = |replica: &Replica| {
            let complete = replica.state == ReplicaState::Finalized;
            (replica.generation_stamp, complete, replica.num_bytes)
        };
        debug_assert_eq!(found.block_id, known.block_id, "two replicas of one block");
        debug_assert!(found.progress.is_none(), "nobody writes to what a start finds");
        if rank(&found) > rank(known) {
            let loser = known.location();
            self.replicas.insert(found.block_id, found);
            Some(FileAction::Delete(loser))
        } else {
            Some(FileAction::Delete(found.location()))
        }
    }

    /// Replaces a replica by what a look at its files found, after a transition has failed half way.
    pub fn restore(&mut self, replica: Replica) {
        replica.check();
        self.replicas.insert(replica.block_id, replica);
    }

    /// Enters the planned change into the map.
    pub fn commit(&mut self, transition: Transition) {
        for replica in transition.replica.iter().chain(&transition.extra) {
            replica.check();
            if let Some(before) = self.replicas.get(&replica.block_id) {
                debug_assert!(
                    replica.generation_stamp >= before.generation_stamp,
                    "a stamp never goes back: what a pipeline left behind would pass for the block"
                );
                debug_assert!(
                    before.writer().is_none() || replica.writer() == before.writer() || replica.writer().is_none(),
                    "one writer has ended before another one begins"
                );
            }
        }
        debug_assert!(
            transition
                .replica
                .as_ref()
                .is_none_or(|replica| replica.block_id == transition.block_id),
            "a transition changes the replica that it names"
        );
        debug_assert!(
            transition
                .extra
                .as_ref()
                .is_none_or(|extra| extra.block_id != transition.block_id),
            "a block has one replica here"
        );
        match transition.replica {
            Some(replica) => {
                self.replicas.insert(transition.block_id, replica);
            }
            None => {
                self.replicas.remove(&transition.block_id);
            }
        }
        if let Some(extra) = transition.extra {
            self.replicas.insert(extra.block_id, extra);
        }
    }

    fn known(&self, block: Block) -> ReplicaResult<&Replica> {
        self.get(block.id).ok_or_else(|| {
            ReplicaError::NotFound(format!(
                "Cannot append to a non-existent replica blk_{}_{}",
                block.id, block.generation_stamp
            ))
        })
    }

    /// A new replica for a client's pipeline (`createRbw`). `replaces` is set when the client comes back with a newer
    /// stamp, which makes the earlier replica of the block obsolete.
    pub fn create_rbw(
        &self,
        block: Block,
        replaces: bool,
        volume: VolumeId,
        writer: WriterId,
        reserved_bytes: u64,
    ) -> ReplicaResult<Transition> {
        let gives_way = |_: &Replica| replaces;
        self.create(block, ReplicaState::Rbw, volume, writer, reserved_bytes, gives_way)
    }

    /// A new replica for a copy from another DataNode (`createTemporary`). A replica with an older stamp is replaced.
    /// The sender knows that the block has the newer stamp, but it may have forgotten the older replica here. That
    /// replica would then keep the block from getting its replicas until the next full report. Only a replica under
    /// recovery with a recovery id above the copy's stamp stays. (Hadoop replaces a replica in a pipeline, and for the
    /// transfer of a pipeline recovery any replica.)
    pub fn create_temporary(
        &self,
        block: Block,
        is_transfer: bool,
        volume: VolumeId,
        writer: WriterId,
        reserved_bytes: u64,
    ) -> ReplicaResult<Transition> {
        let gives_way = |existing: &Replica| {
            let recovery = existing.recovery.filter(|_| !is_transfer);
            recovery.is_none_or(|(id, _)| id <= block.generation_stamp)
        };
        self.create(
            block,
            ReplicaState::Temporary,
            volume,
            writer,
            reserved_bytes,
            gives_way,
        )
    }

    /// A new replica. An existing one is replaced if its stamp is older and `gives_way` allows it.
    fn create(
        &self,
        block: Block,
        state: ReplicaState,
        volume: VolumeId,
        writer: WriterId,
        reserved_bytes: u64,
        gives_way: impl FnOnce(&Replica) -> bool,
    ) -> ReplicaResult<Transition> {
        let mut actions = Vec::new();
        if let Some(existing) = self.get(block.id) {
            if existing.generation_stamp >= block.generation_stamp || !gives_way(existing) {
                return Err(ReplicaError::AlreadyExists(format!(
                    "Block blk_{}_{} already exists in state {} and thus cannot be created.",
                    block.id,
                    block.generation_stamp,
                    existing.state.name()
                )));
            }
            if let Some(writer) = existing.writer() {
                return Err(ReplicaError::StopWriterFirst(writer));
            }
            actions.push(FileAction::Delete(existing.location()));
        }
        let replica = Replica {
            block_id: block.id,
            generation_stamp: block.generation_stamp,
            num_bytes: 0,
            state,
            volume,
            progress: Some(Box::new(WriteProgress {
                writer: Some(writer),
                reserved_bytes,
                ..WriteProgress::default()
            })),
            recovery: None,
        };
        actions.push(FileAction::Create(replica.location()));
        Ok(Transition::to(replica, actions))
    }

    /// Opens a finalized replica for append (`append`).
    pub fn append(
        &self,
        block: Block,
        new_gs: GenerationStamp,
        expected_len: u64,
        writer: WriterId,
    ) -> ReplicaResult<Transition> {
        let replica = self.known(block)?;
        check_new_stamp(replica, new_gs)?;
        if replica.state != ReplicaState::Finalized {
            return Err(ReplicaError::NotFound(format!(
                "Cannot append to an unfinalized replica blk_{}_{}",
                block.id, block.generation_stamp
            )));
        }
        if replica.generation_stamp < block.generation_stamp || replica.generation_stamp > new_gs {
            return Err(unexpected_stamp(replica, block, new_gs));
        }
        check_length(replica, expected_len)?;
        Ok(Self::reopen(replica, new_gs, writer))
    }

    /// FINALIZED to RBW, all bytes acknowledged.
    fn reopen(replica: &Replica, new_gs: GenerationStamp, writer: WriterId) -> Transition {
        let from = replica.location();
        let mut next = replica.clone();
        next.state = ReplicaState::Rbw;
        next.generation_stamp = new_gs;
        next.progress = Some(Box::new(WriteProgress {
            bytes_on_disk: replica.num_bytes,
            bytes_acked: replica.num_bytes,
            last_checksum: None,
            writer: Some(writer),
            reserved_bytes: 0,
        }));
        let to = next.location();
        Transition::to(next, vec![FileAction::Move { from, to }]).durable(Durable::All)
    }

    /// The checks that `recoverAppend` and `recoverClose` share (`recoverCheck`).
    fn recover_check(&self, block: Block, new_gs: GenerationStamp, expected_len: u64) -> ReplicaResult<&Replica> {
        let replica = self.known(block)?;
        if !matches!(replica.state, ReplicaState::Finalized | ReplicaState::Rbw) {
            return Err(ReplicaError::NotFound(format!(
                "Cannot recover append/close to a replica that's not FINALIZED and not RBW {}",
                replica.describe()
            )));
        }
        if replica.generation_stamp < block.generation_stamp || replica.generation_stamp > new_gs {
            return Err(unexpected_stamp(replica, block, new_gs));
        }
        if let Some(writer) = replica.writer() {
            return Err(ReplicaError::StopWriterFirst(writer));
        }
        if let Some(progress) = &replica.progress
            && (progress.bytes_on_disk != replica.num_bytes || progress.bytes_acked != replica.num_bytes)
        {
            return Err(ReplicaError::AlreadyExists(format!(
                "RBW replica {} bytesRcvd({}), bytesOnDisk({}), and bytesAcked({}) are not the same.",
                replica.describe(),
                replica.num_bytes,
                progress.bytes_on_disk,
                progress.bytes_acked
            )));
        }
        check_length(replica, expected_len)?;
        Ok(replica)
    }

    /// Continues an append whose pipeline failed at set-up (`recoverAppend`).
    pub fn recover_append(
        &self,
        block: Block,
        new_gs: GenerationStamp,
        expected_len: u64,
        writer: WriterId,
    ) -> ReplicaResult<Transition> {
        let replica = self.recover_check(block, new_gs, expected_len)?;
        if replica.state == ReplicaState::Finalized {
            check_new_stamp(replica, new_gs)?;
            return Ok(Self::reopen(replica, new_gs, writer));
        }
        let mut next = replica.clone();
        if let Some(progress) = &mut next.progress {
            progress.writer = Some(writer);
        }
        Ok(Self::cut(replica, next, new_gs).durable(Durable::All))
    }

    /// Continues a close whose last acknowledgement was lost (`recoverClose`).
    pub fn recover_close(&self, block: Block, new_gs: GenerationStamp, expected_len: u64) -> ReplicaResult<Transition> {
        let replica = self.recover_check(block, new_gs, expected_len)?;
        let mut next = replica.clone();
        next.state = ReplicaState::Finalized;
        next.progress = None;
        let transition = if replica.state == ReplicaState::Finalized {
            Self::bump(replica, next, new_gs)
        } else {
            Self::cut(replica, next, new_gs)
        };
        Ok(transition.durable(Durable::All))
    }

    /// As [`ReplicaMap::bump`], and cuts from the files the bytes that a stopped writer had begun and not made known.
    fn cut(replica: &Replica, mut next: Replica, new_gs: GenerationStamp) -> Transition {
        next.generation_stamp = new_gs;
        if let Some(progress) = &mut next.progress {
            // It is set to the checksum in the new meta file.
            progress.last_checksum = None;
        }
        let action = FileAction::Truncate {
            from: replica.location(),
            to: next.location(),
            length: next.bytes_on_disk(),
        };
        Transition::to(next, vec![action])
    }

    /// Renames the files for a new stamp or state.
    fn bump(replica: &Replica, mut next: Replica, new_gs: GenerationStamp) -> Transition {
        next.generation_stamp = new_gs;
        let (from, to) = (replica.location(), next.location());
        let actions = if from == to {
            vec![]
        } else {
            vec![FileAction::Move { from, to }]
        };
        Transition::to(next, actions)
    }

    /// Takes a replica over for a pipeline that is set up anew (`recoverRbw`). Bytes that were written but never
    /// acknowledged are cut off. `data_len` is the block file's length.
    pub fn recover_rbw(
        &self,
        block: Block,
        new_gs: GenerationStamp,
        min_bytes: u64,
        max_bytes: u64,
        data_len: u64,
        writer: WriterId,
    ) -> ReplicaResult<Transition> {
        let replica = self.known(block)?;
        let Some(progress) = replica.progress.as_ref().filter(|_| replica.state == ReplicaState::Rbw) else {
            return Err(ReplicaError::NotFound(format!(
                "Cannot recover a non-RBW replica {}",
                replica.describe()
            )));
        };
        if let Some(writer) = progress.writer {
            return Err(ReplicaError::StopWriterFirst(writer));
        }
        if replica.generation_stamp < block.generation_stamp || replica.generation_stamp > new_gs {
            return Err(unexpected_stamp(replica, block, new_gs));
        }
        let acked = progress.bytes_acked;
        if acked < min_bytes || replica.num_bytes > max_bytes {
            return Err(ReplicaError::NotFound(format!(
                "Unmatched length replica {}: BytesAcked = {acked} BytesRcvd = {} are not in the range of [{min_bytes}, {max_bytes}].",
                replica.describe(),
                replica.num_bytes
            )));
        }
        if data_len < acked {
            return Err(ReplicaError::NotFound(format!(
                "Found fewer bytesOnDisk than bytesAcked for replica {}",
                replica.describe()
            )));
        }
        let mut next = replica.clone();
        next.num_bytes = acked;
        next.progress = Some(Box::new(WriteProgress {
            bytes_on_disk: acked,
            bytes_acked: acked,
            last_checksum: progress.last_checksum,
            writer: Some(writer),
            reserved_bytes: progress.reserved_bytes,
        }));
        let transition = if data_len > acked || progress.bytes_on_disk > acked {
            Self::cut(replica, next, new_gs)
        } else {
            Self::bump(replica, next, new_gs)
        };
        Ok(transition.durable(Durable::Names))
    }

    /// Completes a replica (`finalizeBlock`). `None` when it is complete already. `durable` says that its bytes were
    /// synced.
    pub fn finalize(&self, block: Block, durable: bool) -> ReplicaResult<Option<Transition>> {
        let replica = self.known(block)?;
        if replica.state == ReplicaState::Finalized {
            return Ok(None);
        }
        if replica.generation_stamp != block.generation_stamp {
            return Err(ReplicaError::Invalid(format!(
                "Generation Stamp should be monotonically increased block: blk_{}_{}, replica: {}",
                block.id,
                block.generation_stamp,
                replica.describe()
            )));
        }
        if !matches!(replica.state, ReplicaState::Rbw | ReplicaState::Temporary) {
            return Err(ReplicaError::Invalid(format!("cannot finalize {}", replica.describe())));
        }
        let mut next = replica.clone();
        next.state = ReplicaState::Finalized;
        next.progress = None;
        let promised = if durable { Durable::Names } else { Durable::Nothing };
        Ok(Some(
            Self::bump(replica, next, block.generation_stamp).durable(promised),
        ))
    }

    /// Makes a transferred copy part of a pipeline (`convertTemporaryToRbw`). `block.num_bytes` is the length that must
    /// be visible.
    pub fn convert_temporary_to_rbw(&self, block: Block) -> ReplicaResult<Transition> {
        let replica = self.get(block.id).ok_or_else(|| {
            ReplicaError::NotFound(format!(
                "Replica does not exist blk_{}_{}",
                block.id, block.generation_stamp
            ))
        })?;
        if replica.state != ReplicaState::Temporary || replica.generation_stamp != block.generation_stamp {
            return Err(ReplicaError::AlreadyExists(format!(
                "r.getState() != ReplicaState.TEMPORARY or stamp != {}, r={}",
                block.generation_stamp,
                replica.describe()
            )));
        }
        if replica.num_bytes < block.num_bytes {
            return Err(ReplicaError::Invalid(format!(
                "{} = numBytes < visible = {}, temp={}",
                replica.num_bytes,
                block.num_bytes,
                replica.describe()
            )));
        }
        let mut next = replica.clone();
        next.state = ReplicaState::Rbw;
        if let Some(progress) = &mut next.progress {
            progress.bytes_acked = block.num_bytes.min(progress.bytes_on_disk);
            progress.writer = None;
            progress.reserved_bytes = 0;
        }
        Ok(Self::bump(replica, next, block.generation_stamp).durable(Durable::Names))
    }

    /// Drops the rest of a failed copy (`unfinalizeBlock`). Only the writer's own TEMPORARY replica is dropped.
    #[must_use]
    pub fn abandon_temporary(&self, id: BlockId, writer: WriterId) -> Option<Transition> {
        let replica = self.get(id)?;
        (replica.state == ReplicaState::Temporary && replica.writer() == Some(writer)).then(|| Self::removal(replica))
    }

    fn removal(replica: &Replica) -> Transition {
        Transition {
            actions: vec![FileAction::Delete(replica.location())],
            replica: None,
            block_id: replica.block_id,
            extra: None,
            durable: Durable::Nothing,
            then: vec![],
            mismatch: Mismatch::Refused,
        }
    }

    /// Deletes a replica that the NameNode no longer wants (`invalidate`). A replica newer than the request stays.
    pub fn invalidate(&self, block: Block) -> ReplicaResult<Transition> {
        let Some(replica) = self.get(block.id) else {
            return Err(ReplicaError::NotFound(format!(
                "Failed to delete replica blk_{}_{}: ReplicaInfo not found.",
                block.id, block.generation_stamp
            )));
        };
        if replica.generation_stamp > block.generation_stamp {
            return Err(ReplicaError::Invalid(format!(
                "Failed to delete replica blk_{}_{}: GenerationStamp not matched, existing replica is blk_{}_{}",
                block.id, block.generation_stamp, replica.block_id, replica.generation_stamp
            )));
        }
        if let Some(writer) = replica.writer() {
            return Err(ReplicaError::StopWriterFirst(writer));
        }
        Ok(Self::removal(replica))
    }

    /// Moves a finalized replica to another volume (`moveBlockAcrossStorage`). The old one is deleted when the new one
    /// is durable.
    pub fn relocate(&self, block: Block, volume: VolumeId) -> ReplicaResult<Transition> {
        let replica = self.known(block)?;
        if replica.state != ReplicaState::Finalized || replica.block() != block || replica.volume == volume {
            return Err(ReplicaError::Invalid(format!(
                "cannot move {} of volume {} to volume {}",
                replica.describe(),
                replica.volume.0,
                volume.0
            )));
        }
        let mut next = replica.clone();
        next.volume = volume;
        let copy = FileAction::Copy {
            from: replica.location(),
            to: next.location(),
            length: replica.num_bytes,
        };
        Ok(Transition {
            then: vec![FileAction::Delete(replica.location())],
            ..Transition::to(next, vec![copy]).durable(Durable::All)
        })
    }

    /// First half of a block recovery (`initReplicaRecovery`): the replica is set aside for this recovery. `None` when
    /// there is no replica. `data_len` is the block file's length where the caller could see it.
    pub fn init_recovery(
        &self,
        block: Block,
        recovery_id: GenerationStamp,
        data_len: Option<u64>,
    ) -> ReplicaResult<Option<Transition>> {
        let Some(replica) = self.get(block.id) else {
            return Ok(None);
        };
        if let Some(writer) = replica.writer() {
            return Err(ReplicaError::StopWriterFirst(writer));
        }
        if replica.bytes_on_disk() < replica.visible_length().unwrap_or(0)
            || data_len.is_some_and(|length| length < replica.bytes_on_disk())
        {
            return Err(ReplicaError::Invalid(format!(
                "getBytesOnDisk() < getVisibleLength(), rip={}",
                replica.describe()
            )));
        }
        if replica.generation_stamp < block.generation_stamp {
            return Err(ReplicaError::Invalid(format!(
                "replica.getGenerationStamp() < block.getGenerationStamp(), block=blk_{}_{}, replica={}",
                block.id,
                block.generation_stamp,
                replica.describe()
            )));
        }
        if replica.generation_stamp >= recovery_id {
            return Err(ReplicaError::Invalid(format!(
                "THIS IS NOT SUPPOSED TO HAPPEN: replica.getGenerationStamp() >= recoveryId = {recovery_id}, block=blk_{}_{}, replica={}",
                block.id,
                block.generation_stamp,
                replica.describe()
            )));
        }
        let mut next = replica.clone();
        if let Some((ongoing, original)) = replica.recovery {
            if ongoing >= recovery_id {
                return Err(ReplicaError::RecoveryInProgress(format!(
                    "rur.getRecoveryID() >= recoveryId = {recovery_id}, block=blk_{}_{}, rur={}",
                    block.id,
                    block.generation_stamp,
                    replica.describe()
                )));
            }
            next.recovery = Some((recovery_id, original));
        } else {
            next.recovery = Some((recovery_id, replica.state));
            next.state = ReplicaState::Rur;
            if let Some(progress) = &mut next.progress {
                progress.reserved_bytes = 0;
            }
        }
        Ok(Some(Transition::to(next, vec![])))
    }

    /// Second half (`updateReplicaUnderRecovery`): the replica becomes FINALIZED with the recovery id as its stamp and
    /// the agreed length; with a new block id, a copy does, and the replica goes back to FINALIZED as it was.
    pub fn update_under_recovery(
        &self,
        old: Block,
        recovery_id: GenerationStamp,
        new_block_id: Option<BlockId>,
        new_len: u64,
    ) -> ReplicaResult<Transition> {
        let replica = self
            .get(old.id)
            .ok_or_else(|| ReplicaError::NotFound(format!("Replica not found for blk_{}", old.id)))?;
        let Some((id, _)) = replica.recovery.filter(|_| replica.state == ReplicaState::Rur) else {
            return Err(ReplicaError::Invalid(format!(
                "replica.getState() != RUR, replica={}",
                replica.describe()
            )));
        };
        if id != recovery_id {
            return Err(ReplicaError::Invalid(format!(
                "rur.getRecoveryID() != recoveryId = {recovery_id}, rur={}",
                replica.describe()
            )));
        }
        if replica.bytes_on_disk() != old.num_bytes {
            return Err(ReplicaError::Invalid(format!(
                "THIS IS NOT SUPPOSED TO HAPPEN: replica.getBytesOnDisk() != block.getNumBytes(), block=blk_{} length {}, replica={}",
                old.id,
                old.num_bytes,
                replica.describe()
            )));
        }
        if replica.bytes_on_disk() < new_len {
            return Err(ReplicaError::Invalid(format!(
                "rur.getNumBytes() < newlength = {new_len}, rur={}",
                replica.describe()
            )));
        }
        let from = replica.location();
        let mut next = replica.clone();
        next.recovery = None;
        next.progress = None;
        next.state = ReplicaState::Finalized;
        if let Some(copy_id) = new_block_id.filter(|copy_id| *copy_id != old.id && copy_id.0 > 0) {
            next.num_bytes = old.num_bytes;
            let to = next.location();
            let copy = Replica::at_rest(
                Block {
                    id: copy_id,
                    num_bytes: new_len,
                    generation_stamp: recovery_id,
                },
                ReplicaState::Finalized,
                replica.volume,
            );
            let mut actions = Vec::new();
            if let Some(earlier) = self.get(copy_id) {
                // An earlier attempt of this truncation got as far as the copy.
                if earlier.state != ReplicaState::Finalized || earlier.generation_stamp >= recovery_id {
                    return Err(ReplicaError::AlreadyExists(format!(
                        "there is a replica of the truncated block already: {}",
                        earlier.describe()
                    )));
                }
                actions.push(FileAction::Delete(earlier.location()));
            }
            actions.push(FileAction::Copy {
                from,
                to: copy.location(),
                length: new_len,
            });
            if from != to {
                actions.push(FileAction::Move { from, to });
            }
            return Ok(Transition {
                extra: Some(copy),
                ..Transition::to(next, actions).durable(Durable::All)
            });
        }
        debug_assert!(recovery_id > replica.generation_stamp, "a recovery gives a newer stamp");
        debug_assert!(new_len <= replica.bytes_on_disk(), "no replica can be made longer");
        next.num_bytes = new_len;
        next.generation_stamp = recovery_id;
        let to = next.location();
        // The files of a replica that was being written may have more bytes than were made known.
        let cuts = old.num_bytes > new_len || replica.original_state() != ReplicaState::Finalized;
        let action = if cuts {
            FileAction::Truncate {
                from,
                to,
                length: new_len,
            }
        } else {
            FileAction::Move { from, to }
        };
        Ok(Transition::to(next, vec![action]).durable(Durable::All))
    }

    /// Changes the lengths of a replica that `writer` still owns; false when it owns it no longer.
    pub fn progress(
        &mut self,
        id: BlockId,
        writer: WriterId,
        change: impl FnOnce(&mut u64, &mut WriteProgress),
    ) -> bool {
        let Some(replica) = self.replicas.get_mut(&id) else {
            return false;
        };
        match &mut replica.progress {
            Some(progress) if progress.writer == Some(writer) => {
                let (before, acked) = (replica.num_bytes, progress.bytes_acked);
                change(&mut replica.num_bytes, progress);
                debug_assert!(
                    progress.bytes_acked <= progress.bytes_on_disk,
                    "what is acknowledged is on disk"
                );
                debug_assert!(replica.num_bytes >= before, "only a recovery makes a replica shorter");
                debug_assert!(progress.bytes_acked >= acked, "an acknowledgement is not taken back");
                true
            }
            _ => false,
        }
    }

    /// Releases a replica whose writer is gone.
    pub fn release_writer(&mut self, id: BlockId, writer: WriterId) {
        if let Some(progress) = self.replicas.get_mut(&id).and_then(|replica| replica.progress.as_mut())
            && progress.writer == Some(writer)
        {
            progress.writer = None;
            progress.reserved_bytes = 0;
        }
    }

    /// Forgets a replica whose files are gone.
    pub fn forget(&mut self, id: BlockId) -> Option<Replica> {
        self.replicas.remove(&id)
    }

    /// The first finalized replica after `id`.
    #[must_use]
    pub fn next_finalized(&self, id: BlockId) -> Option<&Replica> {
        use std::ops::Bound;
        self.replicas
            .range((Bound::Excluded(id), Bound::Unbounded))
            .map(|(_, replica)| replica)
            .find(|replica| replica.state == ReplicaState::Finalized)
    }

    /// Asserts the map's invariants.
    pub fn check(&self) {
        let mut writers = std::collections::BTreeSet::new();
        for (id, replica) in &self.replicas {
            assert_eq!(*id, replica.block_id, "a replica stands at another block");
            replica.check();
            if let Some(writer) = replica.writer() {
                assert!(writers.insert(writer), "{writer:?} writes two replicas");
            }
        }
    }
}

fn unexpected_stamp(replica: &Replica, block: Block, new_gs: GenerationStamp) -> ReplicaError {
    ReplicaError::NotFound(format!(
        "Cannot append to a replica with unexpected generation stamp {}. Expected GS range is [{}, {new_gs}].",
        replica.generation_stamp, block.generation_stamp
    ))
}

/// Refuses a stamp below the replica's. The replica's own stamp is allowed, as in Hadoop: clients other than Java's
/// (hdfs-native) do not ask the NameNode for a new one before they append. A replica that misses such an append is
/// known only by its length (HDFS-17850).
fn check_new_stamp(replica: &Replica, new_gs: GenerationStamp) -> ReplicaResult<()> {
    if new_gs >= replica.generation_stamp {
        return Ok(());
    }
    Err(ReplicaError::Invalid(format!(
        "The new generation stamp {new_gs} should be greater than the replica blk_{}_{}'s generation stamp",
        replica.block_id, replica.generation_stamp
    )))
}

fn check_length(replica: &Replica, expected_len: u64) -> ReplicaResult<()> {
    if replica.num_bytes == expected_len {
        return Ok(());
    }
    Err(ReplicaError::Invalid(format!(
        "Corrupted replica {} with a length of {} expected length is {expected_len}",
        replica.describe(),
        replica.num_bytes
    )))
}

#[cfg(test)]
mod tests;
