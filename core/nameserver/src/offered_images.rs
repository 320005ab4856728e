//! Which image a NameNode takes that another one offers (Hadoop's `ImageServlet.doPut`).
//!
//! A standby of ours accepts an image as well, and then makes none itself. Hadoop's standby refuses it, and each of them
//! makes one.
//!
//! An image replaces older images and the edits before it. So it is accepted only if it comes from a configured
//! NameNode of this nameservice, names this namespace, matches its digest, is of a transaction that a quorum has, and
//! was read to its end. Without Kerberos, Hadoop checks less.
//!
//! Invariants:
//! - Everything that refuses an image by what is said of it is checked before a byte of its body is asked for.
//! - No more of a body is taken than was announced.
//! - An image is published only while it has the place for the one image that is saved or received.

use hathi_formats::ids::{NamespaceInfo, TxId};
use hathi_namespace::image::Verified;
use hathi_namesystem::checkpoint::{CheckpointConfig, accepts_upload};
use hathi_namesystem::{Namesystem, Role};

/// How long a standby waits until it knows that a quorum has everything in the image, ms. It proves its applied edits
/// about once a second. Our senders wait longer than that before they send the body.
const PROVEN_WAIT_MS: u64 = 5000;
/// Number of bytes that must arrive within each `dfs.image.transfer.timeout`. Every network is faster than that. A
/// sender that only occupies the place for images is not.
const PROGRESS_BYTES: u64 = 1 << 20;
/// Largest size of an image, as a multiple of the newest one here, with [`GROWTH_BYTES`] added. There are few edits
/// between the two.
const GROWTH_FACTOR: u64 = 10;
/// See [`GROWTH_FACTOR`].
const GROWTH_BYTES: u64 = 1 << 30;

/// The sender's statements about the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced {
    /// Last transaction in the image.
    pub txid: TxId,
    /// Its length in bytes.
    pub len: u64,
    /// Its MD5 digest.
    pub md5: [u8; 16],
}

/// What a request says of the image, before any of it is believed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stated<'a> {
    /// The storage, as `layout:namespaceID:cTime:clusterID`.
    pub storage: Option<&'a str>,
    /// `NameNodeFile` by name.
    pub kind: Option<&'a str>,
    /// Last transaction in the image.
    pub txid: Option<u64>,
    /// Its length in bytes.
    pub len: Option<u64>,
    /// Its MD5 digest.
    pub md5: Option<[u8; 16]>,
}

/// Why an image is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The sender has not the address of a NameNode of this nameservice.
    #[error("Only Namenode, Secondary Namenode, and administrators may access this servlet")]
    Stranger,
    /// It is of another namespace.
    #[error("This namenode has storage info {own} but the secondary expected {theirs}")]
    OtherStorage {
        /// The storage here.
        own: String,
        /// The one that was named.
        theirs: String,
    },
    /// It is of another kind, for instance of a legacy format.
    #[error("Only an image of kind IMAGE is taken")]
    OtherKind,
    /// Each NameNode makes the image itself to which a rolling upgrade can be rolled back. For Hadoop's sender this is no
    /// failure.
    #[error("This NameNode makes its rollback image itself")]
    RollbackImage,
    /// Transaction or length is missing.
    #[error("Invalid request has no txid or File-Length")]
    Unnamed,
    /// The digest is missing.
    #[error("Invalid request has no X-MD5-Digest")]
    NoDigest,
    /// This NameNode has no namespace now. These are Hadoop's words.
    #[error("Nameode transitioned to standby state")]
    NotServing,
    /// The newest image here is good enough.
    #[error("Rejecting a fsimage of transaction {txid}: the newest one here is of {newest}, {age_ms} ms old")]
    NotNeeded {
        /// Of the image that is offered.
        txid: TxId,
        /// Of the newest image here.
        newest: TxId,
        /// Age of that.
        age_ms: u64,
    },
    /// This standby does not know yet that a quorum has it. For Hadoop's sender this is no failure.
    #[error("An image of transaction {0} holds more than a quorum has")]
    NotProvenYet(TxId),
    /// The sender has edits that are not in this journal.
    #[error("An image of transaction {0} holds more than a quorum has")]
    NotProven(TxId),
    /// There is one of this transaction.
    #[error("An image of transaction {0} is here already")]
    HereAlready(TxId),
    /// It is larger than any image can be now.
    #[error("An image of {len} bytes is more than the {limit} that can be")]
    TooLong {
        /// Its length in bytes.
        len: u64,
        /// The longest that is taken.
        limit: u64,
    },
    /// The place for images is taken.
    #[error("Another checkpoint is being made or received")]
    Busy,
}

