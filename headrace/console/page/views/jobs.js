// Jobs: how far they are, what they wait for, and commands to their runners.

import { ask, attribute, cell, h, heading, keyed, show, state, table, text, toast } from "../dom.js";
import { ago, count, duration, moment, perSecond, short } from "../format.js";
import { named, service } from "../live.js";
import { act, couldAct } from "../session.js";

export function jobsView() {
  const jobs = table("Jobs", [{ name: "Job" }, { name: "State" }, { name: "Progress" }, { name: "Failed", kind: "number" }, { name: "Rate", kind: "number" }, { name: "To go", kind: "number" }, { name: "" }]);
  const none = h("p", { class: "dim" });
  const element = h("div", {}, h("h1", {}, "Jobs"), none, jobs.element);
  return {
    element,
    title: "Jobs",
    update() {
      const all = named("jobs");
      keyed(jobs.body, all, (job) => job.name, jobRow);
      show(jobs.element, all.length > 0);
      text(none, all.length ? "" : service.document ? "No job has been announced lately. `headrace bulk` announces one." : "Waiting for the first overview.");
      show(none, !all.length);
    },
  };
}

async function tell(job, action, button) {
  if (action === "cancel" && !(await ask(`Cancel ${job}?`, "Its runner ends, and what is published of it is not computed any more. This cannot be taken back.", "Cancel the job"))) return;
  button.disabled = true;
  const told = await act(`/api/jobs/${encodeURIComponent(job)}/${action}`);
  button.disabled = false;
  if (told) toast(`${job}: ${told.told.join("; ")}`);
}

function jobRow(first) {
  const about = h("span", { class: "dim" });
  const waits = h("ul", { class: "reasons" });
  const badge = state();
  const bar = h("progress", { max: 1, "aria-label": `Progress of ${first.name}` });
  const share = h("span", { class: "dim" });
  const [failed, rate, toGo] = ["Failed", "Rate", "To go"].map((name) => cell(name, "number"));
  const button = (word, action) => {
    const element = h("button", { type: "button", onclick: () => tell(first.name, action, element) }, word);
    return element;
  };
  const [pause, resume, cancel] = [button("Pause", "pause"), button("Resume", "resume"), button("Cancel", "cancel")];
  return {
    element: h("tr", { role: "row" }, heading(h("span", {}, first.name), about, waits), cell("State", "word", badge.element), cell("Progress", "wide progress", bar, share), failed, rate, toGo, cell("", "buttons", ...(couldAct() ? [pause, resume, cancel] : []))),
    update(job) {
      const isSilent = job.silent_s !== undefined;
      badge.update(isSilent ? "silent" : job.state);
      text(about, [job.kind, job.route, job.description, job.user && `by ${job.user}`, `began ${ago(job.started_at_ms, service.document.at_ms)}`].filter(Boolean).join(" · "));
      attribute(about, "title", moment(job.started_at_ms));
      const lines = [...(job.waits_for ?? [])];
      if (isSilent) lines.unshift(`its runner has been silent for ${duration(job.silent_s)}`);
      if (job.deadline_ms && !job.is_finished) {
        const leftS = (job.deadline_ms - service.document.at_ms) / 1000;
        lines.push(leftS > 0 ? `its deadline is in ${duration(leftS)}` : "its deadline has passed");
      }
      keyed(waits, lines, (line) => line, (line) => ({ element: h("li", { class: "warn" }, line), update() {} }));
      show(waits, lines.length > 0);
      const done = job.done + job.failed;
      if (job.total) bar.value = Math.min(1, done / job.total);
      else if (job.is_finished) bar.value = 1;
      else bar.removeAttribute("value");
      text(share, job.total ? `${Math.floor((100 * done) / job.total)} % of ${count(job.total)} ${job.unit}` : `${count(done)} ${job.unit}`);
      text(failed, job.failed ? count(job.failed) : "0");
      text(rate, job.is_finished ? "" : perSecond(job.rate_per_s));
      attribute(rate, "title", job.tokens_per_s === undefined ? null : `${short(job.tokens_per_s)} tokens/s`);
      text(toGo, job.is_finished ? "" : duration(job.eta_s));
      show(pause, !job.is_finished && job.state !== "paused" && job.state !== "cancelling");
      show(resume, !job.is_finished && job.state === "paused");
      show(cancel, !job.is_finished && job.state !== "cancelling");
    },
  };
}
