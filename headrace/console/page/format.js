// Numbers and times for a reader. What is not known is a dash.

export const UNKNOWN = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const STEPS = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];

export function count(value) {
  return value === undefined ? UNKNOWN : whole.format(value);
}

// At most five characters: 41.9k, 3,297, 0.4.
export function short(value) {
  if (value === undefined || value === null) return UNKNOWN;
  for (const [size, letter] of STEPS) {
    if (value >= size * (letter === "k" ? 10 : 1)) {
      const part = value / size;
      return (part >= 99.95 ? part.toFixed(0) : part.toFixed(1)) + letter;
    }
  }
  return value >= 10 || Number.isInteger(value) ? whole.format(value) : value.toFixed(1);
}

export function perSecond(value) {
  return value === undefined ? UNKNOWN : `${short(value)}/s`;
}

export function duration(seconds) {
  if (seconds === undefined || seconds === null) return UNKNOWN;
  if (seconds < 0.0005) return "0 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

export function ago(atMs, nowMs) {
  return `${duration(Math.max(1, (nowMs - atMs) / 1000))} ago`;
}

export function bytes(value) {
  if (value === undefined || value === null) return UNKNOWN;
  for (const [size, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (value >= size) return `${(value / size).toFixed(value >= 100 * size ? 0 : 1)} ${name}`;
  }
  return `${value} B`;
}

export function replicas({ running, target } = {}) {
  if (running === undefined && target === undefined) return UNKNOWN;
  return target === undefined || running === target ? count(running ?? target) : `${count(running)} of ${count(target)}`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

export function moment(atMs) {
  return new Date(atMs).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
