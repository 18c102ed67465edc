// One answer as it comes: its tokens by who drafted them, and what it cost.

import { make } from "./dom.js";
import { SOURCES } from "./sources.js";

const NOTHING = "";

export class Panel {
  #started = 0;
  #first = null;

  constructor(article, title) {
    this.answer = make("div", {
      class: "answer", tabindex: 0, role: "group", "aria-label": `Answer, ${title}`,
    });
    this.told = make("p", { class: "told", "aria-live": "polite" });
    this.cost = make("dl", { class: "cost" });
    this.alert = make("p", { class: "alert", role: "alert" });
    article.append(this.answer, this.told, this.cost, this.alert);
    this.answer.addEventListener("pointerover", ({ target }) => this.#point(target));
    this.answer.addEventListener("click", ({ target }) => this.#point(target));
    this.answer.addEventListener("pointerleave", () => this.#point(null));
    this.answer.addEventListener("keydown", (event) => this.#move(event));
    this.clear();
  }

  clear() {
    this.answer.replaceChildren();
    this.cost.replaceChildren();
    this.told.textContent = this.alert.textContent = NOTHING;
    this.text = "";
    this.stats = this.#first = null;
  }

  start() {
    this.clear();
    this.#started = performance.now();
    this.answer.setAttribute("aria-busy", "true");
  }

  // What an event of the stream brought.
  take({ written, ...stats }) {
    this.#first ??= performance.now() - this.#started;
    for (const { text, source, step } of written ?? []) {
      this.text += text;
      if (!text) continue; // half a character: the token that ends it shows it
      const token = make("span", { class: `token source-${source}` }, text);
      Object.assign(token.dataset, { source, step });
      this.answer.append(token);
    }
    if (stats.steps !== undefined) this.stats = stats;
  }

  // The answer is whole.
  end(reason) {
    this.answer.setAttribute("aria-busy", "false");
    const { steps, tokens } = this.stats;
    const seconds = (performance.now() - this.#started) / 1000;
    const shown = [
      ["tokens", tokens], ["passes", steps], ["tokens a pass", (tokens / steps).toFixed(2)],
      ["tokens a second", (tokens / this.seconds).toFixed(1)],
      ["first token", `${(this.#first / 1000).toFixed(2)} s`], ["time", `${seconds.toFixed(2)} s`],
      ...(reason === "length" ? [["ended", "at the most tokens"]] : []),
    ];
    for (const [name, value] of shown) {
      this.cost.append(make("div", {}, make("dt", {}, name), make("dd", {}, value)));
    }
  }

  // Seconds of the model's passes, as the server took them.
  get seconds() { return this.stats.prefill_seconds + this.stats.decode_seconds; }

  fail(message) {
    this.answer.setAttribute("aria-busy", "false");
    this.alert.textContent = message;
  }

  #point(target) {
    const token = target?.closest?.(".token");
    this.answer.querySelector(".at")?.classList.remove("at");
    token?.classList.add("at");
    this.told.textContent = token ? tell(token.dataset) : NOTHING;
  }

  #move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const tokens = [...this.answer.children];
    if (!tokens.length || (!step && event.key !== "Home" && event.key !== "End")) return;
    event.preventDefault();
    const now = tokens.findIndex((token) => token.classList.contains("at"));
    const next = { Home: 0, End: tokens.length - 1 }[event.key] ?? now + step;
    const token = tokens[Math.max(0, Math.min(tokens.length - 1, next))];
    this.#point(token);
    token.scrollIntoView({ block: "nearest" });
  }
}

const tell = ({ source, step }) => `${source}: ${SOURCES[source] ?? source}; pass ${Number(step) + 1}`;
