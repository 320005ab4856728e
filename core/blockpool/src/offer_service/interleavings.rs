//! Every course of events within bounds. There are two NameNodes, DataNodes with one replica each of one block that is
//! wanted once, and deletions in steps. The NameNodes keep Hadoop's rule: nothing is deleted by a count that is
//! uncertain since the role was taken. Whether that is enough depends on when DataNodes check whose orders count.

use super::*;
use std::collections::VecDeque;

const NAMENODES: usize = 2;

/// When a DataNode asks whether an order still counts. All but the first one lose the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// It checks the claim, for each block.
    ClaimForEachBlock,
    /// It checks the claim, once for a command.
    ClaimOnce,
    /// For each block it checks only whether the NameNode is the active one, again or still.
    NameNodeForEachBlock,
    /// As the first one, but a NameNode that counts anew does not ask for a registration.
    NoRegistration,
}

/// What the active knows of the replica on a DataNode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum View {
    /// Nothing was heard in this term.
    Unheard,
    /// A heartbeat came, so the next full report counts.
    Heard,
    Present,
    Absent,
    /// It is to be deleted; the order leaves with the next heartbeat.
    GivenUp,
    /// The order left.
    Ordered,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DataNode {
    replica: bool,
    view: View,
    /// For each NameNode: whether the DataNode told it that it is obeyed since it registered there, and whether it
    /// wants a registration.
    told_active: [bool; NAMENODES],
    must_register: [bool; NAMENODES],
    offer: OfferService,
    /// Orders that wait, and the order whose command has begun.
    queue: Vec<(ActorId, ClaimId)>,
    begun: Option<(ActorId, ClaimId)>,
    /// The last heartbeat to the active had no answer: the next message is a heartbeat.
    unanswered: bool,
}

/// The DataNodes are sorted. They are all alike, so worlds that differ only in the order of the DataNodes are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    term: i64,
    active: usize,
    datanodes: Vec<DataNode>,
}

impl World {
    /// NameNode 0 is active and knows of every replica.
    fn new(datanodes: usize) -> World {
        let mut offer = OfferService::new();
        offer.on_heartbeat(ActorId(0), HaState::Active, 10);
        let datanode = DataNode {
            replica: true,
            view: View::Present,
            told_active: [true, false],
            must_register: [false; NAMENODES],
            offer,
            queue: Vec::new(),
            begun: None,
            unanswered: false,
        };
        World {
            term: 1,
            active: 0,
            datanodes: vec![datanode; datanodes],
        }
    }

    fn failover(&self, to: usize) -> World {
        let mut next = self.clone();
        next.term += 1;
        next.active = to;
        for datanode in &mut next.datanodes {
            datanode.view = View::Unheard;
            datanode.unanswered = false;
            datanode.must_register[to] = datanode.told_active[to];
        }
        next
    }

    fn heartbeat(&self, at: usize, to: usize, answered: bool, rule: Rule) -> World {
        let mut next = self.clone();
        let txid = self.term * 10;
        let datanode = &mut next.datanodes[at];
        let actor = ActorId(to);
        if to != self.active {
            datanode.offer.on_heartbeat(actor, HaState::Standby, txid);
            return next;
        }
        let register = datanode.must_register[to] && rule != Rule::NoRegistration;
        let order = !register && datanode.view == View::GivenUp;
        if order {
            datanode.view = View::Ordered;
        }
        if datanode.view == View::Unheard && !register {
            datanode.view = View::Heard;
        }
        datanode.told_active[to] = true;
        datanode.unanswered = !answered;
        if !answered {
            return next;
        }
        datanode.offer.on_heartbeat(actor, HaState::Active, txid);
        if order && let Some(claim) = datanode.offer.claim_of(actor) {
            datanode.queue.push((actor, claim));
        }
        if register {
            datanode.offer.on_registered(actor);
            datanode.must_register[to] = false;
            datanode.told_active[to] = false;
        }
        next
    }

