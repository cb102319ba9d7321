// An image that follows a latent: one request at a time, and the latest latent wins.

import { attempt, el, frame, paint } from "../ui.js";
import { decode } from "./latents.js";

const REMEMBERED = 50; // round trips, for their median

/**
 * `show(latent)` asks for the image of a latent. While an answer is awaited, only the last latent
 * is kept: the image never lags behind by more than one request. `element` holds the image and
 * the median round trip of the last requests; `size`: about how many pixels high it is shown.
 */
export function liveImage({ model, labels, signal, size, name }) {
  const canvas = frame(name, model.image, size);
  const timing = el("small", { class: "timing" }, "\u00a0");
  const trips = [];
  let wanted = null;
  let running = false;

  async function run() {
    running = true;
    while (wanted && !signal.aborted) {
      const latent = wanted;
      wanted = null;
      const began = performance.now();
      const made = await attempt(() => decode(model, [latent], labels, signal));
      if (!made || signal.aborted) continue;
      trips.push(performance.now() - began);
      if (trips.length > REMEMBERED) trips.shift();
      paint(canvas, made);
      timing.textContent = `${median(trips).toFixed(0)} ms a round trip`;
    }
    running = false;
  }

  return {
    element: el("div", { class: "live" }, canvas, timing),
    canvas,
    show(latent) {
      wanted = latent;
      if (!running) run();
    },
  };
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
