//! Checkers of one invariant each. A checker is told what happens, and returns what is wrong.

pub mod acknowledged;
pub mod epochs;
pub mod leases;
pub mod segments;

/// A description of what is wrong.
pub type Verdict = Result<(), String>;
