// Latents: what an encoder said, a chart of it, and latents near it.

import { el } from "../ui.js";

const SHOWN = 64; // values in the chart
const WIDTH = 28; // pixels of a column, at most

/** What /encode said of one picture: {values, shape}, and deviations and codes where there are any. */
export function latentOf(reply) {
  const nested = (reply.mean ?? reply.latents)[0];
  const shape = [];
  for (let part = nested; Array.isArray(part); part = part[0]) shape.push(part.length);
  return {
    shape,
    values: Float32Array.from(nested.flat(Infinity)),
    deviations: reply.log_variance?.[0].flat(Infinity).map((v) => Math.exp(v / 2)),
    codes: reply.codes && [reply.codes[0]].flat(Infinity),
  };
}

/**
 * `n` latents near `latent`: its values plus normal steps of `far` times `unit`, the same for the
 * same seed; a longer way goes in the same directions.
 */
export function near({ values, shape }, { n, seed, far, unit }) {
  const normal = normals(seed);
  return Array.from({ length: n }, () => ({ values: values.map((value) => value + far * unit * normal()), shape }));
}

/** Standard normal numbers of a seed: Marsaglia's polar method over the generator mulberry32. */
function normals(seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => {
    for (;;) {
      const [x, y] = [2 * uniform() - 1, 2 * uniform() - 1];
      const square = x * x + y * y;
      if (square > 0 && square < 1) return x * Math.sqrt((-2 * Math.log(square)) / square);
    }
  };
}

/** The spread of values: 1 where a prior says so, else their own standard deviation. */
export function unitOf({ values }, prior) {
  if (prior !== "none") return 1;
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length) || 1;
}

const short = (value) => value.toFixed(2).replace("-", "−");

/** A chart of a latent: a column each value, from 0 to the mean, and the deviation around it. */
export function chart({ values, deviations }) {
  const shown = Array.from(values.slice(0, SHOWN));
  const ends = shown.map((v, i) => Math.abs(v) + (deviations?.[i] ?? 0));
  const most = Math.max(1, ...ends);
  const percent = (value) => `${50 - (50 * value) / most}%`; // from the top
  const columns = shown.map((value, i) => {
    const deviation = deviations?.[i] ?? 0;
    const bar = el("i", { class: "mean" });
    bar.style.top = percent(Math.max(value, 0));
    bar.style.bottom = percent(Math.max(-value, 0));
    const span = el("i", { class: "deviation" });
    span.style.top = percent(value + deviation);
    span.style.bottom = percent(-(value - deviation));
    return el("span", { title: `${i}: ${text(value, deviations && deviation)}` }, bar, deviations && span);
  });
  const said = `${values.length} values, at most ${short(most)} from 0`;
  const box = el("div", { class: "columns", role: "img", "aria-label": said }, ...columns);
  box.style.width = `${WIDTH * shown.length}px`;
  return el("div", { class: "latent" },
    box,
    el("div", { class: "scale quiet", "aria-hidden": "true" },
      ...[most, 0, -most].map((value) => el("span", {}, short(value)))));
}

/** `0.31 ± 0.08`, or the value alone. */
export const text = (value, deviation) =>
  deviation === undefined ? short(value) : `${short(value)} ± ${short(deviation)}`;
