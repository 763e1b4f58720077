// One decision: why it was made, by candidate and by second, and what became of it. A native dialog: Esc closes it, and focus goes back.

import { bar, h, table } from "./dom.js";
import { clock, count, seconds } from "./format.js";

const KNOWN = { exact: "known exactly, by KV events", speculative: "just sent there", approximate: "believed, by our own picks" };

export class Why {
  constructor(dialog) {
    this.dialog = dialog;
    this.id = "";
    this.shown = "";
    dialog.addEventListener("close", () => {
      this.id = "";
      history.replaceState(null, "", location.pathname + location.search);
    });
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }

  async open(id) {
    this.id = id;
    this.shown = "";
    history.replaceState(null, "", `#decision=${encodeURIComponent(id)}`);
    this.running = true;
    await this.refresh();
  }

  /** Ask again as long as it has not ended. */
  async refresh() {
    const id = this.id;
    if (!id || !this.running) return;
    let answer, told;
    try {
      answer = await fetch(`../decisions/${encodeURIComponent(id)}`);
      told = await answer.text();
    } catch { return; }
    if (id !== this.id || told === this.shown) return;
    this.shown = told;
    const said = JSON.parse(told);
    this.running = answer.ok && !said.actual && !said.refusal;
    this.dialog.replaceChildren(...(answer.ok ? explanation(said, () => this.dialog.close()) : missing(said, () => this.dialog.close())));
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.querySelector(".close").focus();
  }
}

function missing(said, close) {
  return [head("Not kept any more", close), h("p", {}, said.error)];
}

function head(title, close) {
  return h("div", { class: "head" }, h("h2", { id: "why-title" }, title),
    h("button", { type: "button", class: "close", "aria-label": "Close", on: { click: close } }, "×"));
}

function explanation(said, close) {
  return [
    head(said.name ? `Why ${said.name}?` : "Why nowhere?", close),
    h("p", { class: "sentence" }, said.sentence),
    facts(said),
    said.candidates.length ? h("section", {}, h("h3", {}, `Candidates`, h("small", {}, said.candidates_total > said.candidates.length ? `the best ${said.candidates.length} of ${said.candidates_total}` : "the best first")), candidates(said), legend(said)) : null,
    said.left_out.length ? h("section", {}, h("h3", {}, "Left out"), leftOut(said)) : null,
    said.predicted || said.actual ? h("section", {}, h("h3", {}, "Predicted and actual"), ends(said)) : null,
    said.regret ? h("p", {}, said.regret.seconds > 0 ? `In hindsight ${said.regret.best} would have been better by ${seconds(said.regret.seconds)}.` : "In hindsight it was right.") : null,
  ].filter((part) => part !== null);
}

