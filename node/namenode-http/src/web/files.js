// The file browser, over WebHDFS of the NameNode that served the page.

import { $, element, setText, sync, table } from "./dom.js";
import { count, day, plural, size } from "./words.js";

const state = { path: "/", user: "", entries: [], remaining: 0, asked: 0, active: undefined };

const encode = (path) => path.split("/").map(encodeURIComponent).join("/");
const join = (dir, name) => (dir === "/" ? `/${name}` : `${dir}/${name}`);

function url(path, parameters) {
  const query = new URLSearchParams(parameters);
  if (state.user) query.set("user.name", state.user);
  return `/webhdfs/v1${encode(path)}?${query}`;
}

/** As `ls -l` writes it. */
function permission(entry) {
  const mode = parseInt(entry.permission, 8);
  let text = { DIRECTORY: "d", SYMLINK: "l" }[entry.type] ?? "-";
  for (const shift of [6, 3, 0]) {
    const bits = mode >> shift;
    text += (bits & 4 ? "r" : "-") + (bits & 2 ? "w" : "-") + (bits & 1 ? "x" : "-");
  }
  if (mode & 0o1000) text = text.slice(0, 9) + (mode & 1 ? "t" : "T");
  return text + (entry.aclBit ? "+" : "");
}

const isDirectory = (entry) => entry.type === "DIRECTORY";
const nameOf = (entry) => entry.pathSuffix || state.path.split("/").pop();

function link(entry) {
  const path = entry.pathSuffix ? join(state.path, entry.pathSuffix) : state.path;
  const text = nameOf(entry) + (isDirectory(entry) ? "/" : "");
  if (isDirectory(entry)) return { text, href: `#${encode(path)}` };
  const below = entry.symlink ? `to ${entry.symlink}` : undefined;
  return { text, below, href: url(path, { op: "OPEN" }), download: nameOf(entry) };
}

const showEntries = table($("files-table"), [
  { title: "Name", kind: "text", show: link, by: nameOf },
  { title: "Size", kind: "number", show: (entry) => (isDirectory(entry) ? "" : size(entry.length)), by: (entry) => (isDirectory(entry) ? -1 : entry.length) },
  { title: "Permission", kind: "name", show: permission, by: permission },
  { title: "Owner", show: (entry) => entry.owner, by: (entry) => entry.owner },
  { title: "Group", show: (entry) => entry.group, by: (entry) => entry.group },
  { title: "Replication", kind: "number", show: (entry) => (isDirectory(entry) ? "" : count(entry.replication)), by: (entry) => entry.replication },
  { title: "Modified", kind: "number", show: (entry) => day(entry.modificationTime), by: (entry) => entry.modificationTime },
], (entry) => `${state.path}/${entry.pathSuffix}`);

function showCrumbs() {
  const parts = state.path.split("/").filter(Boolean);
  const crumbs = [{ name: "root", path: "/" }];
  parts.forEach((name, place) => crumbs.push({ name, path: `/${parts.slice(0, place + 1).join("/")}` }));
  sync($("crumbs"), crumbs, (crumb) => crumb.path, () => {
    const item = element("li");
    item.append(element("a"));
    return item;
  }, (item, crumb) => {
    const anchor = item.firstChild;
    setText(anchor, crumb.name);
    anchor.href = `#${encode(crumb.path)}`;
    if (crumb === crumbs.at(-1)) anchor.setAttribute("aria-current", "location");
    else anchor.removeAttribute("aria-current");
  });
}

async function list(more) {
  const asked = ++state.asked;
  const path = state.path;
  const parameters = { op: "LISTSTATUS_BATCH" };
  if (more && state.entries.length > 0) parameters.startafter = state.entries.at(-1).pathSuffix;
  setText($("files-status"), "Listing …");
  try {
    const response = await fetch(url(path, parameters), { signal: AbortSignal.timeout(20e3) });
    const answer = await response.json();
    if (asked !== state.asked) return;
    if (!response.ok) throw new Error(answer.RemoteException?.message ?? `status ${response.status}`);
    const { partialListing, remainingEntries } = answer.DirectoryListing;
    const entries = partialListing.FileStatuses.FileStatus;
    state.entries = more ? [...state.entries, ...entries] : entries;
    state.remaining = remainingEntries;
    const rest = remainingEntries > 0 ? `, ${count(remainingEntries)} more` : "";
    setText($("files-status"), state.entries.length === 0 ? "This directory is empty." : `${plural(state.entries.length, "entry", "entries")}${rest}`);
  } catch (error) {
    if (asked !== state.asked) return;
    if (!more) state.entries = [];
    state.remaining = 0;
    setText($("files-status"), `${path} cannot be listed: ${error.message}`);
  }
  showEntries(state.entries);
  $("files-more").hidden = state.remaining === 0;
}

function show() {
  showCrumbs();
  const isHere = state.active === true;
  $("files-here").hidden = !isHere;
  $("files-elsewhere").hidden = isHere;
  if (isHere) list(false);
}

function navigate() {
  if (!location.hash.startsWith("#/")) return;
  try {
    const path = decodeURIComponent(location.hash.slice(1));
    state.path = path.replace(/\/+/g, "/").replace(/(.)\/$/, "$1");
  } catch {
    return;
  }
  show();
}

/** Which NameNode is active: `true` for this one, its addresses for another, `null` for none. */
export function filesAt(active) {
  const was = state.active;
  state.active = active && active.isOwn ? true : (active ?? null);
  const where = $("files-elsewhere");
  if (state.active === null) setText(where, "No NameNode is active, so no file can be listed.");
  if (active && !active.isOwn) {
    const anchor = where.querySelector("a") ?? element("a");
    setText(anchor, `open them at ${active.id}`);
    anchor.href = `http://${active.http}/#${encode(state.path)}`;
    if (!anchor.isConnected) where.replaceChildren("The active NameNode serves files: ", anchor, ".");
  }
  if ((was === true) !== (state.active === true) || was === undefined) show();
}

export function startFiles() {
  try {
    state.user = sessionStorage.getItem("user") ?? "";
  } catch {
    // The browser keeps nothing.
  }
  $("files-user").value = state.user;
  $("files-user-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.user = $("files-user").value.trim();
    try {
      sessionStorage.setItem("user", state.user);
    } catch {
      // As above.
    }
    list(false);
  });
  $("files-more").addEventListener("click", () => list(true));
  window.addEventListener("hashchange", navigate);
  navigate();
  if (location.hash.startsWith("#/")) $("files").scrollIntoView();
}
