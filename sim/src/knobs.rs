//! Settings that a seed chooses before the run begins.

use fastrand::Rng;
pub use hathi_journal::messages::Micros;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Number of JournalNodes.
    pub journalnodes: usize,
    /// Number of NameNodes that may become the writer.
    pub namenodes: usize,
    /// Length of the read lease; 0: none, as in Hadoop.
    pub lease_ms: u32,
    /// JournalNodes that behave as Java's: without leases and resuming.
    pub java: Vec<bool>,
    /// Time until which faults happen.
    pub faults_until: Micros,
    /// Longest time in which the healed world must make progress.
    pub patience: Micros,
    /// Largest number of transactions in a batch.
    pub max_batch: u64,
    /// Mean pause between two batches of a writer.
    pub batch_every: Micros,
    /// One in this many batches is followed by a roll.
    pub roll_one_in: u64,
    /// Number of journal calls under way to one JournalNode.
    pub pipeline_depth: usize,
    /// Bytes that a writer keeps to catch JournalNodes up.
    pub recent_limit_bytes: usize,
    /// Mean network delay in one direction.
    pub delay: Micros,
    /// One in this many messages breaks its connection.
    pub reset_one_in: u64,
    /// One in this many messages arrives twice.
    pub duplicate_one_in: u64,
    /// Mean pause between two searches of a JournalNode for segments that it lacks.
    pub compare_every: Micros,
    /// One in this many rolls is followed by a purge.
    pub purge_one_in: u64,
    /// Mean time of a sync.
    pub sync_time: Micros,
    /// Mean pause between two faults.
    pub fault_every: Micros,
    /// Deviation of the clocks' rates in parts per million: of each JournalNode, then of each NameNode.
    pub drift_ppm: Vec<i64>,
}

/// Largest deviation of a clock's rate from true time. So two clocks differ by less than leases allow (1 %).
pub(crate) const MAX_DRIFT_PPM: i64 = 5_000;

impl Knobs {
    /// Lets clocks differ as much as leases allow. Leases are long, and the network is fast.
    pub fn sharpen_leases(&mut self) {
        self.lease_ms = 1_000;
        self.delay = 100;
        self.java.fill(false);
        let (jns, nns) = self.drift_ppm.split_at_mut(self.journalnodes);
        jns.fill(MAX_DRIFT_PPM);
        nns.fill(-MAX_DRIFT_PPM);
    }

    /// Draws the settings of a run.
    pub fn draw(rng: &mut Rng) -> Self {
        let journalnodes = if rng.u8(0..4) == 0 { 5 } else { 3 };
        let namenodes = rng.usize(2..=3);
        let all_java = rng.u8(0..8) == 0;
        let some_java = rng.u8(0..6) == 0;
        let java = (0..journalnodes)
            .map(|_| all_java || (some_java && rng.bool()))
            .collect();
        // Short segments with few different lengths make copies of equal length and different content likely.
        let tight = rng.u8(0..3) == 0;
        let lease_ms = if rng.u8(0..6) == 0 { 0 } else { rng.u32(100..600) };
        Knobs {
            journalnodes,
            namenodes,
            lease_ms,
            java,
            faults_until: rng.u64(800_000..3_500_000),
            patience: 10_000_000,
            batch_every: rng.u64(2_000..20_000),
            max_batch: if tight { 1 } else { 4 },
            roll_one_in: if tight { rng.u64(1..5) } else { rng.u64(4..40) },
            pipeline_depth: rng.usize(1..6),
            recent_limit_bytes: if rng.u8(0..3) == 0 { 600 } else { 1 << 20 },
            delay: rng.u64(100..4_000),
            reset_one_in: rng.u64(40..1_000),
            duplicate_one_in: rng.u64(20..1_000),
            compare_every: rng.u64(100_000..1_500_000),
            purge_one_in: rng.u64(1..20),
            sync_time: rng.u64(100..6_000),
            fault_every: if tight {
                rng.u64(10_000..60_000)
            } else {
                rng.u64(30_000..250_000)
            },
            drift_ppm: (0..journalnodes + namenodes)
                .map(|_| match rng.u8(0..4) {
                    0 => -MAX_DRIFT_PPM,
                    1 => MAX_DRIFT_PPM,
                    _ => rng.i64(-MAX_DRIFT_PPM..=MAX_DRIFT_PPM),
                })
                .collect(),
        }
    }
}
