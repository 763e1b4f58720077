// Pools and their servers: a heat map for many, and a table of which only the rows in sight are there.

import { bar, h, mark, write } from "./dom.js";
import { count, plural, seconds, share } from "./format.js";
import { rowKeys } from "./rows.js";

const ROW = 29, MOST_ROWS = 14, MAP_FROM = 25;
const HEALTH = ["answers", "silent", "failing", "ejected", "returning"];
const COLUMNS = [
  { name: "Server", of: (pool, at) => pool.names[at], text: (value) => value, kind: "name" },
  { name: "Health", of: (pool, at) => pool.health[at], text: (value) => HEALTH[value] },
  { name: "In flight", of: (pool, at) => pool.inflight[at], text: count, kind: "number", hint: "sent there by this picker and not ended" },
  { name: "Batch", of: (pool, at) => pool.running[at], text: count, kind: "number", hint: "requests that its engine computes" },
  { name: "Queue", of: (pool, at) => pool.waiting[at], text: count, kind: "number", hint: "requests that wait in its engine" },
  { name: "Backlog", of: (pool, at) => pool.backlog_seconds[at], text: seconds, kind: "number", hint: "work promised to it and not done" },
  { name: "KV memory", of: (pool, at) => pool.kv_usage[at], bar: share, hint: "of its KV memory, in use" },
  { name: "Prefix cache", of: (pool, at) => pool.cached_tokens[at], bar: count, most: (pool, at) => pool.cache_tokens[at], hint: "tokens of prompts believed to be cached there" },
  { name: "Accelerator", of: (pool, at) => pool.accelerators[at], text: (value) => value || "–" },
];
const SHADES = {
  "in flight": (pool) => pool.inflight, "KV memory": (pool) => pool.kv_usage, backlog: (pool) => pool.backlog_seconds,
  "prefix cache": (pool) => pool.cached_tokens.map((held, at) => held / (pool.cache_tokens[at] || 1)),
};

/** One pool: made once, told of every overview. */
export class PoolView {
  constructor(key) {
    this.active = 0;
    this.sorted = { column: null, down: false };
    this.order = [];
    this.rows = [];
    this.summary = h("small");
    this.shade = h("select", { "aria-label": `Heat map of ${key} by`, on: { change: () => this.draw() } }, Object.keys(SHADES).map((name) => h("option", {}, name)));
    this.map = h("div", { class: "map", role: "img", on: { click: (event) => this.clicked(event) } });
    this.mapped = h("div", { hidden: true }, h("div", { class: "tools" }, "Heat map by", this.shade), this.map);
    this.filter = h("input", { type: "search", placeholder: "Filter servers", "aria-label": `Filter servers of ${key}`, on: { input: () => this.update(this.pool) } });
    this.heads = COLUMNS.map((column) => h("th", { scope: "col", "aria-sort": "none", class: column.kind || null },
      h("button", { type: "button", title: column.hint, on: { click: () => this.sort(column) } }, column.name)));
    this.above = h("tr", { "aria-hidden": "true" }, h("td", { colspan: COLUMNS.length }));
    this.below = h("tr", { "aria-hidden": "true" }, h("td", { colspan: COLUMNS.length }));
    this.body = h("tbody", {}, this.above, this.below);
    this.grid = h("table", { role: "grid", "aria-label": `Servers of ${key}` }, h("thead", {}, h("tr", { "aria-rowindex": 1 }, this.heads)), this.body);
    this.scroll = h("div", { class: "scroll rows", on: { scroll: () => this.draw() } }, this.grid);
    this.scroll.style.maxHeight = `${ROW * (MOST_ROWS + 1)}px`;
    this.element = h("div", { class: "card pool" }, h("div", { class: "head" }, h("h2", {}, key), this.summary, this.filter), this.mapped, this.scroll);
    rowKeys(this.scroll, { size: () => this.order.length, active: () => this.active, go: (index) => this.go(index) });
  }

