// The shell: which tab shows which model, as the address says: `#sample?model=mnist-vae&seed=7`.

import { models } from "./api.js";
import { watch } from "./news.js";
import { attempt, el, say } from "./ui.js";
import encode from "./tabs/encode.js";
import explore from "./tabs/explore.js";
import sample from "./tabs/sample.js";
import translate from "./tabs/translate.js";
import cards from "./tabs/models.js";

/**
 * A tab is {title, request, show}: `request` is what a model must answer to be shown in it, and
 * `show({root, model, models, state, signal})` fills the empty element `root`. `state` holds the
 * options of the address: `state.get(name)`, and `state.set({name: value})`, which writes them
 * there. `signal` is aborted once another tab or model is shown.
 */
const TABS = { sample, explore, encode, translate, models: cards };

const view = document.getElementById("view");
const select = document.getElementById("model");
const nav = document.getElementById("tabs");
let served = [];
let shown = new AbortController();

function address() {
  const [tab, query] = location.hash.slice(1).split("?");
  return { tab: Object.hasOwn(TABS, tab) ? tab : "sample", query: new URLSearchParams(query ?? "") };
}

function stateOf(tab, query) {
  return {
    get: (name) => query.get(name),
    set(values) {
      for (const [name, value] of Object.entries(values)) {
        if (value === null || value === undefined || value === "") query.delete(name);
        else query.set(name, value);
      }
      history.replaceState(null, "", `#${tab}?${query}`);
    },
  };
}

function show() {
  const { tab, query } = address();
  shown.abort();
  shown = new AbortController();
  say("");
  for (const link of nav.children) {
    link.toggleAttribute("aria-current", link.dataset.tab === tab);
    if (link.dataset.tab === tab) link.setAttribute("aria-current", "page");
  }
  const { title, request } = TABS[tab];
  document.title = `${title} - latentserve`;
  const able = served.filter((model) => !request || model.requests.includes(request));
  const wanted = query.get("model");
  const named = served.find((m) => wanted === m.name || wanted === `${m.name}@${m.version}`);
  const model = named && able.includes(named) ? named : wanted ? undefined : able[0];
  select.closest("label").hidden = !request;
  select.replaceChildren(...served.map((m) => el("option", { value: m.name }, m.name)));
  select.value = (model ?? named)?.name ?? "";
  view.replaceChildren();
  if (request && !model) {
    view.append(missing(tab, title, named, able));
    return;
  }
  const root = el("div", { class: `tab ${tab}` });
  view.append(root);
  const state = stateOf(tab, query);
  TABS[tab].show({ root, model, models: served, state, signal: shown.signal });
}

function missing(tab, title, named, able) {
  const links = able.map((m) => el("li", {}, el("a", { href: `#${tab}?model=${m.name}` }, m.name)));
  const text = `${named?.name ?? "No model here"} ${named ? "does not answer this" : "answers this"}`;
  const others = links.length ? el("ul", {}, ...links) : null;
  return el("div", { class: "tab" }, el("h2", {}, title), el("p", {}, `${text}${links.length ? "; these do:" : "."}`), others);
}

select.addEventListener("change", () => {
  const { tab } = address();
  location.hash = `#${tab}?model=${select.value}`;
});
window.addEventListener("hashchange", show);
for (const [name, { title }] of Object.entries(TABS)) {
  nav.append(el("a", { href: `#${name}`, "data-tab": name }, title));
}
nav.addEventListener("click", (event) => {
  // The model stays when the tab changes.
  const tab = event.target.dataset?.tab;
  if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const model = select.value && tab !== "models" ? `?model=${select.value}` : "";
  location.hash = `#${tab}${model}`;
});

await attempt(async () => {
  served = await models();
  show();
  if (!served.length) say("No model is served yet.");
  watch(served);
});
