// Small charts: a line over time as SVG, and bars as a table that reads well without seeing it.

import { make } from "./dom.js";

const WIDTH = 320, HEIGHT = 96, TOP = 14;

// Rounds up to 1, 2 or 5 times a power of ten: where an axis may end.
export function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// Lines over time. `lines` are { name, values }, of equal length, null where nothing is known; `room`
// is how many values fill the width.
export function line(title, lines, { room, format = (value) => value.toFixed(0) }) {
  const known = lines.flatMap(({ values }) => values.filter((value) => value !== null));
  const most = ceiling(Math.max(0, ...known));
  const x = (at, count) => WIDTH - ((count - 1 - at) * WIDTH) / (room - 1);
  const y = (value) => HEIGHT - (value / most) * (HEIGHT - TOP);
  const last = (values) => values.findLast((value) => value !== null);
  const told = lines.map(({ name, values }) => {
    const now = last(values) === undefined ? "–" : format(last(values));
    return name ? `${name} ${now}` : now;
  });
  const svg = make("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT + 2}`, role: "img", "aria-label": `${title}: ${told.join(", ")}`,
  });
  for (const share of [0, 0.5, 1]) {
    const at = y(share * most);
    svg.append(make("line", { class: "grid", x1: 0, x2: WIDTH, y1: at, y2: at }));
  }
  svg.append(make("text", { x: 0, y: TOP - 3 }, format(most)));
  lines.forEach(({ values }, number) => {
    let path = "", pen = "M";
    values.forEach((value, at) => {
      if (value !== null) path += `${pen}${x(at, values.length).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = value === null ? "M" : "L";
    });
    svg.append(make("path", { class: `line line-${number}`, d: path }));
  });
  const now = make("p", { class: "now" });
  told.forEach((text, number) => now.append(make("span", { class: `key key-${number}` }, text)));
  return card(title, now, svg);
}

// Bars of `rows`, { name, share, cells, source }: one bar each, as long as its share of the width.
export function bars(title, heads, rows, empty) {
  if (!rows.length) return card(title, make("p", { class: "note" }, empty));
  const head = make("tr");
  for (const name of heads) head.append(make("th", { scope: "col" }, name));
  const body = make("tbody");
  for (const { name, share, cells, source } of rows) {
    const length = Math.max(0, Math.min(1, share)) * 100;
    const bar = make("svg", { class: "bar", "aria-hidden": "true", preserveAspectRatio: "none", viewBox: "0 0 100 10" },
      make("rect", { class: source ? `fill-${source}` : "fill", width: length, height: 10 }));
    const row = make("tr", {}, make("th", { scope: "row" }, name, bar));
    for (const cell of cells) row.append(make("td", {}, cell));
    body.append(row);
  }
  return card(title, make("table", {}, make("thead", {}, head), body));
}

export function tiles(values) {
  const list = make("dl", { class: "tiles" });
  for (const [name, value] of values) {
    list.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
  }
  return list;
}

const card = (title, ...content) =>
  make("section", { class: "card" }, make("h3", {}, title), ...content);
