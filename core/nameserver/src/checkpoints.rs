//! When a NameNode makes an image, whether `saveNamespace` makes one, whether an image that is offered is proven, and
//! which edits are deleted behind an image (Hadoop's `StandbyCheckpointer.doWork`, `FSImage.saveNamespace`,
//! `ImageServlet` and `NNStorageRetentionManager`). [`hathi_namesystem::checkpoint`] has the periods and the order of
//! the standbys.
//!
//! Invariants:
//! - Only a standby that is trusted makes images beside others, and only an active one alone.
//! - Whether an image is due is looked at again after the other standbys have answered.
//! - Edits are deleted by an active only, and never those that lead on from an image that stays.

use hathi_formats::ids::TxId;
use hathi_namesystem::checkpoint::{CheckpointConfig, Checkpointer, Earlier, EditsRetention, keep_from};
use hathi_namesystem::divergence::Difference;
use hathi_namesystem::save_namespace::ImagePurpose;
use hathi_namesystem::{Namesystem, Role};

/// How long a saved image waits until its last transactions are durable, ms.
const DURABLE_WAIT_MS: u64 = 20_000;
/// Number of transactions behind an image that are no change: the op that begins a segment, the op that ends it when
/// the log was rolled, and the op that begins the next segment.
const SEGMENT_OPS: u64 = 3;

/// Who makes the images of this namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makers {
    /// This is the only NameNode. Hadoop's needs a SecondaryNameNode.
    Alone,
    /// The standbys do, in the order of their ids. `is_one`: `dfs.ha.standby.checkpoints`.
    Standbys {
        /// Whether this NameNode makes images as a standby.
        is_one: bool,
    },
}

/// What the maker must know of its NameNode.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its role.
    pub role: Role,
    /// Whether its namespace is not known to differ from the active's.
    pub is_trusted: bool,
    /// The last applied transaction.
    pub applied: TxId,
    /// The last transaction that the newest image holds.
    pub image: TxId,
    /// Whether an image is being received.
    pub receiving: bool,
}

/// What has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The pause is over.
    Woke,
    /// The NameNodes before this one have answered, or did not.
    Heard(Vec<Earlier>),
    /// An image of this transaction is saved, or none is.
    Saved(Option<TxId>),
}

/// What the shell does. The end of each is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Wake this maker after these ms.
    Pause(u64),
    /// Ask the NameNodes that stand before this one in the order of ids.
    AskEarlier,
    /// Save an image.
    Save(ImagePurpose),
}

/// What follows from a saved image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: there is none.
    Nothing,
    /// It is offered to all other NameNodes.
    Offer(TxId),
    /// Edits that no image needs are deleted.
    Purge,
}

/// The decisions of a NameNode that makes images by itself.
#[derive(Clone, Debug)]
pub struct ImageMaker {
    makers: Makers,
    checkpointer: Checkpointer,
}

impl ImageMaker {
    /// Starts with a new period.
    #[must_use]
    pub fn new(makers: Makers, config: CheckpointConfig, now_ms: u64) -> ImageMaker {
        ImageMaker {
            makers,
            checkpointer: Checkpointer::new(config, now_ms),
        }
    }

    /// What follows from an event. At the start it is a pause.
    pub fn on(&mut self, event: Event, seen: &Seen, now_ms: u64) -> Order {
        let pause = Order::Pause(self.checkpointer.check_interval_ms());
        match event {
            Event::Woke | Event::Heard(_) if !self.makes(seen, now_ms) => pause,
            Event::Woke => match self.makers {
                Makers::Alone => Order::Save(ImagePurpose::SaveNamespace),
                Makers::Standbys { .. } => Order::AskEarlier,
            },
            // Meanwhile another NameNode's image may have arrived, or this NameNode may have become active.
            Event::Heard(earlier) if self.checkpointer.is_mine(&earlier, seen.receiving, now_ms) => {
                Order::Save(ImagePurpose::Checkpoint)
            }
            Event::Heard(_) => pause,
            Event::Saved(saved) => {
                if let Some(txid) = saved {
                    self.checkpointer.on_saved(txid, now_ms);
                }
                pause
            }
        }
    }

    /// What follows from the image of this transaction, besides the next pause.
    #[must_use]
    pub fn follows(&self, saved: Option<TxId>) -> Follows {
        match (saved, self.makers) {
            (None, _) => Follows::Nothing,
            (Some(_), Makers::Alone) => Follows::Purge,
            (Some(txid), Makers::Standbys { .. }) => Follows::Offer(txid),
        }
    }