impl Refused {
    /// The HTTP status, which says what Hadoop's sender does (`TransferFsImage.TransferResult`): 403, 409 (an image that
    /// is as new is here: no failure), 410, 417 (not the active: no failure).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Refused::Stranger | Refused::OtherStorage { .. } => 403,
            Refused::RollbackImage
            | Refused::NotNeeded { .. }
            | Refused::NotProvenYet(_)
            | Refused::HereAlready(_)
            | Refused::Busy => 409,
            Refused::OtherKind
            | Refused::Unnamed
            | Refused::NoDigest
            | Refused::NotProven(_)
            | Refused::TooLong { .. } => 410,
            Refused::NotServing => 417,
        }
    }
}

/// What a NameNode has made of an image that was offered to it (`TransferFsImage.TransferResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferResult {
    /// It has taken the image.
    Success,
    /// It has an image that is at least as new.
    OldTransactionId,
    /// It is not active, and as a standby accepts none (Hadoop's).
    NotActive,
}

impl TransferResult {
    /// What a status means; `None` is a failure. See [`Refused::status`].
    #[must_use]
    pub fn of_status(status: u16) -> Option<TransferResult> {
        match status {
            200 => Some(TransferResult::Success),
            409 => Some(TransferResult::OldTransactionId),
            417 => Some(TransferResult::NotActive),
            _ => None,
        }
    }

    /// Hadoop's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TransferResult::Success => "SUCCESS",
            TransferResult::OldTransactionId => "OLD_TRANSACTION_ID_FAILURE",
            TransferResult::NotActive => "NOT_ACTIVE_NAMENODE_FAILURE",
        }
    }
}

impl Announced {
    /// What the sender states, if it is whole and of the storage `own`.
    ///
    /// # Errors
    /// It names another storage than this one, or something is missing.
    pub fn of(stated: Stated<'_>, own: &NamespaceInfo) -> Result<Announced, Refused> {
        let own = own.to_colon_separated();
        let theirs = stated.storage.unwrap_or("none");
        if theirs != own {
            let theirs = theirs.to_owned();
            return Err(Refused::OtherStorage { own, theirs });
        }
        match stated.kind {
            Some("IMAGE") => {}
            Some("IMAGE_ROLLBACK") => return Err(Refused::RollbackImage),
            _ => return Err(Refused::OtherKind),
        }
        let (Some(txid), Some(len)) = (stated.txid, stated.len) else {
            return Err(Refused::Unnamed);
        };
        let md5 = stated.md5.ok_or(Refused::NoDigest)?;
        debug_assert_eq!(
            stated.storage,
            Some(own.as_str()),
            "an image of another namespace was refused"
        );
        let txid = TxId(txid);
        Ok(Announced { txid, len, md5 })
    }
}

/// An image in the name directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHere {
    /// Its last transaction.
    pub txid: TxId,
    /// Its length in bytes.
    pub len: u64,
}

/// What the decision must know of the namesystem.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The role.
    pub role: Role,
    /// Last transaction of the newest image.
    pub newest: TxId,
    /// Age of that image in ms, by the wall clock, because it may be older than this process.
    pub age_ms: u64,
    /// Whether the image to which a rolling upgrade can be rolled back is to be made here first.
    pub awaits_rollback_image: bool,
}

