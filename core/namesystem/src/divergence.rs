//! Whether a standby's namespace is the active's.
//!
//! Every NameNode keeps a digest of its namespace. A standby regularly asks for the active's
//! ([`hathi_namespace::Attestation`]) and compares both at transactions that the two have in common. Hadoop compares
//! nothing: a standby that applied an edit wrongly serves the wrong tree after the next failover.
//!
//! Who of the two is wrong is not known. But the active's answers are what clients have seen, and a standby can be
//! loaded anew without harm, so the standby is the one that doubts itself:
//!
//! ```text
//!              differs                 loaded anew               differs again
//!   (nothing) ─────────► Found ───────────────────► Loaded ────────────────────► Lasting
//!       ▲                  │ equal                    │ equal, or                   │ equal
//!       └──────────────────┴──────────────────────────┴ no active to compare with ──┘
//! ```
//!
//! Invariants: from the first difference until the two are found equal, the standby is not healthy, becomes not active
//! and publishes no image. One exception: once it is loaded anew it knows as much as a process that has just started,
//! so while nobody is active it may be elected; otherwise the loss of the active would leave nobody. That holds as well
//! when the difference has come back after a load: then image or edits are wrong, or the active is, and only an operator
//! can tell, but image and edits are all that any NameNode will ever have of what was acknowledged. It is told again,
//! without another load, when there is an active that differs.

use hathi_formats::ids::TxId;
use hathi_namespace::Comparison;

/// How long after a comparison an image waits for the next one, ms. Standbys compare about once a second.
const COMPARING_MS: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It must be loaded anew.
    Found,
    /// It was loaded anew, and not compared since.
    Loaded,
    /// It was loaded anew, and still differed.
    Lasting,
    /// The same, and nobody is active.
    Alone,
}

/// A difference that was found.
#[derive(Clone, Debug)]
pub struct Difference {
    stage: Stage,
    /// The first transaction after which the two were found to differ.
    pub txid: u64,
    /// When it was found, wall clock ms.
    pub since_ms: u64,
    /// In words.
    pub what: String,
}

/// What follows from a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Nothing,
    /// The namespace has to be loaded anew.
    Load,
    /// Loading anew has not helped.
    Lasts,
    /// There is no difference any more.
    Over,
}

/// What a NameNode knows of whether its namespace is the active's; see the module.
#[derive(Clone, Debug, Default)]
pub struct Divergence {
    difference: Option<Difference>,
    /// The newest transaction after which the two were found equal, and when, monotonic ms. Of this life.
    equal: Option<(u64, u64)>,
}

impl Divergence {
    /// Notes a comparison with the active at this monotonic and wall time.
    pub fn on_compared(&mut self, comparison: Comparison, mono_ms: u64, wall_ms: u64) -> Verdict {
        match (comparison, &mut self.difference) {
            (Comparison::Unknown, _) => Verdict::Nothing,
            (Comparison::Equal { txid }, difference) => {
                self.equal = Some((txid, mono_ms));
                match difference.take() {
                    Some(_) => Verdict::Over,
                    None => Verdict::Nothing,
                }
            }
            (Comparison::Differs { txid }, None) => {
                self.equal = None;
                self.difference = Some(Difference {
                    stage: Stage::Found,
                    txid,
                    since_ms: wall_ms,
                    what: format!("The namespace differs from the active's since transaction {txid} or earlier"),
                });
                Verdict::Load
            }
            (Comparison::Differs { txid }, Some(known)) => match known.stage {
                Stage::Found => Verdict::Load,
                Stage::Loaded | Stage::Alone => {
                    known.stage = Stage::Lasting;
                    known.txid = txid;
                    known.what = format!(
                        "The namespace differs from the active's, also after it was loaded anew from image and edits: \
                         transaction {txid}. If all standbys say so, the active is wrong"
                    );
                    Verdict::Lasts
                }
                Stage::Lasting => Verdict::Nothing,
            },
        }
    }

    /// The namespace was loaded from image and edits.
    pub fn on_loaded(&mut self) {
        self.equal = None;
        if let Some(known) = &mut self.difference
            && known.stage == Stage::Found
        {
            known.stage = Stage::Loaded;
        }
    }

    /// No other NameNode is active, or says what its digest is.
    pub fn on_nobody_to_compare_with(&mut self) -> Verdict {
        match self.difference.as_mut().map(|known| &mut known.stage) {
            Some(Stage::Loaded) => {
                self.difference = None;
                Verdict::Over
            }
            Some(stage @ Stage::Lasting) => {
                *stage = Stage::Alone;
                Verdict::Over
            }
            Some(Stage::Found | Stage::Alone) | None => Verdict::Nothing,
        }
    }

