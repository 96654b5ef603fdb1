// Shows the page that the address names, and keeps it up to date.

import { attribute, show, text, toast } from "./dom.js";
import { connect, disconnect, onChange, service } from "./live.js";
import { logIn, logOut, lookAtSession, may, onGrant, session } from "./session.js";
import { jobsView } from "./views/jobs.js";
import { lettersView } from "./views/letters.js";
import { overviewView } from "./views/overview.js";
import { routeView } from "./views/route.js";
import { settingsView } from "./views/settings.js";

const VIEWS = { overview: overviewView, routes: routeView, "dead-letters": lettersView, jobs: jobsView, settings: settingsView };
const main = document.getElementById("main");
const link = document.getElementById("link");
const button = document.getElementById("session");
let view = null;

function place() {
  const [name, ...rest] = location.hash.slice(1).split("/");
  const known = name in VIEWS ? name : "overview";
  let argument = rest.join("/");
  try { argument = decodeURIComponent(argument); } catch { /* as it stands */ }
  return [known, argument];
}

function open() {
  const [name, argument] = place();
  view?.close?.();
  view = VIEWS[name](argument);
  main.replaceChildren(view.element);
  for (const each of document.querySelectorAll("nav a")) {
    const isHere = each.hash === `#${name}` || (name === "routes" && each.hash === "#overview");
    attribute(each, "aria-current", isHere ? "page" : null);
  }
  document.title = `${view.title} · Headrace`;
  scrollTo(0, 0);
  update();
}

function update() {
  const isStale = service.link === "live" && service.problem;
  text(link, isStale ? "no answer" : service.link);
  attribute(link, "class", `state ${isStale ? "bad" : service.link === "live" ? "good" : "quiet"}`);
  attribute(link, "title", service.problem);
  view?.update();
}

async function refused() {
  try {
    await lookAtSession();
  } catch {
    return false;
  }
  if (may("read")) return false;
  service.document = null;
  await logIn("This console shows what it knows to those who have a token.");
  start();
  return true;
}

function start() {
  if (may("read") && !document.hidden) connect(refused);
}

onGrant(() => {
  show(button, session.has_session || (session.grant === "read" && session.highest_grant === "act"));
  text(button, session.has_session ? "Log out" : "Log in to act");
  update();
});
button.addEventListener("click", () => {
  if (session.has_session) logOut().catch((error) => toast(error.message, true));
  else logIn("What acts needs the act token.");
});
onChange(update);
addEventListener("hashchange", () => { open(); main.focus({ preventScroll: true }); });
// A page that nobody sees costs the service nothing.
document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else start(); });

open();
lookAtSession().then(() => (may("read") ? start() : refused()), () => connect(refused));