impl Seen {
    /// This namesystem at this time by the wall clock in ms.
    #[must_use]
    pub fn of(ns: &Namesystem, wall_ms: u64) -> Seen {
        Seen {
            role: ns.role(),
            newest: ns.most_recent_checkpoint(),
            age_ms: wall_ms.saturating_sub(ns.most_recent_checkpoint_ms()),
            awaits_rollback_image: ns.awaits_rollback_image(),
        }
    }
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The shell has looked at the namesystem.
    Looked(Seen),
    /// The wait for a proof is over, in this role: [`crate::checkpoints::is_proven`] has said this, or nothing in time.
    Proof(Option<bool>, Role),
    /// The images in the name directories, the newest one first.
    Images(&'a [ImageHere]),
    /// Whether the place for images was free.
    Place(bool),
}

/// What the shell does next. The end of each but the last is an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Look at the namesystem.
    Look,
    /// Wait at most these ms until it is known whether a quorum has everything up to this transaction.
    AwaitProof(TxId, u64),
    /// Look at the images.
    ListImages,
    /// Take the place for images.
    TakePlace,
    /// Ask for the body, and take it.
    Receive,
}

/// The decision about one image that is offered.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    announced: Announced,
}

impl Offer {
    /// What a sender states, and the first order. `is_namenode`: whether it has the address of a NameNode of this
    /// nameservice. `own` is the storage here.
    ///
    /// # Errors
    /// The image is refused. A stranger learns nothing else.
    pub fn begin(is_namenode: bool, stated: Stated<'_>, own: &NamespaceInfo) -> Result<(Offer, Order), Refused> {
        if !is_namenode {
            return Err(Refused::Stranger);
        }
        let announced = Announced::of(stated, own)?;
        Ok((Offer { announced }, Order::Look))
    }

    /// The sender's statements.
    #[must_use]
    pub fn announced(&self) -> &Announced {
        &self.announced
    }

    /// What follows, in the order of Hadoop's checks. Where Hadoop checks a Kerberos principal, the checks are ours.
    ///
    /// # Errors
    /// The image is refused.
    pub fn on(&self, event: Event<'_>, config: &CheckpointConfig) -> Result<Order, Refused> {
        let txid = self.announced.txid;
        match event {
            Event::Looked(seen) if !matches!(seen.role, Role::Active | Role::Standby) => Err(Refused::NotServing),
            Event::Looked(seen) if seen.awaits_rollback_image => Err(Refused::Busy),
            Event::Looked(Seen { newest, age_ms, .. }) => match accepts_upload(config, txid, newest, age_ms) {
                true => Ok(Order::AwaitProof(txid, PROVEN_WAIT_MS)),
                false => Err(Refused::NotNeeded { txid, newest, age_ms }),
            },
            Event::Proof(Some(true), _) => Ok(Order::ListImages),
            Event::Proof(_, Role::Standby) => Err(Refused::NotProvenYet(txid)),
            Event::Proof(..) => Err(Refused::NotProven(txid)),
            Event::Images(images) => self.check_images(images).map(|()| Order::TakePlace),
            Event::Place(true) => Ok(Order::Receive),
            Event::Place(false) => Err(Refused::Busy),
        }
    }

    fn check_images(&self, images: &[ImageHere]) -> Result<(), Refused> {
        let Announced { txid, len, .. } = self.announced;
        debug_assert!(
            images.is_sorted_by(|one, next| one.txid >= next.txid),
            "the newest image is the first"
        );
        if images.iter().any(|image| image.txid == txid) {
            return Err(Refused::HereAlready(txid));
        }
        let newest = images.first().map_or(0, |image| image.len);
        let limit = newest.saturating_mul(GROWTH_FACTOR).saturating_add(GROWTH_BYTES);
        match len > limit {
            true => Err(Refused::TooLong { len, limit }),
            false => Ok(()),
        }
    }
}

