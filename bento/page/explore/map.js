// The map of a 2-D latent space: the image of the point under the pointer.

import { call, fullName, parseNpy } from "../api.js";
import { copy, el, picture, savePng } from "../ui.js";
import { latentsOf } from "./latents.js";
import { liveImage } from "./live.js";

const PIXELS = 560; // about how wide the map's picture is
const MOST_STEPS = 20;
const PAUSE = 400; // milliseconds of rest until the address says where the point is

export default async function map({ panel, model, condition, state, signal }) {
  const [height, width] = model.image;
  const steps = Math.max(4, Math.min(MOST_STEPS, Math.floor(PIXELS / Math.max(height, width))));
  const json = { model: fullName(model), steps, labels: condition.labels, prompt: condition.prompt, format: "png" };
  const [response, surface] = await Promise.all([call("manifold", { json, signal }), planeOf(model, steps, signal)]);
  const drawn = await picture(response, "", signal);
  drawn.classList.add("smooth");
  drawn.draggable = false;
  const point = el("div", { class: "point" });
  const plane = el("div", { class: "plane", tabindex: 0, role: "application", "aria-describedby": "where",
    "aria-label": "Map of the latent plane: the arrow keys move the point" }, drawn, point);
  const live = liveImage({ model, condition, signal, size: 336, name: "The image at the point" });
  const where = el("p", { id: "where", class: "where", "aria-live": "polite" });
  const hint = el("p", { class: "quiet" });
  const usual = matchMedia("(pointer: coarse)").matches ? "Draw a finger over the map." : "Move over the map. A click holds the point.";

  let at;
  let rest;
  /** To a place, and the image there; or to the nearest of a latent that is given, and its image. */
  function move([x, y], given) {
    at = [x, y].map((v) => Math.max(0, Math.min(1, v)));
    point.style.left = `${at[0] * 100}%`;
    point.style.top = `${at[1] * 100}%`;
    const z = given ?? surface.latentAt(...at);
    where.textContent = `z = (${z.map((v) => v.toFixed(2).replace("-", "\u2212")).join(", ")})`;
    live.show({ values: Float32Array.from(z), shape: [2] });
    clearTimeout(rest);
    if (!given) rest = setTimeout(() => state.set({ at: at.map((v) => v.toFixed(4)).join(",") }), PAUSE);
  }
  signal.addEventListener("abort", () => clearTimeout(rest));
  steer(plane, move, () => at, 1 / steps, (holds) => {
    hint.textContent = holds ? "The point is held. Click the map to free it." : usual;
  });
  panel.append(el("div", { class: "map" }, plane,
    el("div", { class: "beside" }, live.element, where, hint,
      el("div", { class: "row" },
        el("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"),
        el("button", { type: "button", onclick: () => savePng(live.canvas, model.name) }, "Download PNG")))));
  const start = (state.get("at") ?? "").split(",").map(Number);
  if (start.length === 2 && start.every(Number.isFinite)) return move(start);
  if (!state.get("seed")) return move([0.5, 0.5]);
  const asked = { seed: Number(state.get("seed")), offset: Number(state.get("offset") ?? 0), truncation: condition.truncation };
  const [{ values }] = await latentsOf(model, asked, signal);
  return move(surface.placeOf(...values), Array.from(values));
}

/**
 * `latentAt(x, y)`: the latent at a place of the map, x to the right and y down, both in [0, 1];
 * `placeOf(...latent)`: the place that is nearest to a latent. The map's images
 * stand in the middle of their cells, and are equal steps of the prior's probability; between
 * them the latent changes evenly.
 */
async function planeOf(model, steps, signal) {
  const response = await call("latents", { json: { model: fullName(model), grid: steps, format: "npy" }, signal });
  const { data } = parseNpy(await response.arrayBuffer());
  const across = Array.from({ length: steps }, (_, i) => data[2 * i]);
  const down = Array.from({ length: steps }, (_, i) => data[2 * i * steps + 1]);
  return {
    latentAt: (x, y) => [between(across, x * steps - 0.5), between(down, y * steps - 0.5)],
    placeOf: (...z) => [across, down].map((values, i) => (placeIn(values, z[i]) + 0.5) / steps),
  };
}

function between(values, place) {
  const p = Math.max(0, Math.min(values.length - 1, place));
  const i = Math.min(values.length - 2, Math.floor(p));
  return values[i] + (p - i) * (values[i + 1] - values[i]);
}

/** Where a value stands among rising or falling ones: the inverse of `between`. */
function placeIn(values, value) {
  const rises = values[1] > values[0];
  const i = values.findIndex((each, k) => k > 0 && (rises ? each >= value : each <= value));
  if (i < 0) return values.length - 1;
  return Math.max(0, i - 1 + (value - values[i - 1]) / (values[i] - values[i - 1]));
}

/** Move by pointer or arrow keys (a quarter of a `cell`, with shift a whole one); a click of the
 * mouse holds the point, or frees it. */
function steer(plane, move, place, cell, tell) {
  let holds = false;
  const set = (value) => {
    holds = value;
    plane.classList.toggle("held", holds);
    tell(holds);
  };
  const under = (event) => {
    const box = plane.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  plane.addEventListener("pointermove", (event) => holds || move(under(event)));
  plane.addEventListener("pointerdown", (event) => {
    move(under(event));
    if (event.pointerType === "mouse") set(!holds);
    else plane.setPointerCapture(event.pointerId);
  });
  plane.addEventListener("keydown", (event) => {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    const [x, y] = place();
    const far = event.shiftKey ? cell : cell / 4;
    move([x + dx * far, y + dy * far]);
  });
  set(false);
}
