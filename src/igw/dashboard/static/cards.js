// What changes slowly: queues, objectives, shadow policies, the configuration in force. Each card is made anew when its JSON is another.

import { bar, h, table } from "./dom.js";
import { bytes, count, plural, seconds, share } from "./format.js";

export class Cards {
  constructor(open) {
    this.open = open;
    this.said = new Map();
  }

  /** Show `value` on the card `name`, unless it does already. Who is in it with the keyboard is not disturbed. */
  show(name, value) {
    const written = JSON.stringify(value), body = document.querySelector(`#${name} > div`);
    if (written === this.said.get(name) || body.contains(document.activeElement)) return;
    this.said.set(name, written);
    body.replaceChildren(...({ queues, objectives, shadows, configuration }[name](value, this.open)).filter((part) => part !== null));
  }
}

function none(text) {
  return [h("p", { class: "none" }, text)];
}

function queues(all) {
  if (!all.length) return none("Requests do not wait: flow control is off.");
  return all.flatMap((queue) => [
    h("h3", {}, queue.pool, h("small", {}, `${plural(queue.requests, "request")} wait, ${count(queue.drain_per_second)} a second leave`)),
    h("p", {}, "Saturation ", bar(queue.saturation, share(queue.saturation), queue.saturation >= 1 ? "bad" : "")),
    queue.bands.length ? table(`Bands of ${queue.pool}`, [["Priority", "number"], "Requests", "Bytes"], queue.bands.map((band) => [
      String(band.priority), filled(band.requests, band.max_requests, count), filled(band.size_bytes, band.max_bytes, bytes)])) : null,
    queue.tenants.length ? table(`Tenants of ${queue.pool}`, ["Tenant", ["Priority", "number"], ["Requests", "number"], ["Bytes", "number"]], queue.tenants.map((tenant) => [
      tenant.fairness_id || "(none)", String(tenant.priority), count(tenant.requests), bytes(tenant.size_bytes)])) : null,
    queue.tenants_total > queue.tenants.length ? h("p", { class: "none" }, `and ${count(queue.tenants_total - queue.tenants.length)} tenants more`) : null,
    outcomes(queue.outcomes),
  ]);
}

function filled(value, most, write) {
  return most ? bar(value / most, `${write(value)} of ${write(most)}`) : write(value);
}

function outcomes(counts) {
  const said = Object.entries(counts).map(([name, number]) => `${count(number)} ${name}`);
  return said.length ? h("p", { class: "none" }, `Since the start: ${said.join(", ")}`) : null;
}

function objectives(all) {
  if (!all.length) return none("No request had an objective yet. docs/slo.md says how to state some.");
  const windows = Object.keys(all[0].windows);
  const heads = ["Objective", "Wanted", ["Attained", "number"], [`Burn ${windows.join(", ")}`, "number"], "Budget left", "Missed time went to"];
  return [table("Objectives", heads, all.slice(0, 50).map((each) => {
    const latest = each.windows[windows[0]], seen = latest.attained + latest.missed;
    const lost = Object.entries(each.missed_seconds).sort((a, b) => b[1] - a[1]).slice(0, 2).map(([stage, time]) => `${stage} ${seconds(time)}`);
    return [
      h("span", { title: `${each.pool} ${each.model}` }, each.objective || each.pool),
      `${each.of} ${share(each.target)} in ${seconds(each.objective_seconds)}`, seen ? share(latest.attained / seen) : "–",
      h("span", {}, windows.flatMap((name, at) => [at ? "  " : "", burn(each.windows[name].burn_rate)])),
      budget(each.budget_left), lost.join(", ") || "–",
    ];
  }))];
}

function budget(left) {
  return left === null ? "–" : left < 0 ? h("span", { class: "bad-text" }, "overdrawn") : bar(left, share(left));
}

function burn(rate) {
  return h("span", { class: rate !== null && rate > 1 ? "bad-text" : null }, rate === null ? "–" : `${count(rate)}×`);
}

function shadows(said, open) {
  if (!said.shadows.length) return none("No policy is compared. --shadow-config-file names some.");
  return [
    h("p", { class: "none" }, `${share(said.share)} of the decisions are looked at${said.skipped ? `, ${count(said.skipped)} of them were skipped` : ""}.`),
    table("Shadow policies", ["Policy", ["Decisions", "number"], "Agrees", ["First token, as chosen", "number"], ["as the shadow", "number"], ["Faster / slower", "number"], ["CPU", "number"]],
      said.shadows.map((row) => [h("span", { title: row.source }, row.name), count(row.decisions), row.agreement === null ? "–" : bar(row.agreement, share(row.agreement)),
        seconds(row.chosen_ttft_seconds), seconds(row.shadow_ttft_seconds), `${count(row.faster)} / ${count(row.slower)}`, seconds(row.cpu_seconds)])),
    ...said.shadows.flatMap((row) => [
      row.off ? h("p", { class: "bad-text" }, `${row.name} is off: ${row.off}`) : null,
      row.refused_edit ? h("p", { class: "bad-text" }, `${row.name}: the last edit was not taken: ${row.refused_edit}`) : null,
      row.differing.length ? h("details", {}, h("summary", {}, `Where ${row.name} would have chosen otherwise`), h("ul", { class: "plain" }, row.differing.slice(0, 10).map((each) => h("li", {},
        h("button", { type: "button", class: "quiet", on: { click: () => open(each.decision) } }, `${each.chosen}, not ${each.shadow || "refused"}`))))) : null,
    ]),
  ];
}

function configuration(said) {
  const written = h("pre", { hidden: true, tabindex: "0", "aria-label": "The configuration with every default" });
  const button = h("button", { type: "button", "aria-expanded": "false", on: { click: async () => {
    if (written.hidden) written.textContent = JSON.stringify(await (await fetch("../config")).json(), null, 2);
    written.hidden = !written.hidden;
    button.setAttribute("aria-expanded", String(!written.hidden));
  } } }, "Show it with every default");
  return [
    h("p", {}, said.source ? ["Decided by ", h("code", {}, said.source), ". ", button] : "Decided by the built-in default policy: cost in seconds, near ties to the coldest cache."),
    said.refused ? h("p", { class: "bad-text" }, `The last edit was not taken: ${said.refused.where}: ${said.refused.problem}${said.refused.hint ? ` (${said.refused.hint})` : ""}`) : null,
    said.concerns.length ? h("ul", { class: "plain" }, said.concerns.map((each) => h("li", {}, h("b", {}, each.code), ` ${each.where}: ${each.message}`))) : h("p", { class: "none" }, "Nothing to warn of."),
    written,
  ];
}
