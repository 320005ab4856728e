//! Settings that a seed chooses before the run begins.

use crate::knobs::{MAX_DRIFT_PPM, Micros};
use fastrand::Rng;

/// One in so many runs has DataNodes: they cost time.
const DATANODES_ONE_IN: u8 = 4;

/// Time in which a patient client wants an answer: longer than any NameNode keeps a call.
const PATIENT_CLIENT: Micros = 5_000_000;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// NameNodes.
    pub namenodes: usize,
    /// JournalNodes.
    pub journalnodes: usize,
    /// Clients.
    pub clients: usize,
    /// Length of the read lease.
    pub lease_ms: u32,
    /// Time until which faults happen.
    pub faults_until: Micros,
    /// Longest time in which the healed cluster must be whole again.
    pub patience: Micros,
    /// Mean network delay in one direction.
    pub delay: Micros,
    /// One in this many messages is lost, or comes much later.
    pub loss_one_in: u64,
    /// One in this many messages arrives twice.
    pub duplicate_one_in: u64,
    /// Mean time of a sync.
    pub sync_time: Micros,
    /// Mean pause between two faults.
    pub fault_every: Micros,
    /// Mean pause between two calls of a client.
    pub think_time: Micros,
    /// A client takes a connection without an answer for broken after this time.
    pub client_timeout: Micros,
    /// Number of transactions that a standby applies under one hold of the lock.
    pub txns_per_lock: usize,
    /// Mean pause of a standby between two reads.
    pub tail_every: Micros,
    /// Bytes that a writer keeps to catch JournalNodes up.
    pub recent_limit_bytes: usize,
    /// Mean pause between two segments.
    pub roll_every: Micros,
    /// The period of checkpoints.
    pub checkpoint_every: Micros,
    /// An image is due after so many transactions.
    pub checkpoint_txns: u64,
    /// How long saving an image takes, at most.
    pub save_time: Micros,
    /// A controller takes a NameNode that is silent for this long for one that does not respond.
    pub silence_ms: u64,
    /// Whether there are DataNodes, and clients that write files.
    pub datanodes: bool,
    /// Mean pause between two things that happen at DataNodes and their clients.
    pub datanodes_every: Micros,
    /// Deviation of the clocks' rates in parts per million: of each JournalNode, then of each NameNode.
    pub drift_ppm: Vec<i64>,
}

impl Knobs {
    /// Draws the settings of a run.
    pub fn draw(rng: &mut Rng) -> Self {
        let namenodes = rng.usize(2..=3);
        let journalnodes = if rng.u8(0..10) == 0 { 5 } else { 3 };
        let mut knobs = Knobs {
            namenodes,
            journalnodes,
            clients: rng.usize(2..=4),
            lease_ms: rng.u32(150..800),
            faults_until: rng.u64(1_500_000..5_000_000),
            patience: 180_000_000,
            delay: rng.u64(100..3_000),
            loss_one_in: rng.u64(60..1_500),
            duplicate_one_in: rng.u64(20..1_000),
            sync_time: rng.u64(100..5_000),
            fault_every: rng.u64(40_000..300_000),
            think_time: rng.u64(2_000..30_000),
            client_timeout: match rng.u8(0..8) {
                0 => PATIENT_CLIENT,
                _ => rng.u64(100_000..800_000),
            },
            txns_per_lock: rng.usize(1..20),
            tail_every: rng.u64(2_000..40_000),
            recent_limit_bytes: if rng.u8(0..3) == 0 { 600 } else { 1 << 20 },
            roll_every: rng.u64(60_000..2_000_000),
            checkpoint_every: rng.u64(100_000..2_000_000),
            save_time: rng.u64(1_000..100_000),
            silence_ms: rng.u64(600..3_000),
            drift_ppm: (0..journalnodes + namenodes)
                .map(|_| match rng.u8(0..4) {
                    0 => -MAX_DRIFT_PPM,
                    1 => MAX_DRIFT_PPM,
                    _ => rng.i64(-MAX_DRIFT_PPM..=MAX_DRIFT_PPM),
                })
                .collect(),
            datanodes: rng.u8(0..DATANODES_ONE_IN) == 0,
            datanodes_every: rng.u64(500..2_500),
            checkpoint_txns: rng.u64(5..80),
        };
        if knobs.datanodes {
            // Files take many calls, one after the other: there has to be an active most of the time.
            knobs.fault_every *= 4;
            knobs.faults_until += 3_000_000;
        }
        knobs
    }
}
