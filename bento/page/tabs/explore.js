// Explore: the latent space of a model by a map or sliders, by walks, and by arithmetic.

import arithmetic from "../explore/arithmetic.js";
import map from "../explore/map.js";
import sliders from "../explore/sliders.js";
import walk from "../explore/walk.js";
import { attempt, choice, el, field, promptInput } from "../ui.js";

export default { title: "Explore", request: "sample", can: "be explored", show };

const hasMap = (model) => model.requests.includes("manifold");

/** A view: `show({panel, model, condition, state, signal})` fills the empty element `panel`. */
const VIEWS = {
  map: { title: "Map", fits: hasMap, show: map },
  directions: { title: "Directions", fits: (model) => !hasMap(model) && model.requests.includes("directions"), show: sliders },
  walk: { title: "Walk", fits: () => true, show: walk },
  arithmetic: { title: "Arithmetic", fits: () => true, show: arithmetic },
};

function show({ root, model, state, signal }) {
  const views = Object.entries(VIEWS).filter(([, view]) => view.fits(model));
  const labels = model.labels && choice(model.labels.map((l) => [l, l]), state.get("labels") ?? model.labels[0]);
  const prompt = promptInput(model, state.get("prompt"));
  // Whatever is shown has one condition: without a prompt, the model's first example.
  const condition = () => ({
    labels: labels?.value, prompt: prompt ? prompt.value || prompt.placeholder : undefined,
    truncation: state.get("truncation") ? Number(state.get("truncation")) : undefined });
  const buttons = views.map(([name, { title }]) => el("button", { type: "button", onclick: () => open(name) }, title));
  const panel = el("div", { class: "panel" });
  root.append(
    el("div", { class: "views" },
      el("div", { class: "segments", role: "group", "aria-label": "Ways to explore" }, ...buttons),
      labels ? field("Label", labels) : null,
      prompt ? field("Prompt", prompt) : null),
    panel);

  let shown = new AbortController();
  let current = views[0][0];
  signal.addEventListener("abort", () => shown.abort());
  async function open(name) {
    shown.abort();
    shown = new AbortController();
    current = name;
    views.forEach(([each], i) => buttons[i].setAttribute("aria-pressed", each === name));
    state.set({ model: model.name, view: name === views[0][0] ? null : name, labels: labels?.value, prompt: prompt?.value });
    panel.replaceChildren();
    const given = { panel, model, condition: condition(), state, signal: shown.signal };
    panel.setAttribute("aria-busy", "true");
    await attempt(() => VIEWS[name].show(given));
    if (!given.signal.aborted) panel.removeAttribute("aria-busy");
  }
  for (const input of [labels, prompt]) input?.addEventListener("change", () => open(current));
  const asked = state.get("view");
  open(views.some(([name]) => name === asked) ? asked : current);
}
