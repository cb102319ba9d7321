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
 * A tab is {title, request, can, show}: `request` is what a model must answer to be shown in it,
 * `can` says that in words, and `show({root, model, models, state, signal})` fills the empty
 * element `root`. `state` holds the options of the address: `state.get(name)`, and
 * `state.set({name: value})`, which writes them there. `signal` is aborted once another tab or
 * model is shown.
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
  const { title, request, can } = TABS[tab];
  document.title = `${title} - latentserve`;
  const able = ableTo(tab);
  const wanted = query.get("model");
  const named = served.find((m) => wanted === m.name || wanted === `${m.name}@${m.version}`);
  const model = named && able.includes(named) ? named : wanted ? undefined : able[0];
  select.closest("label").hidden = !request;
  const chosen = model ?? named;
  const none = el("option", { value: "", hidden: true }, "choose one");
  select.replaceChildren(...(chosen ? [] : [none]),
    ...served.map((m) => el("option", { value: m.name, disabled: !able.includes(m) }, m.name)));
  select.value = chosen?.name ?? "";
  view.replaceChildren();
  if (request && !model) {
    view.append(missing({ tab, title, can, wanted, named, able }));
    return;
  }
  const root = el("div", { class: `tab ${tab}` });
  view.append(root);
  const state = stateOf(tab, query);
  TABS[tab].show({ root, model, models: served, state, signal: shown.signal });
}

/** The models that can be shown in a tab. */
function ableTo(tab) {
  const { request } = TABS[tab];
  return served.filter((model) => !request || model.requests.includes(request));
}

/** What is shown in place of a model that is not served, or that has nothing for this tab. */
function missing({ tab, title, can, wanted, named, able }) {
  const links = able.map((m) => el("li", {}, el("a", { href: `#${tab}?model=${m.name}` }, m.name)));
  const why = named ? `${named.name} cannot ${can}.` : wanted ? `No model ${wanted} is served here.` : "";
  const others = links.length ? `These can ${can}:` : `No model that is served can ${can}.`;
  return el("div", { class: "tab" }, el("h2", {}, title), el("p", {}, `${why} ${others}`.trim()),
    links.length ? el("ul", {}, ...links) : null);
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
  // The model stays when the tab changes, if it can be shown there.
  const tab = event.target.dataset?.tab;
  if (!tab || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const stays = tab !== "models" && ableTo(tab).some((model) => model.name === select.value);
  location.hash = stays ? `#${tab}?model=${select.value}` : `#${tab}`;
});

await attempt(async () => {
  served = await models();
  show();
  if (!served.length) say("No model is served yet.");
  watch(served);
});
