// The page of the whole cluster. It asks only the NameNode that served it.

import { $, element, fill, setClass, setText, sync, table } from "./dom.js";
import { clock, count, day, duration, percent, plural, size } from "./words.js";
import { stateOf } from "./states.js";
import { showHistory } from "./charts.js";
import { filesAt, startFiles } from "./files.js";

const EVERY_MS = 2000;
const HISTORY_EVERY_MS = 10e3;
const PATIENCE_MS = 8000;
const COMPARE_PATIENCE_MS = 30e3;
const ROWS = 50;
const FAILOVERS = 5;

let cluster = null;
let silentSince = null;
let failoversShown = FAILOVERS;

const web = (address) => (address ? `http://${address}/` : undefined);

async function json(path, patience = PATIENCE_MS) {
  const response = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(patience) });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

const showJournalNodes = table($("journalnode-table"), [
  { title: "JournalNode", kind: "name", show: (node) => node.address },
  { title: "State", kind: "name", show: journalState },
  { title: "Behind", kind: "number", show: (node) => (node.lag_transactions === null ? null : { text: plural(node.lag_transactions, "transaction"), below: node.lag_ms > 0 ? duration(node.lag_ms) : undefined }) },
  { title: "Highest transaction", kind: "number", show: (node) => count(node.highest_transaction) },
  { title: "Promised epoch", kind: "number", show: (node) => count(node.promised_epoch) },
  { title: "Writer's epoch", kind: "number", show: (node) => count(node.writer_epoch) },
  { title: "Read lease", kind: "name", show: (node) => (node.up ? (node.lease_holder ? node.lease_holder.split("@")[0] : "nobody") : null) },
], (node) => node.address);

function journalState(node) {
  if (!node.up) return { text: "does not answer", state: "bad" };
  if (node.distrusted) return { text: "not trusted", state: "bad" };
  // Only the writer knows.
  if (node.in_sync === null) return { text: "answers", state: "good" };
  return node.in_sync ? { text: "in sync", state: "good" } : { text: "catching up", state: "warn" };
}

const showControllers = table($("controller-table"), [
  { title: "Controller of", kind: "name", show: (one) => ({ text: one.namenode, href: web(one.http) }) },
  { title: "State", kind: "name", show: controllerState },
  { title: "Its NameNode is", kind: "name", show: (one) => (one.reachable ? `${one.state}, ${one.namenode_health.replaceAll("_", " ")}` : null) },
  { title: "Elector", kind: "name", show: (one) => one.elector },
  { title: "Lease", kind: "name", show: (one) => (one.reachable ? one.lease + (one.elected ? ` by ${one.elected}` : "") : null) },
  { title: "Reasons", kind: "text", show: (one) => (one.reasons ?? []).join("; ") },
], (one) => one.namenode);

function controllerState(one) {
  if (!one.reachable) return one.last_heard ? { text: "dead", state: "bad" } : { text: "not yet heard of", state: "unknown" };
  return one.ready ? { text: "ready", state: "good" } : { text: "not ready", state: "warn" };
}

const showDataNodes = table($("datanode-table"), [
  { title: "DataNode", kind: "name", show: (node) => ({ text: node.host, href: web(node.infoAddr), below: node.location }), by: (node) => node.host },
  { title: "State", kind: "name", show: dataNodeState, by: (node) => dataNodeState(node).text },
  { title: "Last contact", kind: "number", show: (node) => (node.lastContact < 60 ? `${node.lastContact} s` : duration(node.lastContact * 1000)), by: (node) => node.lastContact },
  { title: "Used", kind: "number", show: (node) => ({ text: size(node.used), below: percent(node.used, node.capacity) }), by: (node) => node.used },
  { title: "Capacity", kind: "number", show: (node) => size(node.capacity), by: (node) => node.capacity },
  { title: "Free", kind: "number", show: (node) => size(node.remaining), by: (node) => node.remaining },
  { title: "Blocks", kind: "number", show: (node) => count(node.numBlocks), by: (node) => node.numBlocks },
  { title: "Volumes", kind: "number", show: volumes, by: (node) => node.volumes.length },
  { title: "Version", kind: "name", show: (node) => node.version, by: (node) => node.version },
], (node) => node.uuid, true);

