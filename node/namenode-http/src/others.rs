//! What other daemons of the cluster say of themselves.

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// What other daemons said last, and when.
#[derive(Debug, Default)]
pub struct Others {
    /// By the URL that is asked.
    pub answers: Mutex<BTreeMap<String, Heard>>,
    /// When all were asked last. Locked while they are being asked.
    pub asked: tokio::sync::Mutex<Option<Instant>>,
    /// Locked while configurations are compared.
    pub comparing: tokio::sync::Mutex<()>,
}

/// What one of them said.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The last answer, and when it came (ms since 1970).
    pub last: Option<(u64, Value)>,
    /// Why there was none when it was asked last.
    pub error: Option<String>,
}
