// Requests to the service. Paths are relative: the page works behind a path prefix.

/** What the service said when it refused: its text, and the field that it names. */
export class ServiceError extends Error {
  constructor(status, body) {
    super(body.error ?? `the service answered ${status}`);
    this.status = status;
    this.field = body.field ?? null;
  }
}

let key = null; // in memory only

/**
 * A request to `path`, relative to the page; raises ServiceError where the service refuses it.
 * `json`: an object to send as JSON. `form`: a FormData. `query`: an object of options.
 */
export async function call(path, { json, form, query, signal } = {}) {
  const url = query ? `${path}?${new URLSearchParams(given(query))}` : path;
  const options = { headers: {}, signal };
  if (json !== undefined) {
    options.method = "POST";
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(given(json));
  } else if (form !== undefined) {
    options.method = "POST";
    options.body = form;
  }
  for (;;) {
    if (key !== null) options.headers.Authorization = `Bearer ${key}`;
    const response = await fetch(url, options);
    if (response.ok) return response;
    if (response.status === 401) {
      key = await askForKey();
      continue;
    }
    throw new ServiceError(response.status, await response.json().catch(() => ({})));
  }
}

/** The entries of an object that have a value. */
export function given(object) {
  const entries = Object.entries(object);
  return Object.fromEntries(entries.filter(([, v]) => v !== undefined && v !== null && v !== ""));
}

/** The address of a request that can be repeated: for links, copied or clicked. */
export function link(path, query) {
  return new URL(`${path}?${new URLSearchParams(given(query))}`, document.baseURI).href;
}

let asking = null;

function askForKey() {
  // Requests that fail at the same time ask once.
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("key") ?? keyDialog();
    const input = dialog.querySelector("input");
    input.value = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      asking = null;
      resolve(input.value);
    }, { once: true });
  });
  return asking;
}

function keyDialog() {
  const dialog = document.createElement("dialog");
  const form = Object.assign(document.createElement("form"), { method: "dialog" });
  const label = Object.assign(document.createElement("label"), { textContent: "API key " });
  const input = Object.assign(document.createElement("input"), { type: "password" });
  label.append(input);
  form.append(label, Object.assign(document.createElement("button"), { textContent: "Continue" }));
  dialog.append(form);
  document.body.append(dialog);
  return dialog;
}

/** The models that are served. */
export async function models() {
  return (await (await call("models")).json()).models;
}

/** `name@version`: what a link must name to mean the same for ever. */
export const fullName = (model) => `${model.name}@${model.version}`;

/** The images of a request to `path`: {data: Uint8Array, shape: [n, H, W, C]}. */
export async function images(path, options) {
  const json = { ...options.json, format: "npy" };
  const response = await call(path, { ...options, json });
  const array = parseNpy(await response.arrayBuffer());
  return { ...array, seed: response.headers.get("X-Seed") };
}

/** An array of an `.npy` file: {data, shape}; of uint8, int64 or float32, as the service sends. */
export function parseNpy(buffer) {
  const view = new DataView(buffer);
  const wide = view.getUint8(6) > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
  const kind = /'descr':\s*'([^']+)'/.exec(header)[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)[1].split(",").filter((s) => s.trim()).map(Number);
  const types = { "|u1": Uint8Array, "<f4": Float32Array, "<i8": BigInt64Array };
  return { data: new types[kind](buffer.slice(start + length)), shape };
}
