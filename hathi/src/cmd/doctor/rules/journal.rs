//! What JournalNodes answer.

use super::{Rule, Trouble, error, size, trouble, warning};
use crate::cmd::doctor::facts::{Facts, JournalNodeAnswer, JournalState};
use crate::cmd::journal::sync_micros;
use serde_json::Value;
use std::collections::BTreeMap;

/// Free part of a file system, in percent, below which it is nearly full.
const FREE_PERCENT_MIN: u64 = 5;
/// Time of the 99th percentile of syncs above which a disk is slow.
const SYNC_MICROS_MAX: u64 = 10_000;

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    error("journalnode-down", "a JournalNode does not answer", "Start it; as long as a majority runs, it catches up by itself.", journalnode_down),
    error("journal-majority-lost", "fewer than a majority of the JournalNodes can vote, so no change is accepted", "Start the JournalNodes that are down; nothing that was acknowledged is lost.", journal_majority_lost),
    error("journalnode-not-formatted", "a JournalNode does not have the journal", "Restart it with hathi.journalnode.join = true, which fetches the journal from its peers; in a new cluster format the first NameNode.", journalnode_not_formatted),
    error("journalnode-refuses", "a JournalNode answers with an exception", "Read its log; hathi journal status shows the state of all of them.", journalnode_refuses),
    error("journalnode-failed", "a JournalNode has given its directory up after an I/O error", "Replace the disk and start the JournalNode with an empty directory: it fetches the journal from its peers.", journalnode_failed),
    warning("journalnode-not-voting", "a JournalNode does not vote until it has what it may have acknowledged", "Start its peers; it votes by itself when it has every edit.", journalnode_not_voting),
    warning("journalnode-out-of-sync", "the active does not write to a JournalNode", "Look at its log, its disk and its network; it is taken up again at the next segment.", journalnode_out_of_sync),
    warning("journalnode-distrusted", "a JournalNode has given an impossible answer", "Look at its disk and its version; docs/journal.md says what was impossible.", journalnode_distrusted),
    error("journal-members-differ", "the configuration names other JournalNodes than the journal's own record", "Write the members that hathi journal status shows into dfs.namenode.shared.edits.dir on all machines.", journal_members_differ),
    error("journal-disk-full", "a JournalNode's file system has less than 5 % free space", "Make room on it: without room this JournalNode takes no edits.", journal_disk_full),
    warning("journal-disk-slow", "a hundredth of a JournalNode's syncs takes more than 10 ms", "Put the journal on a faster disk, or on one of its own.", journal_disk_slow),
];

fn name(answer: &JournalNodeAnswer) -> String {
    format!("JournalNode {}", answer.address)
}

/// What is said of each JournalNode.
fn each(facts: &Facts, what: impl Fn(&JournalNodeAnswer) -> Option<String>) -> Vec<Trouble> {
    let answers = facts.answers().journalnodes.into_iter();
    answers
        .filter_map(|answer| Some(trouble(name(&answer), what(&answer)?)))
        .collect()
}

fn journalnode_down(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| match &answer.state {
        JournalState::Silent(silence) => Some(silence.clone()),
        JournalState::Answered | JournalState::NotFormatted | JournalState::Refused(_) => None,
    })
}

/// An attribute of the journal's bean.
fn attribute(answer: &JournalNodeAnswer, name: &str) -> Option<Value> {
    let bean = format!("Journal-{}", answer.journal_id);
    answer.page.as_ref()?.known().get(&bean, name).cloned()
}

fn is_set(answer: &JournalNodeAnswer, name: &str) -> bool {
    attribute(answer, name) == Some(Value::Bool(true))
}

