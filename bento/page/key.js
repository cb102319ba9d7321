// The service's API key: asked for once, and kept in this page's memory alone.

import { el } from "./ui.js";

let key = null;
let asking = null;

/** The headers of a request, with the key where there is one. */
export function authorization() {
  if (key === null) return {};
  // A header holds bytes, and `fetch` takes each character for one.
  const bytes = new TextEncoder().encode(key);
  return { Authorization: `Bearer ${String.fromCharCode(...bytes)}` };
}

/**
 * Ask for the key, after the service has refused a request with the headers `sent`. Raises where
 * none is given. Requests that fail at the same time ask once.
 */
export async function askForKey(sent) {
  if (sent.Authorization !== authorization().Authorization) return; // another request has asked
  asking ??= answer(sent.Authorization !== undefined).finally(() => { asking = null; });
  const given = await asking;
  if (given === null) {
    throw new Error("This service needs an API key, and none was given.");
  }
  key = given;
}

/** What is typed into the dialog; null where it is left. */
function answer(wasWrong) {
  const { dialog, input, problem } = keyDialog();
  problem.textContent = wasWrong ? "The service does not know this key." : "";
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "given" ? input.value.trim() : null);
    });
  });
}

function keyDialog() {
  const input = el("input", { type: "password", autocomplete: "off", required: true, pattern: ".*\\S.*" });
  const problem = el("p", { class: "problem", role: "alert" });
  const dialog = el("dialog", { id: "key", "aria-labelledby": "key-title" },
    el("form", { method: "dialog" },
      el("h2", { id: "key-title" }, "This service has an API key"),
      el("label", { class: "field" }, el("span", {}, "Key"), input),
      problem,
      el("p", {}, "It is kept in this page alone, until you close it."),
      el("button", { class: "primary", value: "given" }, "Continue")));
  return { dialog, input, problem };
}
