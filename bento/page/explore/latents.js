// Latents, as {values: Float32Array, shape: [...latent]}, and the images of them.

import { call, fullName, images, labelIn, parseNpy, promptIn } from "../api.js";

/** The rows of an array [n, ...latent], each a latent. */
export function rowsOf({ data, shape }) {
  const [n, ...rest] = shape;
  const size = data.length / n;
  return Array.from({ length: n }, (_, i) => ({ values: data.slice(i * size, (i + 1) * size), shape: rest }));
}

/** The latents that the images `offset` .. `offset + n - 1` of a seed are made of, truncated as
 * these were; `size`: [height, width] where that is not the model's usual one. */
export async function latentsOf(model, { seed, offset = 0, n = 1, size, truncation }, signal) {
  const json = { model: fullName(model), seed, offset, n, size, truncation, format: "npy" };
  const response = await call("latents", { json, signal });
  return rowsOf(parseNpy(await response.arrayBuffer()));
}

/** Latents as one array [n, ...latent], as a request holds them. */
export function stacked(latents) {
  const size = latents[0].values.length;
  const data = new Float32Array(latents.length * size);
  latents.forEach(({ values }, i) => data.set(values, i * size));
  return { data, shape: [latents.length, ...latents[0].shape] };
}

/** What the images of latents are asked for by: all have one condition, {labels, prompt,
 * truncation}, and the same noise, so that they differ by their latents alone. */
export const decoding = (model, { labels, prompt, truncation }) => ({
  model: fullName(model), labels: labelIn(model, labels), prompt: promptIn(prompt), same_noise: true,
  truncation: model.takes.decode.includes("truncation") ? truncation : undefined });

/** The images of latents. */
export const decode = (model, latents, condition, signal) =>
  images(model, "decode", { query: decoding(model, condition), npy: stacked(latents), signal });

/** `start + sum of weight * values`, for terms [weight, values]. */
export function plus(start, terms) {
  const values = start.values.slice();
  for (const [weight, added] of terms) {
    if (weight !== 0) for (let i = 0; i < values.length; i++) values[i] += weight * added[i];
  }
  return { values, shape: start.shape };
}

/**
 * The latent at `t` in [0, 1] of the way from `a` to `b`: along the great circle between their
 * directions, while the length changes evenly. As the service's /interpolate does.
 */
export function slerp(a, b, t) {
  const [from, to] = [a, b].map(({ values }) => Math.sqrt(dot(values, values)));
  const angle = Math.acos(Math.max(-1, Math.min(1, dot(a.values, b.values) / (from * to))));
  const length = (1 - t) * from + t * to;
  // Same or opposite directions, or no direction: the great circle is not unique.
  const weights = Math.sin(angle) > 1e-6
    ? [(Math.sin((1 - t) * angle) / Math.sin(angle)) * (length / from), (Math.sin(t * angle) / Math.sin(angle)) * (length / to)]
    : [1 - t, t];
  return { values: a.values.map((v, i) => weights[0] * v + weights[1] * b.values[i]), shape: a.shape };
}

/** The sum of products of two arrays. */
export const dot = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
