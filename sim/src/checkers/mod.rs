//! Checkers of one invariant each. A checker is told what happens, and returns what is wrong.

pub mod acknowledged;
pub mod answers;
pub mod epochs;
pub mod images;
pub mod leases;
pub mod replicas;
pub mod segments;
pub mod service;
pub mod tree;

/// A description of what is wrong.
pub type Verdict = Result<(), String>;
