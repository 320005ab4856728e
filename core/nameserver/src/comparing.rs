//! What follows when a standby has compared its namespace with the active's: which answer counts, what the log says, and
//! whether the namespace is loaded anew. [`hathi_namesystem::divergence`] decides what a comparison means.
//!
//! Invariants: a difference is said when it is found or changes, and then once in [`LOG_EVERY_MS`]; a standby that
//! differs gives up the image that it makes, and does not load again and again.

use hathi_namespace::Attestation;
use hathi_namesystem::divergence::{Difference, Verdict};
use hathi_namesystem::standby_health::{LOG_EVERY_MS, StandbyHealth};

/// The attestation that counts: if two NameNodes think that they are active, that of the one that is ahead. Of equal ones
/// the first counts.
#[must_use]
pub fn counting(attestations: Vec<Attestation>) -> Option<Attestation> {
    let last = |attestation: &Attestation| attestation.marks.last().map(|mark| mark.txid);
    attestations
        .into_iter()
        .reduce(|best, other| if last(&other) > last(&best) { other } else { best })
}

/// What the log says.
#[derive(Clone, Debug)]
pub enum News {
    /// The namespace is not the active's.
    Differs(Difference),
    /// There is no difference any more.
    Over,
}

/// What follows from a comparison.
#[derive(Clone, Debug)]
pub struct Next {
    /// What the log says.
    pub news: Option<News>,
    /// Whether the image under way is given up.
    pub cancels_image: bool,
    /// Whether the namespace is loaded anew.
    pub loads: bool,
}

/// What the log has said.
#[derive(Clone, Debug, Default)]
pub struct Comparing {
    said: Option<(String, u64)>,
}

impl Comparing {
    /// What follows from this verdict, which `health` knows already.
    pub fn after(&mut self, verdict: Verdict, health: &mut StandbyHealth, now_ms: u64) -> Next {
        let news = self.news(verdict, health.divergence.difference(), now_ms);
        Next {
            news,
            cancels_image: matches!(verdict, Verdict::Load | Verdict::Lasts),
            loads: verdict == Verdict::Load && health.may_load(now_ms),
        }
    }

    fn news(&mut self, verdict: Verdict, difference: Option<&Difference>, now_ms: u64) -> Option<News> {
        let Some(known) = difference else {
            self.said = None;
            return (verdict == Verdict::Over).then_some(News::Over);
        };
        let is_said =
            |(what, at_ms): &(String, u64)| *what == known.what && now_ms < at_ms.saturating_add(LOG_EVERY_MS);
        if self.said.as_ref().is_some_and(is_said) {
            return None;
        }
        self.said = Some((known.what.clone(), now_ms));
        Some(News::Differs(known.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hathi_namespace::{Comparison, Mark};

    const DIFFERS: Comparison = Comparison::Differs { txid: 7 };
    const EQUAL: Comparison = Comparison::Equal { txid: 9 };

    fn attestation(version: u32, txids: &[u64]) -> Attestation {
        Attestation {
            version,
            origin: 0,
            marks: txids.iter().map(|txid| Mark { txid: *txid, digest: 0 }).collect(),
        }
    }

    #[test]
    fn of_two_that_think_they_are_active_the_one_ahead_counts() {
        let version = |all| counting(all).map(|attestation| attestation.version);
        let (behind, ahead) = (attestation(1, &[3, 5]), attestation(2, &[4, 6]));
        assert_eq!(version(vec![]), None);
        assert_eq!(version(vec![behind.clone(), ahead.clone()]), Some(2));
        assert_eq!(version(vec![ahead.clone(), behind.clone()]), Some(2));
        assert_eq!(
            version(vec![attestation(3, &[]), behind]),
            Some(1),
            "it says nothing yet"
        );
        assert_eq!(version(vec![ahead, attestation(4, &[6])]), Some(2));
    }

    struct Standby {
        comparing: Comparing,
        health: StandbyHealth,
    }

    impl Standby {
        fn compares(&mut self, comparison: Comparison, now_ms: u64) -> Next {
            let verdict = self.health.divergence.on_compared(comparison, now_ms, now_ms);
            self.comparing.after(verdict, &mut self.health, now_ms)
        }
    }

    fn standby() -> Standby {
        Standby {
            comparing: Comparing::default(),
            health: StandbyHealth::default(),
        }
    }

    #[test]
    fn a_difference_is_said_when_it_comes_and_changes_and_ends_and_once_a_minute() {
        let mut standby = standby();
        assert!(standby.compares(EQUAL, 500).news.is_none());
        assert!(matches!(standby.compares(DIFFERS, 1000).news, Some(News::Differs(_))));
        assert!(standby.compares(DIFFERS, 2000).news.is_none());
        assert!(standby.compares(DIFFERS, 999 + LOG_EVERY_MS).news.is_none());
        assert!(standby.compares(DIFFERS, 1000 + LOG_EVERY_MS).news.is_some());
        standby.health.divergence.on_loaded();
        assert!(
            standby.compares(DIFFERS, 1001 + LOG_EVERY_MS).news.is_some(),
            "it lasts"
        );
        assert!(matches!(
            standby.compares(EQUAL, 1002 + LOG_EVERY_MS).news,
            Some(News::Over)
        ));
        assert!(standby.compares(EQUAL, 1003 + LOG_EVERY_MS).news.is_none());
        assert!(
            standby.compares(DIFFERS, 1004 + LOG_EVERY_MS).news.is_some(),
            "another one"
        );
    }

    #[test]
    fn a_standby_that_differs_makes_no_image_and_loads_once_in_a_while() {
        let mut standby = standby();
        let next = standby.compares(EQUAL, 0);
        assert!(!next.cancels_image && !next.loads);
        let next = standby.compares(DIFFERS, 1000);
        assert!(next.cancels_image && next.loads);
        let next = standby.compares(DIFFERS, 2000);
        assert!(next.cancels_image && !next.loads, "the load has not begun");
        standby.health.divergence.on_loaded();
        let next = standby.compares(DIFFERS, 100_000);
        assert!(next.cancels_image && !next.loads, "a load does not help");
    }
}
