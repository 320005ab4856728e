// What somebody has to look at, in words, from one answer of /api/cluster.

import { clock, count, duration, percent, plural, size } from "./words.js";

const HOUR_MS = 3600e3;
/** As in dist/alerts.yml. */
const LOW_PART = 0.05;
const LOW_BYTES = 500 * 1024 * 1024;
const CAPACITY_LOW_PART = 0.1;
const LAG_MS = 30e3;
const CHECKPOINT_MS = 3 * HOUR_MS;
const CHECKPOINT_TRANSACTIONS = 1e6;
const NAMED = 3;

function named(list) {
  const names = list.slice(0, NAMED).join(", ");
  return list.length > NAMED ? `${names} and ${count(list.length - NAMED)} more` : names;
}

/** The state of a NameNode: a word, and a class of .state. */
export function stateOf(namenode) {
  if (!namenode.reachable) {
    return namenode.last_heard ? ["dead", "bad"] : ["not yet heard of", "unknown"];
  }
  if (namenode.state === "initializing") return ["loading", "warn"];
  if (namenode.role === "BecomingActive") return ["becoming active", "warn"];
  if (namenode.role === "SteppingDown") return ["stepping down", "warn"];
  if (namenode.state === "active") return ["active", "good"];
  return [namenode.state, "standby"];
}

function ofNameNodes(cluster, own, add) {
  const list = cluster.namenodes;
  const active = list.filter((namenode) => namenode.reachable && namenode.state === "active");
  if (cluster.split) {
    add("critical", "split", `A NameNode that was said to be fenced goes on: ${cluster.split}.`);
  }
  if (active.length === 0) {
    add("critical", "no-active", "No NameNode is active. Nobody can read or write.");
  }
  for (const namenode of list) {
    const [word] = stateOf(namenode);
    if (word === "dead") {
      const at = clock(namenode.last_heard);
      add("warning", `nn-dead ${namenode.id}`, `NameNode ${namenode.id} is dead: heard last at ${at}.`);
    }
    if (word === "not yet heard of") {
      add("warning", `nn-unheard ${namenode.id}`, `NameNode ${namenode.id} does not answer, and was not heard of since ${own.id} started.`);
    }
    if (namenode.reachable && namenode.state === "active" && namenode.safe_mode) {
      add("warning", "safe-mode", `Safe mode is on: nothing can be written. ${namenode.safe_mode}`);
    }
    if (namenode.lag_ms > LAG_MS) {
      add("warning", `lag ${namenode.id}`, `Standby ${namenode.id} is ${duration(namenode.lag_ms)} behind the journal.`);
    }
    for (const dir of namenode.directories ?? []) {
      const where = `${dir.path} of ${namenode.id}`;
      if (dir.failed) {
        add("warning", `dir ${where}`, `Directory ${where} has failed: ${dir.failed}`);
      } else if (dir.free !== null && (dir.free < LOW_BYTES || dir.free < LOW_PART * dir.size)) {
        add("warning", `low ${where}`, `Low disk: ${size(dir.free)} of ${size(dir.size)} are free in ${where}.`);
      }
    }
  }
  const writer = active[0] ?? own;
  const { time, transaction } = writer?.last_checkpoint ?? {};
  const since = writer ? writer.applied_transaction - transaction : 0;
  const age = time > 0 ? cluster.time - time : 0;
  if ((age > CHECKPOINT_MS && since > CHECKPOINT_TRANSACTIONS) || (age > 24 * HOUR_MS && since > 0)) {
    add("warning", "checkpoint", `The last checkpoint is old: ${duration(age)}, ${plural(since, "transaction")} ago.`);
  }
}

function ofJournalNodes(cluster, own, add) {
  const list = cluster.journalnodes;
  // A NameNode that has only begun has asked none of them.
  if (list.length === 0 || own.state === "initializing") return;
  const down = list.filter((journalnode) => !journalnode.up).map((journalnode) => journalnode.address);
  const needed = Math.floor(list.length / 2) + 1;
  if (list.length - down.length < needed) {
    add("critical", "majority", `The majority of the JournalNodes is lost: ${down.length} of ${list.length} do not answer (${named(down)}). Nothing can be written.`);
  } else {
    for (const address of down) {
      add("warning", `jn ${address}`, `JournalNode ${address} does not answer.`);
    }
    if (down.length > 0 && list.length - down.length === needed) {
      add("warning", "jn-margin", "No further JournalNode may fail: writing needs all that are left.");
    }
  }
  for (const journalnode of list) {
    if (journalnode.distrusted) {
      add("warning", `distrusted ${journalnode.address}`, `JournalNode ${journalnode.address} is not trusted: ${journalnode.distrusted}.`);
    }
  }
}

function ofData(cluster, own, add) {
  const dead = cluster.datanodes.filter((node) => node.state === "dead").map((node) => node.host);
  const stale = cluster.datanodes.filter((node) => node.stale).map((node) => node.host);
  const failed = cluster.datanodes.filter((node) => node.volfails > 0).map((node) => node.host);
  if (dead.length > 0) add("warning", "dn-dead", `${plural(dead.length, "DataNode is", "DataNodes are")} dead: ${named(dead)}.`);
  if (stale.length > 0) add("warning", "dn-stale", `${plural(stale.length, "DataNode is", "DataNodes are")} silent: ${named(stale)}.`);
  if (failed.length > 0) add("warning", "dn-volumes", `Volumes have failed at ${named(failed)}.`);
  const { total, remaining } = cluster.capacity;
  if (total > 0 && remaining < CAPACITY_LOW_PART * total) {
    add("warning", "capacity", `The cluster is nearly full: ${size(remaining)} (${percent(remaining, total)}) are free.`);
  }
  // Before the reports of DataNodes are in, every block is missing.
  if (own.safe_mode || own.state === "initializing") return;
  const { missing, corrupt } = cluster.blocks;
  if (missing > 0) add("critical", "missing", `${plural(missing, "block is", "blocks are")} missing.`);
  if (corrupt > 0) add("critical", "corrupt", `${plural(corrupt, "block is", "blocks are")} corrupt.`);
}

/** The alarms, critical ones first: {level, key, text}. */
export function alarmsOf(cluster, own) {
  const alarms = [];
  const add = (level, key, text) => alarms.push({ level, key, text });
  ofNameNodes(cluster, own, add);
  ofJournalNodes(cluster, own, add);
  ofData(cluster, own, add);
  return alarms.sort((a, b) => (a.level === b.level ? 0 : a.level === "critical" ? -1 : 1));
}
