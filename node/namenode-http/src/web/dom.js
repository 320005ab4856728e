// Elements that are kept while their contents change, so that selection, scroll and focus stay.
// Names of hosts, users and files are hostile: they only ever become text.

export const $ = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export function setText(node, text) {
  const wanted = String(text ?? "");
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

export function setAttribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const kept = new WeakMap();

/** Makes the children of `parent` those of `items`. A child whose key was there before is updated in its place. */
export function sync(parent, items, keyOf, make, update) {
  const before = kept.get(parent) ?? new Map();
  const now = new Map();
  const focused = document.activeElement;
  let next = parent.firstChild;
  for (const item of items) {
    let key = String(keyOf(item));
    while (now.has(key)) key += " again";
    const child = before.get(key) ?? make(item);
    update(child, item);
    now.set(key, child);
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
  for (const [key, child] of before) {
    if (!now.has(key)) child.remove();
  }
  kept.set(parent, now);
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/**
 * Shows a value in a cell: a text, or an object of `text`, `state` (a class of .state), `href`, `download` and `below`.
 */
export function fill(cell, value) {
  const shown = value !== null && typeof value === "object" ? value : { text: value };
  const shape = [shown.state !== undefined, Boolean(shown.href), Boolean(shown.below)].join();
  if (cell.dataset.shape !== shape) {
    const main = element(shown.href ? "a" : "span");
    cell.replaceChildren(main);
    if (shown.below) cell.append(element("span", "below"));
    cell.dataset.shape = shape;
  }
  const [main, below] = cell.children;
  setText(main, shown.text ?? "–");
  if (shown.state !== undefined) setClass(main, `state ${shown.state}`);
  if (shown.href) {
    setAttribute(main, "href", shown.href);
    setAttribute(main, "download", shown.download ?? null);
  }
  if (below) setText(below, shown.below);
}

const collator = new Intl.Collator("en", { numeric: true });

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (a === null || a === undefined) return b === null || b === undefined ? 0 : -1;
  if (b === null || b === undefined) return 1;
  return collator.compare(String(a), String(b));
}

/**
 * A table of `columns`: {title, kind: "number" | "name" | "text", show: item -> value, by: item -> what it is sorted by}.
 * The first column is the head of its row; with `isSorted` the table begins sorted by it. Returns the function that shows a list of items.
 */
export function table(host, columns, keyOf, isSorted = false) {
  const head = element("tr");
  const body = element("tbody");
  let sorted = isSorted ? columns[0] : null;
  let descending = false;
  let last = [];
  const heads = columns.map((column) => {
    const cell = element("th", column.kind);
    cell.scope = "col";
    if (column.by) {
      const button = element("button", "", column.title);
      button.type = "button";
      button.addEventListener("click", () => {
        descending = sorted === column ? !descending : false;
        sorted = column;
        render(last);
      });
      cell.append(button);
    } else {
      cell.textContent = column.title;
    }
    head.append(cell);
    return cell;
  });

  function makeRow() {
    const row = element("tr");
    columns.forEach((column, place) => {
      const cell = element(place === 0 ? "th" : "td", column.kind);
      if (place === 0) cell.scope = "row";
      row.append(cell);
    });
    return row;
  }

  function render(items) {
    last = items;
    let list = items;
    if (sorted) {
      list = [...items].sort((a, b) => compare(sorted.by(a), sorted.by(b)));
      if (descending) list.reverse();
    }
    heads.forEach((cell, place) => {
      const direction = descending ? "descending" : "ascending";
      setAttribute(cell, "aria-sort", columns[place] === sorted ? direction : null);
    });
    if (items.length === 0) {
      host.replaceChildren();
      return;
    }
    if (!host.firstChild) {
      const top = element("thead");
      top.append(head);
      host.append(top, body);
    }
    sync(body, list.slice(0, render.most), keyOf, makeRow, (row, item) => {
      columns.forEach((column, place) => fill(row.children[place], column.show(item)));
    });
  }
  /** How many rows are shown. */
  render.most = Infinity;
  return render;
}
