// Who we are to the console, and requests to it.

import { text, show, toast } from "./dom.js";

export const session = { grant: "none", highest_grant: "act", has_session: false };
const LEVELS = ["none", "read", "act"];
const changes = new Set();

export function onGrant(hear) {
  changes.add(hear);
}

export function may(grant) {
  return LEVELS.indexOf(session.grant) >= LEVELS.indexOf(grant);
}

export function couldAct() {
  return session.highest_grant === "act";
}

export async function lookAtSession() {
  Object.assign(session, await request("GET", "/api/session"));
  for (const hear of changes) hear();
  return session;
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function request(method, path, body) {
  const headers = { accept: "application/json" };
  if (method !== "GET") headers["x-headrace-console"] = "1";
  if (body !== undefined) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), credentials: "same-origin" });
  } catch {
    throw new Refused(0, "the console does not answer");
  }
  const found = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, found.error ?? `the console answers ${answer.status}`);
  return found;
}

// Asks for a token; returns whether somebody has logged in.
export function logIn(why) {
  const dialog = document.getElementById("login");
  const form = document.getElementById("login-form");
  const token = document.getElementById("token");
  const problem = document.getElementById("login-problem");
  text(document.getElementById("login-why"), why);
  text(problem, "");
  token.value = "";
  show(document.getElementById("login-cancel"), may("read"));
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => {
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await request("POST", "/api/session", { token: token.value });
        token.value = "";
        await lookAtSession();
        dialog.close();
        resolve(true);
      } catch (error) {
        text(problem, error.message);
        token.select();
      }
    };
    document.getElementById("login-cancel").onclick = () => { dialog.close(); resolve(false); };
    dialog.oncancel = (event) => { if (may("read")) resolve(false); else event.preventDefault(); };
  });
}

export async function logOut() {
  await request("DELETE", "/api/session");
  location.reload();
}

// Acts, after a login where that takes one; returns the answer, or nothing where it failed.
export async function act(path, body) {
  if (!may("act")) {
    if (!couldAct()) { toast("Nobody may act here: the console has a token for reading only.", true); return undefined; }
    if (!(await logIn("What acts needs the act token."))) return undefined;
    if (!may("act")) { toast("This token may read only.", true); return undefined; }
  }
  try {
    return await request("POST", path, body ?? {});
  } catch (error) {
    toast(error.message, true);
    return undefined;
  }
}