    fn makes(&mut self, seen: &Seen, now_ms: u64) -> bool {
        // Asked in every role, because it learns from it of the images of others.
        let is_due = self.checkpointer.due(seen.applied, seen.image, now_ms);
        is_due
            && match self.makers {
                Makers::Alone => seen.role == Role::Active && seen.applied.0 > seen.image.0.saturating_add(SEGMENT_OPS),
                Makers::Standbys { is_one } => is_one && seen.is_trusted && seen.role == Role::Standby,
            }
    }
}

/// What an administrator asks for with `saveNamespace`: to make no image when the newest one is recent and has almost
/// everything (`FSImage.saveNamespace`).
#[derive(Clone, Copy, Debug)]
pub struct SaveNamespaceRequest {
    /// An image that is younger is recent, s; 0 is none.
    pub time_window_s: u64,
    /// Number of transactions behind the newest image from which on an image is made.
    pub tx_gap: u64,
}

impl SaveNamespaceRequest {
    /// Whether no image is made. `age_ms` is the age of the newest image by the wall clock, because it may be older than
    /// this process.
    #[must_use]
    pub fn is_met_by(&self, image: TxId, age_ms: u64, applied: TxId) -> bool {
        let gap = applied.0.saturating_sub(image.0);
        self.time_window_s > 0 && age_ms / 1000 < self.time_window_s && gap < self.tx_gap.max(1)
    }
}

/// Whether a quorum has everything in an image that another NameNode offers, as far as this one knows. `None`: that may
/// turn out yet. A standby may have proven slightly less than its peer.
#[must_use]
pub fn is_proven(ns: &Namesystem, txid: TxId) -> Option<bool> {
    let proven = match ns.role() {
        Role::Active => ns.edit_log().synced(),
        _ => ns.life().proven(),
    };
    match ns.role() {
        _ if proven >= txid => Some(true),
        Role::Standby => None,
        _ => Some(false),
    }
}

/// How long a saved image waits until a quorum has everything in it, ms. Before that, an active may still lose edits that
/// it has saved, and a standby may have read edits that are lost. `roll_period_ms` is the period in which a standby asks
/// the active to end its segment, if it does: when the JournalNodes tell no epochs, its history is proven at the end of a
/// segment.
#[must_use]
pub fn durable_wait_ms(roll_period_ms: Option<u64>) -> u64 {
    let two_segments = roll_period_ms.unwrap_or_default().saturating_mul(2);
    DURABLE_WAIT_MS.saturating_add(two_segments)
}

/// A standby that knows that its namespace is not the active's makes no image of it.
///
/// # Errors
/// The difference, in words.
pub fn check_trusted(role: Role, difference: Option<&Difference>) -> Result<(), String> {
    match difference {
        Some(known) if role != Role::Active => Err(known.what.clone()),
        _ => Ok(()),
    }
}

/// Whether an image waits until the standby's namespace was compared with the active's at the image or behind it, if it is
/// compared at all. An image that differs would come back with the next load, here and elsewhere.
#[must_use]
pub fn waits_for_comparison(role: Role, is_awaited: bool, is_over: bool) -> bool {
    role == Role::Standby && is_awaited && !is_over
}

/// For whom edits are kept that no image here needs.
#[derive(Clone, Copy, Debug)]
pub enum Followers<'a> {
    /// There is no other NameNode. Edits are kept for looking back, as in Hadoop.
    None {
        /// The finalized segments here: first and last transaction, in their order.
        segments: &'a [(TxId, TxId)],
        /// The oldest image here.
        oldest_image: Option<TxId>,
        /// `dfs.namenode.max.extra.edits.segments.retained`
        extra_segments_max: usize,
    },
    /// The other NameNodes, which may have been down for a while.
    Standbys {
        /// How far the edits reached at which time.
        retention: &'a EditsRetention,
        /// The last applied transaction.
        applied: TxId,
        /// Monotonic ms.
        now_ms: u64,
    },
}

