// Small lines over the last two minutes. What they show is also written beside them, so they are hidden from screen readers.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 240, HEIGHT = 36;

/** Return an SVG with one line for each of `kinds`, and what draws them: a function of as many columns. */
export function lines(...kinds) {
  const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "spark", "aria-hidden": "true" });
  const paths = kinds.map((kind) => make("path", { class: kind }));
  svg.append(...paths);
  return { svg, draw: (...columns) => {
    const top = Math.max(...columns.map((column) => Math.max(...column.map((value) => value || 0))), 1e-9);
    paths.forEach((path, at) => path.setAttribute("d", line(columns[at], top)));
  } };
}

function line(column, top) {
  const step = WIDTH / Math.max(1, column.length - 1);
  let drawn = "", gap = true;
  column.forEach((value, at) => {
    if (value === null) { gap = true; return; }
    const x = (at * step).toFixed(1), y = (HEIGHT - 1.5 - (value / top) * (HEIGHT - 4)).toFixed(1);
    // A lone value is a dot: a short line with round ends.
    drawn += gap ? `M${x} ${y}h0.01` : `L${x} ${y}`;
    gap = false;
  });
  return drawn;
}

function make(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}