    /// The difference, as long as this NameNode may not become active and publish no image because of it.
    #[must_use]
    pub fn difference(&self) -> Option<&Difference> {
        self.difference.as_ref().filter(|known| known.stage != Stage::Alone)
    }

    /// The newest transaction after which the two were equal in this life.
    #[must_use]
    pub fn equal_txid(&self) -> Option<u64> {
        self.equal.map(|(txid, _)| txid)
    }

    /// Whether an image of this transaction should wait for the next comparison: an equal digest at or after it says
    /// that the image is good, too. It waits only where comparisons are made.
    #[must_use]
    pub fn is_awaited(&self, txid: TxId, mono_ms: u64) -> bool {
        let comparing = |(equal, at_ms): (u64, u64)| equal < txid.0 && mono_ms < at_ms.saturating_add(COMPARING_MS);
        self.difference().is_none() && self.equal.is_some_and(comparing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFFERS: Comparison = Comparison::Differs { txid: 7 };
    const EQUAL: Comparison = Comparison::Equal { txid: 9 };

    fn compared(divergence: &mut Divergence, comparison: Comparison) -> Verdict {
        divergence.on_compared(comparison, 1000, 5)
    }

    fn is_trusted(divergence: &Divergence) -> bool {
        divergence.difference().is_none()
    }

    #[test]
    fn a_standby_that_differs_loads_anew_once_and_is_trusted_when_it_is_equal() {
        let mut all = Divergence::default();
        assert_eq!(compared(&mut all, Comparison::Unknown), Verdict::Nothing);
        assert_eq!(compared(&mut all, DIFFERS), Verdict::Load);
        assert_eq!(all.difference().map(|known| (known.txid, known.since_ms)), Some((7, 5)));
        assert_eq!(compared(&mut all, DIFFERS), Verdict::Load, "the load has not begun");
        assert_eq!(all.on_nobody_to_compare_with(), Verdict::Nothing);
        assert!(!is_trusted(&all), "it is the same namespace as before");
        all.on_loaded();
        assert!(!is_trusted(&all));
        assert_eq!(compared(&mut all, Comparison::Unknown), Verdict::Nothing);
        assert!(!is_trusted(&all));
        assert_eq!(compared(&mut all, EQUAL), Verdict::Over);
        assert!(is_trusted(&all));
        assert_eq!(compared(&mut all, DIFFERS), Verdict::Load, "another difference");
    }

    #[test]
    fn a_difference_that_a_load_does_not_mend_stays() {
        let mut all = Divergence::default();
        compared(&mut all, DIFFERS);
        all.on_loaded();
        assert_eq!(compared(&mut all, Comparison::Differs { txid: 8 }), Verdict::Lasts);
        assert_eq!(compared(&mut all, Comparison::Differs { txid: 8 }), Verdict::Nothing);
        all.on_loaded();
        assert_eq!(all.difference().map(|known| known.txid), Some(8));
        assert_eq!(compared(&mut all, EQUAL), Verdict::Over);
        assert!(is_trusted(&all));
    }

    #[test]
    fn the_loss_of_the_active_does_not_leave_nobody() {
        let mut all = Divergence::default();
        compared(&mut all, DIFFERS);
        all.on_loaded();
        assert_eq!(all.on_nobody_to_compare_with(), Verdict::Over);
        assert!(is_trusted(&all), "it is as good as a process that has just started");
        // All standbys differ, because the active is wrong. Then it dies.
        compared(&mut all, DIFFERS);
        all.on_loaded();
        assert_eq!(compared(&mut all, DIFFERS), Verdict::Lasts);
        assert!(!is_trusted(&all));
        assert_eq!(all.on_nobody_to_compare_with(), Verdict::Over);
        assert_eq!(all.on_nobody_to_compare_with(), Verdict::Nothing);
        assert!(is_trusted(&all));
        // It was only out of reach.
        assert_eq!(compared(&mut all, DIFFERS), Verdict::Lasts, "no load helps");
        assert!(!is_trusted(&all));
    }

    #[test]
    fn an_image_waits_for_a_comparison_only_where_there_are_any() {
        let mut all = Divergence::default();
        assert!(!all.is_awaited(TxId(9), 1000), "nobody has compared anything");
        compared(&mut all, EQUAL);
        assert!(!all.is_awaited(TxId(9), 1000));
        assert!(all.is_awaited(TxId(10), 1000));
        assert!(!all.is_awaited(TxId(10), 1000 + COMPARING_MS));
        compared(&mut all, DIFFERS);
        assert!(!all.is_awaited(TxId(10), 1000), "there will be no such image");
        all.on_loaded();
        assert_eq!(all.equal_txid(), None, "it was said of another namespace");
    }
}