function facts(said) {
  const asked = said.asked, runnerUp = said.candidates.find((each) => each.endpoint === said.runner_up);
  const margin = said.margin === null ? "" : said.unit === "s" ? ` by ${seconds(said.margin)}` : ` by ${count(said.margin)} points`;
  const pairs = [
    ["x-request-id", asked.request_id], ["decision", said.id], ["at", clock(said.at)], ["pool", asked.pool], ["model", asked.model],
    ["objective", asked.objective], ["tenant", asked.fairness_id], ["priority", asked.priority ? String(asked.priority) : ""],
    ["prompt", asked.prompt_tokens ? `about ${count(asked.prompt_tokens)} tokens` : ""], ["waited", seconds(said.waited_seconds)],
    ["runner-up", said.runner_up ? `${runnerUp ? runnerUp.name : said.runner_up}${margin}` : ""], ["picked by", said.picker],
    ["refused", said.refusal ? `${said.refusal.status} ${said.refusal.code ?? ""}` : ""],
    ...Object.entries(said.other_profiles).map(([name, picks]) => [`profile ${name}`, picks.join(", ") || "nobody"]),
  ];
  return h("dl", { class: "facts" }, pairs.filter(([, text]) => text).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

/** Return the names of what candidates differ in: seconds where there are some, else scores. */
function parts(said) {
  const of = said.candidates.some((each) => Object.keys(each.costs).length) ? "costs" : "scores";
  const names = [...new Set(said.candidates.flatMap((each) => Object.keys(each[of])))];
  return { of, names: names.filter((name) => said.candidates.some((each) => each[of][name])) };
}

function candidates(said) {
  const { of, names } = parts(said), write = of === "costs" ? seconds : count;
  const total = (each) => names.reduce((sum, name) => sum + Math.max(0, each[of][name] || 0), 0);
  const top = Math.max(...said.candidates.map(total), 1e-9);
  const heads = ["", "Server", [of === "costs" ? "Would add" : "Score", ""], ...names.map((name) => [name, "number"]), ["Cached", "number"]];
  if (of === "costs") heads.push(["Score", "number"]);
  if (said.candidates.some((each) => each.hindsight_seconds !== null)) heads.push(["In hindsight", "number"]);
  return table("Candidates", heads, said.candidates.map((each) => {
    const stack = h("span", { class: "track stack", "aria-hidden": "true" }, names.map((name, at) => {
      const part = h("span", { class: `t${at % 10}`, title: `${name}: ${write(each[of][name] || 0)}` });
      part.style.width = `${(100 * Math.max(0, each[of][name] || 0)) / top}%`;
      return part;
    }));
    const cells = [
      each.rank === 0 ? "picked" : each.rank ? `retry ${each.rank}` : each.left_out_by ? `left out by ${each.left_out_by}` : "",
      h("span", { title: each.endpoint }, each.name),
      h("span", { class: "bar wide" }, stack, h("span", {}, of === "costs" ? seconds(each.cost_seconds) : count(each.score))),
      ...names.map((name) => (each[of][name] === undefined ? "–" : write(each[of][name]))),
      h("span", { title: KNOWN[each.matched_by] }, each.matched_tokens ? `${count(each.matched_tokens)} ${each.matched_by}` : "0"),
    ];
    if (of === "costs") cells.push(count(each.score));
    if (cells.length < heads.length) cells.push(seconds(each.hindsight_seconds));
    return cells;
  }));
}

function legend(said) {
  const { of, names } = parts(said);
  const means = (name) => (of === "costs" ? said.terms[name] || name : `at most ${count(said.weights[name] ?? 0)}`);
  const known = [...new Set(said.candidates.map((each) => each.matched_by).filter(Boolean))];
  return h("ul", { class: "legend" },
    names.map((name, at) => h("li", {}, h("i", { class: `t${at % 10}`, "aria-hidden": "true" }), h("b", {}, name), ` ${means(name)}`)),
    known.map((by) => h("li", {}, h("b", {}, `cached, ${by}`), ` ${KNOWN[by] || by}`)));
}

function leftOut(said) {
  return table("Left out", ["By", ["Servers", "number"], "Which", "Why"], said.left_out.map((each) => [
    each.by, count(each.count), each.endpoints.slice(0, 6).join(", ") + (each.count > 6 ? ", …" : ""), each.why,
  ]));
}

function ends(said) {
  const { predicted, actual } = said, rows = [];
  const times = [predicted?.ttft_seconds ?? 0, actual?.ttft_seconds ?? 0], top = Math.max(...times, 1e-9);
  const time = (value) => (value === null || value === undefined ? "–" : bar(value / top, seconds(value)));
  rows.push(["time to first token", time(predicted?.ttft_seconds), actual ? time(actual.ttft_seconds) : "…"]);
  const cached = predicted ? `${count(predicted.cached_tokens)}${predicted.cached_by ? `, ${KNOWN[predicted.cached_by] || predicted.cached_by}` : ""}` : "–";
  rows.push(["cached tokens", cached, actual ? count(actual.cached_tokens) : "…"]);
  if (predicted?.best_cached_tokens) rows.push(["most cached anywhere", count(predicted.best_cached_tokens), ""]);
  if (predicted?.fetched_tokens) rows.push(["fetched tokens", `${count(predicted.fetched_tokens)} from ${predicted.fetched_from}`, ""]);
  if (actual) {
    rows.push(["served by", said.endpoint, actual.served_by], ["end", "", `${actual.end}, status ${actual.status} after ${seconds(actual.duration_seconds)}`]);
    rows.push(["tokens", said.asked.prompt_tokens ? `about ${count(said.asked.prompt_tokens)} in` : "", `${count(actual.prompt_tokens)} in, ${count(actual.completion_tokens)} out`]);
  } else rows.push(["end", "", "it still runs"]);
  return table("Predicted and actual", ["", "Predicted", "Actual"], rows);
}
