// Requests to the service. Paths are relative: the page works behind a path prefix.

import { askForKey, authorization } from "./key.js";

/** What the service said when it refused: its text, and the field that it names. */
export class ServiceError extends Error {
  constructor(status, body) {
    super(body.error ?? `the service answered ${status}`);
    this.status = status;
    this.field = body.field ?? null;
  }
}

/**
 * A request to `path`, relative to the page; raises ServiceError where the service refuses it.
 * `json`: an object to send as JSON. `form`: files by their fields' names. `npy`: an array
 * {data, shape} of float32. `query`: an object of options.
 */
export async function call(path, { json, form, npy, query, signal } = {}) {
  const url = query ? `${path}?${new URLSearchParams(given(query))}` : path;
  const headers = {};
  const options = { signal };
  if (json !== undefined) {
    options.method = "POST";
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(given(json));
  } else if (form !== undefined) {
    options.method = "POST";
    options.body = formData(form);
  } else if (npy !== undefined) {
    options.method = "POST";
    headers["Content-Type"] = "application/x-npy";
    options.body = npyOf(npy);
  }
  for (;;) {
    const sent = authorization();
    const response = await fetch(url, { ...options, headers: { ...headers, ...sent } });
    if (response.ok) return response;
    if (response.status !== 401) {
      throw new ServiceError(response.status, await response.json().catch(() => ({})));
    }
    await askForKey(sent);
  }
}

/** A form with the files of an object; those that are missing are left out. */
function formData(files) {
  const form = new FormData();
  for (const [name, file] of Object.entries(given(files))) form.append(name, file, `${name}.png`);
  return form;
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

/** The models that are served, with all that is known of each. */
export async function models() {
  return (await (await call("models", { query: { full: 1 } })).json()).models;
}

/** A label as a query holds it: lists are separated by commas there, or JSON, so a name that would
 * be read as one is told by its index. */
export const labelIn = (model, label) =>
  label?.includes(",") || label?.startsWith("[") ? String(model.labels.indexOf(label)) : label;

/** A prompt as a query holds it, where what begins like a list is one. */
export const promptIn = (prompt) => (prompt?.startsWith("[") ? JSON.stringify([prompt]) : prompt);

/** `name@version`: what a link must name to mean the same for ever. */
export const fullName = (model) => `${model.name}@${model.version}`;

/**
 * The images of a request to `path` of a model: {data, shape: [n, H, W, C], seed}; of volumes their
 * pictures, as the service draws them. With `told`, `origins` says what made each: its label and
 * its prompt, where it has one.
 */
export async function images(model, path, { told = false, ...options }) {
  // An array holds the network's own voxels, and says nothing of what made them.
  const format = model.volume || told ? "json" : "npy";
  // Options stand in the query where the body is no JSON.
  const where = options.json ? "json" : "query";
  const response = await call(path, { ...options, [where]: { ...options[where], format } });
  const seed = response.headers.get("X-Seed");
  if (format === "npy") return { ...parseNpy(await response.arrayBuffer()), seed };
  const { images: entries } = await response.json();
  return { ...await pixelsOf(entries.map(({ png }) => png)), seed, origins: entries };
}

/** PNGs of one size in base64 as an array {data, shape: [n, H, W, 4]}. */
async function pixelsOf(pngs) {
  const bytes = (png) => Uint8Array.from(atob(png), (letter) => letter.charCodeAt(0));
  const pictures = await Promise.all(pngs.map((png) => createImageBitmap(new Blob([bytes(png)]))));
  const { width, height } = pictures[0];
  const size = width * height * 4;
  const data = new Uint8ClampedArray(pictures.length * size);
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  pictures.forEach((picture, i) => {
    context.clearRect(0, 0, width, height);
    context.drawImage(picture, 0, 0);
    picture.close();
    data.set(context.getImageData(0, 0, width, height).data, i * size);
  });
  return { data, shape: [pictures.length, height, width, 4] };
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

/** An `.npy` file of float32: {data: Float32Array, shape}. */
function npyOf({ data, shape }) {
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(", ")},), }`;
  const length = Math.ceil((header.length + 11) / 64) * 64 - 10; // the array starts at a multiple of 64
  const start = new Uint8Array(10 + length).fill(32);
  start.set([0x93, ...new TextEncoder().encode("NUMPY"), 1, 0, length & 255, length >> 8]);
  start.set(new TextEncoder().encode(header), 10);
  start[9 + length] = 10;
  return new Blob([start, data]);
}
