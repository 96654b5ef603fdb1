// One route: its curves, times, outcomes, partitions and consumers.

import { attribute, cell, h, heading, keyed, show, state, table, text } from "../dom.js";
import { chart, partitionBars } from "../charts.js";
import { bytes, count, duration, perSecond, plural, replicas, short } from "../format.js";
import { POINT_EVERY_S, history, named, service } from "../live.js";
import { request } from "../session.js";
import { routeState } from "./overview.js";

const LOOK_EVERY_MS = 2000;
const MOST_LISTED = 8;
const OUTCOMES = [
  ["completed_records", "completed"], ["dead_letter_records", "dead letters"], ["refused_records", "refused (4xx)"], ["expired_records", "expired"],
  ["cancelled_records", "cancelled"], ["retried_records", "retried"], ["skipped_records", "tombstones"], ["lost_to_retention_records", "lost to retention"],
];
const TIMES = [["waiting", "waiting for a call"], ["model", "at the model"], ["end_to_end", "end to end"]];

export function routeView(name) {
  const badge = state();
  const about = h("p", { class: "dim" });
  const reasons = h("ul", { class: "reasons" });
  const scaling = h("p", { class: "why" });
  const rates = chart("Completed", "/s");
  const lefts = chart("Left to do", "");
  const facts = h("dl", { class: "facts" });
  const times = table("Times of the last minute", [{ name: "Time" }, ...["p50", "p95", "p99"].map((each) => ({ name: each, kind: "number" }))]);
  const outcomes = h("dl", { class: "facts" });
  const bars = partitionBars();
  const largest = table("Partitions with the most left", [{ name: "Partition" }, { name: "Left", kind: "number" }, { name: "Committed", kind: "number" }, { name: "End", kind: "number" }, { name: "Consumer" }]);
  const members = table("Consumers", [{ name: "Consumer" }, { name: "State" }, { name: "Partitions", kind: "number" }, { name: "In flight", kind: "number" }, { name: "Queued", kind: "number" }, { name: "Held", kind: "number" }]);
  const problem = h("p", { class: "problem" });
  const body = h(
    "div", {},
    reasons, scaling,
    h("div", { class: "pair" }, rates.element, lefts.element),
    facts,
    h("div", { class: "pair" }, h("section", {}, h("h2", {}, "Times"), times.element), h("section", {}, h("h2", {}, "Outcomes"), outcomes)),
    h("section", {}, h("h2", {}, "Partitions"), bars.element, largest.element),
    h("section", {}, h("h2", {}, "Consumers"), members.element),
  );
  const element = h("div", {}, h("p", {}, h("a", { href: "#overview" }, "← Overview")), h("div", { class: "title" }, h("h1", {}, name, " ", badge.element)), about, problem, body);

  let detail = null;
  let isOpen = true;
  let isAsking = false;
  async function look() {
    const isKnown = named("routes").some((each) => each.name === name);
    if (!isOpen || !isKnown || isAsking || document.hidden || service.link !== "live") return;
    isAsking = true;
    try {
      detail = await request("GET", `/api/routes/${encodeURIComponent(name)}`);
      text(problem, "");
    } catch (error) {
      text(problem, error.message);
    }
    isAsking = false;
    if (isOpen) update();
  }
  const timer = setInterval(look, LOOK_EVERY_MS);

  function update() {
    const route = named("routes").find((each) => each.name === name);
    if (route && !detail) look();
    show(body, Boolean(route));
    if (!route) {
      text(about, service.document ? "There is no such route." : "Waiting for the first overview.");
      return;
    }
    badge.update(routeState(route));
    text(about, `${route.requests_topic} → ${route.model} → ${route.results_topic} · group ${route.group} · ${route.delivery.replaceAll("_", " ")}`);
    keyed(reasons, route.reasons ?? [], (each) => each.code + each.text, (each) => ({ element: h("li", { class: each.blocks ? "bad" : "warn" }, each.text), update() {} }));
    show(reasons, Boolean(route.reasons?.length));
    text(scaling, route.scaling ? `Consumers: ${route.scaling}` : "");
    show(scaling, Boolean(route.scaling));
    const [rateValues, leftValues] = history(name);
    rates.update(rateValues, POINT_EVERY_S);
    lefts.update(leftValues, POINT_EVERY_S);
    const held = route.held ?? {};
    list(facts, [
      ["Completed", perSecond((route.latest ?? route.minute)?.completed_records_per_s)],
      ["Arrive", perSecond((route.latest ?? route.minute)?.received_records_per_s)],
      ["Left", short(route.lag?.left_records)],
      ["To go", duration(route.lag?.left_s)],
      ["Tokens left", short(route.lag?.left_tokens)],
      ["Behind open transactions", short(route.lag?.blocked_records)],
      ["Held", `${short(held.records)} of ${short(held.most_records)} · ${bytes(held.bytes)}`],
      ["Oldest held", duration(held.oldest_s)],
      ["Consumers", replicas(route.consumers)],
      ["Partitions", `${count(route.assigned_partitions)} of ${count(route.lag?.partitions)} assigned`],
    ]);
    keyed(times.body, TIMES.map(([key, word]) => ({ key, word, ...route.latency?.[key] })), (each) => each.key, timeRow);
    const totals = route.totals ?? {};
    list(outcomes, OUTCOMES.filter(([key], place) => place < 2 || totals[key]).map(([key, word]) => [word, count(totals[key] ?? 0)]));
    const partitions = detail?.partitions;
    if (partitions) {
      bars.update(partitions.left_records);
      const worst = partitions.left_records.map((_, place) => place).filter((place) => partitions.left_records[place] > 0)
        .sort((one, other) => partitions.left_records[other] - partitions.left_records[one]).slice(0, MOST_LISTED);
      keyed(largest.body, worst.map((place) => ({ number: partitions.partition[place], left: partitions.left_records[place], committed: partitions.committed[place], end: partitions.log_end[place], replica: partitions.replica[place] })), (each) => each.number, partitionRow);
      show(largest.element, worst.length > 0);
      keyed(members.body, detail.route.members ?? [], (each) => each.replica, memberRow);
    }
  }
  return { element, title: name, update, close() { isOpen = false; clearInterval(timer); } };
}

