// Elements from values. Text is always text: nothing here reads HTML, so names of servers, models and tenants cannot become any.

/** Return an element; attributes that are null or false are left out, `on` holds listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Write a text unless it is there already: what does not change is not drawn again. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set an attribute unless it is that already. */
export function mark(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** Return a bar as wide as `share` of its place, with its number beside it. */
export function bar(share, text, level = "") {
  const fill = h("span", { class: `fill ${level}` });
  fill.style.width = `${100 * Math.min(1, Math.max(0, share || 0))}%`;
  return h("span", { class: "bar" }, h("span", { class: "track", "aria-hidden": "true" }, fill), h("span", {}, text));
}

/** Return a table: `heads` are texts, or [text, class]; cells are texts or nodes. */
export function table(caption, heads, rows) {
  const named = heads.map((head) => (Array.isArray(head) ? head : [head, ""]));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {},
      h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, named.map(([text, kind]) => h("th", { scope: "col", class: kind || null }, text)))),
      h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, at) => h("td", { class: named[at][1] || null }, cell)))))));
}
