//! The read lease: what JournalNodes grant, and what its holder counts on.
//!
//! A JournalNode that grants a lease promises no epoch to others until it ends: it refuses their `newEpoch`, and lets
//! Hadoop's wait. So whoever holds the leases of a majority knows that nobody else can become the writer meanwhile, and may
//! answer reads from memory.
//!
//! Two things are trusted of clocks: their rates, and that they go on while a machine is suspended. The holder counts
//! from when it *sent* the request and subtracts [`DRIFT_PERCENT`]. The JournalNode counts from when it *received* the
//! request. When the holder's clock jumps forward, it loses its lease. When a JournalNode's clock stands still, others
//! only wait longer.
//!
//! Invariants:
//! * before a JournalNode grants a lease, its epoch, holder and length are on disk ([`LeaseMarker`]). So after a
//!   restart it knows that a lease may run, and waits for the length that it promised, whatever its configuration says
//!   by then;
//! * a JournalNode remembers over restarts whether anybody ever asked for a lease in the promised epoch
//!   ([`LeaseGrants::was_asked`]): the marker stays when a lease is given back;
//! * a lease that was given back is not granted again to the same holder in the same epoch;
//! * when the holder is promised a higher epoch, its lease runs on in that epoch, over restarts too
//!   ([`LeaseGrants::promised_to_holder`]). The holder still counts on the lease, and may hear of the promise late or
//!   never;
//! * the name of a holder is public and proves nothing. A lease is granted only with a [`LeaseProof`], and it is given
//!   back, or its holder promised a higher epoch while it runs, only with that same proof. The proof also tells the
//!   epoch's writer from all other callers. What callers said in the epoch before the proof came binds nobody
//!   ([`LeaseGrants::claim`]);
//! * [`LeaseGrants::counter`] grows with every change that matters to a watcher.

use std::sync::Arc;

use hathi_formats::ids::Epoch;
pub use hathi_formats::qjournal::LeaseProof;

use crate::messages::{LeaseRequest, Micros};

/// Largest difference between the rates of the holder's and the JournalNode's clock at which leases are safe.
pub const DRIFT_PERCENT: u64 = 1;

/// A promised lease of unknown length is taken for this many times the longest lease of the present configuration,
/// which may have been higher when the promise was made.
const UNKNOWN_LENGTH_FACTOR: u32 = 5;

/// The name of the anonymous file (`memfd_create`) in which a process holds its proof for its supervisor.
pub const PROOF_FILE: &str = "hathi-lease-proof";

/// The content of that file.
#[must_use]
pub fn proof_text(holder: &str, proof: LeaseProof) -> String {
    format!("{holder}\n{}\n", proof.to_hex())
}

/// The proof of this holder in the content of such a file.
#[must_use]
pub fn proof_of(holder: &str, text: &str) -> Option<LeaseProof> {
    let (of, proof) = text.strip_suffix('\n')?.split_once('\n')?;
    LeaseProof::from_hex(proof).filter(|_| of == holder)
}

/// What is on disk of a lease (`current/lease-epoch`). It says that somebody may hold a lease in this epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMarker {
    /// Epoch in which the lease was granted.
    pub epoch: Epoch,
    /// Name of the holder.
    pub holder: Arc<str>,
    /// Length of the longest lease granted, in milliseconds. `None` when it is unknown: the file is damaged, or is of a
    /// version that wrote no length.
    pub ms: Option<u32>,
    /// Proof that the holder sent.
    pub proof: LeaseProof,
}

impl LeaseMarker {
    /// The content of the file: epoch, holder, length, proof, checksum, one line each.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n{}\n", self.epoch, self.holder);
        if let Some(ms) = self.ms {
            text += &format!("{ms}\n");
        }
        if self.proof.is_some() {
            text += &format!("{}\n", self.proof.to_hex());
        }
        let checksum = crc32fast::hash(text.as_bytes());
        format!("{text}{checksum:08x}\n")
    }

    /// Reads the content of the file. A damaged file means that somebody may hold a lease of the promised epoch.
    #[must_use]
    pub fn parse(text: &str, promised: Epoch) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let (fields, proof) = match lines.as_slice() {
            [epoch, holder, _checksum] => (Some((epoch, holder, None)), None),
            [epoch, holder, ms, _checksum] => (Some((epoch, holder, Some(ms))), None),
            [epoch, holder, ms, proof, _checksum] => (Some((epoch, holder, Some(ms))), Some(proof)),
            _ => (None, None),
        };
        let marker = fields.and_then(|(epoch, holder, ms)| {
            Some(LeaseMarker {
                epoch: Epoch(epoch.parse().ok()?),
                holder: Arc::from(*holder),
                ms: ms.map(|ms| ms.parse()).transpose().ok()?,
                proof: proof.map_or(Some(LeaseProof::default()), |proof| LeaseProof::from_hex(proof))?,
            })
        });
        marker.filter(|marker| marker.to_text() == text).unwrap_or(LeaseMarker {
            epoch: promised,
            holder: "unknown".into(),
            ms: None,
            proof: LeaseProof::default(),
        })
    }
}