/// Why a body is not taken to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// It is longer.
    #[error("more than the announced {0} bytes")]
    TooLong(u64),
    /// It is shorter.
    #[error("got {got} bytes instead of {announced}")]
    TooShort {
        /// Its length in bytes.
        got: u64,
        /// The announced length.
        announced: u64,
    },
}

/// Counts the bytes of a body.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    announced: u64,
    received: u64,
    /// Bytes when the time for the next ones began.
    counted: u64,
}

impl Body {
    /// Nothing has come yet.
    #[must_use]
    pub fn of(announced: &Announced) -> Body {
        Body {
            announced: announced.len,
            received: 0,
            counted: 0,
        }
    }

    /// A piece has come. Returns whether the sender has earned another `dfs.image.transfer.timeout`.
    ///
    /// # Errors
    /// It is longer than was announced.
    pub fn on_piece(&mut self, bytes: u64) -> Result<bool, BadBody> {
        self.received = self.received.saturating_add(bytes);
        if self.received > self.announced {
            return Err(BadBody::TooLong(self.announced));
        }
        debug_assert!(self.counted <= self.received, "what was counted has come");
        let is_progress = self.received - self.counted >= PROGRESS_BYTES;
        if is_progress {
            self.counted = self.received;
        }
        Ok(is_progress)
    }

    /// The sender has ended.
    ///
    /// # Errors
    /// Something is missing.
    pub fn on_end(&self) -> Result<(), BadBody> {
        match self.received == self.announced {
            true => Ok(()),
            false => Err(BadBody::TooShort {
                got: self.received,
                announced: self.announced,
            }),
        }
    }
}

/// Why an image that was read to its end is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadImage {
    /// It ends with another transaction.
    #[error("it holds everything up to transaction {found} instead of {wanted}")]
    OtherTransaction {
        /// Its last transaction.
        found: u64,
        /// The one that was named.
        wanted: TxId,
    },
    /// It is of another namespace.
    #[error("it is of namespaceID {found} instead of {own}")]
    OtherNamespace {
        /// Its namespace.
        found: u32,
        /// The one here.
        own: u32,
    },
    /// This NameNode had another state after the same transaction.
    #[error("its namespace is not the one that this NameNode had after transaction {0}")]
    OtherState(u64),
}

/// Checks that a peer's image, which was read to its end, is of this namespace and of this transaction.
///
/// # Errors
/// It is not.
pub fn check_image(found: &Verified, own: &NamespaceInfo, txid: TxId) -> Result<(), BadImage> {
    if found.txid != txid.0 {
        let found = found.txid;
        return Err(BadImage::OtherTransaction { found, wanted: txid });
    }
    if found.namespace_id != own.namespace_id {
        return Err(BadImage::OtherNamespace {
            found: found.namespace_id,
            own: own.namespace_id,
        });
    }
    Ok(())
}

