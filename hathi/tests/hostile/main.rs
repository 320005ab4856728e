//! What harms a cluster, done to real processes.

mod peer;
mod runs;
