// Two pictures in one place: a slider shows more of the one or of the other.

import { el } from "../ui.js";

/**
 * `before` and `after` are <img> elements of one aspect ratio, `width` what they take of the page,
 * in pixels, at most. The slider's keys are those of any range input.
 */
export function compared(before, after, width) {
  const at = el("input", { type: "range", min: 0, max: 100, step: 0.5, value: 50, "aria-label": "How much of the picture before is shown" });
  before.alt = "Before";
  after.alt = "After";
  after.classList.add("after");
  const box = el("div", { class: "compare" }, before, after, at);
  box.style.aspectRatio = `${after.naturalWidth} / ${after.naturalHeight}`;
  const show = () => box.style.setProperty("--at", `${at.value}%`);
  at.addEventListener("input", show);
  show();
  const figure = el("figure", {}, box, el("div", { class: "ends" }, el("span", {}, "Before"), el("span", {}, "After")));
  figure.style.width = `min(100%, ${width}px)`;
  return figure;
}
