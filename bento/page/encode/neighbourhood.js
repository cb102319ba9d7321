// Images of latents near one that was encoded.

import { decode } from "../explore/latents.js";
import { latest } from "../latest.js";
import { attempt, dice, el, field, paint } from "../ui.js";
import { near, unitOf } from "./latent.js";

const MANY = 24; // images, where they are small
const FEW = 6;
const SMALL = 64; // pixels of the longer side
const FAR = 0.5; // standard deviations of the prior

/**
 * The neighbourhood of a latent: `around(latent, condition)` shows it in `element`. `pick(canvas)` is
 * called with the image that the user chooses.
 */
export function neighbourhood(model, { pick, signal }) {
  const far = el("input", { type: "range", min: 0.05, max: 2, step: 0.05, value: FAR });
  const said = el("output", {}, String(FAR));
  const grid = el("div", { class: "grid" });
  let seed = 1;
  let centre = null;
  const update = latest(() => attempt(async () => {
    const { latent, condition } = centre;
    const small = Math.max(...model.image.slice(0, 2)) <= SMALL;
    const n = small ? MANY : FEW;
    const latents = near(latent, { n, seed, far: Number(far.value), unit: unitOf(latent, model.prior) });
    const made = await decode(model, latents, condition, signal);
    grid.replaceChildren(...Array.from({ length: n }, (_, i) => {
      const canvas = paint(el("canvas"), made, i);
      return el("button", { type: "button", class: "tile", "aria-label": `Neighbour ${i + 1}: go there`, onclick: () => pick(canvas) }, canvas);
    }));
  }));
  far.addEventListener("input", () => {
    said.value = far.value;
    update();
  });
  const others = dice("Other directions", () => {
    seed += 1;
    update();
  });
  const element = el("section", {}, el("h3", {}, "Its neighbourhood"),
    el("div", { class: "row near" }, field("How far, in standard deviations", far), said, others), grid);
  return {
    element,
    around(latent, condition) {
      centre = { latent, condition };
      return update();
    },
  };
}
