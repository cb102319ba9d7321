// The plane: field, data, samples, and what pulls at them. Points are of the unit square, y upwards.

const canvas = document.querySelector("#plane canvas");
const pen = canvas.getContext("2d");
const FAINT = 0.05; // a field that is nowhere further from one half has faint colours
const LAYERS = { field: true, data: true, samples: true, arrows: true };
let last = null;

const WORDS = {
  gan: {
    field: "discriminator",
    arrows: "gradients",
    legend: "Blue: the discriminator takes a point for real, orange: for generated; the colour is the " +
      "stronger the surer it is, against the place where it is surest. Lines: where the generator's gradient pulls samples.",
  },
  vae: {
    field: "fit",
    arrows: "reconstructions",
    legend: "Blue: how well the model explains a point (its error at the posterior's mean, and the KL divergence), over the best. " +
      "Lines: from points of the data to their reconstructions.",
  },
};

/** Show a frame; `kind` is gan or vae. */
export function show(frame, kind) {
  const words = WORDS[kind];
  if (last === null) prepare(words);
  last = frame;
  document.getElementById("legend").textContent = words.legend;
  canvas.setAttribute("aria-label", `The plane after step ${frame.step}: ${frame.data.length} points of the data, ` +
    `${frame.samples.length} samples, the ${words.field}, and ${words.arrows}`);
  paint();
}

function prepare(words) {
  document.getElementById("plane").hidden = false;
  const names = { field: words.field, data: "data", samples: "samples", arrows: words.arrows };
  for (const [layer, name] of Object.entries(names)) {
    const box = document.createElement("input");
    Object.assign(box, { type: "checkbox", checked: true, onchange: () => { LAYERS[layer] = box.checked; paint(); } });
    const label = document.createElement("label");
    label.append(box, ` ${name}`);
    document.getElementById("layers").append(label);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

function paint() {
  const side = canvas.width;
  pen.fillStyle = colour("middle");
  pen.fillRect(0, 0, side, side);
  if (LAYERS.field) paintField(side);
  if (LAYERS.data) dots(last.data, "data", side);
  if (LAYERS.samples) dots(last.samples, "samples", side);
  if (!LAYERS.arrows) return;
  pen.strokeStyle = colour("samples");
  pen.lineWidth = 2.5;
  pen.beginPath();
  for (const [x, y, right, up] of last.arrows) {
    pen.moveTo(x * side, (1 - y) * side);
    pen.lineTo((x + right) * side, (1 - y - up) * side);
  }
  pen.stroke();
}

function paintField(side) {
  const rows = last.field.length;
  const [low, middle, high] = ["low", "middle", "high"].map((name) => channels(colour(name)));
  const pixels = new ImageData(rows, rows);
  const furthest = Math.max(FAINT, ...last.field.flat().map((value) => Math.abs(value - 0.5)));
  last.field.forEach((row, y) => row.forEach((found, x) => {
    const value = 0.5 + (0.5 * (found - 0.5)) / furthest;
    const [from, to, share] = value < 0.5 ? [low, middle, 2 * value] : [middle, high, 2 * value - 1];
    const at = 4 * ((rows - 1 - y) * rows + x);
    for (let c = 0; c < 3; c++) pixels.data[at + c] = from[c] + (to[c] - from[c]) * share;
    pixels.data[at + 3] = 255;
  }));
  const small = new OffscreenCanvas(rows, rows);
  small.getContext("2d").putImageData(pixels, 0, 0);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, side, side);
}

function dots(points, name, side) {
  pen.fillStyle = colour(name);
  for (const [x, y] of points) {
    pen.beginPath();
    pen.arc(x * side, (1 - y) * side, 4, 0, 2 * Math.PI);
    pen.fill();
  }
}

/** A colour of the style sheet, as it is now: "#rrggbb" or "rgb(...)". */
function colour(name) {
  const probe = document.createElement("i");
  probe.className = `is-${name}`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const channels = (css) => css.match(/[\d.]+/g).slice(0, 3).map(Number);