function volumes(node) {
  const failed = node.volfails > 0 ? `${count(node.volfails)} failed` : undefined;
  return { text: count(node.volumes.length), below: failed };
}

function dataNodeState(node) {
  const admin = node.adminState === "In Service" ? undefined : node.adminState.toLowerCase();
  if (node.state === "dead") return { text: "dead", state: "bad", below: admin };
  if (node.stale) return { text: "silent", state: "warn", below: admin };
  return { text: "live", state: admin ? "warn" : "good", below: admin };
}

const showSlowCalls = table($("slow-table"), [
  { title: "Time", kind: "name", show: (call) => day(call.time), by: (call) => call.time },
  { title: "Took", kind: "number", show: (call) => duration(call.took_ms), by: (call) => call.took_ms },
  { title: "Method", kind: "name", show: (call) => call.method, by: (call) => call.method },
  { title: "User", kind: "name", show: (call) => call.user, by: (call) => call.user },
  { title: "Client", kind: "name", show: (call) => call.peer, by: (call) => call.peer },
], (call) => `${call.time} ${call.peer} ${call.method} ${call.took_ms}`);

const showDifferences = table($("configuration-table"), [
  { title: "Key", kind: "text", show: (row) => row.key },
  { title: "Value", kind: "text", show: (row) => row.value ?? "not set" },
  { title: "Daemons", kind: "text", show: (row) => row.daemons.join(", ") },
], (row) => `${row.key} ${row.value}`);

function pairs(host, list) {
  sync(host, list, ([title]) => title, () => {
    const pair = element("div");
    pair.append(element("dt"), element("dd"));
    return pair;
  }, (pair, [title, value, below, name]) => {
    const [head, said] = pair.children;
    setText(head, title);
    setClass(said, name ?? "");
    fill(said, { text: value, below });
  });
}

function makeCard() {
  const card = element("article", "card");
  const top = element("div", "top");
  top.append(element("h3"), element("span"), element("span", "mine"));
  card.append(top, element("p", "why"), document.createElement("progress"), element("dl"));
  return card;
}

function cardFacts(namenode) {
  const list = [["RPC", namenode.rpc], ["Web", { text: namenode.http, href: web(namenode.http) }]];
  if (!namenode.reachable) {
    if (namenode.last_heard) {
      list.push(["Last heard", `${duration(cluster.time - namenode.last_heard)} ago`]);
      list.push(["Was then", namenode.last_state]);
    }
    return list;
  }
  if (namenode.state === "standby") {
    list.push(["Lag", `${duration(namenode.lag_ms)}, ${plural(namenode.lag_transactions, "transaction")}`]);
  }
  list.push(["Transaction", count(namenode.applied_transaction)]);
  const { time, transaction } = namenode.last_checkpoint;
  list.push(["Checkpoint", { text: time > 0 ? `${duration(Math.max(0, cluster.time - time))} ago` : "none", below: `transaction ${count(transaction)}` }]);
  if (namenode.last_change_to_active_ms > 0) list.push(["Took over in", duration(namenode.last_change_to_active_ms)]);
  if (namenode.started) list.push(["Up", duration(cluster.time - namenode.started)]);
  list.push(["Memory", size(namenode.resident_bytes)]);
  list.push(["Version", namenode.version]);
  return list;
}

function startup(namenode) {
  if (namenode.state !== "initializing" || !namenode.startup) return null;
  const phase = namenode.startup.phases.find((each) => each.status === "RUNNING");
  const part = namenode.startup.percentComplete;
  return { part, text: `${percent(part, 1)} of the start${phase ? `: ${phase.desc.toLowerCase()}, ${percent(phase.percentComplete, 1)}` : ""}` };
}

