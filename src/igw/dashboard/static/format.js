// Numbers as people read them. Null is "–": not known, which is not zero.

const NONE = "–";

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size < 1) return `${digits(value * 1e3)} ms`;
  if (size < 120) return `${digits(value)} s`;
  return size < 7200 ? `${Math.round(value / 60)} min` : `${digits(value / 3600)} h`;
}

export function count(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size < 1e4) return digits(value);
  return size < 1e6 ? `${digits(value / 1e3)}k` : `${digits(value / 1e6)}M`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1024) return `${value} B`;
  return value < 1048576 ? `${digits(value / 1024)} KiB` : `${digits(value / 1048576)} MiB`;
}

export function share(value) {
  if (value === null || value === undefined) return NONE;
  const percent = value * 100;
  return `${Math.abs(percent) < 10 && percent % 1 ? percent.toFixed(1) : Math.round(percent)} %`;
}

export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function digits(value) {
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 100) return String(Math.round(value));
  return String(Number(value.toFixed(size >= 10 ? 1 : size >= 0.1 ? 2 : 3)));
}
