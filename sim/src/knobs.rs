//! What a seed chooses before the run begins.

use fastrand::Rng;

/// Microseconds.
pub type Micros = u64;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// How many JournalNodes.
    pub journalnodes: usize,
    /// How many would-be writers.
    pub namenodes: usize,
    /// Length of the read lease; 0 = none, as with Hadoop.
    pub lease_ms: u32,
    /// Which JournalNodes behave as Java's: no leases, no resuming.
    pub java: Vec<bool>,
    /// How long faults happen.
    pub faults_until: Micros,
    /// How long the healed world may take to make progress.
    pub patience: Micros,
    /// Most transactions of a batch.
    pub max_batch: u64,
    /// Mean pause between two batches of a writer.
    pub batch_every: Micros,
    /// One of so many batches is followed by a roll.
    pub roll_one_in: u64,
    /// Journal calls under way to one JournalNode.
    pub pipeline_depth: usize,
    /// Bytes a writer keeps to catch JournalNodes up.
    pub recent_limit_bytes: usize,
    /// Mean network delay one way.
    pub delay: Micros,
    /// One of so many messages breaks its connection.
    pub reset_one_in: u64,
    /// One of so many messages comes twice.
    pub duplicate_one_in: u64,
    /// Mean pause between two looks of a JournalNode for segments it lacks.
    pub compare_every: Micros,
    /// One of so many rolls is followed by a purge.
    pub purge_one_in: u64,
    /// Mean time of a sync.
    pub sync_time: Micros,
    /// Mean pause between two faults.
    pub fault_every: Micros,
    /// Clock rates in parts per million off, for each JournalNode, then each NameNode.
    pub drift_ppm: Vec<i64>,
}

/// Clocks differ from true time by at most so much, so two of them by less than the bound the leases allow (1 %).
pub(crate) const MAX_DRIFT_PPM: i64 = 5_000;

impl Knobs {
    /// Clocks differ as much as leases allow, which are long, and the network is quick.
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
        // Short segments of few lengths make copies of equal length and different content likely.
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
