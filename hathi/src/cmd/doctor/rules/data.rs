//! What is known of DataNodes and blocks.

use super::{Rule, Trouble, error, size, trouble, warning};
use crate::cmd::doctor::facts::{Beans, Facts, NameNodeAnswer};
use serde_json::Value;

/// Free part of the cluster, in percent, below which it is nearly full.
const FREE_PERCENT_MIN: u64 = 10;
/// Bean of a NameNode.
const STATE: &str = "FSNamesystemState";

#[rustfmt::skip]
pub(super) const RULES: &[Rule] = &[
    error("datanodes-none", "no DataNode is registered", "Start the DataNodes; their logs say why they do not register.", datanodes_none),
    warning("datanode-dead", "a DataNode has sent no heartbeat for so long that its blocks are copied", "Start it, or replace its machine.", datanode_dead),
    warning("datanode-silent", "a DataNode counts as alive, and its web server does not answer", "Look at the process: it may hang, or have just died.", datanode_silent),
    error("datanode-not-connected", "a DataNode has no connection to one of the NameNodes", "Look in its log, and at the names and firewalls between the two.", datanode_not_connected),
    error("blocks-missing", "no good replica of some blocks is known", "Bring their DataNodes back; hathi fsck / -list-corruptfileblocks names the files.", blocks_missing),
    warning("blocks-under-replicated", "blocks have too few replicas", "Wait until they are copied; if the number does not fall, add DataNodes, racks or space.", blocks_under_replicated),
    warning("blocks-corrupt", "replicas of blocks are damaged and not replaced yet", "Add a DataNode if there are as many as replicas; look at the disk that damaged them.", blocks_corrupt),
    warning("volume-failed", "a DataNode does not use one of its disks any more", "Replace the disk, then restart the DataNode.", volume_failed),
    warning("replication-above-datanodes", "`dfs.replication` is greater than the number of live DataNodes", "Add DataNodes, or lower dfs.replication.", replication_above_datanodes),
    warning("cluster-nearly-full", "the DataNodes have less than 10 % free space", "Add disks or DataNodes, or delete files.", cluster_nearly_full),
];

/// What the active NameNodes tell.
fn actives(facts: &Facts) -> Vec<NameNodeAnswer> {
    let answers = facts.answers().namenodes.into_iter();
    answers
        .filter(|answer| answer.is_active() && answer.page.known().find(STATE).is_some())
        .collect()
}

/// What is said of each active NameNode's cluster.
fn each(facts: &Facts, what: impl Fn(&Beans) -> Option<String>) -> Vec<Trouble> {
    let answers = actives(facts).into_iter();
    answers
        .filter_map(|answer| Some(trouble(answer.namenode.name(), what(&answer.page.known())?)))
        .collect()
}

/// A number above zero.
fn some(beans: &Beans, bean: &str, attribute: &str) -> Option<u64> {
    beans.number(bean, attribute).filter(|number| *number > 0)
}

fn datanodes_none(facts: &Facts) -> Vec<Trouble> {
    each(facts, |beans| {
        let live = beans.number(STATE, "NumLiveDataNodes")?;
        (live == 0).then(|| "no DataNode is alive, so no file can be written or read".to_owned())
    })
}

fn datanode_dead(facts: &Facts) -> Vec<Trouble> {
    let mut found = Vec::new();
    for answer in actives(facts) {
        let Some(Value::Object(dead)) = answer.page.known().json("NameNodeInfo", "DeadNodes") else {
            continue;
        };
        let what = format!("{} takes it for dead", answer.namenode.name());
        found.extend(dead.keys().map(|name| trouble(format!("DataNode {name}"), &what)));
    }
    found
}

fn datanode_silent(facts: &Facts) -> Vec<Trouble> {
    let answers = facts.answers().datanodes.into_iter();
    answers
        .filter_map(|answer| {
            let silence = answer.page.beans.err()?;
            let what = format!("its web server at {}: {silence}", answer.page.address);
            Some(trouble(format!("DataNode {}", answer.name), what))
        })
        .collect()
}

fn datanode_not_connected(facts: &Facts) -> Vec<Trouble> {
    let namenodes = facts.answers().namenodes;
    // A NameNode that is down has its own finding.
    let is_down = namenodes
        .iter()
        .any(|answer| answer.page.beans.is_err() || matches!(answer.state, Some(Err(_))));
    if is_down {
        return Vec::new();
    }
    let mut found = Vec::new();
    for answer in facts.answers().datanodes {
        let Some(Value::Array(actors)) = answer.page.known().json("DataNodeInfo", "BPServiceActorInfo") else {
            continue;
        };
        let broken = actors.iter().filter(|actor| actor["ActorState"] == "CONNECTING");
        found.extend(
            broken
                .filter_map(|actor| actor["NamenodeAddress"].as_str())
                .map(|namenode| {
                    trouble(
                        format!("DataNode {}", answer.name),
                        format!("it has no connection to the NameNode at {namenode}"),
                    )
                }),
        );
    }
    found
}

fn blocks_missing(facts: &Facts) -> Vec<Trouble> {
    each(facts, |beans| {
        let missing = some(beans, "FSNamesystem", "MissingBlocks")?;
        Some(format!("{missing} blocks are missing"))
    })
}

fn blocks_under_replicated(facts: &Facts) -> Vec<Trouble> {
    each(facts, |beans| {
        let low = some(beans, STATE, "UnderReplicatedBlocks")?;
        Some(format!("{low} blocks have too few replicas"))
    })
}

fn blocks_corrupt(facts: &Facts) -> Vec<Trouble> {
    each(facts, |beans| {
        let corrupt = some(beans, "FSNamesystem", "CorruptBlocks")?;
        Some(format!("{corrupt} blocks have damaged replicas"))
    })
}

fn volume_failed(facts: &Facts) -> Vec<Trouble> {
    let answers = facts.answers().datanodes.into_iter();
    answers
        .filter_map(|answer| {
            let failed = some(&answer.page.known(), "FSDatasetState", "NumFailedVolumes")?;
            Some(trouble(
                format!("DataNode {}", answer.name),
                format!("{failed} of its disks failed"),
            ))
        })
        .collect()
}

fn replication_above_datanodes(facts: &Facts) -> Vec<Trouble> {
    let Ok(replication) = facts.conf.get_u64("dfs.replication", 3) else {
        return Vec::new();
    };
    each(facts, |beans| {
        let live = some(beans, STATE, "NumLiveDataNodes")?;
        (live < replication).then(|| format!("files get {replication} replicas, and {live} DataNodes are alive"))
    })
}

fn cluster_nearly_full(facts: &Facts) -> Vec<Trouble> {
    each(facts, |beans| {
        let (all, free) = (
            some(beans, STATE, "CapacityTotal")?,
            beans.number(STATE, "CapacityRemaining")?,
        );
        (free < all / 100 * FREE_PERCENT_MIN).then(|| format!("{} of {} are free", size(free), size(all)))
    })
}
