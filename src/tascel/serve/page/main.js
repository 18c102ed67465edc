// Puts the page together: keys, colours, how the server is.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { watch } from "./live.js";
import { offer, playground } from "./playground.js";

const HEALTH = {
  ok: "ready", draining: "about to end", failed: "the model does not run", gone: "does not answer",
};

function theme() {
  const kept = localStorage.getItem("tascel.theme") ?? "";
  byId("theme").value = kept;
  const show = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
  };
  show(kept);
  byId("theme").addEventListener("change", ({ target }) => {
    localStorage.setItem("tascel.theme", target.value);
    show(target.value);
  });
}

function openKeys(why = "", field = null) {
  byId("keys").hidden = false;
  byId("keys-open").setAttribute("aria-expanded", "true");
  byId("keys-why").textContent = why;
  byId("key").value = api.keys.get("api");
  byId("operator").value = api.keys.get("operator");
  if (field) byId(field).focus();
}

function closeKeys() {
  byId("keys").hidden = true;
  byId("keys-open").setAttribute("aria-expanded", "false");
}

// The model's name and its samples: asked for once a server and key, not again every other second.
let greeted = false;
async function greet() {
  greeted = true;
  try {
    const [model] = await api.models();
    byId("model").textContent = model.id;
    document.title = `${model.id} – tascel`;
    await offer();
  } catch (error) {
    if (error.status === 0) greeted = false;
    if (error.status === 401) openKeys("This server asks for a key.", "key");
  }
}

function told(what, text, status) {
  if (what === "health") {
    if (byId("health").textContent !== HEALTH[text]) byId("health").textContent = HEALTH[text];
    byId("health").dataset.status = text;
    if (text === "gone") greeted = false;
    if (text === "ok" && !greeted) greet(); // it is there, or there again
  } else {
    const shown = status === 401 ? "The charts need the operator's key: see Keys." : text;
    if (byId("live-told").textContent !== shown) byId("live-told").textContent = shown;
  }
}

theme();
playground((error) => error.status === 401 && openKeys("The key is not the right one.", "key"));
const again = watch(told);
byId("keys-open").addEventListener("click", () => (byId("keys").hidden ? openKeys("", "key") : closeKeys()));
byId("keys").addEventListener("submit", async (event) => {
  event.preventDefault();
  api.keys.set("api", byId("key").value);
  api.keys.set("operator", byId("operator").value);
  closeKeys();
  byId("keys-open").focus();
  await greet();
  again();
});
