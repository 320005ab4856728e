//! The `journal` elector: a controller that sees the JournalNodes' read lease free lets its NameNode try when its turn
//! comes. When two try at once, the JournalNodes' epochs decide.

use hathi_journal::survey::QuorumLease;

use super::{Duty, ElectionCandidate, ElectionEvent, ElectionStanding, Elector};

/// The turns of one candidate.
#[derive(Debug)]
pub struct JournalElector {
    /// Position of the candidate among the NameNodes of its nameservice.
    rank: u32,
    /// The ids of all NameNodes, in the order of the configuration. The turns begin behind the last holder of the
    /// lease. Hadoop's clients go on in the same order when they lose the active, so they ask the right NameNode first,
    /// and no turn is given to the one that died.
    namenode_ids: Vec<String>,
    /// Additional delay of each turn.
    rank_delay_ms: u64,
    /// First pause after a refused attempt. It doubles up to 16 times this pause.
    backoff_ms: u64,
    /// Position of the last holder of the lease.
    last_place: Option<u32>,
    free_since_ms: Option<u64>,
    failures: u32,
    retry_at_ms: u64,
    safe_mode: bool,
}

impl JournalElector {
    /// An elector that has seen nothing yet.
    #[must_use]
    pub fn new(rank: u32, namenode_ids: Vec<String>, rank_delay_ms: u64, backoff_ms: u64) -> Self {
        JournalElector {
            rank,
            namenode_ids,
            rank_delay_ms,
            backoff_ms,
            last_place: None,
            free_since_ms: None,
            failures: 0,
            retry_at_ms: 0,
            safe_mode: false,
        }
    }

    /// Number of candidates whose turn comes first.
    fn turn(&self) -> u32 {
        let count = u32::try_from(self.namenode_ids.len()).unwrap_or(0);
        let turn = match self.last_place {
            Some(last) if self.rank < count => (self.rank + count - last - 1) % count,
            _ => self.rank,
        };
        if self.safe_mode { turn + count } else { turn }
    }

    fn turn_delay_ms(&self) -> u64 {
        u64::from(self.turn()) * self.rank_delay_ms
    }

    /// Whether the candidate should try to become active now.
    fn may_try(&mut self, candidate: &ElectionCandidate, now_ms: u64) -> bool {
        self.safe_mode = candidate.safe_mode;
        match &candidate.lease {
            QuorumLease::Free => {
                let since_ms = *self.free_since_ms.get_or_insert(now_ms);
                let may_try =
                    candidate.standing == ElectionStanding::Stands && candidate.is_standby && !candidate.in_transition;
                return may_try && now_ms >= self.retry_at_ms && now_ms >= since_ms + self.turn_delay_ms();
            }
            QuorumLease::Held { holder, .. } => {
                self.free_since_ms = None;
                let id = holder.split('@').next().unwrap_or_default();
                let place = self.namenode_ids.iter().position(|known| known == id);
                self.last_place = place.and_then(|place| u32::try_from(place).ok());
            }
            // A writer of Hadoop is at work, or was. Only its own controller or a person can know whether it lives.
            QuorumLease::Unknown | QuorumLease::Written { .. } => self.free_since_ms = None,
        }
        false
    }

    fn refused(&mut self, now_ms: u64) {
        let factor = 1 << self.failures.min(4);
        self.failures += 1;
        // The delay of the turn keeps two candidates that both failed from trying at the same time again.
        self.retry_at_ms = now_ms + self.backoff_ms * factor + self.turn_delay_ms();
    }
}

impl Elector for JournalElector {
    fn on(&mut self, event: ElectionEvent<'_>, now_ms: u64) -> Vec<Duty> {
        match event {
            ElectionEvent::Candidate(candidate) => {
                if self.may_try(candidate, now_ms) {
                    return vec![Duty::Promote];
                }
            }
            ElectionEvent::Promoted(true) => self.failures = 0,
            ElectionEvent::Promoted(false) => self.refused(now_ms),
            ElectionEvent::ProcessEnded => {
                self.failures = 0;
                self.retry_at_ms = 0;
            }
            // The JournalNodes fence, and the lease of a controller's NameNode does not end with the controller.
            ElectionEvent::Fenced(_) | ElectionEvent::Told(_) | ElectionEvent::Quit => {}
        }
        Vec::new()
    }

    fn needs_ticks(&self) -> bool {
        self.free_since_ms.is_some()
    }
}
