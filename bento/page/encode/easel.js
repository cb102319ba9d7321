// The easel: a canvas on which one draws, or onto which a picture is put, and what the model sees
// of it.

import { withBrush } from "../brush.js";
import { el, field } from "../ui.js";

const EDGE = 280; // pixels of the easel's longer side, about
const MNIST = "28,28,1";

/**
 * An easel for images of `shape` [height, width, channels]. `element` is put into the page;
 * `put(picture)` covers it with a picture, `clear()` empties it, and `seen()` is the canvas that
 * the model sees, or null while nothing is there. `onchange()` is called after each change.
 */
export function easelOf(shape, onchange) {
  const [height, width, channels] = shape;
  const times = Math.max(1, Math.round(EDGE / Math.max(height, width)));
  const canvas = el("canvas", {
    class: channels < 3 ? "grey" : "", width: width * times, height: height * times,
    "aria-label": "Draw here: with the pointer, or with the arrow keys while you hold Space" });
  canvas.setAttribute("role", "img");
  const brush = el("input", { type: "range", min: 2, max: 24, value: 8 });
  const colour = channels < 3 ? null : el("input", { type: "color", value: "#ffffff" });
  const invert = el("input", { type: "checkbox" });
  const centre = String(shape) === MNIST ? el("input", { type: "checkbox", checked: true }) : null;
  let empty = true;

  const changed = () => {
    canvas.classList.toggle("inverted", invert.checked);
    onchange();
  };
  const clear = () => {
    empty = true;
    if (centre) centre.checked = true;
    ground(canvas);
    changed();
  };
  const put = (picture) => {
    empty = false;
    // A picture of the model's size is one of its own, or prepared as those it knows.
    if (centre) centre.checked = picture.width !== width || picture.height !== height;
    cover(canvas, picture);
    changed();
  };
  const painted = withBrush(canvas, {
    style: () => ({ width: (brush.value / 100) * Math.max(canvas.width, canvas.height), colour: colour?.value ?? "#ffffff" }),
    ondraw: () => {
      empty = false;
      changed();
    },
  });
  for (const input of [invert, centre]) input?.addEventListener("change", changed);
  ground(canvas);
  const element = el("div", { class: "easel" }, painted,
    el("div", { class: "row" }, field("Brush", brush), colour && field("Colour", colour),
      el("button", { type: "button", onclick: clear }, "Clear")),
    ticked(invert, "Invert", "dark on white paper"),
    centre && ticked(centre, "Centre", "as in MNIST"));
  return {
    element, put, clear,
    seen: () => (empty ? null : seen(canvas, shape, { invert: invert.checked, centre: Boolean(centre?.checked) })),
  };
}

const ticked = (input, text, hint) =>
  el("label", { class: "ticked" }, input, el("span", {}, `${text} `, el("small", {}, hint)));

function ground(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#000000";
  context.fillRect(0, 0, canvas.width, canvas.height);
}

/** Cover the canvas with the middle of a picture; black where the picture is transparent. */
function cover(canvas, picture) {
  ground(canvas);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  const scale = Math.max(canvas.width / picture.width, canvas.height / picture.height);
  context.imageSmoothingEnabled = scale < 1; // a small image stays what it is
  const [w, h] = [canvas.width / scale, canvas.height / scale];
  context.drawImage(picture, (picture.width - w) / 2, (picture.height - h) / 2, w, h, 0, 0, canvas.width, canvas.height);
}

/** A canvas of the model's size: the means of the easel's squares, grey for models of one channel. */
function seen(canvas, [height, width, channels], { invert, centre }) {
  const times = canvas.width / width;
  const from = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const sums = new Float32Array(height * width * 3);
  for (let y = 0; y < canvas.height; y++) {
    for (let x = 0; x < canvas.width; x++) {
      const to = 3 * (Math.floor(y / times) * width + Math.floor(x / times));
      const pixel = 4 * (y * canvas.width + x);
      for (let c = 0; c < 3; c++) sums[to + c] += from[pixel + c];
    }
  }
  const values = sums.map((sum) => (invert ? 255 - sum / times ** 2 : sum / times ** 2));
  if (channels < 3) toGrey(values);
  const [down, right] = centre ? shiftToCentre(values, height, width) : [0, 0];
  const small = el("canvas", { width, height });
  const context = small.getContext("2d");
  context.fillStyle = "#000000";
  context.fillRect(0, 0, width, height);
  const pixels = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    pixels.data.set([values[3 * i], values[3 * i + 1], values[3 * i + 2], 255].map(Math.round), 4 * i);
  }
  context.putImageData(pixels, right, down);
  return small;
}

/** Luma of ITU-R BT.601, as the service's own conversion. */
function toGrey(values) {
  for (let i = 0; i < values.length; i += 3) {
    values.fill(0.299 * values[i] + 0.587 * values[i + 1] + 0.114 * values[i + 2], i, i + 3);
  }
}

/**
 * By how many pixels [down, right] an image moves so that its centre of mass is in the middle, and
 * nothing of it outside.
 */
function shiftToCentre(values, height, width) {
  const ink = (y, x) => values[3 * (y * width + x)];
  const alongY = Array.from({ length: height }, (_, y) => sum(width, (x) => ink(y, x)));
  const alongX = Array.from({ length: width }, (_, x) => sum(height, (y) => ink(y, x)));
  return [shift(alongY), shift(alongX)];
}

const sum = (n, of) => Array.from({ length: n }, (_, i) => of(i)).reduce((a, b) => a + b, 0);

/** The same along one side, whose pixels have these masses. */
function shift(masses) {
  const n = masses.length;
  const mass = sum(n, (i) => masses[i]);
  if (mass === 0) return 0;
  const wanted = Math.round(n / 2 - sum(n, (i) => masses[i] * (i + 0.5)) / mass);
  const first = masses.findIndex((m) => m > 0);
  const last = masses.findLastIndex((m) => m > 0);
  return Math.min(n - 1 - last, Math.max(-first, wanted));
}
