// Moving among rows by keys: one row at a time is in the order of Tab, arrows lead to the others.

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };

/**
 * Listen on `element`; `state` knows how many rows there are (`size()`), which one is active (`active()`), and how to go to
 * another (`go(index)`) and to open one (`open(index)`, if there is something to open).
 */
export function rowKeys(element, state) {
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.closest("tr[data-row]")) return;
    const step = STEPS[event.key], size = state.size();
    if (step !== undefined && size) {
      event.preventDefault();
      state.go(Math.min(size - 1, Math.max(0, state.active() + step)));
    } else if ((event.key === "Enter" || event.key === " ") && state.open) {
      event.preventDefault();
      state.open(state.active());
    }
  });
}