/// Checks that an image has the state that this NameNode had after the same transaction, if that is known.
///
/// # Errors
/// It has another one.
pub fn check_state(found: &Verified, ns: &Namesystem) -> Result<(), BadImage> {
    let own = ns.namespace().digest_mark(found.txid);
    let is_comparable = found.origin == ns.namespace().digest_origin();
    match own {
        Some(own) if is_comparable && own.digest != found.digest => Err(BadImage::OtherState(found.txid)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{in_role, namesystem};
    use hathi_namesystem::Life;

    const CONFIG: CheckpointConfig = CheckpointConfig {
        period_ms: 1000,
        check_period_ms: 60,
        txns: 100,
        quiet_multiplier: 1.5,
    };
    const ANNOUNCED: Announced = Announced {
        txid: TxId(20),
        len: 300,
        md5: [7; 16],
    };

    fn stated(storage: &str) -> Stated<'_> {
        Stated {
            storage: Some(storage),
            kind: Some("IMAGE"),
            txid: Some(20),
            len: Some(300),
            md5: Some([7; 16]),
        }
    }

    fn on(event: Event<'_>) -> Result<Order, Refused> {
        Offer { announced: ANNOUNCED }.on(event, &CONFIG)
    }

    #[test]
    fn a_refusal_that_is_no_failure_is_none_for_the_sender() {
        for (refused, result) in [
            (Refused::Busy, Some(TransferResult::OldTransactionId)),
            (Refused::HereAlready(TxId(5)), Some(TransferResult::OldTransactionId)),
            (Refused::NotProvenYet(TxId(5)), Some(TransferResult::OldTransactionId)),
            (Refused::NotServing, Some(TransferResult::NotActive)),
            (Refused::Stranger, None),
            (Refused::NotProven(TxId(5)), None),
            (Refused::NoDigest, None),
        ] {
            assert_eq!(TransferResult::of_status(refused.status()), result, "{refused:?}");
        }
        assert_eq!(
            TransferResult::of_status(200).map(TransferResult::name),
            Some("SUCCESS")
        );
        assert_eq!(TransferResult::of_status(500), None);
    }

    #[test]
    fn an_image_is_asked_for_when_nothing_that_is_said_of_it_refuses_it() {
        for role in [Role::Active, Role::Standby] {
            let ns = in_role(role, 10);
            let own = ns.info().to_colon_separated();
            let (offer, first) = Offer::begin(true, stated(&own), ns.info()).unwrap();
            assert_eq!(first, Order::Look);
            let next = |event| offer.on(event, &CONFIG);
            let proof = Order::AwaitProof(TxId(20), PROVEN_WAIT_MS);
            assert_eq!(next(Event::Looked(Seen::of(&ns, 10_000))), Ok(proof));
            assert_eq!(next(Event::Proof(Some(true), role)), Ok(Order::ListImages));
            assert_eq!(next(Event::Images(&[])), Ok(Order::TakePlace));
            assert_eq!(next(Event::Place(true)), Ok(Order::Receive));
        }
    }

    #[test]
    fn each_reason_to_refuse_has_the_status_of_which_hadoops_sender_makes_the_right_thing() {
        let status = |event| on(event).map_err(|refused| refused.status());
        for role in [Role::Initializing, Role::BecomingActive, Role::SteppingDown] {
            let ns = in_role(role, 10);
            assert_eq!(status(Event::Looked(Seen::of(&ns, 10_000))), Err(417), "{role:?}");
        }
        let mut ns = in_role(Role::Standby, 10);
        ns.note_image(TxId(19), 9_900);
        assert_eq!(
            status(Event::Looked(Seen::of(&ns, 10_000))),
            Err(409),
            "the one here is new"
        );
        assert!(status(Event::Looked(Seen::of(&ns, 20_000))).is_ok());
        ns.note_image(TxId(20), 0);
        assert_eq!(
            status(Event::Looked(Seen::of(&ns, 20_000))),
            Err(409),
            "nothing is new in it"
        );
        assert_eq!(status(Event::Proof(None, Role::Standby)), Err(409));
        assert_eq!(status(Event::Proof(Some(false), Role::Standby)), Err(409));
        assert_eq!(status(Event::Proof(Some(false), Role::Active)), Err(410));
        assert_eq!(status(Event::Proof(None, Role::Initializing)), Err(410));
        assert_eq!(status(Event::Place(false)), Err(409));
    }

    #[test]
    fn an_image_is_taken_once_and_is_not_many_times_larger_than_the_newest_one() {
        let images = |images: &[(u64, u64)], len| {
            let of = |(txid, len): &(u64, u64)| ImageHere {
                txid: TxId(*txid),
                len: *len,
            };
            let here: Vec<ImageHere> = images.iter().map(of).collect();
            let announced = Announced { len, ..ANNOUNCED };
            let offer = Offer { announced };
            offer
                .on(Event::Images(&here), &CONFIG)
                .map_err(|refused| refused.status())
        };
        assert_eq!(images(&[(30, 1), (20, 1), (10, 1)], 1), Err(409));
        let limit = GROWTH_BYTES + 10 * 50;
        assert_eq!(images(&[(30, 50), (10, 9999)], limit), Ok(Order::TakePlace));
        assert_eq!(images(&[(30, 50), (10, 9999)], limit + 1), Err(410));
        assert_eq!(images(&[], GROWTH_BYTES + 1), Err(410));
        assert_eq!(images(&[(30, u64::MAX)], u64::MAX), Ok(Order::TakePlace));
    }

    #[test]
    fn an_image_must_be_named_completely_and_be_of_this_storage() {
        let ns = namesystem(10, Life::first());
        let own = ns.info().to_colon_separated();
        let whole = stated(&own);
        let status = |stated| {
            let begun = Offer::begin(true, stated, ns.info()).map_err(|refused| refused.status());
            begun.map(|(offer, _)| *offer.announced())
        };
        assert_eq!(status(whole), Ok(ANNOUNCED));
        let stranger = Offer::begin(false, Stated::default(), ns.info());
        assert_eq!(stranger.unwrap_err(), Refused::Stranger, "it learns nothing else");
        assert_eq!(status(Stated { storage: None, ..whole }), Err(403));
        let storage = Some("-66:8:0:CID-test");
        assert_eq!(status(Stated { storage, ..whole }), Err(403));
        let kind = Some("IMAGE_ROLLBACK");
        assert_eq!(status(Stated { kind, ..whole }), Err(409));
        assert_eq!(status(Stated { kind: None, ..whole }), Err(410));
        assert_eq!(status(Stated { txid: None, ..whole }), Err(410));
        assert_eq!(status(Stated { len: None, ..whole }), Err(410));
        assert_eq!(status(Stated { md5: None, ..whole }), Err(410));
    }

    #[test]
    fn a_body_is_as_long_as_announced_and_each_mebibyte_earns_more_time() {
        let mut body = Body::of(&Announced {
            len: 3 * PROGRESS_BYTES,
            ..ANNOUNCED
        });
        assert_eq!(body.on_piece(PROGRESS_BYTES - 1), Ok(false));
        assert_eq!(body.on_piece(1), Ok(true));
        assert_eq!(body.on_piece(1), Ok(false), "counted from there");
        assert_eq!(body.on_piece(2 * PROGRESS_BYTES - 2), Ok(true));
        let (got, announced) = (3 * PROGRESS_BYTES - 1, 3 * PROGRESS_BYTES);
        assert_eq!(body.on_end(), Err(BadBody::TooShort { got, announced }));
        assert_eq!(body.on_piece(1), Ok(false));
        assert_eq!(body.on_end(), Ok(()));
        assert_eq!(body.on_piece(1), Err(BadBody::TooLong(announced)));
        assert_eq!(body.on_piece(u64::MAX), Err(BadBody::TooLong(announced)));
    }

    #[test]
    fn an_image_that_was_read_is_of_this_namespace_this_transaction_and_the_known_state() {
        let mut ns = in_role(Role::Active, 19);
        let found = Verified {
            txid: 20,
            namespace_id: 7,
            inodes: 1,
            digest: ns.namespace().digest(),
            origin: ns.namespace().digest_origin(),
        };
        let check = |found: &Verified| check_image(found, ns.info(), TxId(20));
        assert_eq!(check(&found), Ok(()));
        assert!(check(&Verified { txid: 19, ..found }).is_err());
        let namespace_id = 8;
        assert!(check(&Verified { namespace_id, ..found }).is_err());
        let digest = found.digest ^ 1;
        let other = Verified { digest, ..found };
        assert_eq!(check_state(&other, &ns), Ok(()), "nobody knows what it was");
        ns.attest(TxId(20)).expect("it is active");
        assert_eq!(check_state(&found, &ns), Ok(()));
        assert_eq!(check_state(&other, &ns), Err(BadImage::OtherState(20)));
        let origin = found.origin ^ 1;
        let foreign = Verified { origin, ..other };
        assert_eq!(
            check_state(&foreign, &ns),
            Ok(()),
            "digests of other origin do not compare"
        );
    }
}
