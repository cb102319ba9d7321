// Sample: images of a seed, in a grid that fills as they arrive.

import { call, fullName, given, images, labelIn, link, promptIn } from "../api.js";
import { attempt, choice, copy, el, enlarged, enlargement, field, number, paint, promptInput, save, seedDice } from "../ui.js";

const MOST = 1024; // more canvases than that make a browser slow
const FIRST_PART = 16; // images of the first request; each further one asks for twice as many

export default { title: "Sample", request: "sample", can: "make samples", show };

function show({ root, model, state, signal }) {
  const controls = controlsOf(model, state);
  const grid = el("div", { class: "grid" });
  const [height] = model.image;
  // Below an image may stand its prompt.
  const least = model.vocabulary ? 128 : 84;
  grid.style.setProperty("--cell", `${Math.min(256, Math.max(least, height))}px`);
  const saving = ["png", "webp", "npy", "zip", ...(model.glb ? ["glb"] : [])].map((format) =>
    el("button", { type: "button", onclick: () => attempt(() => download(model, controls.options(), format)) }, format));
  root.append(
    el("div", { class: "split" },
      el("form", { class: "controls", "aria-label": "What to sample", onsubmit: (e) => e.preventDefault() },
        ...controls.fields,
        el("div", { class: "field" }, el("span", {}, "Download all"), el("div", { class: "row" }, ...saving))),
      el("section", { "aria-label": "Images" }, grid)));

  let filling = new AbortController();
  signal.addEventListener("abort", () => filling.abort());
  const fill = () => {
    filling.abort();
    filling = new AbortController();
    state.set({ model: model.name, ...controls.state() });
    grid.setAttribute("aria-busy", "true");
    const { signal: own } = filling;
    attempt(() => fillGrid(grid, model, controls.options(), own)).then(() => {
      if (!own.aborted) grid.removeAttribute("aria-busy");
    });
  };
  controls.onchange(fill);
  fill();
}

/** The form's fields; `options()` are those of a request, `state()` those of the address. */
function controlsOf(model, state) {
  const seed = number(state.get("seed") ?? 7, { min: 0, max: 2 ** 53 - 1, step: 1, name: "seed" });
  const count = number(state.get("n") ?? 64, { min: 1, max: MOST, step: 1, name: "n" });
  const labels = model.labels
    && choice([["", "any"], ["each", "each in turn"], ...model.labels.map((l) => [l, l])], state.get("labels") ?? "each");
  const prompt = promptInput(model, state.get("prompt"));
  const truncation = number(state.get("truncation") ?? "", { min: 0.05, max: 3, step: 0.05, placeholder: "none" });
  const sizes = Object.entries(model.axes ?? {}).filter(([name]) => name === "height" || name === "width");
  const size = sizes.map(([name, axis]) => [name, number(state.get(name) ?? axis.default,
    { min: axis.min, max: axis.max, step: axis.multiple_of })]);
  const fields = [
    el("div", { class: "row" }, field("Images", count), field("Seed", seed), seedDice("Another seed", seed)),
    labels && field("Label", labels),
    prompt && field("Prompt", prompt, `Of the words ${model.vocabulary.words.join(", ")}; without one, examples`),
    field("Truncation", truncation, "Smaller: more typical images, less varied"),
    size.length ? el("div", { class: "row" }, ...size.map(([name, input]) => field(name, input))) : null,
  ].filter(Boolean);
  const chosenSize = () => (size.length === 2 ? size.map(([, input]) => Number(input.value)) : undefined);
  const chosenLabels = (start, n) => {
    if (!labels || labels.value === "") return undefined;
    if (labels.value !== "each") return labels.value;
    return Array.from({ length: n }, (_, i) => model.labels[(start + i) % model.labels.length]);
  };
  return {
    fields,
    options: () => ({
      n: Math.max(1, Math.min(MOST, Number(count.value))),
      seed: Number(seed.value),
      truncation: truncation.value === "" ? undefined : Number(truncation.value),
      size: chosenSize(),
      prompt: prompt?.value || undefined,
      labelsOf: chosenLabels,
    }),
    state: () => ({
      n: count.value, seed: seed.value, labels: labels?.value, truncation: truncation.value,
      prompt: prompt?.value,
      ...Object.fromEntries(size.map(([name, input]) => [name, input.value])),
    }),
    onchange(act) {
      for (const input of [seed, count, labels, prompt, truncation, ...size.map(([, i]) => i)]) {
        input?.addEventListener("change", act);
      }
    },
  };
}

