//! A NameNode that tries to become the writer: it makes attempts as an elector would, has a quorum writer while it is
//! one, and remembers what it wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use hathi_formats::ids::{Epoch, LayoutVersion, NamespaceInfo};
use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::Micros;
use hathi_journal::mutant::{Mutant, Mutation};
use hathi_journal::writer::WriterTimeouts;
use hathi_journal::{QuorumWriter, WriterConfig};

use crate::journalnode::Clock;
use crate::knobs::Knobs;
use crate::network::JournalConnection;

/// What a NameNode is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterRole {
    /// It is not the writer.
    Standby,
    /// Recovering the log.
    Recovering,
    /// Opening a segment.
    Opening,
    /// Writing.
    Writing,
    /// Finalizing a segment.
    Rolling,
}

/// One NameNode.
#[derive(Debug)]
pub struct NameNode {
    /// Index of the NameNode.
    pub index: usize,
    /// Number of starts.
    pub life: u64,
    /// Whether the process lives.
    pub alive: bool,
    /// It does nothing before this time.
    pub paused_until: Micros,
    /// Its clock.
    pub clock: Clock,
    /// Highest epoch that this process has asked for.
    pub asked_before: Epoch,
    /// The quorum writer of the present attempt.
    pub writer: Option<QuorumWriter>,
    /// Number of the present attempt.
    pub attempt: u64,
    /// What it is doing.
    pub role: WriterRole,
    /// Epoch of the present attempt.
    pub epoch: u64,
    /// Connections to the JournalNodes.
    pub connections: Vec<JournalConnection>,
    /// Transactions that it has written and that are not known to be synced.
    pub unsynced: BTreeMap<u64, u64>,
    /// The next transaction it writes.
    pub next_txid: u64,
    /// First transaction of its newest segment.
    pub segment: u64,
    /// Time for which a tick is scheduled.
    pub tick_at: Option<Micros>,
    /// The newest membership of the JournalNodes that it remembers.
    pub membership: Option<hathi_journal::Membership>,
}

/// The namespace that all simulated nodes serve.
pub fn namespace_info() -> NamespaceInfo {
    NamespaceInfo {
        layout_version: LayoutVersion::NAMENODE_CURRENT,
        namespace_id: 4711,
        cluster_id: "CID-sim".to_owned(),
        ctime: 0,
        block_pool_id: "BP-sim".to_owned(),
    }
}

impl NameNode {
    /// A NameNode that lives and is standby.
    pub fn new(index: usize, clock: Clock, journalnodes: usize) -> Self {
        NameNode {
            index,
            life: 1,
            alive: true,
            paused_until: 0,
            clock,
            asked_before: Epoch(0),
            writer: None,
            attempt: 0,
            role: WriterRole::Standby,
            epoch: 0,
            connections: vec![JournalConnection::default(); journalnodes],
            unsynced: BTreeMap::new(),
            next_txid: 0,
            segment: 0,
            tick_at: None,
            membership: None,
        }
    }

    /// End of its lease on its own clock.
    pub fn lease_until(&self) -> Micros {
        self.writer.as_ref().map_or(0, QuorumWriter::lease_until)
    }

    /// Its name at the JournalNodes.
    pub fn holder(&self) -> String {
        format!("nn{}@{}", self.index, self.life)
    }

    /// Its proof of the lease.
    pub fn proof(&self) -> LeaseProof {
        LeaseProof(u128::from(self.life) << 8 | (self.index as u128 + 1))
    }

    /// Gives up the present attempt. The connections stay, but nobody listens.
    pub fn step_down(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.asked_before = self.asked_before.max(writer.epoch());
        }
        self.role = WriterRole::Standby;
        self.epoch = 0;
        self.unsynced.clear();
        self.tick_at = None;
        for connection in &mut self.connections {
            connection.id += 1;
            connection.outstanding.clear();
            connection.doomed = false;
        }
    }

    /// Makes the quorum writer of a new attempt.
    pub fn new_writer(&mut self, knobs: &Knobs, mutant: Option<Mutant>) {
        self.step_down();
        self.attempt += 1;
        self.role = WriterRole::Recovering;
        let timeout = 1_500_000;
        self.writer = Some(QuorumWriter::new(WriterConfig {
            ns_info: namespace_info(),
            holder: Arc::from(self.holder()),
            proof: self.proof(),
            asked_before: self.asked_before,
            lease_ms: knobs.lease_ms,
            layout_version: LayoutVersion::NAMENODE_CURRENT,
            members: (0..knobs.journalnodes).map(crate::journalnode::address).collect(),
            membership: self.membership.clone(),
            journal_id: "ns".to_owned(),
            timeouts: WriterTimeouts {
                start_segment: timeout,
                prepare_recovery: timeout,
                accept_recovery: timeout,
                finalize_segment: timeout,
                get_journal_state: timeout,
                new_epoch: timeout,
                write_txns: timeout,
                // Earlier than in a real process, so that faults happen in between.
                reelect_after: 20_000 + 500 * u64::from(knobs.lease_ms),
            },
            recent_limit_bytes: knobs.recent_limit_bytes,
            pipeline_depth: knobs.pipeline_depth,
            mutation: Mutation::planted(mutant),
        }));
    }
}