/// The JournalNode's side: the leases that it has granted.
#[derive(Clone, Debug)]
pub struct LeaseGrants {
    max_ms: u32,
    holder: Option<Arc<str>>,
    /// The proof that came with the first request for a lease in the promised epoch. Whoever sent it is the writer of
    /// this epoch, and nobody else may call in it.
    owner: LeaseProof,
    asked: bool,
    epoch: Epoch,
    until: Micros,
    ended: bool,
    marker: Option<LeaseMarker>,
    released: Option<LeaseMarker>,
    counter: u64,
}

impl LeaseGrants {
    /// The state when a JournalNode starts at `now`: `marker` is what it found on disk, `promised` its promised epoch.
    #[must_use]
    pub fn at_start(max_ms: u32, marker: Option<LeaseMarker>, promised: Epoch, now: Micros) -> Self {
        let asked = marker.as_ref().filter(|marker| marker.epoch == promised);
        // A request for a lease of length 0 was granted nothing. So it makes nobody the owner of the epoch, now as
        // before the restart.
        let granted = asked.filter(|marker| marker.ms != Some(0));
        LeaseGrants {
            max_ms,
            epoch: promised,
            until: granted.map_or(0, |marker| {
                let unknown = max_ms.saturating_mul(UNKNOWN_LENGTH_FACTOR);
                now + Micros::from(marker.ms.unwrap_or(unknown)) * 1000
            }),
            ended: granted.is_none(),
            asked: asked.is_some(),
            owner: granted.map_or(LeaseProof::default(), |marker| marker.proof),
            holder: granted.map(|marker| Arc::clone(&marker.holder)),
            marker,
            released: None,
            // Watchers may know a counter of the process before. The time makes it unlikely that the two are equal.
            counter: now + 1,
        }
    }

    /// How long the sender of `request` must wait for a lease of somebody else. 0 for the proven holder, and when no
    /// lease runs.
    #[must_use]
    pub fn remaining_for(&self, request: Option<&LeaseRequest>, now: Micros) -> Micros {
        if self.holder.is_some() && self.was_asked_by(request) {
            return 0;
        }
        self.until.saturating_sub(now)
    }

    /// Whether the sender of a call in the promised epoch may be the writer. Hadoop's writers prove nothing, so without
    /// an owner every caller is admitted.
    #[must_use]
    pub fn admits(&self, request: Option<&LeaseRequest>) -> bool {
        !self.owner.is_some() || self.was_asked_by(request)
    }

    /// The holder of the lease of the promised epoch, also when the lease has ended.
    #[must_use]
    pub fn holder(&self) -> Option<&Arc<str>> {
        self.holder.as_ref()
    }

