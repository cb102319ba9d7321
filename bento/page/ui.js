// Small parts that the tabs share: elements, fields, pictures.

/** An element: `el("button", {class: "primary", onclick}, "text", child)`. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A labelled input, select or range. */
export const field = (text, input, hint) =>
  el("label", { class: "field" }, el("span", {}, text), input, hint ? el("small", {}, hint) : null);

/** A number input. */
export const number = (value, properties = {}) => el("input", { type: "number", value, ...properties });

/** A select: `choices` are texts, or [value, text]. */
export function choice(choices, value) {
  const options = choices.map((each) => {
    const [v, text] = Array.isArray(each) ? each : [each, each];
    return el("option", { value: v, selected: String(v) === String(value) }, text);
  });
  return el("select", {}, ...options);
}

/** A text input for the prompt of a model that reads them; null for others. */
export const promptInput = (model, value) => model.vocabulary && el("input", {
  type: "text", value: value ?? "", placeholder: model.vocabulary.examples[0], name: "prompt" });

/** Say something to the user, also to one who does not see the page. */
export function say(text, isError = false) {
  const status = document.getElementById("status");
  const dialog = document.querySelector("dialog[open]");
  if (dialog && !dialog.contains(status)) {
    // What lies behind a dialog is dimmed, and not read out.
    dialog.append(status);
    dialog.addEventListener("close", () => document.body.append(status), { once: true });
  }
  status.textContent = text;
  status.classList.toggle("error", isError);
}

/** Run `work`; what goes wrong is said. A request that was given up is no error. */
export async function attempt(work) {
  try {
    say("");
    return await work();
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, true);
    return undefined;
  }
}

/** Image `index` of an array [n, H, W, C] on a canvas; C: grey, grey + alpha, RGB, RGBA. */
export function paint(canvas, array, index = 0) {
  const [, height, width, channels] = array.shape;
  const pixels = new ImageData(width, height);
  const size = height * width;
  const colours = channels < 3 ? 1 : 3;
  for (let i = 0, from = index * size * channels, to = 0; i < size; i++, from += channels, to += 4) {
    for (let c = 0; c < 3; c++) pixels.data[to + c] = array.data[from + (colours === 1 ? 0 : c)];
    pixels.data[to + 3] = channels % 2 ? 255 : array.data[from + channels - 1];
  }
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Give a file to the browser to save. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Copy a text; where the browser forbids that, show it instead. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Link copied.");
  } catch {
    say(text);
  }
}

/** A picture that the service sent: an element that can be shown at once. Its bytes are freed once
 * `signal` is aborted. */
export async function picture(response, alt, signal) {
  const url = URL.createObjectURL(await response.blob());
  const image = el("img", { src: url, alt });
  try {
    await image.decode();
    signal.throwIfAborted();
  } catch (error) {
    URL.revokeObjectURL(url);
    throw error;
  }
  signal.addEventListener("abort", () => URL.revokeObjectURL(url));
  return image;
}

/** A copy of a canvas, so many times larger, its pixels crisp. */
export function enlarged(canvas, times) {
  const large = el("canvas");
  Object.assign(large, { width: canvas.width * times, height: canvas.height * times });
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, large.width, large.height);
  return large;
}

/** Save what a canvas shows as PNG, small images enlarged. */
export function savePng(canvas, name) {
  enlarged(canvas, enlargement(canvas.height, 448)).toBlob((blob) => save(blob, `${name}.png`));
}

/** An empty canvas for an image, shown about `wanted` pixels high: small ones crisp, in whole steps,
 * large ones smoothly. */
export function frame(name, [height, width], wanted) {
  const small = height < 128;
  const canvas = el("canvas", { role: "img", "aria-label": name, class: small ? "" : "smooth" });
  const times = small ? enlargement(height, wanted) : wanted / height;
  Object.assign(canvas, { height, width });
  canvas.style.width = `${width * times}px`;
  return canvas;
}

/** How many times larger a small image is shown: crisp, in whole steps. */
export const enlargement = (pixels, wanted) => Math.max(1, Math.round(wanted / pixels));

/** A seed that nobody chose; a user may type any below 2^53. */
export const anySeed = () => Math.floor(Math.random() * 2 ** 32);

/** A button with a die on it. */
export const dice = (title, onclick) =>
  el("button", { type: "button", class: "square", title, "aria-label": title, onclick }, dots());

/** A die that gives a seed's input another seed, which then has changed as if it were typed. */
export const seedDice = (title, seed) => dice(title, () => {
  seed.value = anySeed();
  seed.dispatchEvent(new Event("change"));
});

/** The five of a die. */
function dots() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("class", "icon");
  for (const [x, y] of [[3, 3], [13, 3], [8, 8], [3, 13], [13, 13]]) {
    const dot = document.createElementNS(svg.namespaceURI, "circle");
    for (const [name, value] of [["cx", x], ["cy", y], ["r", 2]]) dot.setAttribute(name, value);
    svg.append(dot);
  }
  return svg;
}
