// Encode: a picture or a drawing, its latent, what the model makes of it, and what lies near it.

import { call, fullName, images, labelIn, promptIn } from "../api.js";
import { easelOf } from "../encode/easel.js";
import { chart, latentOf, text } from "../encode/latent.js";
import { neighbourhood } from "../encode/neighbourhood.js";
import { latest } from "../latest.js";
import { chooser, nearest, opened, pngOf, sizeAxes } from "../pictures.js";
import { anySeed, attempt, choice, el, enlargement, field, number, paint, promptInput, save } from "../ui.js";

const NUMBERS = 8; // latents of up to so many values are told in numbers, too
const CODES = 64; // codes that are told
const WIDE = 196; // pixels of the two images, about

export default { title: "Encode", request: "encode", can: "encode pictures", show };

function show({ root, model, state, signal }) {
  const labels = model.labels && choice(model.labels, state.get("labels") ?? model.labels[0]);
  const prompt = model.requests.includes("decode") ? promptInput(model, state.get("prompt")) : null;
  // Without a prompt, the model's first example.
  const condition = () => ({ labels: labels?.value, prompt: prompt ? prompt.value || prompt.placeholder : undefined });
  const axes = sizeAxes(model);
  const size = axes.map((axis) => number(axis.default, { min: axis.min, max: axis.max, step: axis.multiple_of }));
  const lengths = () => (axes.length ? size.map((input) => Number(input.value)) : model.image.slice(0, 2));
  const place = el("div");
  const put = (picture) => easel.put(picture);
  const report = reportOf(model, put, signal);
  const update = latest(() => attempt(async () => {
    const picture = easel.seen();
    if (picture === null) report.clear();
    else await report.show(picture, condition());
  }));
  let easel;
  const setUp = () => {
    easel = easelOf([...lengths(), model.image[2]], update);
    place.replaceChildren(easel.element);
    update();
  };
  const take = async (file) => {
    const picture = await opened(file);
    if (axes.length) {
      // A picture keeps its size, as near as the model has it.
      axes.forEach((axis, i) => { size[i].value = nearest(axis, [picture.height, picture.width][i]); });
      setUp();
    }
    put(picture);
    picture.close();
  };
  const sample = () => attempt(async () => {
    const seed = anySeed();
    const json = { model: fullName(model), seed, ...condition(), size: axes.length ? lengths() : undefined };
    put(paint(el("canvas"), await images(model, "sample", { json, signal })));
  });
  root.append(el("div", { class: "split" },
    el("form", { class: "controls", "aria-label": "The picture", onsubmit: (e) => e.preventDefault() },
      el("div", { class: "row" }, ...chooser({ take, signal }),
        model.requests.includes("sample") ? el("button", { type: "button", onclick: sample }, "Sample") : null),
      place,
      labels && field("Label", labels),
      prompt && field("Prompt", prompt),
      axes.length ? el("div", { class: "row" }, ...size.map((input, i) => field(["Height", "Width"][i], input))) : null),
    report.element));
  for (const input of size) input.addEventListener("change", setUp);
  for (const input of [labels, prompt]) {
    input?.addEventListener("change", () => {
      state.set({ model: model.name, labels: labels?.value, prompt: prompt?.value });
      update();
    });
  }
  setUp();
}

/** What is shown of a picture: `show(picture, condition)` asks the model and fills `element`. */
function reportOf(model, put, signal) {
  const element = el("section", { class: "report", "aria-label": "What the model makes of it" });
  const figures = el("div", { class: "figures" });
  const numbers = el("div");
  const around = model.requests.includes("decode") ? neighbourhood(model, { pick: put, signal }) : null;
  let asked = {}; // the last picture, and how it was encoded
  const download = () => attempt(async () => {
    const response = await call("encode", { ...asked, query: { ...asked.query, format: "npy" }, signal });
    save(await response.blob(), `${model.name}-latent.npy`);
  });
  const filled = [
    figures,
    el("section", { class: "encoded" }, el("h3", {}, "Latent"), numbers,
      el("button", { type: "button", onclick: download }, "Download latent")),
    around?.element,
  ].filter(Boolean);
  const clear = () => element.replaceChildren(el("p", { class: "quiet" },
    "Draw, or choose, drop or paste a picture. Its latent appears here, with its reconstruction and its neighbourhood."));
  return {
    element,
    clear,
    async show(picture, condition) {
      const form = { files: await pngOf(picture) };
      const query = { model: fullName(model), labels: labelIn(model, condition.labels) };
      // An encoder that takes noise has no mean: it draws.
      asked = { form, query: { ...query, seed: model.encoder_takes_noise ? 0 : undefined } };
      const rebuilds = model.requests.includes("reconstruct");
      const [encoded, rebuilt] = await Promise.all([
        call("encode", { ...asked, signal }),
        rebuilds ? images(model, "reconstruct", { form, query: { ...query, prompt: promptIn(condition.prompt) }, signal }) : null,
      ]);
      const latent = latentOf(await encoded.json());
      figures.replaceChildren(
        figure("As the model sees it", picture),
        rebuilt && figure("Its reconstruction", paint(el("canvas"), rebuilt)));
      numbers.replaceChildren(chart(latent), el("p", { class: "quiet" }, told(latent)));
      if (!figures.isConnected) element.replaceChildren(...filled);
      await around?.around(latent, condition);
    },
  };
}

function figure(caption, canvas) {
  canvas.style.width = `${canvas.width * enlargement(canvas.width, WIDE)}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  return el("figure", {}, canvas, el("figcaption", {}, caption));
}

/** A latent in words: few values in numbers, many by their shape. */
function told({ values, deviations, codes, shape }) {
  const size = shape.length > 1 ? `${values.length} values (${shape.join(" × ")})` : `${values.length} values`;
  const said = [];
  if (values.length <= NUMBERS) said.push(Array.from(values, (v, i) => text(v, deviations?.[i])).join(", "));
  else said.push(`${size}${deviations ? ", each with its standard deviation" : ""}`);
  if (codes) said.push(`codes ${codes.slice(0, CODES).join(" ")}${codes.length > CODES ? " …" : ""}`);
  return said.join("; ");
}
