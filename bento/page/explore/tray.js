// A tray of samples to pick from, and what was picked: {seed, offset, latent, canvas}.

import { latest } from "../latest.js";
import { attempt, el, field, number, paint, seedDice } from "../ui.js";
import { decode, latentsOf } from "./latents.js";

const SHOWN = 24; // samples in the tray

/** A picked sample as it stands in the address: `7.3` is image 3 of seed 7. */
export const textOf = ({ seed, offset }) => `${seed}.${offset}`;

export const nameOf = ({ seed, offset }) => `seed ${seed}, image ${offset}`;

/** The samples that a text of the address names, `7.3,7.5`, `most` of them; those of `usual` where
 * it names fewer than `least`, or something else. */
export function picked({ model, condition, signal }, text, usual, { least, most }) {
  const named = (text || usual).split(",").slice(0, most);
  const isRight = named.length >= least && named.every((each) => /^[0-9]{1,15}(\.[0-9]{1,15})?$/.test(each));
  const pairs = (isRight ? named : usual.split(",")).map((each) => each.split(".").map(Number));
  return Promise.all(pairs.map(async ([seed, offset = 0]) => {
    const latents = await latentsOf(model, { seed, offset }, signal);
    const [canvas] = await painted(model, latents, condition, signal);
    return { seed, offset, latent: latents[0], canvas };
  }));
}

async function painted(model, latents, condition, signal) {
  const made = await decode(model, latents, condition, signal);
  return latents.map((_, i) => paint(el("canvas"), made, i));
}

/** The tray; `pick(sample)` is called with each that is pressed. */
export function tray({ model, condition, state, signal }, title, pick) {
  const seed = number(state.get("seed") ?? 7, { min: 0, max: 2 ** 53 - 1, step: 1 });
  const grid = el("div", { class: "grid" });
  const fill = latest(() => attempt(async () => {
    const chosen = Number(seed.value);
    state.set({ seed: chosen });
    const latents = await latentsOf(model, { seed: chosen, n: SHOWN }, signal);
    const canvases = await painted(model, latents, condition, signal);
    grid.replaceChildren(...latents.map((latent, offset) => {
      const sample = { seed: chosen, offset, latent, canvas: canvases[offset] };
      return el("button", { type: "button", class: "tile", "aria-label": `Pick ${nameOf(sample)}`, onclick: () => pick(sample) }, sample.canvas);
    }));
  }));
  seed.addEventListener("change", fill);
  fill();
  return el("section", { class: "tray" },
    el("div", { class: "row" }, el("h3", {}, title), field("Seed", seed), seedDice("Other samples", seed)), grid);
}
