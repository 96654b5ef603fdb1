// The overview as it stands, and who wants to hear that it changed.

const MOST_POINTS = 121;
export const POINT_EVERY_S = 5;

export const service = { document: null, link: "connecting", problem: null };
const curves = new Map();
const hearers = new Set();
let source = null;
let isDue = false;
let again = null;
let lost = null;

export function onChange(hear) {
  hearers.add(hear);
  return () => hearers.delete(hear);
}

// The latest [rates, lefts] of a route.
export function history(route) {
  return curves.get(route) ?? [[], []];
}

export function totalHistory(which) {
  const all = [...curves.values()].map((each) => each[which]);
  const length = Math.max(0, ...all.map((each) => each.length));
  return Array.from({ length }, (_, place) => {
    const known = all.map((each) => each[each.length - length + place]).filter((value) => value !== null && value !== undefined);
    return known.length ? known.reduce((sum, value) => sum + value, 0) : null;
  });
}

export function named(part) {
  const found = service.document?.[part];
  return found ? found.order.map((name) => found.by_name[name]).filter(Boolean) : [];
}

// As a patch of RFC 7386: what is null goes.
export function patched(document, patch) {
  const next = { ...document };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete next[key];
    else if (typeof value === "object" && !Array.isArray(value)) {
      const below = next[key];
      next[key] = patched(typeof below === "object" && !Array.isArray(below) ? below : {}, value);
    } else next[key] = value;
  }
  return next;
}

function addPoint(point) {
  for (const name of curves.keys()) if (!(name in point.routes)) curves.delete(name);
  for (const [name, values] of Object.entries(point.routes)) {
    if (!curves.has(name)) curves.set(name, [[], []]);
    curves.get(name).forEach((series, place) => {
      series.push(values[place]);
      if (series.length > MOST_POINTS) series.shift();
    });
  }
}

function changed() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    for (const hear of [...hearers]) hear();
  });
}

function setLink(link) {
  clearTimeout(lost);
  lost = null;
  if (service.link !== link) {
    service.link = link;
    changed();
  }
}

// `refused` is called where the console does not let us in.
export function connect(refused) {
  disconnect();
  source = new EventSource("/api/events");
  const on = (name, take) => source.addEventListener(name, (event) => {
    take(JSON.parse(event.data));
    service.problem = service.document?.problem ?? null;
    setLink("live");
    changed();
  });
  on("overview", (document) => { service.document = document; });
  on("patch", (patch) => { service.document = patched(service.document ?? {}, patch); });
  on("history", (points) => { curves.clear(); points.forEach(addPoint); });
  on("point", addPoint);
  source.onerror = () => {
    // It ends now and then, and a browser is back within a second.
    lost ??= setTimeout(() => setLink("reconnecting"), 3000);
    // A browser gives up where the answer was no stream.
    if (source?.readyState === EventSource.CLOSED) {
      disconnect();
      again = setTimeout(async () => { if (!(await refused())) connect(refused); }, 3000);
    }
  };
}

export function disconnect() {
  clearTimeout(again);
  source?.close();
  source = null;
}