    /// A full report to the active.
    fn report(&self, at: usize) -> Option<World> {
        let mut next = self.clone();
        let datanode = &mut next.datanodes[at];
        if datanode.unanswered || !datanode.offer.may_report_to(ActorId(self.active)) {
            return None;
        }
        datanode.view = match (datanode.view, datanode.replica) {
            (View::Unheard, _) => View::Unheard,
            (View::GivenUp | View::Ordered, true) => datanode.view,
            (_, true) => View::Present,
            (_, false) => View::Absent,
        };
        Some(next)
    }

    /// The active gives up one of several replicas.
    fn decide(&self, at: usize) -> Option<World> {
        let count = |view| self.datanodes.iter().filter(|datanode| datanode.view == view).count();
        let sure = count(View::Unheard) + count(View::Heard) == 0;
        if !sure || count(View::Present) < 2 || self.datanodes[at].view != View::Present {
            return None;
        }
        let mut next = self.clone();
        next.datanodes[at].view = View::GivenUp;
        Some(next)
    }

    fn begin(&self, at: usize, rule: Rule) -> Option<World> {
        let mut next = self.clone();
        let datanode = &mut next.datanodes[at];
        if datanode.begun.is_some() || datanode.queue.is_empty() {
            return None;
        }
        let (actor, claim) = datanode.queue.remove(0);
        let counts = match rule {
            Rule::ClaimForEachBlock | Rule::ClaimOnce | Rule::NoRegistration => datanode.offer.holds(claim),
            Rule::NameNodeForEachBlock => datanode.offer.claim_of(actor).is_some(),
        };
        datanode.begun = counts.then_some((actor, claim));
        Some(next)
    }

    fn delete(&self, at: usize, rule: Rule) -> Option<World> {
        let mut next = self.clone();
        let datanode = &mut next.datanodes[at];
        let (actor, claim) = datanode.begun.take()?;
        let counts = match rule {
            Rule::ClaimForEachBlock | Rule::NoRegistration => datanode.offer.holds(claim),
            Rule::NameNodeForEachBlock => datanode.offer.claim_of(actor).is_some(),
            Rule::ClaimOnce => true,
        };
        datanode.replica &= !counts;
        Some(next)
    }

    fn successors(&self, rule: Rule, last_term: i64) -> Vec<World> {
        let mut all = Vec::new();
        for namenode in 0..NAMENODES {
            if self.term < last_term {
                all.push(self.failover(namenode));
            }
            for datanode in 0..self.datanodes.len() {
                all.push(self.heartbeat(datanode, namenode, true, rule));
            }
        }
        for datanode in 0..self.datanodes.len() {
            all.push(self.heartbeat(datanode, self.active, false, rule));
            all.extend(self.decide(datanode));
            all.extend(self.report(datanode));
            all.extend(self.begin(datanode, rule));
            all.extend(self.delete(datanode, rule));
        }
        for world in &mut all {
            world.datanodes.sort_unstable();
        }
        all
    }
}

/// Explores every world that can come about. Returns their number, and the first one in which no replica is left.
fn explore(rule: Rule, datanodes: usize, last_term: i64) -> (usize, Option<World>) {
    let mut seen = BTreeSet::from([World::new(datanodes)]);
    let mut next: VecDeque<World> = seen.iter().cloned().collect();
    while let Some(world) = next.pop_front() {
        if world.datanodes.iter().all(|datanode| !datanode.replica) {
            return (seen.len(), Some(world));
        }
        for successor in world.successors(rule, last_term) {
            if seen.insert(successor.clone()) {
                next.push_back(successor);
            }
        }
    }
    (seen.len(), None)
}

#[test]
fn safety_05_no_course_of_events_deletes_the_last_replica() {
    for (datanodes, last_term) in [(2, 3), (3, 2)] {
        let (worlds, lost) = explore(Rule::ClaimForEachBlock, datanodes, last_term);
        assert!(lost.is_none(), "after {worlds} worlds: {lost:#?}");
        println!("{datanodes} DataNodes, {last_term} terms: {worlds} worlds");
    }
}

#[test]
fn safety_05_each_weaker_rule_loses_the_block() {
    for rule in [Rule::ClaimOnce, Rule::NameNodeForEachBlock, Rule::NoRegistration] {
        let (worlds, lost) = explore(rule, 2, 3);
        assert!(lost.is_some(), "{rule:?} did no harm in {worlds} worlds");
    }
}
