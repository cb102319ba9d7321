// Frames as a video, by the encoders that the browser has.

import { el, paint } from "../ui.js";

/** [title, media type] of the videos that this browser can make. */
export const videoTypes = () =>
  [["MP4", "video/mp4"], ["WebM", "video/webm"]].filter(([, type]) => window.MediaRecorder?.isTypeSupported(type));

/**
 * Frames [n, H, W, C] as a video, each pixel `times` as large. The browser records what it sees,
 * so it takes as long as the video lasts. Aborted by `signal`.
 */
export async function record(frames, type, fps, times, signal) {
  const [count, height, width] = frames.shape;
  const small = el("canvas");
  const large = el("canvas");
  // Encoders want even sides.
  Object.assign(large, { width: 2 * Math.ceil((width * times) / 2), height: 2 * Math.ceil((height * times) / 2) });
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  const recorder = new MediaRecorder(large.captureStream(fps), { mimeType: type, videoBitsPerSecond: 4e6 });
  const parts = [];
  recorder.addEventListener("dataavailable", ({ data }) => parts.push(data));
  const stopped = new Promise((resolve) => recorder.addEventListener("stop", resolve, { once: true }));
  recorder.start();
  for (let i = 0; i < count && !signal.aborted; i++) {
    context.drawImage(paint(small, frames, i), 0, 0, width * times, height * times);
    await new Promise((resolve) => setTimeout(resolve, 1000 / fps));
  }
  if (recorder.state !== "inactive") {
    recorder.stop();
    await stopped;
  }
  recorder.stream.getTracks().forEach((track) => track.stop());
  signal.throwIfAborted();
  return new Blob(parts, { type });
}
