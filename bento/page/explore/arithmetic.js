// Arithmetic with latents: a - b + c of picked samples.

import { copy, el, enlarged, savePng } from "../ui.js";
import { plus } from "./latents.js";
import { liveImage } from "./live.js";
import { nameOf, picked, textOf, tray } from "./tray.js";

const NAMES = ["a", "b", "c"];
const SIGNS = ["", "\u2212", "+"];
const USUAL = "7.0,7.1,7.2";

export default async function arithmetic({ panel, model, condition, state, signal }) {
  const terms = await picked({ model, condition, signal }, state.get("terms"), USUAL, { least: 3, most: 3 });
  const live = liveImage({ model, condition, signal, size: 196, name: "a minus b plus c" });
  const amount = el("input", { type: "range", min: 0, max: 1.5, step: 0.05, value: state.get("amount") ?? 1 });
  const text = el("output", { class: "number" });
  const slots = NAMES.map((name, i) => el("button", { type: "button", class: "tile slot", onclick: () => choose(i) }));
  let chosen = 0;

  function choose(i) {
    chosen = i;
    slots.forEach((slot, j) => slot.setAttribute("aria-pressed", i === j));
  }
  function update() {
    const [a, b, c] = terms.map(({ latent }) => latent);
    const t = Number(amount.value);
    text.textContent = t.toFixed(2);
    live.show(plus(a, [[-t, b.values], [t, c.values]]));
  }
  // Not while the slider moves: browsers allow few changes of the address a second.
  const remember = () => state.set({ terms: terms.map(textOf).join(","), amount: amount.value === "1" ? null : amount.value });
  function put(i, sample) {
    terms[i] = sample;
    slots[i].replaceChildren(enlarged(sample.canvas, 1), el("small", {}, `${NAMES[i]} · ${textOf(sample)}`));
    slots[i].setAttribute("aria-label", `${NAMES[i]}: ${nameOf(sample)}; press to choose another`);
  }
  terms.forEach((sample, i) => put(i, sample));
  amount.addEventListener("input", update);
  amount.addEventListener("change", remember);
  choose(0);
  panel.append(
    el("div", { class: "sum" },
      el("div", {}, ...slots.flatMap((slot, i) => [SIGNS[i] ? el("span", { class: "sign" }, SIGNS[i]) : null, slot])),
      el("div", {}, el("span", { class: "sign" }, "="), live.element)),
    el("div", { class: "row under" },
      el("label", { class: "field" }, el("span", { class: "row" }, "How much of c \u2212 b", text), amount),
      el("button", { type: "button", onclick: () => copy(location.href) }, "Copy link"),
      el("button", { type: "button", onclick: () => savePng(live.canvas, `${model.name}-sum`) }, "Download PNG")),
    tray({ model, condition, state, signal }, "Pick a, b and c", (sample) => {
      put(chosen, sample);
      choose((chosen + 1) % 3);
      update();
      remember();
    }));
  update();
  remember();
}