/// First transaction whose edits stay; `None` when a NameNode in this role deletes none. `by_images` is the one that
/// stays for the images by Hadoop's keys ([`hathi_namesystem::checkpoint::retention`]).
#[must_use]
pub fn edits_kept_from(role: Role, by_images: TxId, followers: Followers<'_>) -> Option<TxId> {
    if role != Role::Active {
        return None;
    }
    Some(match followers {
        Followers::None {
            segments,
            oldest_image,
            extra_segments_max,
        } => {
            let required = oldest_image.map_or(by_images, TxId::next);
            keep_from(segments, required, by_images, extra_segments_max)
        }
        Followers::Standbys {
            retention,
            applied,
            now_ms,
        } => retention.keep_from(by_images, applied, now_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::namesystem;
    use hathi_blockmanager::Now;
    use hathi_namespace::Comparison;
    use hathi_namesystem::Life;
    use hathi_namesystem::divergence::Divergence;

    const PERIOD_MS: u64 = 1000;
    const STANDBYS: Makers = Makers::Standbys { is_one: true };

    fn maker(makers: Makers) -> ImageMaker {
        let config = CheckpointConfig {
            period_ms: PERIOD_MS,
            check_period_ms: 60,
            txns: 100,
            quiet_multiplier: 1.5,
        };
        ImageMaker::new(makers, config, 0)
    }

    fn seen(role: Role) -> Seen {
        Seen {
            role,
            is_trusted: true,
            applied: TxId(50),
            image: TxId(1),
            receiving: false,
        }
    }

    const PAUSE: Order = Order::Pause(60);

    #[test]
    fn a_standby_asks_the_others_when_an_image_is_due_and_makes_it_when_none_of_them_does() {
        let (mut maker, standby) = (maker(STANDBYS), seen(Role::Standby));
        assert_eq!(maker.on(Event::Woke, &standby, PERIOD_MS - 1), PAUSE);
        assert_eq!(maker.on(Event::Woke, &standby, PERIOD_MS), Order::AskEarlier);
        assert_eq!(maker.on(Event::Heard(vec![Earlier::Makes]), &standby, PERIOD_MS), PAUSE);
        assert_eq!(maker.on(Event::Woke, &standby, PERIOD_MS + 60), Order::AskEarlier);
        let heard = Event::Heard(vec![Earlier::Silent, Earlier::CanNot]);
        assert_eq!(
            maker.on(heard, &standby, PERIOD_MS + 60),
            Order::Save(ImagePurpose::Checkpoint)
        );
        assert_eq!(maker.follows(Some(TxId(50))), Follows::Offer(TxId(50)));
        assert_eq!(maker.on(Event::Saved(Some(TxId(50))), &standby, 2000), PAUSE);
        let saved = Seen {
            image: TxId(50),
            applied: TxId(60),
            ..standby
        };
        assert_eq!(maker.on(Event::Woke, &saved, 2999), PAUSE, "the period begins anew");
        assert_eq!(maker.on(Event::Woke, &saved, 3000), Order::AskEarlier);
    }

    #[test]
    fn an_image_that_could_not_be_saved_is_tried_again_and_offered_to_nobody() {
        let (mut maker, standby) = (maker(STANDBYS), seen(Role::Standby));
        assert_eq!(maker.follows(None), Follows::Nothing);
        assert_eq!(maker.on(Event::Saved(None), &standby, PERIOD_MS), PAUSE);
        assert_eq!(maker.on(Event::Woke, &standby, PERIOD_MS + 60), Order::AskEarlier);
    }

    #[test]
    fn what_has_changed_while_the_others_were_asked_counts() {
        let standby = seen(Role::Standby);
        let after = |changed: Seen| {
            let mut maker = maker(STANDBYS);
            assert_eq!(maker.on(Event::Woke, &standby, PERIOD_MS), Order::AskEarlier);
            maker.on(Event::Heard(vec![]), &changed, PERIOD_MS + 1)
        };
        assert_eq!(after(standby), Order::Save(ImagePurpose::Checkpoint));
        let image = TxId(40);
        assert_eq!(after(Seen { image, ..standby }), PAUSE, "another one's image came");
        let receiving = true;
        assert_eq!(after(Seen { receiving, ..standby }), PAUSE, "one is coming");
        let is_trusted = false;
        assert_eq!(after(Seen { is_trusted, ..standby }), PAUSE);
        for role in [
            Role::Initializing,
            Role::BecomingActive,
            Role::Active,
            Role::SteppingDown,
        ] {
            assert_eq!(after(seen(role)), PAUSE, "{role:?}");
        }
    }

    #[test]
    fn who_is_no_maker_asks_nobody() {
        let mut none = maker(Makers::Standbys { is_one: false });
        assert_eq!(none.on(Event::Woke, &seen(Role::Standby), PERIOD_MS), PAUSE);
        let is_trusted = false;
        let differs = Seen {
            is_trusted,
            ..seen(Role::Standby)
        };
        assert_eq!(maker(STANDBYS).on(Event::Woke, &differs, PERIOD_MS), PAUSE);
        assert_eq!(maker(STANDBYS).on(Event::Woke, &seen(Role::Active), PERIOD_MS), PAUSE);
    }

    #[test]
    fn the_only_namenode_makes_an_image_as_the_active_and_not_of_ends_and_beginnings_of_segments() {
        let active = seen(Role::Active);
        let at = |applied| {
            let applied = TxId(applied);
            maker(Makers::Alone).on(Event::Woke, &Seen { applied, ..active }, PERIOD_MS)
        };
        assert_eq!(at(1 + SEGMENT_OPS), PAUSE);
        assert_eq!(at(2 + SEGMENT_OPS), Order::Save(ImagePurpose::SaveNamespace));
        let mut maker = maker(Makers::Alone);
        assert_eq!(maker.on(Event::Woke, &seen(Role::Standby), PERIOD_MS), PAUSE);
        assert_eq!(maker.follows(Some(TxId(50))), Follows::Purge);
    }

    #[test]
    fn save_namespace_is_met_by_an_image_that_is_recent_and_has_almost_everything() {
        let is_met = |time_window_s, tx_gap, age_ms, applied| {
            let request = SaveNamespaceRequest { time_window_s, tx_gap };
            request.is_met_by(TxId(10), age_ms, TxId(applied))
        };
        assert!(is_met(60, 100, 59_999, 109));
        assert!(!is_met(60, 100, 60_000, 109), "too old");
        assert!(!is_met(60, 100, 0, 110), "too far behind");
        assert!(!is_met(0, 0, 0, 10), "no window");
        assert!(is_met(60, 0, 0, 10), "it has everything");
        assert!(!is_met(60, 0, 0, 11));
    }

    #[test]
    fn a_saved_image_waits_for_a_quorum_and_for_two_segments_where_only_these_are_proven() {
        assert_eq!(durable_wait_ms(None), 20_000);
        assert_eq!(durable_wait_ms(Some(120_000)), 260_000);
    }

    #[test]
    fn only_a_standby_waits_to_be_compared_and_none_that_differs_makes_an_image() {
        let mut divergence = Divergence::default();
        divergence.on_compared(Comparison::Differs { txid: 5 }, 0, 0);
        let difference = divergence.difference().unwrap();
        for role in [
            Role::Initializing,
            Role::Standby,
            Role::BecomingActive,
            Role::SteppingDown,
        ] {
            assert_eq!(
                check_trusted(role, Some(difference)),
                Err(difference.what.clone()),
                "{role:?}"
            );
            assert_eq!(check_trusted(role, None), Ok(()));
            assert_eq!(
                waits_for_comparison(role, true, false),
                role == Role::Standby,
                "{role:?}"
            );
        }
        assert_eq!(
            check_trusted(Role::Active, Some(difference)),
            Ok(()),
            "it is the one that counts"
        );
        assert!(!waits_for_comparison(Role::Standby, false, false), "nobody compares");
        assert!(!waits_for_comparison(Role::Standby, true, true), "it is given up");
    }

    #[test]
    fn an_active_knows_what_a_quorum_has_and_a_standby_may_learn_it() {
        let mut ns = namesystem(5, Life::first());
        assert_eq!(is_proven(&ns, TxId(6)), Some(false), "it is being loaded");
        ns.become_standby().unwrap();
        assert_eq!(is_proven(&ns, TxId(5)), Some(true));
        assert_eq!(is_proven(&ns, TxId(6)), None);
        ns.begin_activation().unwrap();
        assert_eq!(
            is_proven(&ns, TxId(6)),
            Some(false),
            "it proves all of it before it serves"
        );
        assert_eq!(ns.start_active(Now::default()).unwrap(), TxId(6));
        assert_eq!(is_proven(&ns, TxId(5)), Some(true));
        assert_eq!(is_proven(&ns, TxId(6)), Some(false), "no quorum has it");
        ns.take_logged();
        ns.life().acknowledge(TxId(6)).unwrap();
        assert_eq!(is_proven(&ns, TxId(6)), Some(true));
        ns.begin_stepping_down().unwrap();
        assert_eq!(is_proven(&ns, TxId(7)), Some(false));
    }

    #[test]
    fn an_active_keeps_edits_for_its_standbys_and_one_that_is_alone_for_looking_back() {
        let segments = [(1, 10), (11, 20), (21, 30)].map(|(first, last)| (TxId(first), TxId(last)));
        let alone = Followers::None {
            segments: &segments,
            oldest_image: Some(TxId(20)),
            extra_segments_max: 1,
        };
        assert_eq!(edits_kept_from(Role::Active, TxId(1), alone), Some(TxId(11)));
        assert_eq!(edits_kept_from(Role::Standby, TxId(1), alone), None);
        let none = Followers::None {
            segments: &segments,
            oldest_image: None,
            extra_segments_max: 0,
        };
        assert_eq!(edits_kept_from(Role::Active, TxId(11), none), Some(TxId(11)));
        let mut retention = EditsRetention::default();
        retention.note(TxId(8), 0);
        let at = |now_ms| Followers::Standbys {
            retention: &retention,
            applied: TxId(30),
            now_ms,
        };
        assert_eq!(edits_kept_from(Role::Active, TxId(21), at(1)), Some(TxId(0)));
        assert_eq!(edits_kept_from(Role::Active, TxId(21), at(3_600_000)), Some(TxId(9)));
        assert_eq!(edits_kept_from(Role::Standby, TxId(21), at(3_600_000)), None);
    }
}
