// This server's routes. Addresses are relative, so the page works behind a proxy's prefix, too.

const at = (path) => new URL(path, document.baseURI);

// Milliseconds for what a server says at once: one that is stuck accepts, and never answers.
const PATIENCE = 5000;

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status; // 0: nobody answered
  }
}

// Both keys live as long as the tab; without an operator's the API key is tried where it is asked.
export const keys = {
  get: (name) => sessionStorage.getItem(`tascel.${name}`) ?? "",
  set: (name, value) => sessionStorage.setItem(`tascel.${name}`, value.trim()),
  get api() { return keys.get("api"); },
  get operator() { return keys.get("operator") || keys.get("api"); },
};

async function call(path, { key = keys.api, body, signal } = {}) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = { headers, signal, cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  }
  const reply = await fetch(at(path), options).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer.");
  });
  if (reply.ok || path === "health") return reply; // health tells with a body even where it is ill
  const told = await reply.json().catch(() => null);
  throw new ApiError(reply.status, told?.error?.message ?? `The server said ${reply.status}.`);
}

export const models = async () => (await (await call("v1/models")).json()).data;
export const samples = async () => (await (await call("v1/samples")).json()).data;
export const health = async () => (await (await soon("health", "")).json()).status;
export const metrics = async () => (await soon("metrics", keys.operator)).text();
const soon = (path, key) => call(path, { key, signal: AbortSignal.timeout(PATIENCE) });

export const chat = async (body, signal) =>
  (await call("v1/chat/completions", { body, signal })).json();

// The events of a streamed answer, one after the other.
export async function* stream(body, signal) {
  const reply = await call("v1/chat/completions", { body: { ...body, stream: true }, signal });
  for await (const line of lines(reply.body)) {
    if (!line.startsWith("data: ")) continue;
    const data = line.slice("data: ".length);
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(500, event.error.message);
    yield event;
  }
  throw new ApiError(0, "The server hung up before the answer was whole.");
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read().catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "The server hung up before the answer was whole.");
    });
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
  if (rest) yield rest;
}
