// A mask, painted over a picture.

import { withBrush } from "../brush.js";
import { el, field } from "../ui.js";
import { pngOf } from "../pictures.js";

const PAINT = "#ff00c8"; // unlike what most pictures hold

/**
 * A mask for `picture`, an <img> that is loaded: `element` is the picture to paint on, `tools` are
 * the brush's fields, and `file()` is the mask as a PNG of the picture's size, white where it was
 * painted.
 */
export function maskOf(picture, onpaint) {
  const { naturalWidth: width, naturalHeight: height } = picture;
  const canvas = el("canvas", { width, height, role: "img", "aria-label": "Paint where the model is to act: with the pointer, or with the arrow keys while you hold Space" });
  const brush = el("input", { type: "range", min: 1, max: 40, value: 10 });
  let empty = true;
  const painted = withBrush(canvas, {
    style: () => ({ width: (brush.value / 100) * Math.max(width, height), colour: PAINT }),
    ondraw: () => {
      empty = false;
      onpaint();
    },
  });
  const clear = () => {
    empty = true;
    canvas.getContext("2d").clearRect(0, 0, width, height);
    onpaint();
  };
  return {
    element: el("div", { class: "mask" }, picture, painted),
    tools: el("div", { class: "row" }, field("Brush", brush), el("button", { type: "button", onclick: clear }, "Clear mask")),
    isEmpty: () => empty,
    async file() {
      const mask = el("canvas", { width, height });
      const context = mask.getContext("2d");
      context.drawImage(canvas, 0, 0);
      // White where there is paint, black where there is none.
      context.globalCompositeOperation = "source-in";
      context.fillStyle = "#ffffff";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "destination-over";
      context.fillStyle = "#000000";
      context.fillRect(0, 0, width, height);
      return pngOf(mask);
    },
  };
}
