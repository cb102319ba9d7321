// Models: a card for each, of what its artifact and the service tell of it.

import { call } from "../api.js";
import { attempt, el, picture } from "../ui.js";

export default { title: "Models", show };

const SHOWN = 5; // figures that are seen at once
const TABS = { sample: "sample", explore: "sample", encode: "encode", translate: "translate" };
const KINDS = { vae: "variational autoencoder", gan: "generator of a GAN" };

function show({ root, signal }) {
  attempt(async () => {
    const response = await call("models", { query: { full: 1 }, signal });
    const { models, loading, failed } = await response.json();
    root.append(
      el("div", { class: "cards" }, ...models.map((model) => cardOf(model, signal))),
      ...loading.map((one) => note(one, one.doing)), ...failed.map((one) => note(one, one.error)));
  });
}

const note = ({ name, version }, text) =>
  el("p", {}, el("strong", {}, `${name}@${version} `), el("span", { class: "quiet" }, text));

function cardOf(model, signal) {
  const title = `${model.name}-title`;
  const links = Object.entries(TABS).filter(([, request]) => model.requests.includes(request)).map(([tab]) =>
    el("a", { class: "button", href: `#${tab}?model=${model.name}`, "aria-label": `${capital(tab)} ${model.name}` }, capital(tab)));
  const about = el("div", { class: "about" }, el("div", {}, el("div", { class: "row" }, ...links), facts(model)));
  if (model.sheet) {
    attempt(async () => {
      const response = await call(model.sheet, { signal });
      about.prepend(await picture(response, `Samples of ${model.name}`, signal));
    });
  }
  return el("article", { class: "card", "aria-labelledby": title },
    el("h2", { id: title }, model.name, el("small", {}, `@${model.version}`)),
    el("p", { class: "quiet" }, KINDS[model.kind] ?? model.kind),
    about, ...figures(model.figures), provenance(model.provenance));
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function facts(model) {
  const [height, width, channels] = model.image;
  const sizes = Object.keys(model.axes).length ? ", other sizes too" : "";
  const colours = { 1: "grey", 2: "grey and alpha", 3: "colour", 4: "colour and alpha" };
  const known = {
    // What a translator makes of them may have other colours.
    [model.kind === "translator" ? "Takes" : "Images"]:
      model.volume ? voxels(model) : `${width} × ${height} pixels, ${colours[channels]}${sizes}`,
    Latent: model.latent && model.latent.join(" × "),
    Labels: model.labels && (model.labels.length > 12 ? `${model.labels.length} classes` : model.labels.join(", ")),
    Prompts: model.vocabulary && `of ${model.vocabulary.words.length} words, such as “${model.vocabulary.examples[0]}”`,
    Engine: model.engine,
    Speed: model.images_per_second && `${Math.round(model.images_per_second).toLocaleString("en")} images/s, measured here`,
    Licence: model.licence,
  };
  const rows = Object.entries(known).filter(([, value]) => value);
  return el("dl", {}, ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** Volumes [D, H, W, 1], and the pictures that show them. */
function voxels({ image: [height, width], volume: [deep, high, wide] }) {
  return `${wide} × ${high} × ${deep} voxels, shown as ${width} × ${height} pixels`;
}

/** A table of the first figures, and one of the others to be opened. */
function figures(all) {
  const [first, others] = [all.slice(0, SHOWN), all.slice(SHOWN)];
  return [
    first.length ? table(first) : null,
    others.length ? el("details", {}, el("summary", {}, `${others.length} more figures`), table(others)) : null,
  ].filter(Boolean);
}

function table(rows) {
  const real = rows.some((figure) => figure.real !== null);
  // Two lines a figure: what it is and its values, and below these what they mean.
  const lines = (figure) => el("tbody", {},
    el("tr", {},
      el("th", { scope: "row" }, named(figure)),
      el("td", { class: "number" }, valued(figure.value, figure.unit)),
      real ? el("td", { class: "number" }, figure.real === null ? "" : valued(figure.real, figure.unit)) : null),
    el("tr", {}, el("td", { colspan: real ? 3 : 2, class: "quiet" }, sense(figure))));
  return el("table", { class: "figures" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Figure"), el("th", { scope: "col", class: "number" }, "Samples"),
      real ? el("th", { scope: "col", class: "number" }, "Real images") : null)),
    ...rows.map(lines));
}

const TERMS = { frechet: "Fréchet", kl: "KL divergence", psnr: "PSNR", ssim: "SSIM", iou: "IoU" };

const named = ({ name, unit }) =>
  `${capital(name.split("_").map((word) => TERMS[word] ?? word).join(" "))}${unit && unit !== "share" && unit !== "ratio" ? `, ${unit}` : ""}`;

const sense = ({ meaning, better }) => [meaning, better && `${capital(better)} is better.`].filter(Boolean).join(" ");

const valued = (value, unit) => (unit === "share"
  ? `${(100 * value).toFixed(1)} %`
  : value.toLocaleString("en", { maximumSignificantDigits: 4 }));

/** Where the model comes from: what the artifact says, without what has no end. */
function provenance({ source, details, versions }) {
  const plain = { ...details, ...versions };
  const rows = Object.entries(plain).filter(([, value]) => ["string", "number"].includes(typeof value));
  return el("details", {}, el("summary", {}, "Where it comes from"),
    source ? el("p", {}, el("code", {}, source)) : null,
    el("dl", {}, ...rows.flatMap(([name, value]) => [
      el("dt", {}, capital(name.replaceAll("_", " "))),
      el("dd", {}, typeof value === "number" ? value.toLocaleString("en") : value)])));
}
