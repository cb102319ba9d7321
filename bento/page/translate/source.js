// Where a picture to translate can come from, when one has none: another model's samples.

import { sizeAxes } from "../pictures.js";

/**
 * The model whose samples are most like what `model` translates: of the same size, from the same
 * data if there is one, else of as many channels. Undefined where no sample fits.
 */
export function sourceOf(model, models) {
  const able = models.filter((other) => other.requests.includes("sample") && !other.volume && fits(other, model));
  const likeness = (other) => (sameData(other, model) ? 2 : 0) + (other.image[2] === model.image[2] ? 1 : 0);
  return able.toSorted((a, b) => likeness(b) - likeness(a))[0];
}

function fits({ image: sample }, model) {
  const axes = sizeAxes(model);
  if (!axes.length) return sample[0] === model.image[0] && sample[1] === model.image[1];
  return axes.every(({ min, max }, i) => sample[i] >= min && sample[i] <= max);
}

/** Whether one was trained on the data of the other, or on a part of it: cifar10, cifar10-frogs. */
function sameData(...models) {
  const [one, other] = models.map(({ provenance }) => provenance.details.data);
  if (typeof one !== "string" || typeof other !== "string") return false;
  return one === other || one.startsWith(`${other}-`) || other.startsWith(`${one}-`);
}
