// Pictures that a user brings: chosen, photographed, dropped or pasted.

import { attempt, el } from "./ui.js";

/**
 * Buttons for choosing a picture, and for photographing one where there is a touch screen; pictures
 * dropped on the page or pasted are taken as well, until `signal` is aborted. Each is given to
 * `take(file)`, whose errors are said.
 */
export function chooser({ take, signal }) {
  const given = (files) => {
    const file = [...files].find((each) => each.type.startsWith("image/"));
    if (file) attempt(() => take(file));
    return Boolean(file);
  };
  const input = (text, properties) => {
    const file = el("input", { type: "file", accept: "image/*", ...properties });
    file.addEventListener("change", () => {
      given(file.files);
      file.value = ""; // the same file may be chosen again
    });
    return el("label", { class: "button" }, text, file);
  };
  window.addEventListener("dragover", (event) => event.preventDefault(), { signal });
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    given(event.dataTransfer.files);
  }, { signal });
  window.addEventListener("paste", (event) => {
    if (given(event.clipboardData.files)) event.preventDefault();
  }, { signal });
  const hasTouch = matchMedia("(pointer: coarse)").matches;
  return [
    input("Choose picture", {}),
    ...(hasTouch ? [input("Photograph", { capture: "environment" })] : []),
  ];
}

/** A file's pixels, upright; an error that names the file where the browser cannot read it. */
export async function opened(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    throw unreadable(file);
  }
}

/** The error of a file that is no picture, or one of a format that this browser does not know. */
export const unreadable = (file) =>
  new Error(`${file.name || "The picture"}: this browser cannot read it; PNG, JPEG and WebP work everywhere.`);

/** A canvas as a PNG file. */
export const pngOf = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/png"));

/** The axes of height and width, for models whose images have several sizes; else none. */
export const sizeAxes = (model) => ["height", "width"].map((name) => model.axes?.[name]).filter(Boolean);

/** The length nearest to `pixels` that an axis allows. */
export function nearest(axis, pixels) {
  const whole = Math.round(pixels / axis.multiple_of) * axis.multiple_of;
  return Math.min(axis.max, Math.max(axis.min, whole));
}
