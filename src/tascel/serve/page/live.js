// The charts: /metrics every other second, and what its counters say of the last minutes.

import * as api from "./api.js";
import * as charts from "./charts.js";
import { byId } from "./dom.js";
import { by, grown, parse, quantile, total } from "./prometheus.js";

const EVERY = 2000; // milliseconds
const KEPT = 91; // readings: three minutes

const seconds = (value) => (value === null ? "–" : value < 1 ? `${(1000 * value).toFixed(0)} ms` : `${value.toFixed(1)} s`);
const count = (value) => Math.round(value).toLocaleString("en");
const share = (part, of) => (of ? `${((100 * part) / of).toFixed(0)} %` : "–");

// Readings of one server's life: a counter that has fallen is another life.
export class History {
  constructor() {
    this.readings = [];
  }

  add(time, metrics) {
    const past = this.now, grew = (name) => total(metrics, name) - total(past, name);
    // Only Linux tells when a process began; each reading is a request more.
    if (past && (grew("process_start_time_seconds") || grew("tascel_http_requests_total") < 0)) {
      this.readings = [];
    }
    this.readings.push({ time, metrics });
    if (this.readings.length > KEPT) this.readings.shift();
  }

  get now() { return this.readings.at(-1)?.metrics; }
  get first() { return this.readings[0]?.metrics; }
  get span() { return (this.readings.at(-1).time - this.readings[0].time) / 1000; }

  // How fast a counter grew before each reading but the first, a second.
  rates(name) {
    return this.readings.slice(1).map(({ time, metrics }, at) => {
      const before = this.readings[at];
      return (1000 * (total(metrics, name) - total(before.metrics, name))) / (time - before.time);
    });
  }

  values(name) {
    return this.readings.map(({ metrics }) => (metrics.has(name) ? total(metrics, name) : null));
  }
}

export function draw(history) {
  const { now, first } = history;
  const grew = (name) => total(now, name) - total(first, name);
  const written = total(now, "tascel_answer_tokens_total"), steps = total(now, "tascel_steps_total");
  const memory = "process_resident_memory_bytes";
  const mega = (values) => values.map((value) => (value === null ? null : value / 1e6));
  return [
    charts.tiles([
      ["answers", count(total(now, "tascel_answers_total"))],
      ["tokens written", count(written)],
      ["tokens a pass", steps ? (written / steps).toFixed(2) : "–"],
      ["drafts accepted", share(total(now, "tascel_accepted_tokens_total"), total(now, "tascel_drafted_tokens_total"))],
      ["running", count(total(now, "tascel_running"))],
      ["waiting", count(total(now, "tascel_waiting"))],
    ]),
    charts.line("Tokens a second", [{ name: "", values: history.rates("tascel_answer_tokens_total") }], { room: KEPT }),
    charts.line("Queue", [
      { name: "running", values: history.values("tascel_running") },
      { name: "waiting", values: history.values("tascel_waiting") },
    ], { room: KEPT }),
    charts.line("Memory", [{ name: "", values: mega(history.values(memory)) }], {
      room: KEPT, format: (value) => `${count(value)} MB`,
    }),
    tasks(now, first, history.span),
    sources(now),
    times(now, first, grew("tascel_answer_seconds_count")),
  ];
}

// A task is named with its tenant where there are several.
const named = ({ tenant, task }) => [tenant, task || "(one task, or none named)"].filter(Boolean).join(" / ");

function tasks(now, first, span) {
  const answers = by(now, "tascel_answers_total", named), old = by(first, "tascel_answers_total", named);
  const written = by(now, "tascel_answer_tokens_total", named), steps = by(now, "tascel_steps_total", named);
  const most = Math.max(0, ...answers.values());
  const rows = [...answers].sort(([, a], [, b]) => b - a).map(([name, number]) => ({
    name, share: number / most,
    cells: [
      count(number),
      span ? ((60 * (number - (old.get(name) ?? 0))) / span).toFixed(0) : "–",
      steps.get(name) ? (written.get(name) / steps.get(name)).toFixed(1) : "–",
    ],
  }));
  return charts.bars("Traffic by task", ["task", "answers", "a minute", "tokens a pass"], rows, "No answer yet.");
}

function sources(now) {
  const source = (labels) => labels.source;
  const drafted = by(now, "tascel_drafted_tokens_total", source);
  const accepted = by(now, "tascel_accepted_tokens_total", source);
  const rows = [...drafted].sort(([, a], [, b]) => b - a).map(([name, number]) => ({
    name, source: name, share: (accepted.get(name) ?? 0) / number,
    cells: [share(accepted.get(name) ?? 0, number), count(number)],
  }));
  return charts.bars("Acceptance by source", ["source", "accepted", "drafted"], rows, "Nothing was drafted yet.");
}

function times(now, first, answered) {
  const rows = [["to the first token", "tascel_first_token_seconds"], ["to the last token", "tascel_answer_seconds"]];
  const found = rows.map(([name, metric]) => {
    const buckets = grown(now, first, metric);
    return { name, at: [0.5, 0.95].map((part) => quantile(buckets, part)) };
  });
  const most = Math.max(...found.map(({ at }) => at[1] ?? 0)) || 1;
  return charts.bars(
    "Answer times, these minutes", ["from arrival", "half within", "95 % within"],
    answered ? found.map(({ name, at }) => ({ name, share: (at[1] ?? 0) / most, cells: at.map(seconds) })) : [],
    "No answer has ended while this page was open.",
  );
}

// Reads and draws until the page is closed. `told` hears how the server is, and what is wrong. What is
// returned asks again at once, with keys that may be others now.
export function watch(told) {
  const history = new History();
  let paused = false, refused = false, timer = 0;

  async function read() {
    clearTimeout(timer);
    try {
      if (document.visibilityState === "visible") {
        told("health", await api.health());
        if (!refused && !paused) {
          history.add(performance.now(), parse(await api.metrics()));
          byId("live").replaceChildren(...draw(history));
        }
        if (!refused) told("metrics", "");
      }
    } catch (error) {
      refused = error.status === 401;
      if (error.status === 0) told("health", "gone");
      told("metrics", error.status ? error.message : "The server does not answer; trying again.", error.status);
    }
    clearTimeout(timer); // of a reading that went on meanwhile
    timer = setTimeout(read, EVERY);
  }

  byId("pause").addEventListener("click", () => {
    paused = !paused;
    byId("pause").setAttribute("aria-pressed", paused);
  });
  document.addEventListener("visibilitychange", read);
  read();
  return () => {
    refused = false;
    read();
  };
}
