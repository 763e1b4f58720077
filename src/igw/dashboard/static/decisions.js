// Recent decisions, the latest first: rows stay where they are in the document, so whoever reads one keeps his place.

import { h, mark, write } from "./dom.js";
import { clock, seconds } from "./format.js";
import { rowKeys } from "./rows.js";

const SHOWN = 40;

export class Decisions {
  constructor(open) {
    this.rows = new Map();
    this.active = "";
    this.body = h("tbody");
    this.grid = h("table", { role: "grid", "aria-label": "Recent decisions", class: "decisions" },
      h("thead", {}, h("tr", {}, ["Time", "Server", "Why", "First token", "Ended"].map((name, at) => h("th", { scope: "col", class: at > 2 ? "number" : null }, name)))), this.body);
    this.none = h("p", { class: "none" }, "Nothing was decided lately. Send a request.");
    this.element = h("div", {}, this.none, h("div", { class: "scroll rows tall" }, this.grid));
    this.open = open;
    rowKeys(this.grid, {
      size: () => this.body.children.length,
      active: () => [...this.body.children].findIndex((row) => row.dataset.row === this.active),
      go: (index) => this.body.children[index].focus(),
      open: () => this.active && open(this.active),
    });
  }

  update(lines) {
    this.none.hidden = lines.length > 0;
    this.grid.hidden = !lines.length;
    const shown = new Set(lines.map((line) => line.id));
    for (const [id, row] of this.rows) {
      // Who reads a row keeps it, although it is old by now.
      if (!shown.has(id) && row !== document.activeElement) { row.remove(); this.rows.delete(id); }
    }
    lines.slice().reverse().forEach((line) => {
      let row = this.rows.get(line.id);
      if (!row) { row = this.row(line.id); this.rows.set(line.id, row); this.body.prepend(row); }
      this.fill(row, line);
    });
    if (!this.rows.has(this.active)) this.active = lines[0]?.id ?? "";
    for (const [id, row] of this.rows) mark(row, "tabindex", id === this.active ? "0" : "-1");
  }

  row(id) {
    return h("tr", { "data-row": id, on: { click: () => this.open(id), focus: () => this.focused(id) } },
      ["", "name", "why", "number", "number"].map((kind) => h("td", { class: kind || null, role: "gridcell" })));
  }

  focused(id) {
    this.active = id;
    for (const [each, row] of this.rows) mark(row, "tabindex", each === id ? "0" : "-1");
  }

  fill(row, line) {
    const why = line.sentence.replace(`${line.name}, `, ""), status = line.status ? ` ${line.status}` : "";
    const end = !line.end ? "runs" : line.end === "complete" ? status.trim() : `${line.end}${status}`;
    const texts = [clock(line.at), line.name || "nowhere", why, seconds(line.ttft_seconds), end];
    texts.forEach((text, at) => write(row.children[at], text));
    mark(row, "data-end", line.end === "refused" || line.status >= 400 ? "bad" : line.end ? "done" : "open");
    mark(row, "title", line.sentence);
  }
}

/** Return the latest lines, as the picker tells them. */
export async function latest() {
  const answer = await fetch(`../decisions?limit=${SHOWN}`);
  return answer.ok ? (await answer.json()).decisions : [];
}