fn reason(answer: &JournalNodeAnswer, name: &str) -> String {
    let text = attribute(answer, name);
    text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn journal_majority_lost(facts: &Facts) -> Vec<Trouble> {
    let mut journals: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for answer in facts.answers().journalnodes {
        let votes = answer.state == JournalState::Answered && !is_set(&answer, "Failed") && !is_set(&answer, "Joining");
        let (well, all) = journals.entry(answer.journal_id).or_default();
        *well += usize::from(votes);
        *all += 1;
    }
    let lost = journals.into_iter().filter(|(_, (well, all))| *well <= all / 2);
    lost.map(|(journal, (well, all))| {
        trouble(
            format!("journal {journal}"),
            format!("{well} of {all} JournalNodes can vote"),
        )
    })
    .collect()
}

fn journalnode_not_formatted(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| {
        (answer.state == JournalState::NotFormatted).then(|| format!("it has no journal {}", answer.journal_id))
    })
}

fn journalnode_refuses(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| match &answer.state {
        JournalState::Refused(message) => Some(message.clone()),
        JournalState::Answered | JournalState::NotFormatted | JournalState::Silent(_) => None,
    })
}

fn journalnode_failed(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| {
        is_set(answer, "Failed").then(|| format!("its directory failed: {}", reason(answer, "Failure")))
    })
}

fn journalnode_not_voting(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| {
        let waits = is_set(answer, "Joining") || is_set(answer, "PromiseLost");
        waits.then(|| format!("it does not vote: {}", reason(answer, "JoiningReason")))
    })
}

fn journalnode_out_of_sync(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answer in facts.answers().namenodes.iter().filter(|answer| answer.is_active()) {
        let beans = answer.page.known();
        for (journalnode, bean) in beans.with_prefix("IPCLoggerChannel-") {
            if bean.get("tag.IsOutOfSync").and_then(Value::as_str) == Some("true") {
                let what = format!("{} does not write to it", answer.namenode.name());
                found.push(trouble(format!("JournalNode {journalnode}"), what));
            }
        }
    }
    found
}

fn journalnode_distrusted(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answer in facts.answers().namenodes {
        for (journalnode, bean) in answer.page.known().with_prefix("JournalNode-") {
            if let Some(why) = bean.get("Distrusted").and_then(Value::as_str) {
                let what = format!("{} does not believe it: {why}", answer.namenode.name());
                found.push(trouble(format!("JournalNode {journalnode}"), what));
            }
        }
    }
    found
}

fn journal_members_differ(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for (configured, journal) in facts.journals() {
        let mut configured: Vec<String> = configured.iter().map(ToString::to_string).collect();
        configured.sort();
        let answers = facts.answers().journalnodes;
        let known = answers.iter().filter(|answer| answer.journal_id == journal);
        let differs = known.filter_map(|answer| {
            let mut members = answer.members.clone()?;
            members.sort();
            (members != configured).then_some(members)
        });
        // One finding for a journal is enough.
        found.extend(differs.take(1).map(|members| {
            let what = format!("the members of journal {journal} are {}", members.join(", "));
            trouble("dfs.namenode.shared.edits.dir", what)
        }));
    }
    found
}

/// A JournalNode of ours tells of its directories.
fn journal_disk_full(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| {
        let rooms = answer
            .page
            .as_ref()?
            .known()
            .get("JournalNodeInfo", "Directories")?
            .clone();
        rooms.as_array()?.iter().find_map(|room| {
            let (free, all) = (room["free"].as_u64()?, room["size"].as_u64()?);
            let path = room["path"].as_str()?;
            (free < all / 100 * FREE_PERCENT_MIN).then(|| format!("{} of {} are free in {path}", size(free), size(all)))
        })
    })
}

fn journal_disk_slow(facts: &Facts) -> Vec<Trouble> {
    each(facts, |answer| {
        let bean = format!("Journal-{}", answer.journal_id);
        let (_, slow) = sync_micros(answer.page.as_ref()?.known().find(&bean)?)?;
        (slow > SYNC_MICROS_MAX).then(|| format!("the slowest hundredth of its syncs takes about {} ms", slow / 1000))
    })
}
