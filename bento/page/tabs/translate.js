// Translate: a picture, what a network makes of it, and a slider between the two.

import { call, fullName, labelIn } from "../api.js";
import { chooser, sizeAxes, unreadable } from "../pictures.js";
import { compared } from "../translate/compare.js";
import { maskOf } from "../translate/mask.js";
import { sourceOf } from "../translate/source.js";
import { anySeed, attempt, choice, el, enlargement, field, number, save, seedDice } from "../ui.js";

const WIDE = 560; // pixels of a picture on the page, about
const SMOOTH = 128; // pixels of a side from which on a picture is no pixel art

export default { title: "Translate", request: "translate", can: "translate pictures", show };

function show({ root, model, models, state, signal }) {
  const controls = controlsOf(model, state);
  const takesMask = model.takes.translate.includes("mask");
  const given = el("div");
  const made = el("div");
  const start = el("button", { type: "button", class: "primary", disabled: true, onclick: () => translate() }, "Translate");
  const keep = el("button", { type: "button", disabled: true, onclick: () => save(result, `${model.name}.png`) }, "Download PNG");
  const tools = el("div");
  const origin = el("p", { class: "quiet" });
  const source = sourceOf(model, models);
  let file = null;
  let mask = null;
  let result = null;
  let making = new AbortController();
  signal.addEventListener("abort", () => making.abort());

  const ready = () => {
    start.disabled = file === null || (mask?.isEmpty() ?? false);
    keep.disabled = result === null;
  };
  const take = async (picture, from = "") => {
    const image = await imageOf(picture);
    origin.textContent = from;
    making.abort(); // a translation of the picture before
    [file, result] = [picture, null];
    made.replaceChildren();
    if (takesMask) {
      mask = maskOf(image, ready);
      tools.replaceChildren(mask.tools);
    }
    const figure = el("figure", {}, mask?.element ?? image,
      el("figcaption", {}, takesMask ? "Paint where the model is to act" : "The picture"));
    figure.style.width = `min(100%, ${widthOf(image)}px)`;
    given.replaceChildren(figure);
    ready();
    if (!takesMask) translate();
  };
  const translate = () => attempt(async () => {
    making.abort();
    making = new AbortController();
    const { signal: own } = making;
    const picture = file;
    made.setAttribute("aria-busy", "true");
    start.disabled = true;
    try {
      const options = controls.options();
      const query = { ...options, labels: labelIn(model, options.labels), model: fullName(model), format: "png" };
      const response = await call("translate", { form: { files: picture, mask: await mask?.file() }, query, signal: own });
      const blob = await response.blob();
      const [before, after] = await Promise.all([imageOf(picture), imageOf(blob)]);
      own.throwIfAborted();
      result = blob;
      before.classList.toggle("grey", model.image[2] < 3); // as the model sees it
      made.replaceChildren(compared(before, after, widthOf(after)));
      if (!takesMask) given.replaceChildren();
    } finally {
      if (!own.aborted) {
        made.removeAttribute("aria-busy");
        ready();
      }
    }
  });
  const sample = () => attempt(async () => {
    const seed = anySeed();
    const response = await call("sample", { json: { model: fullName(source), seed, n: 1, format: "png" }, signal });
    await take(await response.blob(), `A sample of ${source.name}, seed ${seed}`);
  });
  controls.onchange(() => state.set({ model: model.name, ...controls.options() }));
  given.append(el("p", { class: "quiet" }, `Choose, drop or paste a picture${source ? `, or take a sample of ${source.name}` : ""}.`));
  root.append(el("div", { class: "split" },
    el("form", { class: "controls", "aria-label": "What to translate", onsubmit: (e) => e.preventDefault() },
      el("div", { class: "row" }, ...chooser({ take, signal }),
        source ? el("button", { type: "button", title: `A picture that ${source.name} makes`, onclick: sample }, "Sample") : null),
      origin,
      tools,
      ...controls.fields,
      el("div", { class: "row" }, start, keep)),
    el("section", { class: "stage", "aria-label": "Pictures" }, given, made)));
}

/** The options of the model: labels, size, seed and truncation, where it has them. */
function controlsOf(model, state) {
  const takes = model.takes.translate;
  const inputs = {};
  const fields = [];
  if (takes.includes("labels")) {
    inputs.labels = choice(model.labels, state.get("labels") ?? model.labels[0]);
    fields.push(field("Label", inputs.labels));
  }
  const axes = sizeAxes(model);
  const size = axes.map((axis) => number("", { min: 1, max: axis.max, placeholder: "its own" }));
  if (axes.length === 2) {
    state.get("size")?.split(",").forEach((length, i) => { size[i].value = length; });
    fields.push(el("div", { class: "row" }, field("Height", size[0]), field("Width", size[1])));
  }
  if (takes.includes("truncation")) {
    inputs.truncation = number(state.get("truncation") ?? "", { min: 0.05, max: 3, step: 0.05, placeholder: "none" });
    fields.push(field("Truncation", inputs.truncation));
  }
  if (takes.includes("noise")) {
    inputs.seed = number(state.get("seed") ?? 0, { min: 0, step: 1 });
    fields.push(el("div", { class: "row" }, field("Seed", inputs.seed), seedDice("Another seed", inputs.seed)));
  }
  return {
    fields,
    options: () => ({
      ...Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value])),
      size: size.some((input) => input.value) ? size.map((input) => input.value).join(",") : "",
    }),
    onchange(act) {
      for (const input of [...Object.values(inputs), ...size]) input.addEventListener("change", act);
    },
  };
}

const widthOf = (image) => {
  const wide = image.naturalWidth * enlargement(Math.max(image.naturalWidth, image.naturalHeight), WIDE);
  // Tall pictures stay within the window, about.
  return Math.min(wide, 960, (640 * image.naturalWidth) / image.naturalHeight);
};

/** A file as an <img>, loaded. */
async function imageOf(file) {
  const url = URL.createObjectURL(file);
  const image = el("img", { src: url, alt: "" });
  try {
    await image.decode();
  } catch {
    throw unreadable(file);
  } finally {
    URL.revokeObjectURL(url);
  }
  if (Math.min(image.naturalWidth, image.naturalHeight) >= SMOOTH) image.classList.add("smooth");
  return image;
}