    /// Whether a lease was ever asked for in the promised epoch. Then its writer is ours, not Hadoop's.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.asked
    }

    /// Whether a request comes with the proof of the promised epoch's writer.
    #[must_use]
    pub fn was_asked_by(&self, request: Option<&LeaseRequest>) -> bool {
        request.is_some_and(|request| request.proof.proves(self.owner))
    }

    /// Makes the sender of a call in the promised epoch its owner, if the epoch has none yet, and the call has a proof
    /// and asks for a lease. Returns whether it did.
    pub fn claim(&mut self, request: &LeaseRequest) -> bool {
        if self.owner.is_some() || !request.proof.is_some() || self.granted_for(request) == 0 {
            return false;
        }
        self.owner = request.proof;
        self.asked = true;
        true
    }

    /// A number that grows with every change.
    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// Wakes watchers because of a change outside of the lease.
    pub fn wake_watchers(&mut self) {
        self.counter += 1;
    }

    /// When the running lease ends; `None` when none runs.
    #[must_use]
    pub fn ends_at(&self) -> Option<Micros> {
        (!self.ended).then_some(self.until)
    }

    /// The marker that must be on disk before the requested lease may be granted in `epoch`. `None` when it is there
    /// already.
    #[must_use]
    pub fn marker_needed(&self, epoch: Epoch, request: &LeaseRequest) -> Option<LeaseMarker> {
        let ms = self.granted_for(request);
        if ms == 0 && !self.ended {
            // Nothing new needs to be written: the marker on disk says already that a lease was asked for, and the
            // running lease needs it.
            return None;
        }
        let there = self.marker.as_ref().is_some_and(|m| {
            (m.epoch, m.proof) == (epoch, request.proof) && m.holder == request.holder && m.ms >= Some(ms)
        });
        (!there).then(|| LeaseMarker {
            epoch,
            holder: Arc::clone(&request.holder),
            ms: Some(ms),
            proof: request.proof,
        })
    }

    fn granted_for(&self, request: &LeaseRequest) -> u32 {
        request.ms.min(self.max_ms)
    }

    /// The marker is on disk now.
    pub fn marked(&mut self, marker: LeaseMarker) {
        self.marker = Some(marker);
    }

    /// Grants the requested lease in `epoch`, which is the promised one. Returns its length in milliseconds.
    pub fn grant(&mut self, epoch: Epoch, request: &LeaseRequest, now: Micros) -> u32 {
        self.asked = true;
        let given_back = self.released.as_ref();
        if given_back.is_some_and(|m| m.epoch == epoch && m.holder == request.holder) {
            return 0;
        }
        let ms = self.granted_for(request);
        if ms == 0 {
            return 0;
        }
        self.claim(request);
        let changed = self.ended || self.epoch != epoch || self.holder.as_ref() != Some(&request.holder);
        if changed {
            self.counter += 1;
            self.holder = Some(Arc::clone(&request.holder));
            self.epoch = epoch;
            self.ended = false;
        }
        self.until = self.until.max(now + Micros::from(ms) * 1000);
        ms
    }

    /// A new epoch was promised. The lease of the old epoch had ended, or was that of the new epoch's writer.
    pub fn promised(&mut self, epoch: Epoch) {
        self.counter += 1;
        self.epoch = epoch;
        self.holder = None;
        self.owner = LeaseProof::default();
        self.asked = false;
        self.until = 0;
        self.ended = true;
    }

    /// The marker that must be on disk before the holder of the running lease is promised this epoch. `None` when no
    /// lease runs, or the request does not prove that it comes from the holder.
    #[must_use]
    pub fn marker_of_holder(&self, epoch: Epoch, request: Option<&LeaseRequest>, now: Micros) -> Option<LeaseMarker> {
        let asked = request.filter(|_| self.holder.is_some() && self.until > now && self.was_asked_by(request))?;
        let promised = self.marker.as_ref().and_then(|marker| marker.ms);
        Some(LeaseMarker {
            epoch,
            holder: self.holder.clone()?,
            ms: promised.max(Some(self.granted_for(asked))),
            proof: self.owner,
        })
    }

    /// The holder of the running lease was promised a higher epoch: the lease runs on in it. The marker is on disk.
    pub fn promised_to_holder(&mut self, marker: LeaseMarker) {
        self.counter += 1;
        self.epoch = marker.epoch;
        self.marker = Some(marker);
    }

    /// Gives the lease of this holder back, unless its epoch is higher than `up_to`. `proof` must be that of the owner;
    /// it is `None` for callers that need not prove anything. Returns whether a lease was given back.
    pub fn release(&mut self, holder: &str, proof: Option<LeaseProof>, up_to: Option<Epoch>) -> bool {
        let later = up_to.is_some_and(|up_to| self.epoch > up_to);
        let stranger = proof.is_some_and(|proof| !proof.proves(self.owner));
        if later || stranger || self.holder.as_deref() != Some(holder) {
            return false;
        }
        self.released = self.holder.take().map(|holder| LeaseMarker {
            epoch: self.epoch,
            holder,
            ms: None,
            proof: self.owner,
        });
        self.counter += 1;
        self.until = 0;
        self.ended = true;
        true
    }

    /// Asserts the invariants that hold between calls.
    pub(crate) fn check(&self, promised: Epoch) {
        assert_eq!(self.epoch, promised, "leases are granted in the promised epoch");
        assert!(
            self.asked || !self.owner.is_some(),
            "a proof of somebody who asked for nothing"
        );
        if self.holder.is_none() {
            assert!(self.ended && self.until == 0, "a lease runs that nobody holds");
        }
        if !self.ended {
            assert!(self.asked, "a lease runs that nobody asked for");
            let marked = self.marker.as_ref();
            let marked =
                marked.is_some_and(|marker| marker.epoch == self.epoch && Some(&marker.holder) == self.holder.as_ref());
            assert!(marked, "a lease runs of which a restart would not know");
        }
        if let Some(released) = self.released.as_ref().filter(|released| released.epoch == self.epoch) {
            assert!(
                self.holder.as_ref() != Some(&released.holder),
                "a lease given back runs on"
            );
        }
    }

    /// For models: counters that watchers have seen count no more.
    #[cfg(any(test, feature = "mutants"))]
    pub(crate) fn forget_history(&mut self) {
        self.counter = 0;
    }

    /// Time has passed. Returns whether the lease has just ended.
    pub fn tick(&mut self, now: Micros) -> bool {
        if self.ended || self.until > now {
            return false;
        }
        self.ended = true;
        self.counter += 1;
        true
    }
}