function showNameNodes() {
  sync($("namenode-cards"), cluster.namenodes, (namenode) => namenode.id, makeCard, (card, namenode) => {
    const [top, why, bar, facts] = card.children;
    const [title, badge, mine] = top.children;
    const [word, look] = stateOf(namenode);
    const progress = startup(namenode);
    setClass(card, `card ${word === "active" ? "active" : look === "bad" ? "bad" : ""}`.trim());
    setText(title, namenode.id);
    setText(badge, word);
    setClass(badge, `state ${look}`);
    setText(mine, namenode.id === cluster.answered_by ? "serves this page" : "");
    const reasons = progress ? [progress.text] : [...(namenode.reasons ?? [])];
    if (namenode.safe_mode && !progress) reasons.push("safe mode is on");
    setText(why, reasons.join("; "));
    why.hidden = reasons.length === 0;
    bar.hidden = !progress;
    if (progress) {
      bar.value = progress.part;
      bar.setAttribute("aria-label", `Start of ${namenode.id}`);
    }
    const list = cardFacts(namenode);
    sync(facts, list.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]), ([tag, name]) => `${tag} ${name}`, ([tag]) => element(tag), (node, [, , value]) => fill(node, value));
  });
}

function showOverview() {
  const { blocks, capacity } = cluster;
  const bad = (number) => (number > 0 ? "bad" : "");
  const live = cluster.datanodes.filter((node) => node.state === "live").length;
  pairs($("overview"), [
    ["Files and directories", count(cluster.inodes)],
    ["Blocks", count(blocks.total)],
    ["Missing blocks", count(blocks.missing), undefined, bad(blocks.missing)],
    ["Corrupt blocks", count(blocks.corrupt), undefined, bad(blocks.corrupt)],
    ["Under-replicated", count(blocks.under_replicated)],
    ["Capacity used", size(capacity.used), `${percent(capacity.used, capacity.total)} of ${size(capacity.total)}`],
    ["Free", size(capacity.remaining), percent(capacity.remaining, capacity.total)],
    ["DataNodes live", `${count(live)} of ${count(cluster.datanodes.length)}`],
  ]);
}

function showAlarms(own) {
  const list = cluster ? [...cluster.alarms] : [];
  if (silentSince !== null) {
    const text = cluster
      ? `${own.id}, which served this page, does not answer since ${clock(silentSince)}. What stands here is from then.`
      : `The NameNode that served this page does not answer since ${clock(silentSince)}.`;
    list.unshift({ level: "critical", key: "silent", text });
  }
  sync($("alarm-list"), list, (alarm) => alarm.key, () => {
    const item = element("li");
    item.append(element("span", "level"), element("span"), element("span"));
    return item;
  }, (item, alarm) => {
    setClass(item, `alarm ${alarm.level}`);
    setText(item.children[0], alarm.level);
    setText(item.children[1], alarm.text);
    if (alarm.key === "silent" && cluster && !item.children[2].firstChild) {
      const others = cluster.namenodes.filter((namenode) => namenode.id !== cluster.answered_by);
      for (const namenode of others) {
        const anchor = element("a", "", `page of ${namenode.id}`);
        anchor.href = web(namenode.http);
        item.children[2].append(" ", anchor);
      }
    }
  });
  $("all-well").hidden = list.length > 0 || !cluster;
}

function showFailovers() {
  sync($("failover-list"), cluster.failovers.slice(0, failoversShown), (failover) => `${failover.time} ${failover.to}`, () => {
    const item = element("li");
    item.append(element("time"), element("strong"), element("span"), element("span", "below"));
    return item;
  }, (item, failover) => {
    const [time, names, took, cause] = item.children;
    setText(time, day(failover.time));
    time.dateTime = new Date(failover.time).toISOString();
    setText(names, failover.from ? `${failover.from} → ${failover.to}` : `${failover.to} became active`);
    // From the end of the former lease, or from the request to take over: whichever is longer.
    const ms = Math.max(failover.duration_ms ?? 0, failover.transition_ms ?? 0);
    setText(took, ms > 0 ? ` in ${duration(ms)}` : "");
    setText(cause, failover.cause ? `Cause: ${failover.cause}` : "Cause: not known");
  });
  $("no-failovers").hidden = cluster.failovers.length > 0;
  $("failovers-all").hidden = cluster.failovers.length <= failoversShown;
}

