//! What follows when a standby has compared its namespace with the active's: which answer counts, what the log says, and
//! whether the namespace is loaded anew. [`hathi_namesystem::divergence`] decides what a comparison means.
//!
//! Invariants: a difference is said when it is found or changes, and then once in [`LOG_EVERY_MS`]; a standby that
//! differs gives up the image that it makes, and does not load again and again.

use hathi_formats::exceptions::{RPC_NO_SUCH_METHOD, RPC_NO_SUCH_PROTOCOL, RemoteException};
use hathi_namespace::Attestation;
use hathi_namesystem::divergence::{Difference, Divergence, Verdict};
use hathi_namesystem::standby_health::{LOG_EVERY_MS, StandbyHealth};
use hathi_namesystem::{Namesystem, Role};

/// The attestation that counts: if two NameNodes think that they are active, that of the one that is ahead. Of equal ones
/// the first counts.
#[must_use]
pub fn counting(attestations: Vec<Attestation>) -> Option<Attestation> {
    let last = |attestation: &Attestation| attestation.marks.last().map(|mark| mark.txid);
    attestations
        .into_iter()
        .reduce(|best, other| if last(&other) > last(&best) { other } else { best })
}

/// Pause in ms between two comparisons.
pub const PAUSE_MS: u64 = 1000;
/// Pause in ms before a NameNode of Hadoop's is asked again. It does not know the call, but may be replaced.
const HADOOP_RETRY_MS: u64 = 30_000;

/// When another NameNode is asked what it attests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rhythm {
    not_before_ms: u64,
}

impl Rhythm {
    /// Whether it is asked now.
    #[must_use]
    pub fn asks(&self, now_ms: u64) -> bool {
        now_ms >= self.not_before_ms
    }

    /// It has refused.
    pub fn refused(&mut self, exception: &RemoteException, now_ms: u64) {
        if exception.is(RPC_NO_SUCH_PROTOCOL) || exception.is(RPC_NO_SUCH_METHOD) {
            self.not_before_ms = now_ms.saturating_add(HADOOP_RETRY_MS);
        }
    }
}

/// What this attestation, or that nobody gave one, says of a standby's namespace. An active is not compared with anybody.
pub fn judge(
    ns: &mut Namesystem,
    divergence: &mut Divergence,
    attestation: Option<&Attestation>,
    now_ms: u64,
    wall_ms: u64,
) -> Verdict {
    if ns.role() != Role::Standby {
        return Verdict::Nothing;
    }
    match attestation.map(|attestation| ns.compare(attestation)) {
        Some(comparison) => divergence.on_compared(comparison, now_ms, wall_ms),
        None => divergence.on_nobody_to_compare_with(),
    }
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
        let cancels_image = matches!(verdict, Verdict::Load | Verdict::Lasts);
        let loads = verdict == Verdict::Load && health.may_load(now_ms);
        debug_assert!(cancels_image || !loads, "no image is made of a namespace that goes");
        Next {
            news,
            cancels_image,
            loads,
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
    use crate::tests::in_role;
    use hathi_formats::exceptions;
    use hathi_formats::ids::TxId;
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

    #[test]
    fn a_namenode_of_hadoops_is_asked_again_once_in_a_while() {
        let mut rhythm = Rhythm::default();
        assert!(rhythm.asks(0));
        rhythm.refused(&RemoteException::new(exceptions::STANDBY, ""), 5);
        assert!(rhythm.asks(5), "it knows the call");
        rhythm.refused(&RemoteException::new(RPC_NO_SUCH_METHOD, ""), 5);
        assert!(!rhythm.asks(4 + HADOOP_RETRY_MS));
        assert!(rhythm.asks(5 + HADOOP_RETRY_MS));
    }

    #[test]
    fn a_standby_is_compared_and_an_active_is_not() {
        let mut ns = in_role(Role::Active, 5);
        let mut health = StandbyHealth::default();
        let mut judges = |ns: &mut Namesystem, attestation: Option<&Attestation>| {
            let verdict = judge(ns, &mut health.divergence, attestation, 0, 0);
            (verdict, health.problem().is_some())
        };
        let mut attestation = ns.attest(TxId(6)).expect("it is active");
        assert_eq!(attestation.marks.last().map(|mark| mark.txid), Some(6));
        attestation.marks[0].digest ^= 1;
        assert_eq!(judges(&mut ns, Some(&attestation)), (Verdict::Nothing, false));
        ns.begin_stepping_down().unwrap();
        ns.end_stepping_down(0).unwrap();
        assert_eq!(ns.attest(TxId(6)), None);
        assert_eq!(judges(&mut ns, Some(&attestation)), (Verdict::Load, true));
        attestation.marks[0].digest ^= 1;
        assert_eq!(judges(&mut ns, Some(&attestation)), (Verdict::Over, false));
        assert_eq!(judges(&mut ns, None), (Verdict::Nothing, false), "nobody says anything");
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
