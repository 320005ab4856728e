// The last hour as four small line charts.

import { $, element } from "./dom.js";
import { clock, count, duration, short } from "./words.js";

const HOUR_MS = 3600e3;
/** A NameNode that has just started has a shorter axis. */
const AXIS_MIN_MS = 600e3;
const HEIGHT = 132;
const LEFT = 58;
const BOTTOM = 18;
const TOP = 8;

const CHARTS = [
  { title: "Calls per second", unit: short, lines: [["calls", "calls_per_second"]] },
  { title: "Latency of calls", unit: duration, lines: [["p50", "call_p50_ms"], ["p99", "call_p99_ms"]] },
  { title: "Time to commit", unit: duration, lines: [["p50", "commit_p50_ms"], ["p99", "commit_p99_ms"]] },
  { title: "Lag as a standby", unit: duration, lines: [["lag", "lag_ms"]] },
];

const drawn = [];
let last = null;

function shape(tag, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The next of 1, 2, 5, 10, 20, ... */
function round(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most) ?? 10 * power;
}

function setUp() {
  for (const chart of CHARTS) {
    const figure = element("figure");
    const caption = element("figcaption");
    const svg = shape("svg", { role: "img" });
    const now = element("span", "now");
    caption.append(element("strong", "", chart.title), now);
    figure.append(caption, svg);
    $("charts").append(figure);
    drawn.push({ chart, svg, now });
  }
  new ResizeObserver(() => last && draw(last)).observe($("charts"));
}

function path(points, key, x, y, gap) {
  let text = "";
  let before = null;
  for (const point of points) {
    const value = point[key];
    if (value === null || value === undefined) {
      before = null;
      continue;
    }
    const joined = before !== null && point.time - before < gap;
    text += `${joined ? "L" : "M"}${x(point.time).toFixed(1)} ${y(value).toFixed(1)}`;
    // A lone point is a dot.
    if (!joined) text += "h.1";
    before = point.time;
  }
  return text;
}

function drawOne({ chart, svg, now }, points, end, span, gap) {
  const width = Math.max(svg.clientWidth, 200);
  const keys = chart.lines.map(([, key]) => key);
  const values = points.flatMap((point) => keys.map((key) => point[key] ?? 0));
  const most = round(Math.max(...values, 0.1));
  const x = (time) => LEFT + ((time - end + span) / span) * (width - LEFT - 6);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const parts = [];
  for (const part of [0, 0.5, 1]) {
    const at = y(part * most);
    parts.push(shape("line", { class: "grid", x1: LEFT, x2: width - 6, y1: at, y2: at }));
    parts.push(shape("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, chart.unit(part * most)));
  }
  for (const [part, anchor] of [[1, "start"], [0.5, "middle"], [0, "end"]]) {
    const time = end - part * span;
    parts.push(shape("text", { x: x(time), y: HEIGHT - 3, "text-anchor": anchor }, clock(time).slice(0, 5)));
  }
  chart.lines.forEach(([, key], place) => {
    const name = place === 0 ? "line" : "line second";
    parts.push(shape("path", { class: name, d: path(points, key, x, y, gap) }));
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  svg.replaceChildren(...parts);
  const newest = points.at(-1) ?? {};
  const words = chart.lines.map(([name, key]) => `${name} ${newest[key] === null || newest[key] === undefined ? "–" : chart.unit(newest[key])}`);
  now.replaceChildren();
  chart.lines.forEach(([name], place) => {
    if (place > 0) now.append("  ");
    now.append(element("span", place === 0 ? "key" : "key second", words[place]));
  });
  svg.setAttribute("aria-label", `${chart.title}, the last hour. Now ${words.join(", ")}. The axis ends at ${chart.unit(most)}. ${count(points.length)} points.`);
}

function draw(history) {
  last = history;
  const points = history.points;
  const end = Math.max(points.at(-1)?.time ?? 0, Date.now() - 60e3);
  const shown = points.filter((point) => point.time > end - HOUR_MS);
  const span = Math.max(AXIS_MIN_MS, end - (shown[0]?.time ?? end));
  for (const each of drawn) drawOne(each, shown, end, span, 3 * history.interval_ms);
}

/** Shows an answer of /api/history. */
export function showHistory(history) {
  if (drawn.length === 0) setUp();
  draw(history);
}