  update(pool) {
    this.pool = pool;
    const wanted = this.filter.value.trim().toLowerCase();
    this.order = pool.names.map((_, at) => at).filter((at) => !wanted || `${pool.names[at]} ${pool.addresses[at]} ${HEALTH[pool.health[at]]}`.toLowerCase().includes(wanted));
    const { column, down } = this.sorted;
    if (column) {
      const value = (at) => column.of(pool, at);
      this.order.sort((a, b) => (down ? -1 : 1) * (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : a - b));
    }
    this.active = Math.min(this.active, Math.max(0, this.order.length - 1));
    const ill = pool.health.filter((health) => health === 2 || health === 3).length;
    const models = pool.models.length ? ` · ${pool.models.slice(0, 3).join(", ")}${pool.models.length > 3 ? ` and ${pool.models.length - 3} more` : ""}` : "";
    write(this.summary, `${plural(pool.names.length, "server")}${ill ? `, ${ill} out` : ""}${models}`);
    this.mapped.hidden = pool.names.length < MAP_FROM;
    this.filter.hidden = pool.names.length < 8;
    this.grid.classList.toggle("all-alike", !pool.accelerators.some(Boolean));
    mark(this.grid, "aria-rowcount", String(this.order.length + 1));
    this.draw();
  }

  sort(column) {
    const down = this.sorted.column === column ? !this.sorted.down : typeof column.of(this.pool, 0) === "number";
    this.sorted = { column, down };
    this.heads.forEach((head, at) => head.setAttribute("aria-sort", COLUMNS[at] === column ? (down ? "descending" : "ascending") : "none"));
    this.active = 0;
    this.scroll.scrollTop = 0;
    this.update(this.pool);
  }

  go(index) {
    this.active = index;
    const top = index * ROW, bottom = top + 2 * ROW;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    else if (bottom > this.scroll.scrollTop + this.scroll.clientHeight) this.scroll.scrollTop = bottom - this.scroll.clientHeight;
    this.draw();
    this.rows.find((row) => row.dataset.row === String(index))?.focus();
  }

  clicked(event) {
    const at = [...this.map.children].indexOf(event.target);
    if (at < 0) return;
    if (!this.order.includes(at)) { this.filter.value = ""; this.update(this.pool); }
    this.go(this.order.indexOf(at));
  }

  draw() {
    if (!this.pool) return;
    if (!this.mapped.hidden) this.drawMap();
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - 4);
    const last = Math.min(this.order.length, first + MOST_ROWS + 9);
    while (this.rows.length < last - first) this.rows.push(this.row());
    while (this.rows.length > last - first) this.rows.pop().remove();
    const inSight = this.active >= first && this.active < last;
    this.rows.forEach((row, offset) => this.fill(row, first + offset, inSight ? this.active : first));
    this.above.firstChild.style.height = `${first * ROW}px`;
    this.below.firstChild.style.height = `${(this.order.length - last) * ROW}px`;
  }

  row() {
    const row = h("tr", { on: { focus: () => { this.active = Number(row.dataset.row); this.draw(); } } },
      COLUMNS.map((column) => h("td", { class: column.kind || null, role: "gridcell" }, column.bar ? bar(0, "") : "")));
    this.body.insertBefore(row, this.below);
    return row;
  }

  fill(row, index, tabbed) {
    const at = this.order[index], pool = this.pool;
    mark(row, "data-row", String(index));
    mark(row, "aria-rowindex", String(index + 2));
    mark(row, "tabindex", index === tabbed ? "0" : "-1");
    mark(row, "data-health", HEALTH[pool.health[at]]);
    mark(row, "title", pool.addresses[at]);
    COLUMNS.forEach((column, place) => {
      const value = column.of(pool, at), cell = row.children[place];
      if (!column.bar) { write(cell, column.text(value)); return; }
      const full = column.most ? value / (column.most(pool, at) || 1) : value;
      cell.querySelector(".fill").style.width = `${100 * Math.min(1, full)}%`;
      write(cell.firstChild.lastChild, column.bar(value));
    });
  }

  drawMap() {
    const values = SHADES[this.shade.value](this.pool), relative = !["KV memory", "prefix cache"].includes(this.shade.value);
    const top = relative ? Math.max(...values, 1e-9) : 1;
    while (this.map.children.length < values.length) this.map.append(document.createElement("i"));
    while (this.map.children.length > values.length) this.map.lastChild.remove();
    values.forEach((value, at) => {
      const health = this.pool.health[at], cell = this.map.children[at];
      mark(cell, "data-level", health === 2 || health === 3 ? "out" : health === 1 ? "silent" : String(Math.min(9, Math.round((9 * value) / top))));
      mark(cell, "title", `${this.pool.names[at]}: ${HEALTH[health]}`);
    });
    mark(this.map, "aria-label", `${values.length} servers by ${this.shade.value}; the table has the numbers`);
  }
}
