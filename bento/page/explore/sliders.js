// Sliders over the directions in which the images of a model change most.

import { call, fullName } from "../api.js";
import { latest } from "../latest.js";
import { anySeed, attempt, copy, dice, el, field, number, paint, savePng } from "../ui.js";
import { decode, dot, latentsOf, plus } from "./latents.js";
import { liveImage } from "./live.js";

const DIRECTIONS = 8;
const FAR = 3; // deviations from the middle at a slider's ends
const PAUSE = 250; // milliseconds of rest until the ends are drawn anew
const SMALL = 128 ** 2; // pixels of an image, up to which the ends are drawn at all

/** A sample, and sliders that say where it stands on each direction, until they are moved. */
export default async function sliders({ panel, model, condition, state, signal }) {
  const live = liveImage({ model, condition, signal, size: 392, name: "The image of the sliders" });
  const seed = number(state.get("seed") ?? 7, { min: 0, max: 2 ** 53 - 1, step: 1 });
  const offset = number(state.get("offset") ?? 0, { min: 0, step: 1 });
  const hint = el("p", { class: "quiet", role: "status" }, "Looking for what changes the images most\u2026");
  const group = el("div", { class: "controls", role: "group", "aria-label": "Directions" }, hint);
  const given = (state.get("by") ?? "").split(",");
  const finding = directionsOf(model, condition, signal);
  finding.catch(() => {}); // awaited below
  // Where images have several sizes, directions are those of one.
  const size = Object.keys(model.axes ?? {}).length ? (await finding).size : undefined;
  let rows = [];
  let start;
  let rest;

  const latent = (changed, value) => plus(start, rows.map((row) => row.change(row === changed ? value : row.value())));
  function update() {
    if (!start) return;
    live.show(latent());
    clearTimeout(rest);
    rest = setTimeout(settle, PAUSE);
  }
  function settle() {
    const by = rows.length ? rows.map((row) => row.value() ?? "") : given;
    state.set({ seed: seed.value, offset: offset.value, by: by.some((v) => v !== "") ? by.join(",") : null });
    if (!rows.length || model.image[0] * model.image[1] > SMALL) return;
    drawEnds();
  }
  const drawEnds = latest(async () => {
    const ends = rows.flatMap((row) => [latent(row, -FAR), latent(row, FAR)]);
    const made = await attempt(() => decode(model, ends, condition, signal));
    if (made) rows.forEach((row, i) => row.paint(made, 2 * i));
  });
  const restart = latest(async () => {
    const asked = { seed: Number(seed.value), offset: Number(offset.value), size, truncation: condition.truncation };
    const found = await attempt(() => latentsOf(model, asked, signal));
    if (!found) return;
    [start] = found;
    rows.forEach((row) => row.start(start));
    update();
  });
  const clear = () => {
    rows.forEach((row) => row.set(null));
    update();
  };
  for (const input of [seed, offset]) input.addEventListener("change", restart);
  const another = dice("Another start", () => {
    seed.value = anySeed();
    offset.value = 0;
    restart();
  });
  signal.addEventListener("abort", () => clearTimeout(rest));
  panel.append(el("div", { class: "directions" },
    el("div", { class: "beside" }, live.element,
      el("div", { class: "row" }, field("Start: seed", seed), field("Image", offset), another),
      el("div", { class: "row" },
        el("button", { type: "button", onclick: clear }, "Reset"),
        el("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"),
        el("button", { type: "button", onclick: () => savePng(live.canvas, model.name) }, "Download PNG"))),
    group));
  await restart();
  // Found once for a model, which may take a while.
  const { directions } = await finding;
  rows = directions.map((direction, i) => slider(i, direction, model, update));
  rows.forEach((row, i) => {
    if (start) row.start(start);
    if (given[i]) row.set(Number(given[i]));
  });
  hint.textContent = "What changes the images most, in standard deviations (σ) from the middle.";
  group.append(...rows.map((row) => row.element));
  update();
}

/** Directions of length 1, {along, deviation, middle}, of images of a size [height, width]. */
async function directionsOf(model, { labels }, signal) {
  const response = await call("directions", { json: { model: fullName(model), count: DIRECTIONS, labels }, signal });
  const { directions, deviations, mean, size } = await response.json();
  const middle = Float32Array.from(mean.flat(Infinity));
  const all = directions.map((direction, i) => {
    const along = Float32Array.from(direction.flat(Infinity));
    return { along, deviation: deviations[i], middle: dot(middle, along) };
  });
  return { directions: all, size };
}

/** A slider between the images at its ends. Until it is moved it stands where the start does. */
function slider(i, { along, deviation, middle }, model, moved) {
  const name = `Direction ${i + 1}`;
  const input = el("input", { type: "range", min: -FAR, max: FAR, step: 0.1, value: 0, "aria-label": name });
  const text = el("output", { class: "number" });
  const [height, width] = model.image;
  const ends = height * width > SMALL ? [] : [0, 1].map(() => {
    const canvas = el("canvas", { "aria-hidden": "true" });
    return Object.assign(canvas, { height, width });
  });
  let usual = 0;
  let value = null;
  function set(to) {
    value = to;
    const shown = value ?? usual;
    input.value = shown;
    text.textContent = `${shown < -0.05 ? "\u2212" : shown < 0.05 ? "" : "+"}${Math.abs(shown).toFixed(1)} σ`;
    input.setAttribute("aria-valuetext", text.textContent);
  }
  input.addEventListener("input", () => {
    set(Number(input.value));
    moved();
  });
  // A double click takes back what this slider did.
  input.addEventListener("dblclick", () => {
    set(null);
    moved();
  });
  return {
    set,
    element: el("div", { class: "slider" }, ends[0], el("div", {}, el("span", { class: "row" }, el("small", {}, name), text), input), ends[1]),
    value: () => value,
    start(latent) {
      usual = (dot(latent.values, along) - middle) / deviation;
      set(value);
    },
    /** What brings the start to `to`: a term of `plus`. */
    change: (to) => [to === null ? 0 : (to - usual) * deviation, along],
    paint: (made, from) => ends.forEach((canvas, end) => paint(canvas, made, from + end)),
  };
}
