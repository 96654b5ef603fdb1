// The settings that run, as the settings file has them; secrets are masked where they are read.

import { h, text } from "../dom.js";
import { request } from "../session.js";

export function settingsView() {
  const about = h("p", { class: "dim" }, "What runs, without secrets and without what is at its default.");
  const parts = h("div", {});
  const element = h("div", {}, h("h1", {}, "Settings"), about, parts);
  request("GET", "/api/settings").then(
    (sections) => {
      for (const [name, section] of Object.entries(sections)) parts.append(part(name, section));
    },
    (error) => text(about, error.message),
  );
  return { element, title: "Settings", update() {} };
}

function part(name, section) {
  const entries = Object.entries(section);
  const isNamed = name === "models" || name === "routes";
  const pages = isNamed
    ? entries.map(([key, value]) => h("details", { open: entries.length <= 4 }, h("summary", {}, key), h("pre", { tabindex: "0" }, lines(value, 0).join("\n"))))
    : [h("pre", { tabindex: "0" }, lines(section, 0).join("\n"))];
  return h("section", {}, h("h2", {}, name), ...pages);
}

// As YAML has it.
function lines(value, depth) {
  const space = "  ".repeat(depth);
  return Object.entries(value).flatMap(([key, below]) => {
    if (below !== null && typeof below === "object" && !Array.isArray(below) && Object.keys(below).length) return [`${space}${key}:`, ...lines(below, depth + 1)];
    return [`${space}${key}: ${scalar(below)}`];
  });
}

function scalar(value) {
  if (typeof value === "string" && value !== "" && !/[:#\[\]{}"'\n]|^\s|\s$|^[\d.+-]+$|^(true|false|null|yes|no|on|off|~)$/i.test(value.replace(/:\/\//g, ""))) return value;
  return JSON.stringify(value);
}
