// Builds and changes elements. Text goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

// h("td", {class: "number", "data-label": "Rate"}, "text", child, ...)
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

// What is the same already is left alone: nothing is laid out anew for it.
export function text(element, value) {
  const wanted = value ?? "";
  if (element.shown !== wanted) {
    element.shown = wanted;
    element.textContent = wanted;
  }
}

export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

// Makes the children of `parent` those of `items`, in their order: each is made once by `make(item)`,
// which returns {element, update}, and updated from then on.
export function keyed(parent, items, keyOf, make) {
  const known = (parent.known ??= new Map());
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (wanted.has(key)) continue;
    wanted.add(key);
    let row = known.get(key);
    if (!row) {
      row = make(item);
      known.set(key, row);
    }
    row.update(item);
    if (row.element === place) place = place.nextElementSibling;
    else parent.insertBefore(row.element, place);
  }
  for (const [key, row] of known) {
    if (!wanted.has(key)) {
      row.element.remove();
      known.delete(key);
    }
  }
}

// A table that stays one for a screen reader where it is shown as cards.
export function table(caption, columns) {
  const body = h("tbody", { role: "rowgroup" });
  const heads = columns.map(({ name, kind }) => h("th", { scope: "col", role: "columnheader", class: kind }, name));
  const element = h(
    "table",
    { role: "table" },
    h("caption", { class: "hidden" }, caption),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)),
    body,
  );
  return { element, body };
}

export function cell(label, kind, ...children) {
  return h("td", { role: "cell", class: kind, "data-label": label }, ...children);
}

export function heading(...children) {
  return h("th", { scope: "row", role: "rowheader" }, ...children);
}

export function state() {
  const element = h("span", { class: "state" });
  return {
    element,
    update(word) {
      text(element, word);
      attribute(element, "class", `state ${TONES[word] ?? "quiet"}`);
    },
  };
}

const TONES = {
  running: "good", done: "good", reading: "good", live: "good",
  "standing still": "bad", failed: "bad", silent: "bad",
  paused: "warn", partial: "warn", interrupted: "warn", expired: "warn", full: "warn", suspended: "warn", "held up": "warn", cancelling: "warn",
  starting: "busy", draining: "busy",
};

export function toast(message, isProblem) {
  const element = h("p", { class: isProblem ? "toast problem" : "toast" }, message);
  const close = h("button", { type: "button", class: "plain", "aria-label": "Dismiss", onclick: () => element.remove() }, "×");
  element.append(close);
  const place = document.getElementById("toasts");
  place.append(element);
  while (place.children.length > 4) place.firstElementChild.remove();
  if (!isProblem) setTimeout(() => element.remove(), 12000);
}

export function ask(title, message, yes) {
  const dialog = document.getElementById("ask");
  document.getElementById("ask-title").textContent = title;
  document.getElementById("ask-text").textContent = message;
  document.getElementById("ask-yes").textContent = yes;
  dialog.showModal();
  return new Promise((resolve) => {
    // Not by the dialog's event "close": that of a question before this one may come later.
    dialog.firstElementChild.onsubmit = (event) => resolve(event.submitter?.value === "yes");
    dialog.oncancel = () => resolve(false);
  });
}
