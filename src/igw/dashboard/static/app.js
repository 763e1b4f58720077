// The page: it listens to one stream while somebody looks at it, and hands what it hears to the parts.

import { Cards } from "./cards.js";
import { lines } from "./charts.js";
import { Decisions, latest } from "./decisions.js";
import { Why } from "./dialog.js";
import { h, mark, write } from "./dom.js";
import { count, plural, seconds, share } from "./format.js";
import { PoolView } from "./servers.js";

const SLOW_MILLISECONDS = 5000;
const at = (id) => document.getElementById(id);
const why = new Why(at("why"));
const decisions = new Decisions((id) => why.open(id));
const cards = new Cards((id) => why.open(id));
const pools = new Map();
let stream = null, paused = false, changes = -1, running = true, asked = -Infinity, said = "";

// Traffic ------------------------------------------------------------------------------------------------------------

const tiles = [
  tile("Requests a second", lines("first"), (all) => [count(all.traffic.ended_per_second), `${plural(all.inflight, "request")} in flight`], (s) => [s.ended]),
  tile("First token", lines("second", "first"), ({ traffic: t }) => [seconds(t.ttft.p50), `p95 ${seconds(t.ttft.p95)} · p99 ${seconds(t.ttft.p99)}`], (s) => [s.ttft_p95_seconds, s.ttft_p50_seconds]),
  tile("Between tokens", null, ({ traffic: t }) => [seconds(t.tpot.p50), `p95 ${seconds(t.tpot.p95)}`]),
  tile("Whole answer", null, ({ traffic: t }) => [seconds(t.e2e.p50), `p95 ${seconds(t.e2e.p95)} · p99 ${seconds(t.e2e.p99)}`]),
  tile("Tokens out a second", lines("first"), ({ traffic: t }) => [count(t.completion_tokens_per_second), `${count(t.prompt_tokens_per_second)} in`], (s) => [s.completion_tokens]),
  tile("Prompts cached", lines("second", "first"), ({ traffic: t }) => [share(t.cached_share), "of tokens, last minute"], (s) => [s.prompt_tokens, s.cached_tokens]),
  tile("Waiting", null, (all) => [count(all.queues.reduce((sum, queue) => sum + queue.requests, 0)), all.queues.length ? `saturation ${share(Math.max(...all.queues.map((queue) => queue.saturation)))}` : "no queues"]),
  tile("Errors a second", lines("bad"), ({ traffic: t }) => [count(t.failed_per_second + t.refused_per_second), `${count(t.refused_per_second)} by the picker`], (s) => [s.failed.map((failed, place) => failed + s.refused[place] || null)]),
];

function tile(name, chart, texts, columns) {
  const value = h("dd", { class: "value" }, "–"), more = h("dd", { class: "more" }, "");
  at("tiles").append(h("div", { class: "tile" }, h("dt", {}, name), value, more, ...(chart ? [h("dd", { class: "chart" }, chart.svg)] : [])));
  return (all) => {
    const [big, small] = texts(all);
    write(value, big);
    write(more, small);
    if (chart) chart.draw(...columns(all.traffic.seconds));
  };
}

// An overview --------------------------------------------------------------------------------------------------------

function show(all) {
  write(at("about"), `${all.version} · up ${seconds(all.up_seconds)}`);
  for (const draw of tiles) draw(all);
  const keys = new Set(all.pools.map((pool) => pool.key));
  for (const [key, view] of pools) if (!keys.has(key)) { view.element.remove(); pools.delete(key); }
  for (const pool of all.pools) {
    if (!pools.has(pool.key)) { const view = new PoolView(pool.key); pools.set(pool.key, view); at("pools").append(view.element); }
    pools.get(pool.key).update(pool);
  }
  cards.show("queues", all.queues);
  tell(all.pools);
  if (all.changes !== changes || running) ask(all.changes);
  why.refresh();
  if (performance.now() - asked > SLOW_MILLISECONDS) askSlowly();
}

/** Say aloud what a person who does not see the page would want to know: servers that are out, and back. */
function tell(all) {
  const out = all.flatMap((pool) => pool.names.filter((_, place) => pool.health[place] === 2 || pool.health[place] === 3));
  const text = out.length ? `${plural(out.length, "server")} out: ${out.slice(0, 5).join(", ")}` : said ? "all servers answer" : "";
  if (text !== said) { said = text; write(at("told"), text); }
}

async function ask(count_) {
  changes = count_;
  try {
    const all = await latest();
    decisions.update(all);
    running = all.some((line) => !line.end);
  } catch { running = true; }
}

async function askSlowly() {
  asked = performance.now();
  for (const [name, path] of [["objectives", "../slo"], ["shadows", "../shadow"], ["configuration", "../../config"]]) {
    try {
      const answer = await fetch(path);
      if (!answer.ok) continue;
      const value = await answer.json();
      cards.show(name, value);
      if (name === "configuration") notice(value.refused);
    } catch { return; }
  }
}

function notice(refused) {
  const text = refused ? `The last edit was not taken, what was in force stays: ${refused.where}: ${refused.problem}` : "";
  if (at("notices").textContent !== text) at("notices").replaceChildren(...(text ? [h("p", { class: "notice", role: "alert" }, text)] : []));
}

// The stream, as long as somebody looks ------------------------------------------------------------------------------

function listen() {
  const wanted = !paused && !document.hidden;
  if (!wanted && stream) { stream.close(); stream = null; }
  if (wanted && !stream) {
    stream = new EventSource("../overview/events");
    stream.onmessage = (event) => { state("live"); show(JSON.parse(event.data)); };
    stream.onerror = () => {
      state("lost");
      if (stream?.readyState === EventSource.CLOSED) { stream = null; setTimeout(listen, SLOW_MILLISECONDS); }
    };
  }
  if (paused) state("paused");
}

function state(name) {
  mark(at("link"), "data-state", name);
  write(at("link"), { live: "live", lost: "the picker does not answer; trying again", paused: "paused" }[name]);
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  mark(at("pause"), "aria-pressed", String(paused));
  write(at("pause"), paused ? "Go on" : "Pause");
  listen();
});
document.addEventListener("visibilitychange", listen);

// Light and dark -----------------------------------------------------------------------------------------------------

function theme(name) {
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

at("theme").value = localStorage.getItem("igw-theme") || "";
theme(at("theme").value);
at("theme").addEventListener("change", () => { localStorage.setItem("igw-theme", at("theme").value); theme(at("theme").value); });

// Start --------------------------------------------------------------------------------------------------------------

at("decisions").append(decisions.element);
const linked = () => {
  const found = location.hash.match(/^#decision=(.+)$/);
  if (found) why.open(decodeURIComponent(found[1]));
};
addEventListener("hashchange", linked);
linked();
listen();
