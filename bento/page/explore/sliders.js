// Sliders over the directions in which the images of a model change most.

import { call, fullName } from "../api.js";
import { attempt, copy, dots, el, field, number, paint, savePng } from "../ui.js";
import { decode, latentsOf, plus } from "./latents.js";
import { liveImage } from "./live.js";

const DIRECTIONS = 8;
const FAR = 3; // deviations at a slider's ends
const PAUSE = 250; // milliseconds of rest until the ends are drawn anew
const SMALL = 128 ** 2; // pixels of an image, up to which the ends are drawn at all

export default async function sliders({ panel, model, labels, state, signal }) {
  const directions = await directionsOf(model, signal);
  const live = liveImage({ model, labels, signal, size: 392, name: "The image of the sliders" });
  const seed = number(state.get("seed") ?? 7, { min: 0, max: 2 ** 53 - 1, step: 1 });
  const offset = number(state.get("offset") ?? 0, { min: 0, step: 1 });
  const dice = el("button", { type: "button", class: "square", title: "Another start", "aria-label": "Another start" }, dots());
  const rows = directions.map((_, i) => slider(i, model));
  const given = (state.get("by") ?? "").split(",").map(Number);
  rows.forEach((row, i) => row.set(given[i] || 0));

  let start;
  let rest;
  const latent = (changed, value) => plus(start, directions.map((d, i) => [i === changed ? value : rows[i].value(), d]));
  function update() {
    live.show(latent());
    clearTimeout(rest);
    rest = setTimeout(settle, PAUSE);
  }
  async function settle() {
    const by = rows.map((row) => row.value());
    state.set({ seed: seed.value, offset: offset.value, by: by.some(Boolean) ? by.join(",") : null });
    if (model.image[0] * model.image[1] > SMALL) return;
    const ends = rows.flatMap((_, i) => [latent(i, -FAR), latent(i, FAR)]);
    const made = await attempt(() => decode(model, ends, labels, signal));
    if (made) rows.forEach((row, i) => row.paint(made, 2 * i));
  }
  async function restart() {
    const asked = { seed: Number(seed.value), offset: Number(offset.value) };
    const found = await attempt(() => latentsOf(model, asked, signal));
    if (!found) return;
    [start] = found;
    update();
  }
  const clear = () => {
    rows.forEach((row) => row.set(0));
    update();
  };
  rows.forEach((row) => row.input.addEventListener("input", update));
  for (const input of [seed, offset]) input.addEventListener("change", restart);
  dice.addEventListener("click", () => {
    seed.value = Math.floor(Math.random() * 2 ** 32);
    offset.value = 0;
    restart();
  });
  signal.addEventListener("abort", () => clearTimeout(rest));

  panel.append(el("div", { class: "directions" },
    el("div", { class: "beside" }, live.element,
      el("div", { class: "row" }, field("Start: seed", seed), field("Image", offset), dice),
      el("div", { class: "row" },
        el("button", { type: "button", onclick: clear }, "Reset"),
        el("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"),
        el("button", { type: "button", onclick: () => savePng(live.canvas, model.name) }, "Download PNG"))),
    el("div", { class: "controls", role: "group", "aria-label": "Directions" },
      el("p", { class: "quiet" }, `What changes the images most, each by up to ${FAR} standard deviations (σ) either way.`),
      ...rows.map((row) => row.element))));
  await restart();
}

/** The directions, each as long as one standard deviation of the latents along it. */
async function directionsOf(model, signal) {
  const response = await call("directions", { json: { model: fullName(model), count: DIRECTIONS }, signal });
  const { directions, deviations } = await response.json();
  return directions.map((direction, i) => Float32Array.from(direction.flat(Infinity), (v) => v * deviations[i]));
}

/** A slider between the images at its ends. */
function slider(i, model) {
  const name = `Direction ${i + 1}`;
  const input = el("input", { type: "range", min: -FAR, max: FAR, step: 0.1, value: 0, "aria-label": name });
  const text = el("output", { class: "number" });
  const show = () => {
    const value = Number(input.value);
    text.textContent = `${value < 0 ? "\u2212" : value > 0 ? "+" : ""}${Math.abs(value).toFixed(1)} σ`;
    input.setAttribute("aria-valuetext", text.textContent);
  };
  input.addEventListener("input", show);
  const [height, width] = model.image;
  const ends = height * width > SMALL ? [] : [0, 1].map(() => {
    const canvas = el("canvas", { "aria-hidden": "true" });
    Object.assign(canvas, { height, width });
    return canvas;
  });
  const set = (value) => {
    input.value = value;
    show();
  };
  // A double click takes back what this slider did.
  input.addEventListener("dblclick", () => {
    set(0);
    input.dispatchEvent(new Event("input"));
  });
  return {
    input,
    set,
    element: el("div", { class: "slider" }, ends[0], el("div", {}, el("span", { class: "row" }, el("small", {}, name), text), input), ends[1]),
    value: () => Number(input.value),
    paint: (made, from) => ends.forEach((canvas, end) => paint(canvas, made, from + end)),
  };
}
