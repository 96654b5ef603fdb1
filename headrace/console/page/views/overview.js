// All routes and models, and on top what stands still.

import { attribute, cell, h, heading, keyed, show, state, table, text } from "../dom.js";
import { curve } from "../charts.js";
import { UNKNOWN, count, duration, perSecond, plural, replicas, short } from "../format.js";
import { history, named, service, totalHistory } from "../live.js";

const ROUTE_COLUMNS = [
  { name: "Route" }, { name: "State" }, { name: "Completed", kind: "number" }, { name: "Left", kind: "number" }, { name: "To go", kind: "number" },
  { name: "p50", kind: "number" }, { name: "p95", kind: "number" }, { name: "p99", kind: "number" }, { name: "Consumers", kind: "number" },
];
const MODEL_COLUMNS = [
  { name: "Model" }, { name: "Replicas", kind: "number" }, { name: "Completed", kind: "number" },
  { name: "In flight", kind: "number" }, { name: "p50", kind: "number" }, { name: "p95", kind: "number" }, { name: "Runs on" },
];

export function routeState(route) {
  return route.state === "running" && route.reasons?.length ? "held up" : route.state;
}

export function overviewView() {
  const trouble = troubles();
  const figures = figureStrip();
  const routes = table("Routes", ROUTE_COLUMNS);
  const models = table("Models", MODEL_COLUMNS);
  const filter = h("input", { type: "search", id: "filter", placeholder: "Filter by name or state", autocomplete: "off", spellcheck: "false", oninput: () => update() });
  const tools = h("div", { class: "tools" }, h("label", { for: "filter", class: "hidden" }, "Filter routes"), filter);
  const none = h("p", { class: "dim" });
  const element = h(
    "div",
    {},
    h("h1", { class: "hidden" }, "Overview"),
    trouble.element,
    figures.element,
    h("section", { "aria-labelledby": "routes-title" }, h("div", { class: "title" }, h("h2", { id: "routes-title" }, "Routes"), tools), routes.element, none),
    h("section", { "aria-labelledby": "models-title" }, h("h2", { id: "models-title" }, "Models"), models.element),
  );

  function update() {
    const all = named("routes");
    const wanted = filter.value.trim().toLowerCase();
    const shown = wanted ? all.filter((route) => `${route.name} ${route.model} ${routeState(route)}`.toLowerCase().includes(wanted)) : all;
    trouble.update(all);
    figures.update(all);
    keyed(routes.body, shown, (route) => route.name, routeRow);
    keyed(models.body, named("models"), (model) => model.name, modelRow);
    show(tools, all.length > 8);
    text(none, all.length && !shown.length ? "No route fits." : service.document ? "" : "Waiting for the first overview.");
  }
  return { element, title: "Overview", update };
}

function troubles() {
  const list = h("ul", { class: "troubles" });
  const fine = h("p", { class: "fine" });
  const element = h("section", { "aria-label": "What stands still" }, list, fine);
  return {
    element,
    update(routes) {
      const items = [];
      if (service.problem) items.push({ key: "!", tone: "bad", title: "The overview is not up to date", lines: [service.problem] });
      for (const route of routes) {
        const word = routeState(route);
        if (word === "standing still" || word === "paused" || word === "held up") {
          items.push({ key: `r ${route.name}`, tone: word === "standing still" ? "bad" : "warn", title: route.name, link: route.name, word: word === "standing still" ? "stands still" : word === "paused" ? "is paused" : "is held up", lines: (route.reasons ?? []).map((each) => each.text) });
        }
      }
      const told = new Set(items.flatMap((each) => each.lines).map((each) => each.slice(-80)));
      for (const each of named("deployments")) {
        if (![...told].some((line) => each.why.endsWith(line) || line.endsWith(each.why.slice(-60)))) items.push({ key: `d ${each.name}`, tone: "warn", title: each.name, word: "lacks replicas", lines: [each.why] });
      }
      for (const line of service.document?.unanswered ?? []) items.push({ key: `u ${line}`, tone: "warn", title: "No answer", lines: [line] });
      items.sort((one, other) => (one.tone === other.tone ? 0 : one.tone === "bad" ? -1 : 1));
      keyed(list, items, (each) => each.key, troubleItem);
      show(list, items.length > 0);
      show(fine, !items.length && Boolean(service.document));
      text(fine, routes.length ? `${routes.length === 1 ? "The route runs" : `All ${routes.length} routes run`}; nothing stands still.` : "No route is deployed.");
    },
  };
}