/** Fill the grid, in parts that grow; raises once `signal` is aborted, for another filling. */
async function fillGrid(grid, model, options, signal) {
  const { n, labelsOf, ...rest } = options;
  grid.replaceChildren();
  for (let start = 0, part = FIRST_PART; start < n; start += part, part *= 2) {
    part = Math.min(part, n - start);
    const labels = labelsOf(start, part);
    // What nobody chose is drawn, and the service tells it.
    const told = Boolean((model.labels && labels === undefined) || (model.vocabulary && rest.prompt === undefined));
    const made = await images(model, "sample", {
      json: { model: fullName(model), ...rest, n: part, offset: start, labels }, told, signal });
    signal.throwIfAborted(); // the grid is another's
    for (let i = 0; i < part; i++) {
      const label = Array.isArray(labels) ? labels[i] : labels;
      const one = { ...rest, offset: start + i, labels: label };
      const drawn = told ? made.origins[i] : {};
      grid.append(tile(made, i, model, one, { labels: label ?? drawn.label, prompt: rest.prompt ?? drawn.prompt }, signal));
    }
  }
}

/** An image of the grid: `one` is what it was asked for by, `condition` {labels, prompt} what it was
 * drawn with. */
function tile(made, i, model, one, condition, signal) {
  const canvas = paint(el("canvas"), made, i);
  const [label, prompt] = [condition.labels, one.prompt === undefined ? condition.prompt : undefined];
  const told = [label, prompt].filter((each) => each !== undefined);
  const name = [`seed ${one.seed}`, `image ${one.offset}`, ...told].join(", ");
  const button = el("button", { type: "button", class: "tile", "aria-label": name },
    canvas, el("small", {}, [one.seed, one.offset, label].filter((each) => each !== undefined).join(" · ")),
    prompt === undefined ? null : el("small", { class: "prompt", title: prompt }, prompt));
  button.addEventListener("click", () => enlarge(button, canvas, name, model, one, condition, signal));
  return button;
}

/** The image large, with what can be done with it; arrow keys go to its neighbours. */
function enlarge(button, canvas, name, model, one, condition, signal) {
  const times = enlargement(canvas.height, 448);
  const large = enlarged(canvas, times);
  large.setAttribute("role", "img");
  large.setAttribute("aria-label", name);
  const query = { ...one, labels: labelIn(model, one.labels), prompt: promptIn(one.prompt), model: fullName(model), n: 1, format: "png" };
  const keep = (format, more) => attempt(async () => {
    const response = await call("sample", { query: { ...query, ...more, format } });
    save(await response.blob(), `${model.name}-${one.seed}-${one.offset}.${format}`);
  });
  const dialog = el("dialog", { "aria-label": name },
    large,
    el("p", {}, name),
    el("div", { class: "row" },
      el("button", { type: "button", onclick: () => copy(link("sample", query)) }, "Copy link"),
      el("button", { type: "button", onclick: () => keep("png", { scale: times }) }, "Download PNG"),
      model.glb ? el("button", { type: "button", onclick: () => keep("glb") }, "Download GLB") : null,
      model.requests.includes("decode") ? el("a", { class: "button", href: explored(model, one, condition), onclick: () => dialog.close() }, "Explore from here") : null,
      el("button", { type: "button", onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => {
    dialog.remove();
    button.focus();
  });
  dialog.addEventListener("keydown", (event) => {
    const next = { ArrowLeft: button.previousSibling, ArrowRight: button.nextSibling }[event.key];
    if (!next) return;
    dialog.close();
    next.click();
  });
  signal.addEventListener("abort", () => dialog.close(), { once: true });
  document.body.append(dialog);
  dialog.showModal();
}

/** The address of Explore that begins at an image, with the class and the prompt that it has. */
function explored(model, { seed, offset, truncation }, condition) {
  return `#explore?${new URLSearchParams(given({ model: model.name, seed, offset, truncation, ...condition }))}`;
}

async function download(model, options, format) {
  const { n, labelsOf, ...rest } = options;
  const json = { ...rest, n, labels: labelsOf(0, n), format, model: fullName(model) };
  const response = await call("sample", { json });
  save(await response.blob(), `${model.name}-${rest.seed}.${format}`);
}