function showFilteredDataNodes() {
  const word = $("datanode-filter").value.trim().toLowerCase();
  const has = (node) => [node.host, node.location, node.state, node.adminState, node.version].some((text) => String(text).toLowerCase().includes(word));
  const list = word ? cluster.datanodes.filter(has) : cluster.datanodes;
  const all = cluster.datanodes.length;
  showDataNodes(list);
  $("datanode-all").hidden = list.length <= showDataNodes.most;
  const cut = list.length > showDataNodes.most ? `, the first ${count(showDataNodes.most)} are shown` : "";
  setText($("datanode-count"), (word ? `${count(list.length)} of ${count(all)}` : plural(all, "DataNode")) + cut);
}

function show() {
  const own = cluster.namenodes.find((namenode) => namenode.id === cluster.answered_by) ?? { id: cluster.answered_by };
  const active = cluster.namenodes.find((namenode) => namenode.reachable && namenode.state === "active");
  const name = cluster.nameservice || cluster.cluster_id;
  setText($("nameservice"), name);
  setText($("subtitle"), `${active ? `${active.id} is active` : "No NameNode is active"}. Cluster ${cluster.cluster_id}, block pool ${cluster.block_pool}, Hathi ${cluster.version}. Seen from ${own.id}.`);
  document.title = `${name}: ${active ? `${active.id} active` : "no active NameNode"}`;
  showAlarms(own);
  showOverview();
  showNameNodes();
  showJournalNodes(cluster.journalnodes);
  $("no-journalnodes").hidden = cluster.journalnodes.length > 0;
  showControllers(cluster.controllers);
  $("no-controllers").hidden = cluster.controllers.length > 0;
  showFilteredDataNodes();
  showFailovers();
  showSlowCalls(cluster.slow_calls);
  $("no-slow").hidden = cluster.slow_calls.length > 0;
  setText($("history-of"), own.id);
  setText($("freshness"), `As of ${clock(cluster.time)}, fetched every 2 s while the page is visible.`);
  filesAt(active ? { id: active.id, http: active.http, isOwn: active === own } : null);
}

/** Asks again and again. A big cluster is asked less often, and a hidden page asks nobody. */
function poll(every, ask) {
  let timer = 0;
  let isAsking = false;
  async function turn() {
    clearTimeout(timer);
    if (isAsking || document.hidden) return;
    isAsking = true;
    const begun = performance.now();
    await ask();
    isAsking = false;
    timer = setTimeout(turn, Math.max(every, 10 * (performance.now() - begun)));
  }
  document.addEventListener("visibilitychange", turn);
  turn();
}

async function askCluster() {
  try {
    cluster = await json("/api/cluster");
    silentSince = null;
  } catch {
    silentSince ??= Date.now();
    showAlarms({ id: cluster?.answered_by });
    return;
  }
  show();
}

async function askHistory() {
  try {
    showHistory(await json("/api/history"));
  } catch {
    // The other question says so.
  }
}

async function compareConfigurations() {
  const status = $("compare-status");
  $("compare").disabled = true;
  setText(status, "Asking all daemons …");
  try {
    const answer = await json("/api/configurations", COMPARE_PATIENCE_MS);
    const rows = answer.differences.flatMap(({ key, values }) => values.map(({ value, daemons }) => ({ key, value, daemons })));
    showDifferences(rows);
    const silent = answer.silent.length > 0 ? ` Not compared: ${answer.silent.join(", ")}.` : "";
    const found = answer.differences.length === 0 ? "No differences" : plural(answer.differences.length, "key differs", "keys differ");
    setText(status, `${found} among ${plural(answer.compared.length, "daemon")}.${silent}`);
  } catch (error) {
    setText(status, `They could not be compared: ${error.message}`);
  }
  $("compare").disabled = false;
}

showDataNodes.most = ROWS;
$("datanode-filter").addEventListener("input", () => cluster && showFilteredDataNodes());
$("datanode-all").addEventListener("click", () => {
  showDataNodes.most = Infinity;
  showFilteredDataNodes();
});
$("failovers-all").addEventListener("click", () => {
  failoversShown = Infinity;
  showFailovers();
});
$("compare").addEventListener("click", compareConfigurations);
startFiles();
poll(EVERY_MS, askCluster);
poll(HISTORY_EVERY_MS, askHistory);