/// The holder's side: until when the lease of each JournalNode lasts. JournalNodes are named by small numbers.
#[derive(Clone, Debug, Default)]
pub struct LeaseHold {
    until: Vec<Micros>,
}

impl LeaseHold {
    /// A JournalNode granted a lease of `ms` milliseconds in its answer to a request that was sent at `sent`.
    pub fn granted(&mut self, journalnode: usize, sent: Micros, ms: u32) {
        let lasting = Micros::from(ms) * 1000 * (100 - DRIFT_PERCENT) / 100;
        if self.until.len() <= journalnode {
            self.until.resize(journalnode + 1, 0);
        }
        if let Some(until) = self.until.get_mut(journalnode) {
            *until = (*until).max(sent + lasting);
        }
    }

    /// When the lease of this JournalNode ends. The NameNode holds the lease as long as those of a majority last.
    #[must_use]
    pub fn until(&self, journalnode: usize) -> Micros {
        self.until.get(journalnode).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(holder: &str, ms: u32) -> LeaseRequest {
        LeaseRequest {
            ms,
            holder: holder.into(),
            proof: proof(holder),
        }
    }

    fn proof(holder: &str) -> LeaseProof {
        LeaseProof(u128::from(holder.as_bytes()[0]))
    }

    fn remaining(grants: &LeaseGrants, holder: &str, now: Micros) -> Micros {
        grants.remaining_for(Some(&ask(holder, 0)), now)
    }

    fn release(grants: &mut LeaseGrants, holder: &str, up_to: Option<Epoch>) -> bool {
        grants.release(holder, Some(proof(holder)), up_to)
    }

    #[test]
    fn a_lease_keeps_others_out_until_it_ends() {
        let mut grants = LeaseGrants::at_start(2000, None, Epoch(1), 0);
        assert_eq!(grants.remaining_for(None, 0), 0);
        assert_eq!(grants.grant(Epoch(1), &ask("a", 1000), 5), 1000);
        assert_eq!(remaining(&grants, "b", 5), 1_000_000);
        assert_eq!(remaining(&grants, "a", 5), 0);
        assert_eq!(grants.remaining_for(None, 1_000_004), 1);
        assert_eq!(grants.remaining_for(None, 1_000_005), 0);
        let counter = grants.counter();
        assert!(!grants.tick(1_000_004));
        assert!(grants.tick(1_000_005));
        assert!(!grants.tick(1_000_006));
        assert_eq!(grants.counter(), counter + 1);
        assert_eq!(grants.grant(Epoch(1), &ask("a", 9000), 2_000_000), 2000);
    }

    #[test]
    fn a_lease_given_back_is_not_granted_again_in_its_epoch() {
        let mut grants = LeaseGrants::at_start(2000, None, Epoch(1), 0);
        grants.grant(Epoch(1), &ask("a", 1000), 0);
        assert!(!release(&mut grants, "b", None));
        assert!(!grants.release("a", Some(proof("b")), None));
        assert!(!grants.release("a", Some(LeaseProof::default()), None));
        assert!(release(&mut grants, "a", None));
        assert_eq!(remaining(&grants, "b", 1), 0);
        assert_eq!(grants.grant(Epoch(1), &ask("a", 1000), 2), 0);
        assert_eq!(remaining(&grants, "b", 2), 0);
        grants.promised(Epoch(2));
        assert_eq!(grants.grant(Epoch(2), &ask("a", 1000), 3), 1000);
        // The same call, come late.
        assert!(!release(&mut grants, "a", Some(Epoch(1))));
        assert!(release(&mut grants, "a", Some(Epoch(2))));
    }

    #[test]
    fn a_restart_waits_out_what_may_have_been_granted() {
        let marker = LeaseMarker {
            epoch: Epoch(4),
            holder: "a".into(),
            ms: Some(2000),
            proof: proof("a"),
        };
        assert_eq!(LeaseMarker::parse(&marker.to_text(), Epoch(9)), marker);
        for at in 0..marker.to_text().len() {
            let mut bytes = marker.to_text().into_bytes();
            bytes[at] ^= 1;
            let damaged = LeaseMarker::parse(&String::from_utf8_lossy(&bytes), Epoch(9));
            assert_eq!((damaged.epoch, damaged.ms), (Epoch(9), None), "byte {at}");
        }
        let mut grants = LeaseGrants::at_start(2000, Some(marker.clone()), Epoch(4), 100);
        assert_eq!(remaining(&grants, "b", 100), 2_000_000);
        assert_eq!(remaining(&grants, "a", 100), 0);
        assert!(release(&mut grants, "a", None));
        assert_eq!(remaining(&grants, "b", 100), 0);
        let older = LeaseGrants::at_start(2000, Some(marker), Epoch(5), 100);
        assert_eq!(remaining(&older, "b", 100), 0);
    }

    #[test]
    fn safety_09_a_restart_with_another_longest_lease_waits_out_the_promised_one() {
        let mut before = LeaseGrants::at_start(5000, None, Epoch(4), 0);
        let marker = before.marker_needed(Epoch(4), &ask("a", 9000)).unwrap();
        assert_eq!(marker.ms, Some(5000));
        before.marked(marker.clone());
        assert_eq!(before.grant(Epoch(4), &ask("a", 9000), 0), 5000);
        let read = LeaseMarker::parse(&marker.to_text(), Epoch(4));
        let mut after = LeaseGrants::at_start(200, Some(read), Epoch(4), 0);
        assert_eq!(remaining(&after, "b", 0), 5_000_000);
        // Renewing by the shorter time takes nothing back of the longer one.
        assert_eq!(after.marker_needed(Epoch(4), &ask("a", 9000)), None);
        assert_eq!(after.grant(Epoch(4), &ask("a", 9000), 1000), 200);
        assert_eq!(remaining(&after, "b", 1000), 4_999_000);
        // A longer one than what stands on disk is written first.
        let mut short = LeaseGrants::at_start(200, None, Epoch(4), 0);
        short.marked(short.marker_needed(Epoch(4), &ask("a", 9000)).unwrap());
        let read = short.marker.clone();
        let long = LeaseGrants::at_start(5000, read, Epoch(4), 0);
        let needed = long.marker_needed(Epoch(4), &ask("a", 9000));
        assert_eq!(needed.and_then(|marker| marker.ms), Some(5000));
    }

    #[test]
    fn safety_09_a_promise_of_unknown_length_is_waited_out_several_times() {
        let text = "4\na\n";
        let old = format!("{text}{:08x}\n", crc32fast::hash(text.as_bytes()));
        let marker = LeaseMarker::parse(&old, Epoch(4));
        assert_eq!((&*marker.holder, marker.ms), ("a", None));
        let grants = LeaseGrants::at_start(2000, Some(marker), Epoch(4), 0);
        assert_eq!(remaining(&grants, "b", 0), 10_000_000);
    }

    #[test]
    fn a_proof_is_read_only_for_its_holder() {
        let proof = LeaseProof(u128::MAX / 3);
        let text = proof_text("nn1@a", proof);
        assert_eq!(proof_of("nn1@a", &text), Some(proof));
        for (holder, text) in [
            ("nn1@b", text.as_str()),
            ("nn1@a", ""),
            ("nn1@a", "nn1@a\n7\n"),
            ("nn1@a", "nn1@a\n"),
        ] {
            assert_eq!(proof_of(holder, text), None);
        }
        let none = proof_text("nn1@a", LeaseProof::default());
        assert_eq!(proof_of("nn1@a", &none), None, "zero proves nothing");
        assert!(!LeaseProof::default().proves(LeaseProof::default()));
        assert!(!format!("{proof:?}").contains("5555"));
    }

    #[test]
    fn a_lease_counts_from_the_sending() {
        let mut hold = LeaseHold::default();
        hold.granted(2, 5000, 100);
        assert_eq!(hold.until(0), 0);
        assert_eq!(hold.until(2), 5000 + 99_000);
        hold.granted(2, 500, 100);
        assert_eq!(hold.until(2), 5000 + 99_000);
        assert_eq!(hold.until(9), 0);
    }
}
