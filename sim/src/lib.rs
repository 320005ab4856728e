//! A simulated cluster over the production cores: one seed gives topology, knobs, workload and faults, and the same
//! seed gives the same run, event for event.
//!
//! * [`world`]: virtual time, the queue of events, the one random generator.
//! * [`knobs`]: settings that a seed chooses before the run begins.
//! * [`network`]: connections with delay, resets, one-way partitions, late requests of broken connections.
//! * [`journalnode`], [`namenode`]: adapters that do for the cores what the shells do in real processes.
//! * [`nemesis`]: crashes, torn writes, lost and damaged disks, pauses, partitions, and the budget of faults.
//! * [`checkers`]: one invariant each, watched during the run and at its end.
//! * [`blocks`]: a world of its own for the block side over failovers.
//! * [`writing`]: another for files that are written while DataNodes, NameNodes and clients fail.
//! * [`cluster`]: a third for the whole: NameNodes, JournalNodes, failover controllers and clients.
//! * [`campaign`]: many seeds on all cores, what they reached, and the smallest set of faults that still fails.
//!
//! A run has two phases. First there are faults, and everything must stay safe. Then the world heals, must make
//! progress, and every JournalNode must catch up.

pub mod blocks;
pub mod campaign;
pub mod checkers;
pub mod cluster;
pub mod journalnode;
pub mod knobs;
pub mod namenode;
pub mod nemesis;
pub mod network;
pub mod ops;
pub mod world;
pub mod writing;

pub use hathi_journal::mutant::{ALL_MUTANTS, LIAR_MUTANTS, MEMBERSHIP_MUTANTS, Mutant};
pub use world::{JournalPlan, Outcome, run};
