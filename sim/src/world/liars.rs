//! One JournalNode that exaggerates, and strangers who know what `/jmx` shows.
//!
//! The liar lies about its promise, its last segment, the committed transaction, and the length of its segments. It
//! still keeps its promises and the edits that it has acknowledged: if one of three JournalNodes does not, no majority
//! can keep anything safe.

use hathi_journal::lease::LeaseProof;
use hathi_journal::messages::{LeaseRequest, PrepareRecoveryAnswer, RequestInfo};

use super::*;

/// Faults that would make a second JournalNode unreliable.
pub(super) const LOSSES: [&str; 4] = [
    "bit flip: finalized segment",
    "bit flip: segment in progress",
    "bit flip: small file",
    "disk lost",
];

impl World {
    fn absurd(&mut self) -> u64 {
        match self.liar_rng.u8(0..4) {
            0 => u64::MAX,
            1 => i64::MAX as u64,
            2 => 1 << 40,
            _ => (1 << 33) + self.liar_rng.u64(0..1 << 20),
        }
    }

    /// Changes an answer of the liar.
    pub(super) fn lie(&mut self, answer: Answer) -> Answer {
        if self.liar_rng.bool() {
            return answer;
        }
        let absurd = self.absurd();
        let lie = match answer {
            Answer::JournalState {
                http_port,
                from_url,
                membership,
                ..
            } => Answer::JournalState {
                promised_epoch: Epoch(absurd),
                http_port,
                from_url,
                membership,
            },
            Answer::NewEpoch {
                lease_granted_ms,
                membership,
                ..
            } => Answer::NewEpoch {
                // A higher number than Java's largest would be sent as none.
                last_segment: Some(TxId(absurd >> 1)),
                lease_granted_ms,
                membership,
            },
            Answer::PrepareRecovery(mut said) => {
                match &mut said.segment {
                    Some(segment) if segment.in_progress && self.liar_rng.bool() => segment.end.0 += 7,
                    _ => said.last_committed = Some(TxId(absurd >> 1)),
                }
                Answer::PrepareRecovery(PrepareRecoveryAnswer { ..said })
            }
            other => return other,
        };
        self.mark("lied");
        lie
    }

    /// A stranger sends something to all JournalNodes in the name of the active.
    pub(super) fn stranger(&mut self) {
        let active = self.nns.iter().find(|nn| nn.alive && nn.epoch > 0);
        let (index, epoch) = active.map_or((usize::MAX, 0), |nn| (nn.index, nn.epoch));
        let holder = active.map_or_else(|| "nobody@0".to_owned(), NameNode::holder);
        let lease = |ms| {
            Some(LeaseRequest {
                ms,
                holder: holder.as_str().into(),
                proof: LeaseProof::default(),
            })
        };
        let absurd = self.absurd();
        let epoch = match self.liar_rng.u8(0..3) {
            0 => epoch,
            1 => epoch + 1,
            _ => absurd,
        };
        let committed = TxId::from_wire(absurd).filter(|_| self.liar_rng.bool());
        match self.liar_rng.u8(0..3) {
            0 => {
                self.mark("stranger: heartbeat");
                let info = RequestInfo {
                    epoch: Epoch(epoch),
                    serial: absurd,
                    committed,
                    lease: lease(1000),
                };
                self.send_as_nobody(&Request::Heartbeat { info });
            }
            1 => {
                self.mark("stranger: newEpoch");
                let established = self.liar_rng.bool();
                let as_hadoop = self.liar_rng.bool();
                self.send_as_nobody(&Request::NewEpoch {
                    ns_info: namespace_info(),
                    epoch: Epoch(epoch),
                    lease: lease(0).filter(|_| !as_hadoop),
                    established,
                });
            }
            _ => {
                self.mark("stranger: releaseLease");
                self.send_as_nobody(&Request::ReleaseLease {
                    holder: holder.as_str().into(),
                    proof: LeaseProof::default(),
                    up_to: None,
                });
                let other = self
                    .nns
                    .iter()
                    .find(|nn| nn.index != index && nn.alive && nn.writer.is_none());
                if let Some(other) = other.filter(|nn| nn.paused_until <= self.now).map(|nn| nn.index) {
                    self.attempt(other);
                }
            }
        }
    }

    fn send_as_nobody(&mut self, request: &Request) {
        let mut waits = false;
        for jn in &mut self.jns {
            waits |= jn.request_of_nobody(request, self.now);
        }
        if waits {
            self.mark("stranger: waits for the end of a lease");
        }
    }
}
