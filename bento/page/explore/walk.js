// A walk through the latent space from one picked sample to the next: played, scrubbed, saved.

import { call } from "../api.js";
import { attempt, choice, copy, el, enlarged, enlargement, field, frame, number, paint, save } from "../ui.js";
import { decode, decoding, slerp, stacked } from "./latents.js";
import { nameOf, picked, textOf, tray } from "./tray.js";
import { record, videoTypes } from "./video.js";

const USUAL = "7.0,7.1,7.2";
const FPS = 24;
const MOST_PICKS = 12;
const ANIMATIONS = [["WebP", "animated-webp", "webp"], ["GIF", "gif", "gif"]];

export default async function walk({ panel, model, condition, state, signal }) {
  const picks = await picked({ model, condition, signal }, state.get("picks"), USUAL, { least: 2, most: MOST_PICKS });
  const steps = number(state.get("steps") ?? 24, { min: 2, max: 120, step: 1 });
  const round = choice([["", "the last"], ["1", "the first again"]], state.get("round") ?? "");
  const strip = el("ol", { class: "strip" });
  const player = playerOf(model, signal);
  let path = [];
  let making = new AbortController();
  signal.addEventListener("abort", () => making.abort());

  async function update() {
    state.set({ picks: picks.map(textOf).join(","), steps: steps.value, round: round.value });
    strip.replaceChildren(...picks.map((sample, i) => el("li", {}, el("button", {
      type: "button", class: "tile", "aria-label": `Take out ${nameOf(sample)}`, disabled: picks.length <= 2, onclick: () => {
        picks.splice(i, 1);
        update();
      } }, enlarged(sample.canvas, 1), el("small", {}, textOf(sample))))));
    making.abort();
    making = new AbortController();
    path = pathThrough(picks.map(({ latent }) => latent), Math.max(2, Number(steps.value)), round.value !== "");
    player.wait(path.length);
    const frames = await attempt(() => decode(model, path, condition, making.signal));
    if (frames) player.load(frames);
  }

  const times = Math.min(32, enlargement(model.image[0], 256));
  const saving = (title, make) => {
    const button = el("button", { type: "button", onclick: async () => {
      button.disabled = true;
      const file = await attempt(make);
      if (file) save(file.blob, `${model.name}-walk.${file.suffix}`);
      button.disabled = false;
    } }, title);
    return button;
  };
  const animations = ANIMATIONS.map(([title, format, suffix]) => saving(title, async () => {
    const query = { ...decoding(model, condition), format, fps: FPS, scale: times };
    const response = await call("decode", { npy: stacked(path), query, signal });
    return { blob: await response.blob(), suffix };
  }));
  const videos = videoTypes().map(([title, type]) => saving(title, async () => (
    { blob: await record(player.frames(), type, FPS, times, signal), suffix: type.split("/")[1] })));
  for (const input of [steps, round]) input.addEventListener("change", update);
  panel.append(
    el("div", { class: "walk" },
      player.element,
      el("div", { class: "beside" },
        el("div", {}, el("h3", {}, "The way"), strip, el("small", {}, "Press one to take it out.")),
        el("div", { class: "row" }, field("Steps", steps), field("Ends at", round)),
        el("div", { class: "field" }, el("span", {}, "Save as"), el("div", { class: "row" }, ...animations, ...videos)),
        el("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"))),
    tray({ model, condition, state, signal }, "Add to the way", (sample) => {
      if (picks.length < MOST_PICKS) picks.push(sample);
      update();
    }));
  await update();
}

/** The latents of a walk: `steps` from each to the next, both included. */
function pathThrough(latents, steps, round) {
  const stops = round ? [...latents, latents[0]] : latents;
  const path = [stops[0]];
  for (let i = 1; i < stops.length; i++) {
    for (let step = 1; step < steps; step++) path.push(slerp(stops[i - 1], stops[i], step / (steps - 1)));
  }
  // Played again and again, the first image is also what follows the last.
  return round ? path.slice(0, -1) : path;
}

/** An image with a play button and a range for its time. */
function playerOf(model, signal) {
  const canvas = frame("The walk", model.image, 336);
  const time = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Image of the walk" });
  const text = el("small", { class: "number" });
  const button = el("button", { type: "button", class: "play" }, "Play");
  let frames = null;
  let began = null; // when image 0 was shown, while it plays

  function show(i) {
    if (!frames) return;
    time.value = i;
    text.textContent = `${i + 1} / ${frames.shape[0]}`;
    paint(canvas, frames, i);
  }
  function play(now) {
    if (began === null || signal.aborted) return;
    show(Math.floor(((now - began) / 1000) * FPS) % frames.shape[0]);
    requestAnimationFrame(play);
  }
  function pause() {
    began = null;
    button.textContent = "Play";
  }
  button.addEventListener("click", () => {
    if (began !== null || !frames) return pause();
    began = performance.now() - (Number(time.value) / FPS) * 1000;
    button.textContent = "Pause";
    return requestAnimationFrame(play);
  });
  time.addEventListener("input", () => {
    pause();
    show(Number(time.value));
  });
  return {
    element: el("div", { class: "player" }, canvas, el("div", { class: "row" }, button, time, text)),
    frames: () => frames,
    wait(n) {
      text.textContent = `making ${n}\u2026`;
    },
    load(made) {
      frames = made;
      time.max = made.shape[0] - 1;
      show(Math.min(Number(time.value), made.shape[0] - 1));
    },
  };
}
