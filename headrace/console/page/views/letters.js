// Dead letters that are not handled: why, and the way back.

import { ask, cell, h, heading, keyed, show, table, text, toast } from "../dom.js";
import { ago, bytes, count, moment, plural } from "../format.js";
import { named } from "../live.js";
import { act, couldAct, request } from "../session.js";

const LOOK_EVERY_MS = 10000;

export function lettersView(first) {
  const chosen = { route: first || "", error_code: "" };
  const routes = h("select", { id: "letter-route", onchange: () => { chosen.route = routes.value; chosen.error_code = ""; look(); } }, h("option", { value: "" }, "all routes"));
  const about = h("p", { class: "dim" }, "Reading the topics of dead letters …");
  const problem = h("ul", { class: "reasons" });
  const reasons = table("Dead letters by reason", [{ name: "Reason" }, { name: "Route" }, { name: "Dead letters", kind: "number" }, { name: "" }]);
  const rows = table("Dead letters, the newest first", [{ name: "Request" }, { name: "Reason" }, { name: "Failed", kind: "number" }, { name: "Tries", kind: "number" }, { name: "" }]);
  const all = h("button", { type: "button", class: "plain", onclick: () => { chosen.error_code = ""; look(); } }, "All reasons");
  const element = h(
    "div", {},
    h("div", { class: "title" }, h("h1", {}, "Dead letters"), h("div", { class: "tools" }, all, h("label", { for: "letter-route", class: "hidden" }, "Route"), routes, h("button", { type: "button", class: "plain", onclick: () => look() }, "Read again"))),
    about, problem,
    h("section", {}, h("h2", {}, "Reasons"), reasons.element),
    h("section", {}, h("h2", {}, "Newest"), rows.element),
  );
  let page = null;
  let isOpen = true;
  let asked = 0;

  async function look() {
    const number = ++asked;
    const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
    try {
      const found = await request("GET", `/api/dead-letters?${query}`);
      if (!isOpen || number !== asked) return;
      page = { ...found, at: Date.now() };
      draw();
    } catch (error) {
      if (isOpen && number === asked) text(about, error.message);
    }
  }

  async function replay(body, button, what) {
    button.disabled = true;
    const told = await act("/api/dead-letters/replay", body);
    button.disabled = false;
    if (!told) return;
    const left = told.left_records ? `; ${told.left_records} could not be: ${told.problems.join("; ")}` : "";
    toast(`${plural(told.replayed_records, "dead letter")} of ${what} replayed${left}`, told.left_records > 0);
    look();
  }

  function reasonRow([route, code]) {
    const number = cell("Dead letters", "number");
    const pick = h("button", { type: "button", class: "link", onclick: () => { chosen.error_code = code; chosen.route = route; routes.value = route; look(); } }, code);
    const button = h("button", { type: "button", onclick: async () => {
      const message = `Those of route ${route} that failed with ${code} until now are published again as requests, at most 10,000 at a time. If they fail again, they come back here.`;
      if (await ask("Replay them all?", message, "Replay")) await replay({ route, error_code: code, failed_before_ms: page.at }, button, route);
    } }, "Replay all");
    return { element: h("tr", { role: "row" }, heading(pick), cell("Route", "wide", route), number, cell("", "buttons", couldAct() ? button : null)), update([, , records]) { text(number, count(records)); } };
  }

  function letterRow(letter) {
    const failed = cell("Failed", "number");
    const button = h("button", { type: "button", onclick: () => replay({ places: [letter.place] }, button, letter.route) }, "Replay");
    const size = letter.value_bytes === null ? "" : ` · ${bytes(letter.value_bytes)}`;
    const times = letter.replays ? ` · replayed ${plural(letter.replays, "time")} before` : "";
    return {
      element: h("tr", { role: "row" },
        heading(h("span", {}, letter.custom_id ?? "no custom_id"), h("span", { class: "dim" }, `${letter.route} · ${letter.source}${size}${times}`)),
        cell("Reason", "wide", h("span", {}, letter.error_code), h("p", { class: "why" }, letter.error_message)),
        failed, cell("Tries", "number", count(letter.attempts)), cell("", "buttons", couldAct() ? button : null)),
      update() {
        text(failed, ago(letter.failed_at_ms, Date.now()));
        failed.title = moment(letter.failed_at_ms);
      },
    };
  }

  function draw() {
    const more = page.unhandled_offsets > page.read_records ? `, of at most ${count(page.unhandled_offsets)}: \`headrace dlq list\` shows all` : "";
    text(about, page.read_records ? `The newest ${count(page.read_records)} that are not handled${more}.` : "There is none that is not handled.");
    keyed(problem, page.unread_topics, (line) => line, (line) => ({ element: h("li", { class: "warn" }, line), update() {} }));
    show(problem, page.unread_topics.length > 0);
    show(all, Boolean(chosen.error_code));
    keyed(reasons.body, page.by_reason, ([route, code]) => `${route} ${code}`, reasonRow);
    keyed(rows.body, page.rows, (letter) => letter.place, letterRow);
    show(reasons.element.parentElement, page.by_reason.length > 0);
    show(rows.element.parentElement, page.rows.length > 0);
  }

  function update() {
    const names = named("routes").map((route) => route.name);
    for (const name of names) if (![...routes.options].some((each) => each.value === name)) routes.append(h("option", { value: name }, name));
    if (routes.value !== chosen.route) routes.value = chosen.route;
  }

  const timer = setInterval(() => { if (!document.hidden) look(); }, LOOK_EVERY_MS);
  show(reasons.element.parentElement, false);
  show(rows.element.parentElement, false);
  look();
  return { element, title: "Dead letters", update, close() { isOpen = false; clearInterval(timer); } };
}
