// A brush for a canvas: the pointer draws lines; without one, arrow keys move it and Space draws.

import { el } from "./ui.js";

const STEP = 0.04; // of the canvas's longer side, for each press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Let `canvas` be drawn on, and return what takes its place in the page: the canvas and the ring
 * that shows where the brush of the keyboard is. `style()` gives {width, colour}, the width in
 * pixels of the canvas; `ondraw()` is called after each piece of a line.
 */
export function withBrush(canvas, { style, ondraw }) {
  const ring = el("i", { class: "ring", hidden: true });
  let last = null; // where the line is, while one is drawn
  let at = null; // the brush of the keyboard
  const line = (from, to) => {
    const context = canvas.getContext("2d");
    const { width, colour } = style();
    Object.assign(context, { lineWidth: width, lineCap: "round", strokeStyle: colour, fillStyle: colour });
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
    context.beginPath(); // a line without length draws nothing
    context.arc(...to, width / 2, 0, 2 * Math.PI);
    context.fill();
    ondraw();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) * canvas.width) / box.width,
      ((event.clientY - box.top) * canvas.height) / box.height,
    ];
  };
  const showRing = () => {
    ring.hidden = at === null;
    if (at === null) return;
    ring.style.left = `${(100 * at[0]) / canvas.width}%`;
    ring.style.top = `${(100 * at[1]) / canvas.height}%`;
    ring.style.width = `${(100 * style().width) / canvas.width}%`;
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    line(last, last);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last === null) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) {
      const to = place(each);
      line(last, to);
      last = to;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { last = null; });

  canvas.tabIndex = 0;
  canvas.addEventListener("focus", () => {
    if (!canvas.matches(":focus-visible")) return;
    at ??= [canvas.width / 2, canvas.height / 2];
    showRing();
  });
  canvas.addEventListener("blur", () => { ring.hidden = true; });
  let down = false; // Space is held
  canvas.addEventListener("keyup", (event) => { if (event.key === " ") down = false; });
  canvas.addEventListener("keydown", (event) => {
    const arrow = ARROWS[event.key];
    if (!arrow && event.key !== " ") return;
    event.preventDefault(); // the page stays where it is
    at ??= [canvas.width / 2, canvas.height / 2];
    const from = at;
    if (arrow) {
      const step = STEP * Math.max(canvas.width, canvas.height);
      at = at.map((v, i) => Math.min([canvas.width, canvas.height][i], Math.max(0, v + step * arrow[i])));
    } else down = true;
    if (down) line(from, at);
    showRing();
  });
  return el("div", { class: "painted" }, canvas, ring);
}
