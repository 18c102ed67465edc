// A prompt in, one answer with drafts, and one without them beside it.

import * as api from "./api.js";
import { byId, make } from "./dom.js";
import { Panel } from "./panel.js";
import { LEGEND, SOURCES } from "./sources.js";

let offered = [];

// The bundle's own prompts, by task, if it offers any.
export async function offer() {
  offered = await api.samples();
  const groups = new Map();
  offered.forEach(({ messages, task }, at) => {
    const text = messages.at(-1).content.replace(/\s+/g, " ").slice(0, 80);
    const option = make("option", { value: at }, text);
    groups.set(task, [...(groups.get(task) ?? []), option]);
  });
  const list = [make("option", { value: "" }, "choose one, or write your own below")];
  for (const [task, options] of groups) {
    if (groups.size > 1) list.push(make("optgroup", { label: task ?? "of no task" }, ...options));
    else list.push(...options);
  }
  byId("sample").replaceChildren(...list);
  byId("sample-field").hidden = !offered.length;
  byId("tasks").replaceChildren(...[...groups.keys()].filter(Boolean).map((value) => make("option", { value })));
}

function choose() {
  const sample = offered[byId("sample").value];
  if (!sample) return;
  const said = (role) => sample.messages.find((turn) => turn.role === role)?.content ?? "";
  byId("system").value = said("system");
  byId("prompt").value = said("user");
  if (said("system")) byId("more").open = true;
}

function asked() {
  const value = (id) => byId(id).value;
  const messages = [{ role: "user", content: value("prompt") }];
  if (value("system")) messages.unshift({ role: "system", content: value("system") });
  const body = { messages, seed: Math.floor(Math.random() * 2 ** 31) }; // one seed: answers can be compared
  if (value("max-tokens")) body.max_tokens = Number(value("max-tokens"));
  if (value("temperature")) body.temperature = Number(value("temperature"));
  if (value("task")) body.task = value("task");
  return body;
}

async function answer(panel, body, drafts, signal) {
  const extras = { stats: true, tokens: true, drafts };
  let reason = null;
  panel.start();
  for await (const { choices } of api.stream({ ...body, tascel: extras }, signal)) {
    signal.throwIfAborted(); // the panel may be another answer's by now
    if (choices[0]?.tascel) panel.take(choices[0].tascel);
    reason = choices[0]?.finish_reason ?? reason;
  }
  panel.end(reason);
}

// What the two answers say together.
export function judge(on, off) {
  const times = off.seconds / on.seconds;
  const faster = times >= 1 ? `${times.toFixed(2)} times sooner` : `${(1 / times).toFixed(2)} times later`;
  if (on.text === off.text) return `The same answer, ${faster} with drafts.`;
  let at = 0;
  while (on.text[at] === off.text[at]) at += 1;
  return (
    `The answers differ from character ${at + 1} on. In float32 that would be an error; with fewer digits two ` +
    "tokens that are nearly as likely can change places with the width of a pass, drafts or not."
  );
}

export function playground(refused) {
  const on = new Panel(byId("with"), "drafts on"), off = new Panel(byId("without"), "drafts off");
  let going = null;

  async function run(event) {
    event?.preventDefault();
    if (!byId("ask").reportValidity()) return;
    going?.abort();
    const mine = (going = new AbortController());
    const compare = byId("compare").checked, body = asked();
    let panel = on;
    byId("stop").disabled = false;
    byId("without").hidden = !compare;
    byId("verdict").textContent = "";
    on.clear();
    off.clear();
    try {
      // Read once, the prompt is in the cache for both: neither pays for what helps the other.
      if (compare) await api.chat({ ...body, max_tokens: 1, tascel: { drafts: false } }, mine.signal);
      await answer(on, body, true, mine.signal);
      if (compare) {
        panel = off;
        await answer(off, body, false, mine.signal); // not at once: they would share passes
        byId("verdict").textContent = judge(on, off);
      }
    } catch (error) {
      if (going !== mine) return; // another prompt was asked meanwhile
      const stopped = error.name === "AbortError";
      panel.fail(stopped ? "Stopped." : error.message);
      if (!stopped) refused(error);
    } finally {
      if (going === mine) {
        going = null;
        byId("stop").disabled = true;
      }
    }
  }

  const stop = () => going?.abort();
  byId("ask").addEventListener("submit", run);
  byId("stop").addEventListener("click", stop);
  byId("sample").addEventListener("change", choose);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run(event);
    if (event.key === "Escape") stop();
  });
  byId("legend").replaceChildren(
    ...LEGEND.map((name) => make("li", {}, make("span", { class: `token source-${name}` }, name), ` ${SOURCES[name]}`)),
  );
}
