//! One invariant each. A checker is told what happens and answers what is wrong.

pub mod acknowledged;
pub mod epochs;
pub mod leases;
pub mod segments;

/// What is wrong, for people.
pub type Verdict = Result<(), String>;
