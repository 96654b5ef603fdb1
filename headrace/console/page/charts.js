// Small curves and bars, as one SVG path each.

import { attribute, h, svg, text } from "./dom.js";
import { count, duration, short } from "./format.js";

const WIDTH = 240;
const HEIGHT = 48;

// A curve over the last minutes; values that are not known leave a gap.
export function curve(label, kind = "curve") {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  const element = svg("svg", { class: kind, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, area, line);
  return {
    element,
    update(values) {
      const known = values.filter((value) => value !== null && value !== undefined);
      const highest = Math.max(1e-9, ...known);
      const step = WIDTH / Math.max(1, values.length - 1);
      const at = (value, place) => `${(place * step).toFixed(1)} ${(HEIGHT - 2 - (value / highest) * (HEIGHT - 5)).toFixed(1)}`;
      let path = "";
      let filled = "";
      let start = null;
      values.forEach((value, place) => {
        if (value === null || value === undefined) {
          start = null;
          return;
        }
        if (start === null) {
          start = place;
          path += `M${at(value, place)}`;
          filled += `M${(place * step).toFixed(1)} ${HEIGHT}L${at(value, place)}`;
        } else {
          path += `L${at(value, place)}`;
          filled += `L${at(value, place)}`;
        }
        const next = values[place + 1];
        if (next === null || next === undefined) filled += `L${(place * step).toFixed(1)} ${HEIGHT}Z`;
      });
      attribute(line, "d", path);
      attribute(area, "d", filled);
      const last = known.at(-1);
      attribute(element, "aria-label", known.length ? `${label}: ${short(last)} now, at most ${short(highest)}` : `${label}: nothing is known yet`);
    },
  };
}

// A curve with its scale, for a page of its own.
export function chart(title, unit) {
  const drawn = curve(title, "chart");
  const top = h("span", { class: "dim" });
  const span = h("span", { class: "dim" });
  return {
    element: h("figure", {}, h("figcaption", {}, title, top), drawn.element, h("p", { class: "axis" }, span, h("span", { class: "dim" }, "now"))),
    update(values, everyS) {
      drawn.update(values);
      const known = values.filter((value) => value !== null && value !== undefined);
      text(top, known.length ? `up to ${short(Math.max(...known))}${unit}` : "");
      text(span, values.length > 1 ? `${duration((values.length - 1) * everyS)} ago` : "");
    },
  };
}

const MOST_BARS = 200;

// What is left by partition: a bar each, or one for several where there are many.
export function partitionBars() {
  const bars = svg("path", { class: "bars" });
  const image = svg("svg", { class: "chart", viewBox: `0 0 ${MOST_BARS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" }, bars);
  const note = h("span", { class: "dim" });
  return {
    element: h("figure", {}, h("figcaption", {}, "Left by partition", note), image),
    update(left) {
      const each = Math.ceil(left.length / MOST_BARS) || 1;
      const sums = [];
      for (let first = 0; first < left.length; first += each) {
        let sum = 0;
        for (let place = first; place < Math.min(first + each, left.length); place += 1) sum += left[place];
        sums.push(sum);
      }
      const highest = Math.max(1, ...sums);
      const width = MOST_BARS / Math.max(1, sums.length);
      const gap = Math.min(width * 0.2, 0.6);
      attribute(bars, "d", sums.map((sum, place) => {
        const height = sum ? Math.max(1, (sum / highest) * HEIGHT) : 0;
        return height ? `M${(place * width).toFixed(2)} ${HEIGHT}v${(-height).toFixed(1)}h${(width - gap).toFixed(2)}V${HEIGHT}z` : "";
      }).join(""));
      text(note, each > 1 ? `${count(left.length)} partitions, ${each} a bar` : `${count(left.length)} of them, from 0 on`);
      attribute(image, "aria-label", `Records left in each of ${left.length} partitions; the most in one bar: ${count(highest)}`);
    },
  };
}