export function list(element, pairs) {
  keyed(element, pairs, ([name]) => name, ([name]) => {
    const value = h("dd");
    return { element: h("div", {}, h("dt", {}, name), value), update([, shown]) { text(value, shown); } };
  });
}

function timeRow(first) {
  const cells = ["p50", "p95", "p99"].map((name) => cell(name, "number"));
  return {
    element: h("tr", { role: "row" }, heading(first.word), ...cells),
    update(each) { ["p50_s", "p95_s", "p99_s"].forEach((key, place) => text(cells[place], duration(each[key]))); },
  };
}

function partitionRow(first) {
  const cells = ["Left", "Committed", "End"].map((name) => cell(name, "number"));
  const replica = cell("Consumer", "wide");
  return {
    element: h("tr", { role: "row" }, heading(count(first.number)), ...cells, replica),
    update(each) {
      [each.left, each.committed ?? undefined, each.end].forEach((value, place) => text(cells[place], count(value)));
      text(replica, each.replica ?? "nobody");
    },
  };
}

function memberRow(first) {
  const badge = state();
  const why = h("p", { class: "why warn" });
  const cells = ["Partitions", "In flight", "Queued", "Held"].map((name) => cell(name, "number"));
  return {
    element: h("tr", { role: "row" }, heading(first.replica, why), cell("State", "word", badge.element), ...cells),
    update(each) {
      badge.update(each.state);
      const said = each.error ?? (each.is_breaker_open ? "It gives its model a rest after failures." : "");
      text(why, said);
      show(why, Boolean(said));
      [count(each.partitions), short(each.in_flight_records), short(each.queued_records), `${short(each.held_records)} · ${bytes(each.held_bytes)}`].forEach((value, place) => text(cells[place], value));
    },
  };
}
