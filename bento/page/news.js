// What the service serves since the page was loaded: the page works with what it found then.

import { call, fullName } from "./api.js";
import { el } from "./ui.js";

const PERIOD = 30_000; // milliseconds between two looks

/** Look again and again, while the page is seen, and say which models are not among `known`. */
export function watch(known) {
  const before = new Set(known.map(fullName));
  const line = document.getElementById("news");
  let told = "";
  async function look() {
    if (document.hidden) return;
    // A service that does not answer says so where something is asked of it.
    const response = await call("models").catch(() => null);
    if (!response) return;
    const { models } = await response.json();
    const names = models.map(fullName).filter((name) => !before.has(name)).join(", ");
    if (names === told) return;
    told = names;
    const reload = el("button", { type: "button", onclick: () => location.reload() }, "Reload");
    line.replaceChildren(...(names ? [`Served now: ${names}. `, reload] : []));
  }
  setInterval(look, PERIOD);
  document.addEventListener("visibilitychange", look);
}