function troubleItem(first) {
  const title = first.link ? h("a", { href: `#routes/${encodeURIComponent(first.link)}` }) : h("strong");
  const word = h("span", { class: "word" });
  const lines = h("ul");
  const element = h("li", {}, h("p", {}, title, " ", word), lines);
  return {
    element,
    update(item) {
      attribute(element, "class", item.tone);
      text(title, item.title);
      text(word, item.word ?? "");
      keyed(lines, item.lines, (line) => line, (line) => ({ element: h("li", {}, line), update() {} }));
    },
  };
}

function figureStrip() {
  const list = h("dl", { class: "figures" });
  const figure = (name, curved) => {
    const value = h("dd", { class: "figure" });
    const note = h("dd", { class: "dim" });
    const drawn = curved ? curve(name) : null;
    list.append(h("div", {}, h("dt", {}, name), value, note, drawn && h("dd", { class: "spark" }, drawn.element)));
    return { value, note, drawn };
  };
  const rate = figure("Completed", true);
  const left = figure("Left to do", true);
  const failed = figure("Failed");
  const held = figure("In flight");
  return {
    element: list,
    update(routes) {
      const sum = (of) => {
        const known = routes.map(of).filter((value) => value !== undefined);
        return known.length ? known.reduce((total, value) => total + value, 0) : undefined;
      };
      const rates = (route) => route.latest ?? route.minute;
      text(rate.value, perSecond(sum((route) => rates(route)?.completed_records_per_s)));
      text(rate.note, `${perSecond(sum((route) => rates(route)?.received_records_per_s))} arrive`);
      text(left.value, short(sum((route) => route.lag?.left_records)));
      const longest = Math.max(...routes.map((route) => route.lag?.left_s ?? 0), 0);
      text(left.note, longest ? `at most ${duration(longest)}` : "records");
      text(failed.value, perSecond(sum((route) => rates(route)?.failed_records_per_s)));
      text(failed.note, `${plural(sum((route) => route.totals?.dead_letter_records ?? 0) ?? 0, "dead letter")} so far`);
      text(held.value, short(sum((route) => route.held?.in_flight_records)));
      text(held.note, `${short(sum((route) => route.held?.queued_records))} queued`);
      rate.drawn.update(totalHistory(0));
      left.drawn.update(totalHistory(1));
    },
  };
}

function routeRow(first) {
  const link = h("a", { href: `#routes/${encodeURIComponent(first.name)}` }, first.name);
  const model = h("span", { class: "dim" });
  const badge = state();
  const rate = h("span");
  const left = h("span");
  const rates = curve(`Completed by ${first.name}`);
  const lefts = curve(`Left for ${first.name}`);
  const [toGo, p50, p95, p99, consumers] = ["To go", "p50", "p95", "p99", "Consumers"].map((name) => cell(name, "number"));
  const element = h(
    "tr", { role: "row" },
    heading(link, model),
    cell("State", "word", badge.element),
    cell("Completed", "number curved", rate, rates.element),
    cell("Left", "number curved", left, lefts.element),
    toGo, p50, p95, p99, consumers,
  );
  return {
    element,
    update(route) {
      text(model, route.model);
      badge.update(routeState(route));
      text(rate, perSecond((route.latest ?? route.minute)?.completed_records_per_s));
      text(left, short(route.lag?.left_records));
      const [rateValues, leftValues] = history(route.name);
      rates.update(rateValues);
      lefts.update(leftValues);
      text(toGo, duration(route.lag?.left_s));
      const times = route.latency?.end_to_end ?? {};
      text(p50, duration(times.p50_s));
      text(p95, duration(times.p95_s));
      text(p99, duration(times.p99_s));
      text(consumers, replicas(route.consumers));
      attribute(element, "class", route.state === "standing still" ? "bad" : null);
    },
  };
}

function modelRow(first) {
  const kind = h("span", { class: "dim" });
  const why = h("p", { class: "why" });
  const [amount, rate, flying, p50, p95, on] = ["Replicas", "Completed", "In flight", "p50", "p95", "Runs on"].map((name, place) => cell(name, place === 5 ? "wide" : "number"));
  const element = h("tr", { role: "row" }, heading(h("span", {}, first.name), kind, why), amount, rate, flying, p50, p95, on);
  return {
    element,
    update(model) {
      text(kind, model.kind);
      text(why, model.why_not ?? model.scaling ?? "");
      show(why, Boolean(model.why_not ?? model.scaling));
      attribute(why, "class", model.why_not ? "why warn" : "why");
      text(amount, replicas(model.replicas));
      text(rate, perSecond(model.completed_records_per_s));
      text(flying, model.window_records === undefined ? count(model.in_flight_records) : `${short(model.in_flight_records)} of ${short(model.window_records)}`);
      text(p50, duration(model.latency?.p50_s));
      text(p95, duration(model.latency?.p95_s));
      text(on, model.runs_on?.join(", ") || UNKNOWN);
    },
  };
}
