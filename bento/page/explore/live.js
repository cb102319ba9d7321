// An image that follows a latent: one request at a time, and the latest latent wins.

import { latest } from "../latest.js";
import { attempt, el, frame, paint } from "../ui.js";
import { decode } from "./latents.js";

const REMEMBERED = 50; // round trips, for their median

/**
 * `show(latent)` asks for the image of a latent. While an answer is awaited, only the last latent
 * is kept: the image never lags behind by more than one request. `element` holds the image and
 * the median round trip of the last requests; `size`: about how many pixels high it is shown.
 */
export function liveImage({ model, condition, signal, size, name }) {
  const canvas = frame(name, model.image, size);
  const timing = el("small", { class: "timing" }, "\u00a0");
  const trips = [];
  const show = latest((latent) => attempt(async () => {
    const began = performance.now();
    const made = await decode(model, [latent], condition, signal);
    trips.push(performance.now() - began);
    if (trips.length > REMEMBERED) trips.shift();
    paint(canvas, made);
    timing.textContent = `${median(trips).toFixed(0)} ms a round trip`;
  }));
  return { element: el("div", { class: "live" }, canvas, timing), canvas, show };
}

function median(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
