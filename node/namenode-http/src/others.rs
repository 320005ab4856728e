//! What other daemons of the cluster say of themselves.

use parking_lot::Mutex;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// What other daemons said last, and when.
#[derive(Debug, Default)]
pub struct Others {
    /// By the URL that is asked; those of JournalNodes by [`of_journalnode`].
    pub answers: Mutex<BTreeMap<String, Heard>>,
    /// The web addresses of JournalNodes, which they tell themselves, by their addresses.
    pub journalnode_webs: Mutex<BTreeMap<String, String>>,
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
    /// When the request for it was sent (ms since 1970).
    pub asked_ms: u64,
    /// Why there was none when it was asked last.
    pub error: Option<String>,
}

impl Heard {
    /// How far the other's clock is ahead of this one, at least and at most, in ms. `None` if it did not answer last
    /// time, or does not tell its time.
    #[must_use]
    pub fn clock_ahead_ms(&self) -> Option<(i64, i64)> {
        let (at_ms, said) = self.last.as_ref().filter(|_| self.error.is_none())?;
        let told = i64::try_from(said["time"].as_u64()?).ok()?;
        let ahead_of = |ms: u64| Some(told.saturating_sub(i64::try_from(ms).ok()?));
        Some((ahead_of(*at_ms)?, ahead_of(self.asked_ms)?))
    }
}

/// The key of what a JournalNode says.
#[must_use]
pub fn of_journalnode(address: &impl std::fmt::Display) -> String {
    format!("JournalNode {address}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_clock_is_known_as_exactly_as_its_answer_was_fast() {
        let mut heard = Heard {
            last: Some((1_000_400, json!({"time": 1_005_000}))),
            asked_ms: 1_000_000,
            error: None,
        };
        assert_eq!(heard.clock_ahead_ms(), Some((4600, 5000)));
        heard.error = Some("no answer".to_owned());
        assert_eq!(heard.clock_ahead_ms(), None);
    }
}
